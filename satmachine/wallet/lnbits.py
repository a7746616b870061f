"""The LNbits client: creates invoices, pays them, and reads wallets; it trusts nothing that was not checked.

Why it is so careful: ARCHITECTURE.md, "LNbits as it really behaves". In short: an answer's text proves
little, an unknown filter is ignored, and `GET /api/v1/payments/{hash}` changes what it reports (never used here).
Writes nothing but HTTP. Amounts are int sats or msats by name; times are int Unix seconds.

Reads raise WalletUnavailable (nothing is known) or WalletRefused (wrong key or request). `pay` raises neither:
it returns a PayAnswer, and all of its answers except FAILURE must be confirmed by reading.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, Unpack

import httpx

from satmachine.errors import WalletError, WalletLied, WalletRefused, WalletUnavailable
from satmachine.identity import PREFIX, belongs, tag_pattern
from satmachine.models import Answer
from satmachine.wallet import bolt11 as invoices
from satmachine.wallet.rows import (
    AnswerError,
    Params,
    PaymentFilters,
    WalletPayment,
    integer,
    matches,
    parse_payment,
    query_params,
)
from satmachine.wallet.transport import AnswerTooLarge, HttpAnswer, LnbitsHttp, refusal

log = logging.getLogger(__name__)

__all__ = ["Capabilities", "Invoice", "Lnbits", "PayAnswer", "PaymentFilters", "WalletInfo", "WalletPayment"]

_PAYMENTS: Final = "/api/v1/payments"
_PAGINATED: Final = "/api/v1/payments/paginated"
_FEE_RESERVE: Final = "/api/v1/payments/fee-reserve"
_WALLET: Final = "/api/v1/wallet"
_HEALTH: Final = "/api/v1/health"

LARGEST_PAGE: Final = 1_000
#: An offset that no wallet reaches.
_BEYOND: Final = 1_000_000_000
_PAGE_ATTEMPTS: Final = 3

#: The longest description that BOLT 11 can encode; LNbits fails with a 400 beyond it.
_MAX_MEMO_BYTES: Final = 639

#: LNbits deletes "<...>" and "&...;" from every text that it stores, straight through the JSON of `extra`.
_NOT_FOR_LNBITS: Final = str.maketrans("<>&", "()+")


#: Failures that LNbits itself answers when it has finished; a gateway's 502, 503 or 504 may contain `detail` too.
_OWN_FAILURES: Final = frozenset({500, 520})


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this LNbits can do. `version` is "unknown" if it does not say."""

    version: str
    external_id: bool


@dataclass(frozen=True, slots=True)
class WalletInfo:
    """A wallet as its key sees it. LNbits tells `wallet_id` only to an admin key; an invoice key cannot pay."""

    wallet_id: str | None
    name: str
    balance_msat: int
    can_pay: bool


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice that asks for exactly what was wanted (decoded and checked).

    `wallet_id` is the wallet it pays into; None for one of another server.
    """

    payment_hash: str
    bolt11: str
    amount_sats: int
    expires_at: int
    wallet_id: str | None = None


@dataclass(frozen=True, slots=True)
class PayAnswer:
    """What LNbits said to a payment. FAILURE: refused before anything happened. Everything else: look it up.

    `permanent` is for FAILURE: repeating it will not help. `ended`: LNbits itself has answered, so nothing of this
    request is under way any more; to see what it did, look it up. `settled`: the row that came with a 201 `success` of
    this very invoice, where LNbits moved the sats inside itself: both of its commits are behind it.
    """

    answer: Answer
    permanent: bool
    detail: str
    retry_after_s: float | None = None
    ended: bool = False
    settled: WalletPayment | None = None


class Lnbits:
    """One LNbits instance. Close it with `aclose()` or use it as an async context manager.

    `instance_id` goes into `extra["instance"]` of everything that is made, so that a second daemon shows.
    """

    def __init__(
        self,
        url: str,
        *,
        http: httpx.AsyncClient | None = None,
        timeout_s: float = 30,
        pay_timeout_s: float = 75,
        max_concurrency: int = 4,
        instance_id: str,
    ) -> None:
        self._http = LnbitsHttp(url, http, max_concurrency)
        self._timeout_s = timeout_s
        self._pay_timeout_s = pay_timeout_s
        self._instance_id = instance_id
        self._capabilities: Capabilities | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    # --- what it is

    @property
    def latency_s(self) -> float | None:
        """How long LNbits took for its last answer; None before the first."""
        return self._http.latency_s

    @property
    def version(self) -> str:
        """As it was last found; "unknown" before that."""
        return self._capabilities.version if self._capabilities else "unknown"

    async def probe(self, key: str) -> Capabilities:
        """Find out, by trying, whether `external_id` works; any key of this LNbits can be used.

        Two questions, because each alone can mislead: a filter that is ignored returns nothing for an empty
        wallet, and a column that can be sorted by need not be a filter.
        """
        try:
            page = await self._ask_page(key, {"external_id": f"probe-{secrets.token_hex(16)}"}, limit=1)
            found_some = bool(page.rows)
        except (_Unreadable, AnswerTooLarge):  # somebody has stored a row that cannot be shown: it was not asked for
            found_some = True
        sorting = await self._get(_PAGINATED, key, {"sortby": "external_id", "limit": "1", "offset": str(_BEYOND)})
        if sorting.status not in (httpx.codes.OK, httpx.codes.BAD_REQUEST):
            self._http.reject("sort payments by external_id", sorting)
        external_id = not found_some and sorting.status == httpx.codes.OK
        self._capabilities = Capabilities(await self._version(key), external_id)
        return self._capabilities

    async def _version(self, key: str) -> str:
        answer = await self._get("/openapi.json", key, {})
        info = answer.body.get("info") if isinstance(answer.body, dict) else None
        version = info.get("version") if isinstance(info, dict) else None
        return version if isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,40}", version) else "unknown"

    async def wallet(self, key: str) -> WalletInfo:
        answer = await self._get(_WALLET, key, {})
        if answer.status != httpx.codes.OK:
            self._http.reject("show the wallet", answer)
        body = answer.body
        if not isinstance(body, dict) or not isinstance(body.get("name"), str):
            raise self._lying("GET", _WALLET, "name is missing")
        try:
            balance_msat = integer(body, "balance")
        except AnswerError as lie:
            raise self._lying("GET", _WALLET, str(lie)) from lie
        wallet_id = body.get("id")
        return WalletInfo(wallet_id, body["name"], balance_msat, can_pay=wallet_id is not None)

    async def is_up(self, key: str) -> bool:
        """A call that reads nothing, neither a wallet nor a payment. Raises WalletUnavailable."""
        return (await self._get(_HEALTH, key, {})).status == httpx.codes.OK

    async def invoice_key(self, admin_key: str) -> str:
        """The wallet's invoice key, which LNbits shows only when a wallet is changed; so this makes a change that
        changes nothing.

        Raises WalletUnavailable, WalletRefused.
        """
        answer = await self._http.call("PATCH", _WALLET, admin_key, timeout_s=self._timeout_s, body={})
        if answer.status != httpx.codes.OK:
            self._http.reject("give the wallet's invoice key", answer)
        key = answer.body.get("inkey") if isinstance(answer.body, dict) else None
        if not isinstance(key, str) or not re.fullmatch(r"[0-9A-Za-z]{16,64}", key) or key == admin_key:
            raise self._lying("PATCH", _WALLET, "inkey is missing")
        return key

    # --- writing

    async def create_invoice(
        self,
        invoice_key: str,
        *,
        amount_sats: int,
        memo: str,
        expiry_s: int,
        extra: Mapping[str, object],
        external_id: str,
        internal: bool = True,
    ) -> Invoice:
        """An invoice of the key's wallet. `internal`: only wallets of the same LNbits can pay it, without a node.

        After WalletUnavailable there may be an unused invoice in the wallet, which is harmless.
        """
        answer = await self._http.call(
            "POST",
            _PAYMENTS,
            invoice_key,
            timeout_s=self._timeout_s,
            body={
                "out": False,
                "unit": "sat",
                "amount": amount_sats,
                "memo": self._memo(memo, external_id),
                "internal": internal,
                "expiry": expiry_s,
                "extra": self._stamped(extra, external_id),
                "external_id": external_id,
            },
        )
        if answer.status != httpx.codes.CREATED:
            self._http.reject(f"create an invoice of {amount_sats} sats", answer)
        try:
            return _checked_invoice(parse_payment(answer.body), amount_sats)
        except (AnswerError, invoices.InvoiceError) as lie:
            raise self._lying("POST", _PAYMENTS, f"invoice of {amount_sats} sats: {lie}") from lie

    async def pay(
        self,
        admin_key: str,
        bolt11: str,
        *,
        extra: Mapping[str, object],
        external_id: str,
        may_go: Callable[[], bool] = lambda: True,
    ) -> PayAnswer:
        """Pay the invoice from the key's wallet. Never raises WalletError; sends once, whatever happens, and not at all
        if it may not go any more when other calls have made room for it."""
        body = {
            "out": True,
            "bolt11": bolt11,
            "extra": self._stamped(extra, external_id),
            "external_id": external_id,
        }
        try:
            answer = await self._http.call(
                "POST", _PAYMENTS, admin_key, timeout_s=self._pay_timeout_s, body=body, may_go=may_go
            )
        except WalletRefused as error:
            return PayAnswer(Answer.FAILURE, permanent=True, detail=str(error), ended=True)
        except WalletError as error:
            return PayAnswer(Answer.UNKNOWN, permanent=False, detail=str(error))
        return _pay_answer(answer, bolt11)

    def _stamped(self, extra: Mapping[str, object], external_id: str) -> dict[str, object]:
        stamped = {**extra, "leg_key": external_id, "instance": self._instance_id}
        text = json.dumps(stamped, default=str, ensure_ascii=False)
        clean: dict[str, object] = json.loads(text.translate(_NOT_FOR_LNBITS))
        return clean

    def _memo(self, memo: str, external_id: str) -> str:
        """Cut to what fits; before 1.5 with the leg key, which people could not find otherwise."""
        note = f" [{external_id}]" if self._capabilities and not self._capabilities.external_id else ""
        room = _MAX_MEMO_BYTES - len(note.encode())
        return memo.translate(_NOT_FOR_LNBITS).encode()[:room].decode(errors="ignore") + note

    # --- reading

    async def fee_reserve_sats(self, key: str, bolt11: str) -> int:
        """What the wallet must hold for routing fees in addition to an external invoice's amount, rounded up."""
        answer = await self._get(_FEE_RESERVE, key, {"invoice": bolt11})
        if answer.status != httpx.codes.OK:
            self._http.reject("give the fee reserve", answer)
        try:
            reserve_msat = integer(answer.body if isinstance(answer.body, dict) else {}, "fee_reserve")
        except AnswerError as lie:
            raise self._lying("GET", _FEE_RESERVE, str(lie)) from lie
        return -(-abs(reserve_msat) // 1000)

    async def payments(
        self, key: str, *, page_size: int = LARGEST_PAGE, **filters: Unpack[PaymentFilters]
    ) -> list[WalletPayment]:
        """All of the wallet's payments that match, failed ones too; see `iter_payments`."""
        return [payment async for page in self.iter_payments(key, page_size=page_size, **filters) for payment in page]

    async def iter_payments(
        self, key: str, *, page_size: int = LARGEST_PAGE, **filters: Unpack[PaymentFilters]
    ) -> AsyncIterator[list[WalletPayment]]:
        """The wallet's matching payments page by page, each payment once; pages may be empty.

        Oldest first, without gaps whatever arrives meanwhile. With `updated_since` latest change first instead;
        a payment that changes during the reading may be missed, and is found by a next reading that starts
        where this one started.
        """
        assert 1 <= page_size <= LARGEST_PAGE
        by_change = "updated_since" in filters
        pages = self._latest_changes if by_change else self._oldest_first
        async for rows in pages(key, filters, page_size):
            yield self._matching(rows, filters)

    async def count_payments(self, key: str) -> int | None:
        """How many rows the wallet has, of any kind; None if LNbits cannot show the one that it is asked for.

        Raises WalletUnavailable, WalletRefused.
        """
        try:
            return (await self._ask_once(key, {"limit": "1"})).total
        except (_Unreadable, AnswerTooLarge):
            return None

    async def bundle(self, key: str, name: str) -> list[WalletPayment]:
        """Every row of the wallet that belongs to one bundle; see `bundles`."""
        return (await self.bundles(key, [name]))[name]

    async def bundles(self, key: str, names: Collection[str]) -> dict[str, list[WalletPayment]]:
        """Every row of the wallet that belongs to each of these bundles of legs, in one look: payments and marks,
        failed ones too, of whatever revision and from whatever copy of the database (identity.py). Before 1.5 through
        all rows with our tag."""
        rows = [row async for page in self.iter_ours(key, names) for row in page]
        return {name: [row for row in rows if belongs(row.leg_key, name)] for name in names}

    async def iter_ours(
        self, key: str, prefixes: Collection[str] = (PREFIX,), **filters: Unpack[PaymentFilters]
    ) -> AsyncIterator[list[WalletPayment]]:
        """The wallet's rows whose key begins like one of these, page by page, whatever the machine's npub is or was."""
        if (await self._known_capabilities(key)).external_id:
            filters["external_id_prefixes"] = prefixes
        else:
            filters["tag_contains"] = tag_pattern()
        async for page in self.iter_payments(key, **filters):
            yield [row for row in page if (row.leg_key or "").startswith(tuple(prefixes))]

    async def wallet_of(self, key: str) -> str | None:
        """The id of the wallet to which a key leads, also an invoice key; None for a wallet without any row."""
        try:
            page = await self._ask_page(key, {"sortby": "time", "direction": "asc"}, limit=1)
        except _Unreadable:
            return None
        return page.rows[0].wallet_id if page.rows else None

    async def _known_capabilities(self, key: str) -> Capabilities:
        return self._capabilities or await self.probe(key)

    async def _oldest_first(
        self, key: str, filters: PaymentFilters, page_size: int
    ) -> AsyncIterator[list[WalletPayment]]:
        """Each page begins with the second in which the one before ended (SQLite's filter knows no fractions), so
        that rows which appear, or leave a filtered list (`status`), cannot shift it. `offset` is needed only
        when more than a page was written within one second."""
        params = query_params(filters) | {"sortby": "time", "direction": "asc"}
        since = filters.get("created_since")
        offset = 0
        seen: set[str] = set()
        while True:
            page = await self._ask_around(key, params, offset, page_size)
            self._check_order(page.rows, since)
            yield [payment for payment in page.rows if payment.checking_id not in seen]
            if offset + page.length >= page.total:
                return
            if page.skipped:
                offset += page.length
                seen |= {payment.checking_id for payment in page.rows}
                continue
            last_second = page.rows[-1].created_at
            if page.rows[0].created_at < last_second:
                since = last_second
                params["time[ge]"] = str(since)
                offset = 0
                seen = set()
            else:
                offset += len(page.rows)
            seen |= {payment.checking_id for payment in page.rows if payment.created_at == last_second}

    def _check_order(self, rows: list[WalletPayment], since: int | None) -> None:
        times = [payment.created_at for payment in rows]
        if times != sorted(times) or (times and since is not None and times[0] < since):
            raise self._lying("GET", _PAGINATED, "the payments are not in the order that was asked for")

    async def _latest_changes(
        self, key: str, filters: PaymentFilters, page_size: int
    ) -> AsyncIterator[list[WalletPayment]]:
        """LNbits sorts by the time of the last change but cannot filter by it. What changes meanwhile moves to the
        front, so that rows only appear twice; a filter by status could make rows disappear, so that filter is applied
        here."""
        asked = query_params({**filters})
        asked.pop("status", None)
        params = asked | {"sortby": "updated_at", "direction": "desc"}
        offset = 0
        seen: set[str] = set()
        while True:
            page = await self._ask_around(key, params, offset, page_size)
            recent = [payment for payment in page.rows if payment.updated_at >= filters["updated_since"]]
            wanted = [p for p in recent if "status" not in filters or p.status == filters["status"]]
            yield [payment for payment in wanted if payment.checking_id not in seen]
            seen |= {payment.checking_id for payment in recent}
            offset += page.length
            if len(recent) < len(page.rows) or offset >= page.total:
                return

    def _matching(self, rows: list[WalletPayment], filters: PaymentFilters) -> list[WalletPayment]:
        try:
            return [payment for payment in rows if matches(payment, filters)]
        except AnswerError as lie:
            raise self._lying("GET", _PAGINATED, str(lie)) from lie

    async def _ask_around(self, key: str, params: Params, offset: int, limit: int) -> _Page:
        """A page, or as much of it as can be read. With a wallet's invoice key anybody can store rows that LNbits
        cannot show (NaN in `extra`: every list with them answers 400) or that are as large as hundreds. So the page
        gets smaller, and a single row that still cannot be shown is left out: no row of ours looks like that."""
        while True:
            try:
                return await self._ask_page(key, params, offset=offset, limit=limit)
            except (AnswerTooLarge, _Unreadable) as error:
                if limit > 1:
                    limit = max(1, limit // 8)
                    continue
                log.warning("a payment in this wallet cannot be shown by LNbits and is left out: %s", error)
                return _Page([], offset + 2, skipped=1)  # the next page shows whether more come after it

    async def _ask_page(self, key: str, params: Params, *, offset: int = 0, limit: int) -> _Page:
        """A page with as many rows as its own `total` promises. A short page is asked for again: on PostgreSQL a
        payment can arrive between LNbits' two queries. A page that stays short hides a payment."""
        asked = {**params, "offset": str(offset), "limit": str(limit)}
        for _ in range(_PAGE_ATTEMPTS):
            page = await self._ask_once(key, asked)
            if len(page.rows) >= min(limit, page.total - offset):
                return page
        raise self._lying("GET", _PAGINATED, f"it counts {page.total} payments but does not show them all")

    async def _ask_once(self, key: str, params: Params) -> _Page:
        answer = await self._get(_PAGINATED, key, params)
        if answer.status == httpx.codes.BAD_REQUEST and not refusal(answer):
            raise _Unreadable(f"LNbits at {self._http.url} cannot list these payments: {answer.detail}")
        if answer.status != httpx.codes.OK:
            self._http.reject("list payments", answer)
        try:
            return _parse_page(answer.body)
        except AnswerError as lie:
            raise self._lying("GET", _PAGINATED, str(lie)) from lie

    async def _get(self, path: str, key: str, params: Params) -> HttpAnswer:
        return await self._http.call("GET", path, key, timeout_s=self._timeout_s, params=params)

    def _lying(self, method: str, path: str, what: str) -> WalletLied:
        return WalletLied(f"LNbits at {self._http.url} answered {method} {path} wrongly: {what}.")


@dataclass(frozen=True, slots=True)
class _Page:
    """`skipped`: rows that are there but cannot be shown."""

    rows: list[WalletPayment]
    total: int
    skipped: int = 0

    @property
    def length(self) -> int:
        return len(self.rows) + self.skipped


class _Unreadable(WalletUnavailable):
    """LNbits itself says that it cannot show these rows."""


def _parse_page(body: object) -> _Page:
    if not isinstance(body, dict) or not isinstance(body.get("data"), list):
        raise AnswerError("the list of payments is missing or truncated")
    page = _Page([parse_payment(row) for row in body["data"]], integer(body, "total"))
    if len({payment.wallet_id for payment in page.rows}) > 1:
        raise AnswerError("payments of several wallets arrived for one key")
    return page


def _checked_invoice(row: WalletPayment, amount_sats: int) -> Invoice:
    decoded = invoices.decode(row.bolt11)
    if decoded.amount_msat != amount_sats * 1000:
        raise AnswerError(f"it asks for {decoded.amount_msat} msats")
    if decoded.payment_hash != row.payment_hash:
        raise AnswerError(f"its payment hash is {decoded.payment_hash}, not {row.payment_hash}")
    return Invoice(row.payment_hash, row.bolt11, amount_sats, decoded.expires_at, row.wallet_id)


def _pay_answer(answer: HttpAnswer, bolt11: str) -> PayAnswer:
    """LNBITS: only a refusal is a failure, only a 201 of *this* payment says success or pending."""
    if refusal(answer):
        permanent = answer.status != httpx.codes.TOO_MANY_REQUESTS
        detail = f"HTTP {answer.status}, {answer.detail}"
        return PayAnswer(Answer.FAILURE, permanent, detail, answer.retry_after_s, ended=True)
    own = answer.status < 500 or answer.status in _OWN_FAILURES
    ended = own and isinstance(answer.body, dict) and "detail" in answer.body
    said = answer.detail or "and nothing that says how this payment ended"
    unknown = PayAnswer(Answer.UNKNOWN, permanent=False, detail=f"HTTP {answer.status}, {said}", ended=ended)
    if answer.status != httpx.codes.CREATED:
        return unknown
    try:
        payment = parse_payment(answer.body)
    except AnswerError as lie:
        return PayAnswer(Answer.UNKNOWN, permanent=False, detail=f"HTTP 201, but {lie}")
    this_one = payment.outgoing and payment.bolt11.lower() == bolt11.lower()
    if not this_one or payment.status not in (Answer.SUCCESS, Answer.PENDING):
        return unknown
    settled = payment if payment.status is Answer.SUCCESS and payment.moved_inside else None
    return PayAnswer(payment.status, permanent=False, detail=f"payment {payment.checking_id}", settled=settled)
