"""The orders about a sale on a real database, with a payer, a worker and a wallet that say what a test wants."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import anyio

from satmachine import orders
from satmachine.config import Config, load
from satmachine.errors import Refused, SatmachineError, WalletRefused
from satmachine.identity import PayeeKind, belongs
from satmachine.models import Answer, Leg, LegStatus, Proof, Settlement
from satmachine.seals import Keyring
from satmachine.settlements.correct.leg_orders import LegOrders
from satmachine.settlements.correct.sale_orders import SaleOrders
from satmachine.settlements.correct.shortfall_orders import ShortfallOrders
from satmachine.settlements.land.landing import Rules, land_claim
from satmachine.settlements.pay.payer import complete_leg
from satmachine.settlements.pay.transition import Sighting, View
from satmachine.settlements.plan.planning import Bounds, plan_settlement, terms_for
from satmachine.settlements.sweep import topups
from satmachine.settlements.sweep.arrivals import note_incoming
from satmachine.store import clients, corrections, incoming, intent_rows, legs, registry, settlements, shortfalls
from satmachine.store.database import Connection, Store, atomic, connect, prepare
from satmachine.store.incoming import TopUp
from satmachine.store.intent_rows import OpenOrder
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import WalletPayment
from testkit.books import NOW, a_claim, give_invoice
from testkit.config_files import VALID

P = ParamSpec("P")
T = TypeVar("T")

MACHINE = "panajachel-1"
HASH = "aa" * 32


def a_keyring() -> Keyring:
    """What the daemon of these books seals with."""
    keyring = Keyring()
    keyring.learn(MACHINE, "wallet_1")
    return keyring


class SyncStore:
    """`Store` on one connection, without threads; what is planned through that is sealed."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self.keyring = a_keyring()
        assert isinstance(conn, Connection)
        conn.keyring = self.keyring

    async def read(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return fn(self.conn, *args, **kwargs)

    async def write(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        with atomic(self.conn):
            return fn(self.conn, *args, **kwargs)


@dataclass
class FakeWallet:
    """What the machine's wallet shows for a sale; the reserve it wants for any invoice."""

    rows: list[WalletPayment] = field(default_factory=list)
    known_hashes: set[str] = field(default_factory=set)
    reserve_sats: int = 0

    async def bundle(self, key: str, bundle: str) -> list[WalletPayment]:
        return [row for row in self.rows if belongs(row.leg_key, bundle)]

    async def payments(self, key: str, *, payment_hash: str) -> list[Any]:
        known = [payment_hash] if payment_hash in self.known_hashes else []
        return [row for row in self.rows if row.payment_hash == payment_hash] or known

    async def fee_reserve_sats(self, key: str, bolt11: str) -> int:
        return self.reserve_sats


@dataclass
class Desk:
    """One sale of the worked example, and what carries out orders about it."""

    conn: sqlite3.Connection
    config: Config
    path: Path
    wallet: FakeWallet = field(default_factory=FakeWallet)
    views: dict[str, View] = field(default_factory=dict)
    aside: list[int] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        store, lnbits = cast("Store", SyncStore(self.conn)), cast("Lnbits", self.wallet)
        parts = (store, lnbits, self, self, lambda: self.config, lambda: NOW)
        shortfall_orders = ShortfallOrders(*parts, make_top_up=self._make_top_up)
        self.actions = {**SaleOrders(*parts).actions, **LegOrders(*parts).actions, **shortfall_orders.actions}
        self.withdrawn: list[int] = []

    # what it needs of worker and payer

    @asynccontextmanager
    async def set_aside(self, settlement_id: int) -> AsyncIterator[None]:
        self.aside.append(settlement_id)
        yield

    async def look_up(self, leg_id: int) -> View | None:
        leg, invoice = legs.get(self.conn, leg_id)
        if leg.leg in self.gone:
            raise WalletRefused("LNbits does not know this key", status=404)
        return None if invoice is None else self.views.get(leg.leg, View(Sighting.ABSENT, Sighting.PENDING, False))

    async def withdraw(self, leg_ids: Sequence[int], sale: tuple[str, str] | None = None) -> None:
        self.withdrawn += leg_ids

    async def _make_top_up(self, machine_id: str, topup_id: str, amount_sats: int, note: str, made_by: str) -> TopUp:
        payment_hash = hashlib.sha256(topup_id.encode()).hexdigest()
        return TopUp(machine_id, payment_hash, topup_id, amount_sats, NOW, made_by, note, NOW + 86_400, "lnbc-top-up")

    # what tests do

    def pay_top_up(self, settlement_id: int = 1, *, topup_id: str | None = None, sats: int | None = None) -> None:
        """The top-up of the latest shortfall is seen in the machine's wallet: as it was made, or as somebody else would
        have made it."""
        found = shortfalls.latest(self.conn, settlement_id)
        assert found is not None
        assert found.topup_hash is not None
        made = incoming.top_up_of(self.conn, MACHINE, found.topup_hash)
        machine = self.config.machine(MACHINE)
        assert made is not None
        assert machine is not None
        name, paid_sats = topup_id or made.id, sats or made.amount_sats
        row = WalletPayment(
            payment_hash=found.topup_hash,
            checking_id=found.topup_hash,
            wallet_id="w",
            amount_msat=paid_sats * 1000,
            fee_msat=0,
            status=Answer.SUCCESS,
            memo="",
            tag=None,
            extra=topups.extra_of(MACHINE, name, paid_sats, "wallet_1"),
            external_id=None,
            bolt11="",
            preimage=None,
            created_at=NOW,
            updated_at=NOW,
        )
        genuine = topups.genuine_id(row.extra, MACHINE, paid_sats, "wallet_1")
        assert genuine is not None
        with atomic(self.conn):
            note_incoming(
                self.conn, machine, [row], may_land=True, named_top_ups=[(row.payment_hash, genuine)], now=NOW
            )

    async def ask(self, action: str, settlement_id: int = 1, **params: object) -> str:
        """Carry out an order about a sale as the daemon does. Raises what it is refused with."""
        return await self.order(f"settlement.{action}", settlement_id=settlement_id, **{"reason": "jam", **params})

    async def order(self, action: str, **params: object) -> str:
        """Carry out any order as the daemon does. Raises what it is refused with."""
        order = orders.from_json(action, params)
        assert not isinstance(order, orders.Unreadable), order.why
        with atomic(self.conn):
            intent_id = intent_rows.add(self.conn, NOW, "maria", order)
        asked = OpenOrder(intent_id, "maria", action, order.subject, order)
        try:
            ended = await self.actions[type(order)](asked, order)
        except SatmachineError:
            assert intent_rows.get(self.conn, intent_id).status == "open"
            with atomic(self.conn):
                intent_rows.refuse(self.conn, intent_id, "", NOW)
            raise
        if ended.status == "refused":
            raise Refused(ended.result)
        return ended.result

    def do(self, action: str, settlement_id: int = 1, **params: object) -> str:
        """`ask` where no event loop runs."""
        return anyio.run(lambda: self.ask(action, settlement_id, **params))

    def land(self, number: int = 1, **changes: Any) -> int:
        """A proven sale that is not planned yet; returns its id."""
        payment_hash = f"{number:064x}"
        claim = replace(a_claim(machine_id=MACHINE, payment_hash=payment_hash, fiat_amount_minor=180_000), **changes)
        with atomic(self.conn):
            settlement_id = land_claim(self.conn, claim, Rules(True, 0), NOW).settlement_id
            assert settlement_id is not None
            settlements.mark_proven(
                self.conn,
                settlements.get(self.conn, settlement_id),
                payment_hash=payment_hash,
                settlement_key=payment_hash,
                occurred_at=NOW,
                proof="proven",
                now=NOW,
            )
        return settlement_id

    def plan(self, settlement_id: int = 1) -> Settlement:
        """Plan what is to be planned."""
        machine = self.config.machine(MACHINE)
        assert machine is not None
        with atomic(self.conn):
            plan_settlement(
                self.conn,
                settlement_id,
                terms_for(self.config, MACHINE),
                Bounds(machine.max_commission_pct, machine.max_rate_deviation, None),
                NOW,
            )
        return self.sale(settlement_id)

    def sale(self, settlement_id: int = 1) -> Settlement:
        return corrections.find(self.conn, settlement_id)

    def legs(self, status: str | None = None, settlement_id: int = 1) -> dict[str, int]:
        """The sale's legs as {"r1:super": sats}."""
        found = legs.of_settlement(self.conn, settlement_id)
        return {f"r{leg.revision}:{leg.leg}": leg.amount_sats for leg in found if status in (None, leg.status)}

    def leg(self, name: str, settlement_id: int = 1) -> Leg:
        """The latest leg of this name."""
        return [leg for leg in legs.of_settlement(self.conn, settlement_id) if leg.leg == name][-1]

    def invoice(self, name: str, *, sent: bool = True, settlement_id: int = 1) -> Leg:
        """Give a leg an invoice, and send it."""
        leg = self.leg(name, settlement_id)
        with atomic(self.conn):
            internal = leg.payee_kind is PayeeKind.WALLET
            hash_ = hash_of(preimage_of(leg))
            give_invoice(self.conn, leg.id, hash_, expires_at=NOW + 86_400, internal=internal)
            if sent:
                assert legs.mark_sending(self.conn, self.leg(name, settlement_id), now=NOW)
        return self.leg(name, settlement_id)

    def fail(self, name: str, settlement_id: int = 1) -> None:
        """Send a leg, and learn that LNbits refused it."""
        leg = self.invoice(name, settlement_id=settlement_id)
        with atomic(self.conn):
            legs.postpone(self.conn, leg, status=LegStatus.FAILED, until=NOW + 60, error="not paid: no balance")
            settlements.refresh_status(self.conn, settlement_id, NOW)

    def pay(self, name: str, settlement_id: int = 1) -> None:
        """Send a leg, and see it on both sides."""
        leg = self.invoice(name, settlement_id=settlement_id)
        with atomic(self.conn):
            complete_leg(
                self.conn,
                leg,
                sent_sats=leg.amount_sats,
                fee_sats=0,
                preimage=preimage_of(leg),
                proof=Proof.BOTH_SIDES if leg.payee_kind is PayeeKind.WALLET else Proof.PREIMAGE,
                now=NOW,
            )

    def pay_all(self, settlement_id: int = 1) -> None:
        """Everything that is still to pay."""
        for leg in corrections.unpaid_legs(self.conn, settlement_id):
            self.pay(leg.leg, settlement_id)

    def audit(self) -> list[tuple[str, str, str]]:
        """(action, actor, reason) of the audit log, without how its LPs were made."""
        found = self.conn.execute("SELECT action, actor, reason FROM audit_log ORDER BY id")
        return [(row["action"], row["actor"], row["reason"]) for row in found if row["action"] != "client.add"]


def preimage_of(leg: Leg) -> str:
    """What proves that the leg's next invoice, or the one that it has, was paid."""
    return f"{leg.id:064d}"


def hash_of(preimage: str) -> str:
    """The payment hash that a preimage proves."""
    return hashlib.sha256(bytes.fromhex(preimage)).hexdigest()


def open_desk(folder: Path, config_text: str = VALID) -> Desk:
    """A database that knows the registry, with LPs of 1000, 600 and 400 in the first machine."""
    path = folder / "config.toml"
    path.write_text(config_text, encoding="utf-8")
    path.chmod(0o600)
    config = load(path, environ={name: name.lower() for name in ("WALLET_1", "SUPER_KEY", "OWNER_KEY")})
    prepare(config.database.path)
    conn = connect(config.database.path)
    assert isinstance(conn, Connection)
    conn.keyring = a_keyring()
    with atomic(conn):
        registry.mirror(conn, config, NOW)
    return Desk(conn, config, path)


def add_provider(desk: Desk, label: str, amount_minor: int, confirmed_at: int = 1) -> None:
    """An LP with one confirmed deposit."""
    with atomic(desk.conn):
        client_id = clients.add(
            desk.conn,
            machine_id=MACHINE,
            label=label,
            person=label,
            payee_kind="lightning_address",
            payee=f"{label}@example.org",
            actor="test",
            now=NOW,
        )
        desk.conn.execute(
            "INSERT INTO dca_deposits (client_id, machine_id, amount_minor, currency, status, recorded_by, "
            "recorded_at, decided_by, decided_at, effective_at) "
            "VALUES (?1, ?2, ?3, 'GTQ', 'confirmed', 'test', 1, 'test', ?4, ?4)",
            (client_id, MACHINE, amount_minor, confirmed_at),
        )


@contextmanager
def copied(desk: Desk, folder: Path) -> Iterator[Desk]:
    """A copy of a desk's books and file in another folder, for one test."""
    desk.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in (desk.path, desk.config.database.path):
        shutil.copy(path, folder)
    config = load(folder / desk.path.name, environ=desk.config.environ)
    with closing(connect(config.database.path)) as conn:
        yield Desk(conn, config, config.path)
