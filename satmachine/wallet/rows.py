"""LNbits' payment rows: how they are asked for, read, and compared with what was asked. Pure.

LNbits silently ignores a filter that it does not know, so every row that comes back is checked here.
All amounts are int msats as LNbits counts them; times are int Unix seconds, rounded down.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias, TypedDict

from satmachine.errors import WalletUnavailable
from satmachine.models import Answer
from satmachine.wallet.bolt11 import InvoiceError, decode

_STATUS: Final = {"success": Answer.SUCCESS, "failed": Answer.FAILURE, "pending": Answer.PENDING}
_STATUS_WORDS: Final = {answer: word for word, answer in _STATUS.items()}

#: A query string; a list is a name that is given several times.
Params: TypeAlias = Mapping[str, str | list[str]]

#: All the bitcoin that there can ever be; what is stored fits into SQLite's integers.
_MAX_MSAT: Final = 21_000_000 * 100_000_000 * 1_000


class AnswerError(ValueError):
    """The wallet's answer does not have the form, or the content, that was asked for."""


@dataclass(frozen=True, slots=True)
class WalletPayment:
    """One side of a payment, as its wallet sees it. `amount_msat` is negative when it goes out.

    `fee_msat` is what was paid, or, while an outgoing payment is pending, what is reserved; never negative.
    `preimage` proves nothing on an incoming payment: LNbits shows it before the invoice is paid.
    """

    payment_hash: str
    checking_id: str
    wallet_id: str
    amount_msat: int
    fee_msat: int
    status: Answer
    memo: str
    tag: str | None
    extra: Mapping[str, object]
    external_id: str | None
    bolt11: str
    preimage: str | None = field(repr=False)
    created_at: int
    updated_at: int

    @property
    def incoming(self) -> bool:
        return self.amount_msat > 0

    @property
    def outgoing(self) -> bool:
        return self.amount_msat < 0

    @property
    def moved_inside(self) -> bool:
        """Whether LNbits moved the sats (or will move them) from one of its wallets to another, without its node."""
        return self.checking_id.startswith("internal_")

    @property
    def amount_sats(self) -> int:
        """Without the sign. LNbits' amounts are whole sats; a fraction is cut off."""
        return abs(self.amount_msat) // 1000

    @property
    def fee_sats(self) -> int:
        """What the fee took, in whole sats: a part of a sat is gone, too."""
        return -(-self.fee_msat // 1000)

    @property
    def expires_at(self) -> int | None:
        """When the invoice expires; None when there is no readable one. From the invoice itself, because LNbits
        gives its own `expiry` in the server's local time in some answers and in UTC in others."""
        try:
            return decode(self.bolt11).expires_at
        except InvoiceError:
            return None

    @property
    def leg_key(self) -> str | None:
        """satmachine's name for what this pays; in `extra` for LNbits before 1.5, which has no external id."""
        if self.external_id is not None:
            return self.external_id
        key = self.extra.get("leg_key")
        return key if isinstance(key, str) else None


class PaymentFilters(TypedDict, total=False):
    """What to ask for; everything given must hold (times in Unix seconds, inclusive). Of several hashes or prefixes
    one must fit."""

    payment_hash: str
    payment_hashes: Collection[str]
    checking_id: str
    external_id: str
    external_id_prefixes: Collection[str]
    tag: str
    tag_contains: str
    status: Answer
    incoming: bool
    created_since: int
    updated_since: int


def query_params(filters: PaymentFilters) -> dict[str, str | list[str]]:
    """LNbits' query string for these filters; `updated_since` has none and is applied by the reader.

    A name that is given several times means "one of these". A prefix is asked for with `like`, which means "contains"
    to LNbits. A range (`ge`, `lt`) would use the index, but on PostgreSQL it compares by the locale's alphabet and
    would miss rows.
    """
    params: dict[str, str | list[str]] = {}
    for name in ("payment_hash", "checking_id", "external_id", "tag"):
        if name in filters:
            params[name] = str(filters[name])
    if "payment_hashes" in filters:
        params["payment_hash"] = sorted(filters["payment_hashes"])
    if "external_id_prefixes" in filters:
        params["external_id[like]"] = [_plain(prefix) for prefix in sorted(filters["external_id_prefixes"])]
    if "tag_contains" in filters:
        params["tag[like]"] = _plain(filters["tag_contains"])
    if "status" in filters:
        params["status"] = _STATUS_WORDS[filters["status"]]
    if "incoming" in filters:
        params["amount[gt]" if filters["incoming"] else "amount[lt]"] = "0"
    if "created_since" in filters:
        params["time[ge]"] = str(filters["created_since"])
    return params


def _plain(prefix: str) -> str:
    if re.search(r"[%_\\]", prefix):
        raise ValueError(f"{prefix!r} would be a pattern, not a prefix")
    return prefix


def matches(payment: WalletPayment, filters: PaymentFilters) -> bool:
    """True for a row that was asked for, False for one that LNbits may return in addition.

    Raises AnswerError for a row that shows that a filter was ignored.
    """
    for name in ("payment_hash", "checking_id", "external_id", "tag", "status", "incoming"):
        if name in filters and getattr(payment, name) != filters[name]:
            raise AnswerError(f"it ignored the filter {name} for payment {payment.checking_id}")
    if "created_since" in filters and payment.created_at < filters["created_since"]:
        raise AnswerError(f"it ignored the filter time for payment {payment.checking_id}")
    if filters.get("tag_contains", "") not in (payment.tag or ""):
        raise AnswerError(f"it ignored the filter tag for payment {payment.checking_id}")
    if "payment_hashes" in filters and payment.payment_hash not in filters["payment_hashes"]:
        raise AnswerError(f"it ignored the filter payment_hash for payment {payment.checking_id}")
    prefixes = tuple(filters.get("external_id_prefixes", [""]))
    external_id = payment.external_id or ""
    if not any(prefix.lower() in external_id.lower() for prefix in prefixes):
        raise AnswerError(f"it ignored the filter external_id for payment {payment.checking_id}")
    return external_id.startswith(prefixes)


def parse_payment(row: object) -> WalletPayment:
    """Reads one row; every field that money depends on must be there and of its type. Raises AnswerError."""
    if not isinstance(row, dict):
        raise AnswerError("a payment is not an object")
    return WalletPayment(
        payment_hash=_text(row, "payment_hash"),
        checking_id=_text(row, "checking_id"),
        wallet_id=_text(row, "wallet_id"),
        amount_msat=integer(row, "amount"),
        fee_msat=abs(integer(row, "fee")),
        status=_STATUS.get(_text(row, "status"), Answer.UNKNOWN),
        memo=_storable(_optional_text(row, "memo") or ""),
        tag=_optional_text(row, "tag"),
        extra=_extra(row),
        external_id=_optional_text(row, "external_id"),
        bolt11=_text(row, "bolt11"),
        preimage=_optional_text(row, "preimage"),
        created_at=_time(row, "time"),
        updated_at=_time(row, "updated_at"),
    )


def integer(row: Mapping[str, object], name: str) -> int:
    value = row.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise AnswerError(f"{name} is not an integer")
    if abs(value) > _MAX_MSAT:
        raise AnswerError(f"{name} is larger than all the bitcoin there can be")
    return value


def _text(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise AnswerError(f"{name} is not a string")
    return value


def _optional_text(row: Mapping[str, object], name: str) -> str | None:
    return None if row.get(name) is None else _text(row, name)


def _storable(text: str) -> str:
    """Without halves of surrogate pairs: JSON can escape them, no database takes them."""
    return text.encode(errors="replace").decode()


def _extra(row: Mapping[str, object]) -> Mapping[str, object]:
    extra = row.get("extra")
    if extra is None:
        return {}
    if not isinstance(extra, dict):
        raise AnswerError("extra is not an object")
    return extra


def _time(row: Mapping[str, object], name: str) -> int:
    try:
        moment = datetime.fromisoformat(_text(row, name))
    except ValueError as error:
        raise AnswerError(f"{name} is not a time") from error
    if moment.tzinfo is None:
        raise AnswerError(f"{name} has no time zone")
    return int(moment.timestamp())


def require_wallet(rows: Iterable[WalletPayment], wallet_id: str | None, machine_id: str) -> None:
    """Raises WalletUnavailable for rows of a wallet that is not the machine's own: nothing in them is trusted."""
    if any(row.wallet_id != wallet_id for row in rows):
        raise WalletUnavailable(
            f"LNbits shows rows of another wallet than machine {machine_id}'s: is its wallet key right?"
        )
