"""How the world speaks to the modelled LNbits and to payees elsewhere: wallets, chance, and who was paid.

`Bank` is also the daemons' `ExternalPayees`. What goes wrong is chance a call (`Chance`), on top of `model.faults`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, cast

import httpx

from satmachine.wallet import bolt11
from satmachine.wallet.lnurl import LnurlInvoice
from simulator.database import FAILED, PENDING, SUCCESS, Entry
from simulator.lnbits import Fate, ModelLnbits, ModelLnurl, Snapshot
from simulator.lnurl import Manner, Server

#: Who is paid: ("wallet", id), ("address", address or LNURL), or ("hash", payment hash of a given invoice).
Identity = tuple[str, str]


@dataclass(slots=True)
class Chance:
    """What goes wrong elsewhere, 0..1 a call, and how slow LNbits is at the most, a step."""

    slow_s: float = 0.0
    payment_fails: float = 0.0
    payment_slow: float = 0.0
    payee_down: float = 0.0


@dataclass(slots=True)
class Handle:
    """A wallet with the keys that its owner has now."""

    id: str
    name: str
    admin_key: str
    invoice_key: str


@dataclass(slots=True)
class Bank:
    """One LNbits and the payees of the rest of the world. `now` is true time, `rng` the chance of both."""

    now: Callable[[], float]
    rng: Random
    model: ModelLnbits = field(init=False)
    lnurl: ModelLnurl = field(init=False)
    chance: Chance = field(default_factory=Chance)
    calls: int = 0
    #: Told who asks to pay, and under which key.
    on_pay: Callable[[str, str], None] = lambda _client, _leg_key: None
    #: Told at every step of LNbits (`simulator.lnbits.STEPS`); may kill it.
    on_step: Callable[[str], None] = lambda _step: None
    #: Payments whose debit is committed while their credit is not.
    between: int = 0
    dead_addresses: set[str] = field(default_factory=set)
    #: Addresses that this very LNbits serves -> wallet id.
    own_addresses: dict[str, str] = field(default_factory=dict)
    _wallet_of_key: dict[str, str] = field(default_factory=dict)
    _handles: list[Handle] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = ModelLnbits(clock=self.now, pause=self._pause, chance=self.rng)
        self.lnurl = ModelLnurl(self.model, clock=self.now, chance=self.rng)

    # --- wallets

    def new_wallet(self, name: str, *, address: str | None = None) -> Handle:
        """`address`: a Lightning address that this LNbits serves for it."""
        local = None if address is None else address.partition("@")[0]
        keys = self.model.create_wallet(name, lightning_address=local)
        handle = Handle(keys.id, name, keys.admin_key, keys.invoice_key)
        if address is not None:
            self.own_addresses[address] = keys.id
            self.lnurl.add(address, Server(manner=Manner.SAME_LNBITS))
        self._know_keys(handle)
        self._handles.append(handle)
        return handle

    def new_keys(self, handle: Handle) -> None:
        """The owner makes new keys; the old ones are forgotten."""
        if handle.id in self.model.database.wallets:
            keys = self.model.reset_keys(handle.id)
            handle.admin_key, handle.invoice_key = keys.admin_key, keys.invoice_key
            self._know_keys(handle)

    def delete_wallet(self, wallet_id: str) -> None:
        if wallet_id in self.model.database.wallets:
            self.model.delete_wallet(wallet_id)

    def works(self, key: str) -> bool:
        """Whether LNbits takes this key now."""
        wallet = self.model.database.wallets.get(self._wallet_of_key.get(key, ""))
        return wallet is not None and not wallet.deleted and key in (wallet.admin_key, wallet.invoice_key)

    def lives(self, wallet_id: str) -> bool:
        """Whether there still is such a wallet."""
        wallet = self.model.database.wallets.get(wallet_id)
        return wallet is not None and not wallet.deleted

    def wallet_of_key(self, key: str) -> Identity | None:
        """Whose key it is, or was; None for one that nobody ever had."""
        found = self._wallet_of_key.get(key)
        return None if found is None else ("wallet", found)

    def identity_of_address(self, address: str) -> Identity:
        """An address that this LNbits serves is that wallet's."""
        own = self.own_addresses.get(address)
        return ("address", address) if own is None else ("wallet", own)

    def _know_keys(self, handle: Handle) -> None:
        self._wallet_of_key[handle.admin_key] = self._wallet_of_key[handle.invoice_key] = handle.id

    # --- the process

    def kill(self) -> None:
        self.model.kill()

    def start(self) -> None:
        if not self.model.running:
            self.model.start()

    def is_paying_for_others(self, client: str) -> bool:
        """Whether a payment that somebody else has asked for is on its way to LNbits, or in it."""
        return any(call.pays and call.client != client for call in self.model.under_way)

    def snapshot(self) -> Snapshot:
        return self.model.snapshot()

    def roll_back(self, snapshot: Snapshot) -> None:
        """LNbits is restored from a backup; it is started again by whoever watches over it. Keys that were made since
        are forgotten: whoever has a wallet takes the keys that it has now."""
        self.model.restore(snapshot)
        for handle in self._handles:
            wallet = self.model.database.wallets.get(handle.id)
            if wallet is not None:
                handle.admin_key, handle.invoice_key = wallet.admin_key, wallet.invoice_key

    def give_up_unsent(self) -> None:
        """Whoever runs LNbits marks payments failed that its node never got: nothing else ever would."""
        for row in list(self.model.database.pending()):
            issued = self.model.outside.issued.get(row.payment_hash)
            if not row.incoming and (issued is None or not issued.attempts):
                self.model.database.update(replace(row, status=FAILED, updated_at=self.now()), "lnbits")

    async def _pause(self, step: str) -> None:
        self.on_step(step)
        # Never 0: then calls that were made at once would always end in the order in which they began.
        pause_s = self.rng.random() * 0.01
        if self.chance.slow_s and self.rng.random() < 0.3:
            pause_s += self.rng.random() * self.chance.slow_s
        between = step == "debit.committed"
        self.between += between
        try:
            await asyncio.sleep(pause_s)
        finally:
            self.between -= between

    # --- money

    def customer_pays(self, wallet_id: str, sats: int, extra: Mapping[str, Any], memo: str = "") -> str:
        """A settled payment from outside, at once; its payment hash."""
        return self.model.customer_pays(wallet_id, sats, extra, memo)

    def unpaid_invoice(self, wallet_id: str, sats: int, extra: Mapping[str, Any]) -> str:
        """An invoice of a machine's wallet that its customer has not paid; its payment hash."""
        return self.model.customer_invoice(wallet_id, sats, extra)

    def pay_invoice(self, payment_hash: str) -> int:
        """Somebody elsewhere pays an invoice of a wallet here; how many sats that are, 0 where it cannot be paid."""
        rows = [row for row in self.model.database.by_hash(payment_hash) if row.incoming]
        if len(rows) != 1 or rows[0].status != PENDING or (rows[0].expires_at or 0) < self.model.now():
            return 0
        self.model.settle(payment_hash)
        return rows[0].amount_msat // 1000

    def customer_invoice(self, sats: int, who: str, expiry_s: int = 86_400) -> str:
        """An invoice of somebody elsewhere, who hands it to the operator."""
        fate, takes_s = self._fate()
        issued = self.model.outside.issue(who, sats * 1000, expiry_s=expiry_s, fate=fate, takes_s=takes_s)
        return issued.bolt11

    async def invoice(self, payee: str, amount_msat: int, *, comment: str = "") -> LnurlInvoice:
        """As LnurlClient.invoice, by whatever server the payee has today."""
        await asyncio.sleep(self.rng.random() * 0.05)
        server = self.lnurl.servers.get(payee) or self.lnurl.add(payee)
        if payee in self.dead_addresses:
            server.manner = Manner.REFUSES
        elif server.manner is not Manner.SAME_LNBITS:
            down = self.rng.random() < self.chance.payee_down
            server.manner = self.rng.choice((Manner.DEAD, Manner.HANGS)) if down else Manner.FRESH
            server.hangs_s = self.rng.choice((5.0, 30.0))
            server.fate, server.takes_s = self._fate()
            server.expiry_s = self.rng.choice((600, 3_600, 86_400))
        self.model.outside.fee_msat = self.rng.choice((0, 1000, 1500))
        return await self.lnurl.invoice(payee, amount_msat, comment=comment)

    def _fate(self) -> tuple[Fate, float]:
        takes_s = self.rng.choice((10.0, 120.0, 5000.0)) if self.rng.random() < self.chance.payment_slow else 0.1
        return (Fate.FAILS if self.rng.random() < self.chance.payment_fails else Fate.PAYS), takes_s

    # --- who was paid

    def payee_of(self, payment_hash: str) -> Identity | None:
        """Who has made this invoice."""
        issued = self.model.outside.issued.get(payment_hash)
        if issued is not None:
            return "address", issued.payee
        row = next((row for row in self.model.database.by_hash(payment_hash) if row.incoming), None)
        return None if row is None else ("wallet", row.wallet_id)

    def knows(self, payment_hash: str) -> bool:
        """Whether LNbits shows anything under this hash."""
        return bool(self.model.database.by_hash(payment_hash))

    def extra_of(self, entry: Entry) -> Mapping[str, Any]:
        """What a payment carries."""
        row = self.model.database.by_checking_id(entry.checking_id)
        found: Mapping[str, Any] = {} if row is None else json.loads(row.extra)
        return found

    def fee_msat(self, payment_hash: str) -> int:
        """What a payment has cost its wallet beyond its amount."""
        rows = self.model.database.by_hash(payment_hash)
        return next((abs(row.fee_msat) for row in rows if not row.incoming and row.status == SUCCESS), 0)

    def has_received(self, payment_hash: str) -> bool:
        """Whether LNbits shows that somebody has paid this invoice."""
        return any(row.incoming and row.status == SUCCESS for row in self.model.database.by_hash(payment_hash))

    def credited(self, payment_hash: str) -> bool:
        """Whether the payee of an invoice got the sats; also where LNbits was rolled back over that since.

        A credit counts that LNbits took back afterwards: its own look at pending payments writes what it has read
        before, over whatever was committed meanwhile. Both commits of the payment are done by then, so that no payer
        can see it coming, whatever it waits for; `satmachine audit` shows it from the payee's wallet.
        """
        if self.model.outside.is_settled(payment_hash):
            return True
        return any(entry.payment_hash == payment_hash and entry.kind == "credit" for entry in self.model.ledger)


class _Url:
    """A URL of which nobody needs more than path and parameters; httpx's own takes longer than LNbits' work."""

    __slots__ = ("params", "path", "query")

    def __init__(self, url: str, params: Mapping[str, str] | None) -> None:
        self.path = "/" + url.partition("//")[2].partition("/")[2]
        self.params = httpx.QueryParams(params)
        self.query = bool(params)


class _Request:
    """As httpx.Request, as far as the model and the transport look at it."""

    __slots__ = ("content", "extensions", "headers", "method", "url")

    def __init__(self, method: str, url: str, options: Mapping[str, Any]) -> None:
        self.method = method
        self.url = _Url(url, options["params"])
        self.headers = {name.lower(): value for name, value in options["headers"].items()}
        self.content = options["content"] or b""
        self.extensions = {"timeout": options["timeout"].as_dict()}


class Wire(httpx.AsyncClient):
    """The HTTP client without its own machinery: a request goes to the modelled LNbits and comes back."""

    def __init__(self, bank: Bank, client: str) -> None:
        self._bank = bank
        self._client = client
        self._line = bank.model.transport(client)

    def build_request(self, method: str, url: Any, **options: Any) -> httpx.Request:
        return cast("httpx.Request", _Request(method, url, options))

    async def send(self, request: httpx.Request, **_options: Any) -> httpx.Response:
        self._bank.calls += 1
        if request.method == "POST" and b'"out": true' in request.content:
            self._bank.on_pay(self._client, str(json.loads(request.content).get("external_id")))
        answer = await self._line.handle_async_request(request)
        # As it comes from a network: not read yet.
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content), request=request
        )


def hash_of(invoice: str) -> str:
    return bolt11.decode(invoice).payment_hash
