"""An LNbits 1.6.2 on its FakeWallet, in memory: the same answers, commits, locks and faults, without sockets or clocks.

    model = ModelLnbits(clock=world.now, pause=world.pause, chance=random.Random(seed))
    machine = model.create_wallet("machine")
    client = Lnbits("http://lnbits.test", http=httpx.AsyncClient(transport=model.transport("daemon-a")), ...)

It follows LNbits' source function by function, quirks included, and is held to the real one by the conformance tests
in tests/simulator. A request goes on when its client has given up, as LNbits' does. `pause` is awaited at every step
that STEPS names; what holds a lock there holds it on. Amounts are int msats or sats by name.

Left out: fiat, hold invoices, limits of wallets, `search`, PostgreSQL, extensions, the websocket.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

import anyio
import httpx

from satmachine.wallet import bolt11 as readable
from simulator import filters, invoices
from simulator.database import FAILED, PENDING, SUCCESS, Database, Entry, PaymentError, Row, Snapshot, Wallet
from simulator.faults import NO_FAULT, Call, Fault, Faults, Spoilt
from simulator.lnurl import ModelLnurl
from simulator.outside import Fate, Outside
from testkit.lnbits import WalletKeys

__all__ = [
    "STEPS",
    "Entry",
    "Fate",
    "Fault",
    "Faults",
    "ModelLnbits",
    "ModelLnurl",
    "Snapshot",
    "Spoilt",
    "current_call",
]

#: Where `pause` is awaited.
STEPS: Final = (
    "received",  # the request has arrived; nothing has happened
    "checked",  # a payment passed its first look at the database; no lock is held
    "row.committed",  # an invoice was stored
    "debit.committed",  # of an internal payment; database lock held
    "credit.committed",  # of an internal payment; database lock held
    "external.committed",  # the pending row of an external payment; database lock held
    "external.sent",  # the network has it; database lock held
    "external.ended",  # its end is written; database lock held
    "sweep.listed",  # LNbits' own look at pending payments has read them; no lock held
    "sweep.committed",  # and marked one
    "answered",  # before the answer leaves
)

#: The call that is worked on, for a `pause` that wants to know.
current_call: ContextVar[Call | None] = ContextVar("current_call", default=None)

LNBITS: Final = "lnbits"

_MAX_SATS: Final = 10_000_000
_DEFAULT_EXPIRY_S: Final = 3_600
_RESERVE_MIN_MSAT: Final = 2_000
_EXTERNAL_WAIT_S: Final = 5.0
_PENDING_INTERVAL_S: Final = 1_800.0
_PENDING_AGE_S: Final = 15 * 24 * 3_600
#: Of all pending payments, LNbits' sweep sees the latest ten: the default page of its own lists.
_SWEEP_PAGE: Final = 10
_SWEEP_GAP_S: Final = 0.01
_RATE_WINDOW_S: Final = 60.0

_PAYMENTS: Final = "/api/v1/payments"


class HttpError(Exception):
    """Becomes this HTTP status with this detail."""

    def __init__(self, status: int, detail: object) -> None:
        self.status = status
        self.detail = detail
        super().__init__(detail)


#: So long after its process and its books are gone, nothing of a client is still on its way here: its connection is
#: closed. It is what a person waits for before books that were lost are put right (ARCHITECTURE, "When the database is
#: old or lost").
LONGEST_ON_THE_WAY_S = 180.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content: bytes
    content_type: str = "application/json"

    def response(self, request: httpx.Request) -> httpx.Response:
        headers = {"content-type": self.content_type}
        return httpx.Response(self.status, headers=headers, content=self.content, request=request)


@dataclass(slots=True, eq=False)
class _Life:
    """What a process of LNbits knows beside its database; gone when it is killed."""

    database_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wallet_locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    #: Invoices that the funding source of this process has made: it knows no others. Those with `internal: true` are
    #: made by another instance of the FakeWallet, which is never asked about them: LNbits takes them for failed as
    #: soon as it looks, expired or not.
    preimages: dict[str, str] = field(default_factory=dict)
    paid_invoices: set[str] = field(default_factory=set)
    tasks: set[asyncio.Task[Answer | None]] = field(default_factory=set)
    calls: dict[str, tuple[float, int]] = field(default_factory=dict)  # path: window's start, calls in it


@dataclass(slots=True)
class _Serving:
    call: Call
    life: _Life
    fault: Fault = NO_FAULT


async def _no_pause(_step: str) -> None:
    return None


class ModelLnbits:
    """One LNbits. It runs from the start on; `kill`, `start` and `restore` as with a process and its database.

    Until its first `start` it does not look at pending payments by itself; `sweep` is one such look.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        pause: Callable[[str], Awaitable[None]] = _no_pause,
        chance: random.Random,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        version: str = "1.6.2",
        rate_limit_per_minute: int | None = None,
    ) -> None:
        self.version = version
        self.rate_limit_per_minute = rate_limit_per_minute
        self.faults = Faults()
        self.outside = Outside(clock, chance)
        self.database = Database(clock)
        #: LNbits' own clock is the world's plus this.
        self.clock_offset_s = 0.0
        #: Whether LNbits' node knows, later, how an external payment ended. The FakeWallet never does.
        self.node_remembers = True
        #: Whether the funding source takes invoices that it does not know for failed (those of before a restart, and
        #: those that are only internal), as the FakeWallet does; real nodes take them for unpaid.
        self.fails_unknown_invoices = True
        #: What went wrong in the model itself; the next call raises it.
        self.crashes: list[BaseException] = []
        #: When a client's process and books were gone for good.
        self.gone_at: dict[str, float] = {}
        self._clock = clock
        self.pause = pause
        self._chance = chance
        self._sleep = sleep
        self._without = frozenset({"external_id"}) if version.startswith("1.4") else frozenset[str]()
        self._made: dict[str, readable.DecodedInvoice] = {}
        self._life: _Life | None = _Life()
        #: Calls that have not ended: on their way here, or worked on.
        self.under_way: list[Call] = []

    # --- the process

    @property
    def running(self) -> bool:
        return self._life is not None

    @property
    def ledger(self) -> list[Entry]:
        """Everything that moved money, oldest first."""
        return self.database.ledger

    def transport(self, client: str) -> httpx.AsyncBaseTransport:
        """For an httpx.AsyncClient; `client` is the label in the ledger."""
        return _Transport(self, client)

    def now(self) -> float:
        return self._clock() + self.clock_offset_s

    def kill(self) -> None:
        """As by SIGKILL: what was committed stays, who waits for an answer loses the connection."""
        life, self._life = self._life, None
        if life is not None:
            for task in list(life.tasks):
                task.cancel()

    def start(self, *, sweeps: bool = True) -> None:
        """After `kill`. `sweeps`: LNbits looks at its pending payments now and every half hour, as a task."""
        assert self._life is None
        self._life = _Life()
        if sweeps:
            self._spawn(self._life, self._sweep_for_ever(self._life))

    def snapshot(self) -> Snapshot:
        return self.database.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Somebody puts back an old copy of the database; `start` it afterwards."""
        self.kill()
        self.database.restore(snapshot)

    async def sweep(self) -> None:
        """LNbits' `check_pending_payments`, once."""
        assert self._life is not None
        await self._sweep(_Serving(_SWEEPER, self._life))

    # --- wallets and their people

    def create_wallet(self, name: str, *, lightning_address: str | None = None) -> WalletKeys:
        wallet = Wallet(self._hex(16), name, self._hex(16), self._hex(16), lightning_address)
        self.database.wallets[wallet.id] = wallet
        return _keys(wallet)

    def reset_keys(self, wallet_id: str) -> WalletKeys:
        """New keys; the old ones are unknown from now on."""
        wallet = self.database.wallets[wallet_id]
        wallet.admin_key, wallet.invoice_key = self._hex(16), self._hex(16)
        return _keys(wallet)

    def delete_wallet(self, wallet_id: str, *, deleted: bool = True) -> None:
        """Its keys are unknown then, its rows stay; an administrator can bring it back."""
        self.database.wallets[wallet_id].deleted = deleted

    def balance_msat(self, wallet_id: str) -> int:
        return self.database.balance_msat(wallet_id)

    def credit(self, wallet_id: str, sats: int) -> None:
        """An administrator's top-up: an incoming payment that came from nowhere."""
        self.settle(self.customer_invoice(wallet_id, sats, {}, "Admin credit"))

    def customer_pays(self, wallet_id: str, amount_sats: int, extra: Mapping[str, object], memo: str = "") -> str:
        """A sale: a settled incoming payment with `extra`, paid from outside. Returns its payment hash."""
        payment_hash = self.customer_invoice(wallet_id, amount_sats, extra, memo)
        self.settle(payment_hash)
        return payment_hash

    def customer_invoice(self, wallet_id: str, amount_sats: int, extra: Mapping[str, object], memo: str = "") -> str:
        """An invoice of the wallet for a customer, unpaid. Returns its payment hash."""
        data = {"amount": amount_sats, "memo": memo or "LNbits", "extra": dict(extra)}
        row = self._invoice_row(self.database.wallets[wallet_id], data, self._life)
        self.database.insert(row, "customer")
        return row.payment_hash

    def settle(self, payment_hash: str) -> None:
        """The customer pays the invoice, from outside."""
        (row,) = [row.copy() for row in self.database.by_hash(payment_hash) if row.incoming]
        row.status, row.updated_at = SUCCESS, self.now()
        self.database.update(row, "customer")

    # --- one call

    async def exchange(self, client: str, request: httpx.Request) -> httpx.Response:
        """What the transport does with a request. Raises what httpx raises."""
        if self.crashes:
            raise self.crashes.pop()
        call = _read(client, request)
        fault = self.faults.draw(call, self._chance)
        life = self._life
        if life is None:
            raise httpx.ConnectError("All connection attempts failed", request=request)
        if fault.lose_request:
            raise httpx.ReadError("", request=request)
        task = self._spawn(life, self._serve(_Serving(call, life, fault)))
        patience_s = request.extensions.get("timeout", {}).get("read")
        if fault.gateway_timeout_s is not None:
            patience_s = min(fault.gateway_timeout_s, patience_s or fault.gateway_timeout_s)
        await asyncio.wait({task}, timeout=patience_s)
        if not task.done():
            if fault.gateway_timeout_s == patience_s:
                return _spoilt(Spoilt.GATEWAY_TIMEOUT_JSON, b"").response(request)
            raise httpx.ReadTimeout("", request=request)
        if task.cancelled() or fault.lose_answer:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        answer = task.result()
        assert answer is not None
        return (answer if fault.spoilt is None else _spoilt(fault.spoilt, answer.content)).response(request)

    def _spawn(self, life: _Life, work: Awaitable[Answer | None]) -> asyncio.Task[Answer | None]:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        life.tasks.add(task)
        task.add_done_callback(life.tasks.discard)
        task.add_done_callback(self._note_crash)
        return task

    def _note_crash(self, task: asyncio.Task[Answer | None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.crashes.append(error)

    async def _serve(self, serving: _Serving) -> Answer:
        self.under_way.append(serving.call)
        try:
            return await self._serve_call(serving)
        finally:
            self.under_way.remove(serving.call)

    async def _serve_call(self, serving: _Serving) -> Answer:
        current_call.set(serving.call)
        if serving.fault.delay_s:
            sent_at = self._clock()
            await self._sleep(serving.fault.delay_s)
            gone_at = self.gone_at.get(serving.call.client, 0.0)
            if sent_at <= gone_at < self._clock() - LONGEST_ON_THE_WAY_S:
                raise asyncio.CancelledError
        await self._step("received", serving)
        try:
            answer = self._limited(serving) or await self._route(serving)
        except PaymentError as error:
            answer = _json(520, {"detail": error.message, "status": error.status})
        except HttpError as error:
            answer = _json(error.status, {"detail": error.detail})
        except ValueError as error:  # LNbits turns every one into a 400
            answer = _json(400, {"detail": str(error)})
        await self._step("answered", serving)
        if serving.fault.answer_after_s:
            await self._sleep(serving.fault.answer_after_s)
        return answer

    async def _step(self, name: str, serving: _Serving) -> None:
        """Let the world do what it wants here; go no further in a life that has ended meanwhile."""
        if serving.fault.kill_at == name and self._life is serving.life:
            self.kill()
        if serving.fault.wait_at is not None and serving.fault.wait_at[0] == name:
            await self._sleep(serving.fault.wait_at[1])
        await self.pause(name)
        if self._life is not serving.life:
            raise asyncio.CancelledError

    def _limited(self, serving: _Serving) -> Answer | None:
        """A fixed window per path, shared by all keys, whatever the method."""
        limit = self.rate_limit_per_minute
        if limit is None:
            return None
        began_at, calls = serving.life.calls.get(serving.call.path, (self.now(), 0))
        if not began_at <= self.now() < began_at + _RATE_WINDOW_S:
            began_at, calls = self.now(), 0
        serving.life.calls[serving.call.path] = (began_at, calls + 1)
        if calls < limit:
            return None
        return _json(429, {"error": f"Rate limit exceeded: {limit} per 1 minute"})

    async def _route(self, serving: _Serving) -> Answer:
        call = serving.call
        match call.method, call.path:
            case "POST", "/api/v1/payments":
                return await self._post_payment(serving)
            case "GET", "/api/v1/payments/paginated":
                return await self._list(serving)
            case "GET", "/api/v1/payments/fee-reserve":
                return _fee_reserve(call)
            case "GET", "/api/v1/wallet":
                async with serving.life.database_lock:
                    return self._show_wallet(call)
            case "GET", "/openapi.json":
                return _json(200, {"info": {"title": "LNbits API", "version": self.version}})
            case "GET", path if path.startswith(_PAYMENTS + "/"):
                return await self._poll(serving, path.rpartition("/")[2])
        raise HttpError(404, "Not Found")

    # --- keys and wallets

    def _wallet_for_key(self, key: str) -> Wallet:
        if not key:
            raise HttpError(401, "No Api Key provided.")
        for wallet in self.database.wallets.values():
            if key in (wallet.admin_key, wallet.invoice_key) and not wallet.deleted:
                return wallet
        raise HttpError(404, "Wallet not found.")

    def _wallet(self, wallet_id: str) -> Wallet:
        wallet = self.database.wallets.get(wallet_id)
        if wallet is None or wallet.deleted:
            raise PaymentError(f"Could not fetch wallet '{wallet_id}'.", FAILED)
        return wallet

    def _show_wallet(self, call: Call) -> Answer:
        wallet = self._wallet_for_key(call.key)
        shown: dict[str, object] = {"name": wallet.name, "balance": self.balance_msat(wallet.id)}
        if call.key == wallet.admin_key:
            shown["id"] = wallet.id
        return _json(200, shown)

    # --- lists

    async def _list(self, serving: _Serving) -> Answer:
        call, life = serving.call, serving.life
        async with life.database_lock:
            wallet = self._wallet_for_key(call.key)
        try:
            query = filters.parse(call.params, without=self._without)
        except filters.BadQuery as error:
            raise HttpError(400, error.detail) from error
        async with life.database_lock:
            rows, total = query.page(self._candidates(wallet.id, query))
            if dict(call.params).get("recheck_pending", "").lower() in ("true", "1", "on", "yes"):
                rows = [self._rechecked(serving, row) for row in rows]
            shown = b",".join([row.json() for row in rows])
        return Answer(200, b'{"data":[' + shown + b'],"total":' + str(total).encode() + b"}")

    def _rechecked(self, serving: _Serving, row: Row) -> Row:
        """As the wallet's own web page asks for it; with the lock held, so that nothing comes in between."""
        refreshed = row.copy()
        if row.status == PENDING:
            status = self._found(serving.life, refreshed)
            if status != PENDING:
                self._write_found(refreshed, status, serving.call.client)
        return refreshed

    def _candidates(self, wallet_id: str, query: filters.Query) -> Sequence[Row]:
        """The wallet's rows among which those are that the query asks for, in the order of their insertion."""
        database = self.database
        if "external_id" in query.exact:
            return database.by_external_id(wallet_id, query.exact["external_id"])
        if "payment_hash" in query.exact:
            return [row for row in database.by_hash(query.exact["payment_hash"]) if row.wallet_id == wallet_id]
        if query.contains is not None:
            named = database.external_ids(wallet_id)
            found = [row for name, rows in named.items() if query.contains in name for row in rows]
            return sorted(found, key=lambda row: row.rowid)
        return list(database.of_wallet(wallet_id))

    # --- POST /api/v1/payments

    async def _post_payment(self, serving: _Serving) -> Answer:
        call = serving.call
        async with serving.life.database_lock:
            wallet = self._wallet_for_key(call.key)
        data = _read_order(call.content)
        if data.get("out", True) is True and call.key == wallet.admin_key:
            if not data.get("bolt11"):
                raise HttpError(400, "Missing BOLT11 invoice")
            return Answer(201, await self._pay(serving, wallet.id, data))
        if data.get("out", True):
            raise HttpError(403, "Invoice (or Admin) key required.")
        async with serving.life.database_lock:
            row = self._invoice_row(self._wallet(wallet.id), data, serving.life)
            self.database.insert(row, call.client)
            await self._step("row.committed", serving)
            return Answer(201, row.fresh_json())

    def _invoice_row(self, wallet: Wallet, data: Mapping[str, object], life: _Life | None) -> Row:
        """A new pending invoice, not stored yet. Raises PaymentError, and ValueError where it cannot be encoded."""
        amount = data.get("amount") or 0
        assert isinstance(amount, int | float)
        if not amount > 0:
            raise PaymentError("Amountless invoices not supported.", FAILED)
        if int(amount) > _MAX_SATS:
            raise PaymentError(f"Invoice amount {int(amount)} sats is too high. Max allowed: {_MAX_SATS} sats.", FAILED)
        expiry, memo = data.get("expiry") or _DEFAULT_EXPIRY_S, data.get("memo") or "LNbits"
        described = data.get("described")  # in the place of the memo: a Lightning address
        assert isinstance(expiry, int)
        preimage = self._chance.randbytes(32)
        payment_hash = hashlib.sha256(preimage).hexdigest()
        text = invoices.encode(
            amount_msat=int(amount) * 1000,
            payment_hash=payment_hash,
            created_at=int(self.now()),
            expiry_s=expiry,
            description=str(memo),
            description_hash=None if described is None else hashlib.sha256(str(described).encode()).hexdigest(),
        )
        if life is not None and not data.get("internal"):
            life.preimages[payment_hash] = preimage.hex()
        created_at = int(self.now())
        expires_at = created_at + expiry
        self._made[text] = readable.DecodedInvoice(
            int(amount) * 1000, payment_hash, created_at, expires_at, "" if described else str(memo), None
        )
        order = _Order(wallet.id, payment_hash, text, int(amount) * 1000, str(memo), preimage.hex(), expires_at, data)
        return self._row(payment_hash, order, PENDING, 0)

    def _row(self, checking_id: str, order: _Order, status: str, fee_msat: int) -> Row:
        """A row as `create_payment` makes it."""
        extra = order.data.get("extra") or {}
        assert isinstance(extra, dict)
        tag, external_id = extra.get("tag"), order.data.get("external_id")
        now = self.now()
        return Row(
            checking_id=checking_id,
            payment_hash=order.payment_hash,
            wallet_id=order.wallet_id,
            amount_msat=order.amount_msat,
            fee_msat=-abs(fee_msat),
            bolt11=order.bolt11,
            status=status,
            memo=order.memo,
            preimage=order.preimage,
            tag=None if tag is None else str(tag),
            extra=json.dumps(extra),
            external_id=None if external_id is None or self._without else str(external_id),
            expires_at=order.expires_at,
            time=now,
            updated_at=now,
        )

    # --- paying

    async def _pay(self, serving: _Serving, wallet_id: str, data: Mapping[str, object]) -> bytes:
        text = str(data["bolt11"])
        invoice = self._decode(text)
        assert invoice.amount_msat is not None
        async with serving.life.database_lock:
            self._wallet(wallet_id)
            incoming = [row for row in self.database.by_hash(invoice.payment_hash) if row.incoming]
            if incoming and incoming[0].status == SUCCESS:
                raise PaymentError("Internal invoice already paid.", FAILED)
        await self._step("checked", serving)
        order = _Order(
            wallet_id,
            invoice.payment_hash,
            text,
            -invoice.amount_msat,
            invoice.description or "",
            None,
            invoice.expires_at,
            data,
        )
        async with serving.life.database_lock, serving.life.wallet_locks.setdefault(wallet_id, asyncio.Lock()):
            self._wallet(wallet_id)
            return await self._pay_internal(serving, order) or await self._pay_external(serving, order)

    def _decode(self, text: str) -> readable.DecodedInvoice:
        """Its own invoices it knows by heart, which saves half of the time of a payment."""
        try:
            return _payable(self._made.get(text) or readable.decode(text))
        except readable.InvoiceError:
            raise PaymentError("Bolt11 decoding failed.", FAILED) from None

    async def _pay_internal(self, serving: _Serving, order: _Order) -> bytes | None:
        """Debit, then credit: two commits. None where no invoice of this LNbits is waiting."""
        waiting = [r for r in self.database.by_hash(order.payment_hash) if r.incoming and r.status == PENDING]
        if not waiting:
            return None
        invoice = waiting[0].copy()
        if invoice.amount_msat != -order.amount_msat or invoice.bolt11 != order.bolt11.lower():
            raise PaymentError("Invalid invoice. Bolt11 changed.", FAILED)
        if self.balance_msat(order.wallet_id) < -order.amount_msat:
            raise PaymentError("Insufficient balance.", FAILED)
        order.preimage = invoice.preimage
        debit = self._create(serving, f"internal_{order.payment_hash}", order, SUCCESS, 0)
        await self._step("debit.committed", serving)
        invoice.status, invoice.updated_at = SUCCESS, self.now()
        self.database.update(invoice, serving.call.client)
        await self._step("credit.committed", serving)
        # LNbits fetches both wallets for its notifications, and says that the payment failed where one is gone.
        self._wallet(order.wallet_id)
        self._wallet(invoice.wallet_id)
        return debit.fresh_json()

    async def _pay_external(self, serving: _Serving, order: _Order) -> bytes:
        reserve_msat = _reserve_msat(order.amount_msat)
        balance_msat = self.balance_msat(order.wallet_id)
        if balance_msat < -order.amount_msat:
            raise PaymentError("Insufficient balance.", FAILED)
        if balance_msat < -order.amount_msat + reserve_msat:
            needed = f"You must reserve at least ({round(reserve_msat / 1000)}  sat) to cover potential routing fees."
            raise PaymentError(needed, FAILED)
        old = self.database.standalone(order.payment_hash)
        if old is not None:
            return self._verify_old(serving, old.copy()).json()
        row = self._create(serving, order.payment_hash, order, PENDING, reserve_msat).copy()
        await self._step("external.committed", serving)
        status, error = await self._send(serving, order.payment_hash)
        await self._step("external.sent", serving)
        if status == FAILED:
            row.status, row.updated_at = FAILED, self.now()
            self.database.update(row, serving.call.client)
        elif status == SUCCESS:
            self._succeed(row, serving.call.client)
        await self._step("external.ended", serving)
        if status == FAILED:
            raise PaymentError(f"Payment failed: {error}", FAILED)
        return row.fresh_json()

    def _create(self, serving: _Serving, checking_id: str, order: _Order, status: str, fee_msat: int) -> Row:
        if self.database.standalone(checking_id) is not None:
            raise ValueError("Payment already exists")
        row = self._row(checking_id, order, status, fee_msat)
        self.database.insert(row, serving.call.client)
        return row

    async def _send(self, serving: _Serving, payment_hash: str) -> tuple[str, str]:
        """Hand it to the funding source; its status within five seconds, and its complaint."""
        if payment_hash in serving.life.preimages:
            serving.life.paid_invoices.add(payment_hash)
            return SUCCESS, ""
        attempt = self.outside.send(payment_hash)
        if attempt is None:
            return FAILED, "Only internal invoices can be used!"
        takes_s = attempt.ends_at - self._clock()
        if attempt.fate is Fate.STUCK or takes_s > _EXTERNAL_WAIT_S:
            await self._sleep(_EXTERNAL_WAIT_S)
            return PENDING, ""
        if takes_s > 0:
            await self._sleep(takes_s)
        return (SUCCESS, "") if attempt.fate is Fate.PAYS else (FAILED, "No route found.")

    def _succeed(self, row: Row, client: str) -> None:
        """`update_payment_success_status`, with the preimage of whoever was paid."""
        issued = self.outside.issued.get(row.payment_hash)
        row.status, row.updated_at = SUCCESS, self.now()
        row.fee_msat = -self.outside.fee_msat if issued is not None else 0
        row.preimage = row.preimage or (None if issued is None else issued.preimage)
        self.database.update(row, client)

    def _verify_old(self, serving: _Serving, old: Row) -> Row:
        """There is a payment of this hash already, of whatever wallet and direction."""
        if old.status == PENDING:
            raise PaymentError("Payment is still pending.", PENDING)
        if old.status == SUCCESS:
            raise PaymentError("Payment already paid.", SUCCESS)
        status = self._check(serving.life, old)
        if status == FAILED:
            raise PaymentError("Payment is failed node, retrying is not possible.", FAILED)
        if status == SUCCESS:
            self._succeed(old, serving.call.client)
            raise PaymentError("Failed payment was already paid on the fundingsource.", SUCCESS)
        return old

    def _check(self, life: _Life, row: Row) -> str:
        """`check_payment_status`: what the funding source knows."""
        if row.internal:
            return row.status
        if not row.incoming:
            return self.outside.status(row.payment_hash) if self.node_remembers else PENDING
        if row.payment_hash in life.paid_invoices:
            return SUCCESS
        return FAILED if self.fails_unknown_invoices and row.payment_hash not in life.preimages else PENDING

    # --- what LNbits does by itself, or when somebody polls

    async def _sweep_for_ever(self, life: _Life) -> None:
        while True:
            await self._sweep(_Serving(_SWEEPER, life))
            await self._sleep(_PENDING_INTERVAL_S)

    async def _sweep(self, serving: _Serving) -> None:
        """Reads its list, then goes through it: what was paid meanwhile is overwritten with what was read."""
        async with serving.life.database_lock:
            since = int(self.now()) - _PENDING_AGE_S
            rows = [row for row in self.database.pending() if row.time > since and not row.internal]
            rows = sorted(rows, key=lambda row: row.time, reverse=True)[:_SWEEP_PAGE]
            listed = [row.copy() for row in rows]
        await self._step("sweep.listed", serving)
        for row in listed:
            await self._update_pending(serving, row)
            await self._sleep(_SWEEP_GAP_S)

    async def _update_pending(self, serving: _Serving, row: Row) -> None:
        status = self._found(serving.life, row)
        if status == PENDING:
            return
        async with serving.life.database_lock:
            self._write_found(row, status, serving.call.client)
        await self._step("sweep.committed", serving)

    def _found(self, life: _Life, row: Row) -> str:
        """What becomes of a pending row."""
        if row.incoming and row.expires_at is not None and row.expires_at < self.now():
            row.labels = (*row.labels, "expired")
            return FAILED
        return self._check(life, row)

    def _write_found(self, row: Row, status: str, client: str) -> None:
        if status == SUCCESS:
            self._succeed(row, client)
        else:
            row.status, row.updated_at = FAILED, self.now()
            self.database.update(row, client)

    async def _poll(self, serving: _Serving, payment_hash: str) -> Answer:
        """`GET /api/v1/payments/{hash}`, which changes what it shows. With no or a bad key too."""
        async with serving.life.database_lock:
            try:
                wallet_id = self._wallet_for_key(serving.call.key).id
            except HttpError:
                wallet_id = None
            found = self.database.standalone(payment_hash, wallet_id=wallet_id)
            row = None if found is None else found.copy()
        if row is None:
            raise HttpError(404, "Payment does not exist.")
        if row.status == PENDING:
            await self._step("sweep.listed", serving)
            await self._update_pending(serving, row)
        shown: dict[str, object] = {"paid": row.status == SUCCESS}
        if row.status == SUCCESS:
            shown["preimage"] = row.preimage
        if wallet_id is not None:
            shown |= {"status": row.status, "details": json.loads(row.json())}
        return _json(200, shown)

    # --- Lightning addresses of this LNbits

    async def address_invoice(self, local_part: str, amount_msat: int, *, host: str) -> str:
        """What this LNbits' own LNURL server answers: an invoice (bolt11) of the wallet behind the address.

        Raises ConnectionError where it does not run or is killed meanwhile, PaymentError where it gives none.
        """
        life = self._life
        if life is None:
            raise ConnectionError("it cannot be reached")
        call = Call("lnurl", "GET", f"/lnurlp/{local_part}", "", (), b"")
        task = self._spawn(life, self._serve_address(_Serving(call, life), local_part, amount_msat, host))
        await asyncio.wait({task})
        answer = None if task.cancelled() else task.result()
        if answer is None:
            raise ConnectionError("the connection broke")
        if answer.status != httpx.codes.OK:
            raise PaymentError(answer.content.decode())
        return answer.content.decode()

    async def _serve_address(self, serving: _Serving, local_part: str, amount_msat: int, host: str) -> Answer:
        address = f"{local_part}@{host}"
        async with serving.life.database_lock:
            owners = [w for w in self.database.wallets.values() if w.lightning_address == local_part]
            if not owners:
                return Answer(404, b"Lightning address not found.")
            data = {
                "amount": amount_msat // 1000,
                "memo": f"Payment to {address}",
                "described": json.dumps([["text/plain", f"Payment to {address}"], ["text/identifier", address]]),
                "extra": {"tag": "wallet_lightning_address", "lnaddress": address},
            }
            try:
                row = self._invoice_row(self._wallet(owners[0].id), data, serving.life)
            except PaymentError as error:
                return Answer(520, error.message.encode())
            self.database.insert(row, serving.call.client)
            await self._step("row.committed", serving)
            return Answer(200, row.bolt11.encode())

    def _hex(self, octets: int) -> str:
        return self._chance.randbytes(octets).hex()


_SWEEPER: Final = Call(LNBITS, "", "", "", (), b"")


@dataclass(slots=True)
class _Order:
    """LNbits' CreatePayment."""

    wallet_id: str
    payment_hash: str
    bolt11: str
    amount_msat: int
    memo: str
    preimage: str | None
    expires_at: int
    data: Mapping[str, object]


class _Transport(httpx.AsyncBaseTransport):
    def __init__(self, model: ModelLnbits, client: str) -> None:
        self._model = model
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._model.exchange(self._client, request)


def _keys(wallet: Wallet) -> WalletKeys:
    return WalletKeys(wallet.id, wallet.admin_key, wallet.invoice_key)


def _read(client: str, request: httpx.Request) -> Call:
    params = tuple(request.url.params.multi_items()) if request.url.query else ()
    key = request.headers.get("x-api-key", "")
    return Call(client, request.method, request.url.path, key, params, request.content)


def _read_order(content: bytes) -> dict[str, object]:
    """The body of POST /api/v1/payments, with the complaints that LNbits has about its form."""
    try:
        data = json.loads(content)
    except ValueError:
        raise HttpError(
            400, [{"loc": ["body", 0], "msg": "Expecting value", "type": "value_error.jsondecode"}]
        ) from None
    if not isinstance(data, dict):
        raise _complaint("body", "value is not a valid dict", "type_error.dict")
    amount = data.get("amount")
    if amount is not None and (isinstance(amount, bool) or not isinstance(amount, int | float)):
        raise _complaint("amount", "value is not a valid float", "type_error.float")
    if isinstance(amount, int | float) and amount < 0:
        raise _complaint("amount", "ensure this value is greater than or equal to 0", "value_error.number.not_ge", 0)
    if len(str(data.get("memo") or "")) > 640:
        raise _complaint("memo", "ensure this value has at most 640 characters", "value_error.any_str.max_length", 640)
    external_id = str(data.get("external_id") or "")
    if len(external_id) > 256:
        raise _complaint(
            "external_id", "ensure this value has at most 256 characters", "value_error.any_str.max_length", 256
        )
    if " " in external_id or "\n" in external_id:
        wrong = "Invalid external id. Max length is 256 characters. Space and newlines are not allowed."
        raise _complaint("external_id", wrong, "value_error")
    if not isinstance(data.get("extra") or {}, dict):
        raise _complaint("extra", "value is not a valid dict", "type_error.dict")
    return data


def _complaint(name: str, message: str, kind: str, limit: int | None = None) -> HttpError:
    context = {} if limit is None else {"ctx": {"limit_value": limit}}
    return HttpError(400, [{"loc": ["body", name], "msg": message, "type": kind, **context}])


def _payable(invoice: readable.DecodedInvoice) -> readable.DecodedInvoice:
    """Raises PaymentError for an amount that LNbits does not pay."""
    if not invoice.amount_msat:
        raise PaymentError("Amountless invoices not supported.", FAILED)
    sats = invoice.amount_msat // 1000
    if invoice.amount_msat > _MAX_SATS * 1000:
        raise PaymentError(f"Invoice amount {sats} sats is too high. Max allowed: {_MAX_SATS} sats.", FAILED)
    return invoice


def _reserve_msat(amount_msat: int) -> int:
    return max(_RESERVE_MIN_MSAT, int(abs(amount_msat) * 1.0 / 100.0))


def _fee_reserve(call: Call) -> Answer:
    text = dict(call.params).get("invoice", "invoice")
    try:
        invoice = readable.decode(text)
    except readable.InvoiceError:
        return _json(500, {"detail": "Unexpected error! ID: model"})
    if not invoice.amount_msat:
        raise HttpError(400, "Invoice has no amount.")
    return _json(200, {"fee_reserve": _reserve_msat(invoice.amount_msat)})


def _json(status: int, body: object) -> Answer:
    return Answer(status, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())


def _spoilt(how: Spoilt, content: bytes) -> Answer:
    match how:
        case Spoilt.GATEWAY_TIMEOUT_JSON:
            return _json(504, {"detail": "Gateway Timeout"})
        case Spoilt.BAD_GATEWAY_HTML:
            return Answer(502, b"<html><h1>502 Bad Gateway</h1></html>", "text/html")
        case Spoilt.OK_HTML:
            return Answer(200, b"<html>Welcome</html>", "text/html")
        case Spoilt.TRUNCATED:
            return Answer(201, content[: len(content) // 2])
