"""A made-up time with every kind of event, written into the books by the functions that write them in life.

Beside the books a wallet for each machine is kept, as LNbits would show it, and counted by nobody else: what the ledger
says about wallets is held against that. Everything follows from a seed.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from satmachine.cash import book, shown
from satmachine.clients import payout
from satmachine.config import Config, load
from satmachine.errors import Refused
from satmachine.models import Answer, By, Leg, Proof
from satmachine.models.cash_values import EntryKind, NoteLine
from satmachine.orders import Shortfall
from satmachine.settlements.correct import shortfall
from satmachine.settlements.correct.changes import ProvenUnpaid as Unpaid
from satmachine.settlements.correct.changes import close, partial_dispense, refund
from satmachine.settlements.correct.correction_rules import Dispensed
from satmachine.settlements.correct.redistribute import Wish, redistribute
from satmachine.settlements.land.landing import Rules, land_claim
from satmachine.settlements.pay.payer import complete_leg
from satmachine.settlements.plan.planning import Bounds, plan_settlement, terms_for
from satmachine.settlements.plan.shortfall_refund import fund, top_up_id
from satmachine.store import (
    cash_rows,
    clients,
    corrections,
    deposits,
    incoming,
    legs,
    registry,
    settlements,
    shortfalls,
)
from satmachine.store.database import atomic, connect, prepare
from satmachine.wallet.rows import WalletPayment
from testkit.books import a_claim, give_invoice
from testkit.config_files import SECOND, VALID

#: 2026-01-01T00:00:00Z
START = 1_767_225_600
DAY_S = 86_400
MACHINES = ("panajachel-1", "solola-1")
KEYS = "/etc/satmachine/keys/"

_BOUNDS = Bounds(Decimal(1), Decimal(10**9), None)
_RULES = Rules(machine_active=True, payouts_since=0)
_INTERNAL = ("LNbits wallet",)


@dataclass
class Year:
    """The books, the wallets beside them, and the moment that it is."""

    conn: sqlite3.Connection
    config: Config
    rng: Random
    now: int = START
    wallets: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MACHINES, 0))
    numbers: int = 0
    #: Sales whose plan is as it was made: nobody has corrected them.
    untouched: set[int] = field(default_factory=set)

    # --- what happens

    def sale(self, machine: str, *, occurred_at: int | None = None, **changes: Any) -> int:
        """A sale comes in, is proven and planned; nothing of it is paid yet."""
        settlement_id = self.land(machine, occurred_at=occurred_at, **changes)
        self.prove(settlement_id)
        self.plan(settlement_id)
        return settlement_id

    def land(self, machine: str, *, occurred_at: int | None = None, **changes: Any) -> int:
        """What the machine (or its wallet) says of a sale."""
        at = self.now if occurred_at is None else occurred_at
        net_sats = self.rng.randrange(20_000, 300_000)
        rate = Decimal(self.rng.randrange(120_000, 160_000)) / 1000 * (1 if machine == MACHINES[0] else 8)
        claim = replace(
            a_claim(
                machine_id=machine,
                payment_hash=self.a_hash(),
                net_sats=net_sats,
                gross_sats=net_sats + net_sats * 3 // 100,
                exchange_rate=rate,
                fiat_amount_minor=net_sats * 100 * 1000 // int(rate * 1000),
                occurred_at=at,
            ),
            currency="GTQ" if machine == MACHINES[0] else "USD",
        )
        with atomic(self.conn):
            landing = land_claim(self.conn, replace(claim, **changes), _RULES, self.now)
        assert landing.settlement_id is not None
        return landing.settlement_id

    def prove(self, settlement_id: int) -> None:
        """Its payment is found in the wallet."""
        sale = settlements.get(self.conn, settlement_id)
        with atomic(self.conn):
            assert settlements.mark_proven(
                self.conn,
                sale,
                payment_hash=sale.payment_hash,
                settlement_key=str(sale.payment_hash),
                occurred_at=sale.occurred_at,
                proof="proven",
                now=self.now,
            )
        if incoming.get(self.conn, sale.machine_id, str(sale.payment_hash)) is None:
            self.wallets[sale.machine_id] += sale.gross_sats

    def plan(self, settlement_id: int) -> None:
        """By the terms in force."""
        sale = settlements.get(self.conn, settlement_id)
        with atomic(self.conn):
            outcome = plan_settlement(
                self.conn, settlement_id, terms_for(self.config, sale.machine_id), _BOUNDS, self.now
            )
        assert outcome is not None
        assert outcome.held is None
        self.untouched.add(settlement_id)

    def pay(self, settlement_id: int, *, but: str | None = None) -> None:
        """Every open leg of a sale; `but` none whose name begins like that."""
        for leg in legs.of_settlement(self.conn, settlement_id):
            if leg.status == "pending" and leg.amount_sats and not (but and leg.leg.startswith(but)):
                self.pay_leg(leg)
        self.pay_forwards()

    def pay_leg(self, leg: Leg) -> None:
        """Inside this LNbits for nothing; elsewhere with a fee, out of the amount or on top of it."""
        sent_sats, fee_sats = leg.amount_sats, 0
        internal = leg.payee.startswith(_INTERNAL)
        if not internal and leg.amount_sats > 50:
            fee_sats = self.rng.randrange(0, 9)
            if self.rng.random() < 0.7:  # the payee bears it, and the reserve is not used up
                sent_sats = leg.amount_sats - 10
        with atomic(self.conn):
            given = give_invoice(
                self.conn, leg.id, self.a_hash(), amount_sats=sent_sats, internal=internal, now=self.now
            )
            proof = Proof.BOTH_SIDES if internal else Proof.ANSWER
            assert complete_leg(
                self.conn, given, sent_sats=sent_sats, fee_sats=fee_sats, preimage=None, proof=proof, now=self.now
            )
        if leg.leg_type != "autoforward":
            self.wallets[leg.machine_id] -= sent_sats + fee_sats

    def pay_forwards(self) -> None:
        """What LPs want to have forwarded, from their own wallets."""
        for row in self.conn.execute(
            "SELECT id FROM dca_payments WHERE leg_type = 'autoforward' AND status = 'pending'"
        ).fetchall():
            self.pay_leg(legs.get(self.conn, row["id"])[0])

    def pay_payouts(self) -> None:
        """Balances that are to be paid out."""
        for row in self.conn.execute(
            "SELECT id FROM dca_payments WHERE leg_type = 'settlement' AND status = 'pending'"
        ).fetchall():
            self.pay_leg(legs.get(self.conn, row["id"])[0])

    def add_client(self, machine: str, label: str, **changes: Any) -> int:
        """An LP with a wallet of this LNbits, unless it says otherwise."""
        values: dict[str, Any] = {"payee_kind": "invoice_key_file", "payee": KEYS + label, "person": label} | changes
        with atomic(self.conn):
            return clients.add(
                self.conn,
                machine_id=machine,
                label=label,
                actor="maria",
                now=self.now,
                **values,
            )

    def bring(self, client_id: int, amount_minor: int, *, at: int | None = None) -> int:
        """Cash that is confirmed; `at`: from when on it counts."""
        with atomic(self.conn):
            deposit_id = deposits.add(
                self.conn, client_id=client_id, amount_minor=amount_minor, actor="jose", now=self.now, effective_at=at
            )
            deposits.confirm(self.conn, deposit_id, actor="maria", now=self.now)
        return deposit_id

    def top_up(self, machine: str, sats: int) -> str:
        """Sats that belong to no sale, as far as is known; returns their payment hash."""
        payment_hash = self.a_hash()
        with atomic(self.conn):
            assert incoming.note(
                self.conn,
                machine,
                payment_hash=payment_hash,
                amount_sats=sats,
                memo="",
                extra={},
                settled_at=self.now - 60,
                reason="it does not say that it is a sale",
                kind="unknown",
                now=self.now,
            )
        self.wallets[machine] += sats
        return payment_hash

    def invoiced_top_up(self, machine: str, sats: int) -> None:
        """An invoice of `machines top-up` is paid."""
        made = self._top_up_of(machine, f"t{self.numbers}", sats)
        with atomic(self.conn):
            incoming.add_top_up(self.conn, made)
        self._top_up_comes(made)

    def short(self, settlement_id: int, short_minor: int, *, client_id: int | None = None) -> None:
        """A jam that is noticed after everything was paid; the top-up comes, and is on its way to the customer."""
        sale = settlements.get(self.conn, settlement_id)
        sats, to = shortfall.refund_sats(sale, short_minor), "customer@example.org"
        number = shortfalls.next_number(self.conn, sale.id)
        top_up = self._top_up_of(sale.machine_id, top_up_id(str(sale.settlement_key), number, to, sats), sats)
        order = Shortfall(settlement_id, short_minor, sats, sats, "a jam", to, client_id)
        refund_number = corrections.next_refund_number(self.conn, sale.id)
        with atomic(self.conn):
            shortfall.book(
                self.conn,
                order,
                number=number,
                refund_number=refund_number,
                top_up=top_up,
                by=self._by(),
            )
        self._top_up_comes(top_up)
        seen = WalletPayment(
            payment_hash=top_up.payment_hash, checking_id="", wallet_id="w", amount_msat=sats * 1000, fee_msat=0,
            status=Answer.SUCCESS, memo="", tag=None, extra={}, external_id=None, bolt11="", preimage=None,
            created_at=self.now, updated_at=self.now,
        )  # fmt: skip
        with atomic(self.conn):
            fund(self.conn, sale.machine_id, seen, top_up.id, self.now)
        self.untouched.discard(settlement_id)

    def undo_short(self, settlement_id: int) -> None:
        """It was no jam; the refund was not sent yet."""
        with atomic(self.conn):
            shortfall.undo(self.conn, settlement_id, proof=self._unpaid(settlement_id), by=self._by())

    def _top_up_of(self, machine: str, name: str, sats: int) -> incoming.TopUp:
        return incoming.TopUp(machine, self.a_hash(), name, sats, self.now, "maria", "", self.now + 60, "lnbc1")

    def _top_up_comes(self, made: incoming.TopUp) -> None:
        machine, payment_hash, sats = made.machine_id, made.payment_hash, made.amount_sats
        with atomic(self.conn):
            incoming.note(
                self.conn,
                machine,
                payment_hash=payment_hash,
                amount_sats=sats,
                memo="",
                extra={},
                settled_at=self.now + 30,
                reason="a top-up",
                kind="top_up",
                now=self.now + 40,
            )
        self.now += 60
        self.wallets[machine] += sats

    def notes(
        self, machine: str, kind: EntryKind, amount_minor: int, *, corrects: int | None = None, **how: Any
    ) -> int:
        """A row of the machine's cash book; `for_clients` and `at` as in life."""
        currency = "GTQ" if machine == MACHINES[0] else "USD"
        lines = (NoteLine(None, None, None, amount_minor),) if amount_minor else ()
        draft = cash_rows.Draft(machine, kind, how.get("at", self.now), currency, lines, "", corrects)
        with atomic(self.conn):
            entry, made = book.record(
                self.conn, draft, for_clients=how.get("for_clients", {}), actor="maria", now=self.now
            )
            for deposit_id in made:
                deposits.confirm(self.conn, deposit_id, actor="maria", now=self.now)
        return entry.id

    def book_difference(self, entry_id: int) -> None:
        """What a count did not find, or found too much, is booked."""
        report = shown.closed_cycle(self.conn, cash_rows.get(self.conn, entry_id).machine_id, entry_id)
        if report is None or not report.cycle.open_minor:
            return
        minor = report.cycle.open_minor
        with atomic(self.conn):
            book.book_difference(
                self.conn, report.cycle, minor, window=(0, self.now), reason="a jam", actor="maria", now=self.now
            )

    def strange_payment(self, machine: str, sats: int, fee_sats: int) -> None:
        """Sats that went out in another life of the books, and that a person has declared not to be ours."""
        with atomic(self.conn):
            self.conn.execute(
                "INSERT INTO dca_foreign_payments (machine_id, payment_hash, leg_key, amount_sats, status, extra, "
                "made_at, first_seen_at, settled_by, fee_sats, decided_at, reason) "
                "VALUES (?1, ?2, 'sm1:strange', ?3, 'success', '{}', ?4, ?4, 'maria', ?5, ?4, 'a gift')",
                (machine, self.a_hash(), sats, self.now, fee_sats),
            )
        self.wallets[machine] -= sats + fee_sats

    def settle(self, client_id: int, amount_minor: int, rate: Decimal) -> None:
        """A part of a balance is paid out."""
        with atomic(self.conn):
            proposed = payout.propose_payout(self.conn, client_id, exchange_rate=rate, amount_minor=amount_minor)
            payout.plan_balance_payout(
                self.conn,
                client_id,
                exchange_rate=rate,
                amount_minor=amount_minor,
                number=proposed.number,
                actor="maria",
                now=self.now,
            )
        self.pay_payouts()

    # --- what a person corrects

    def dispense_less(self, settlement_id: int, part: int, whole: int) -> None:
        """Cash got stuck before anything was paid."""
        with atomic(self.conn):
            partial_dispense(self.conn, settlement_id, Dispensed(part, whole), self._unpaid(settlement_id), self._by())
        self.plan(settlement_id)
        self.untouched.discard(settlement_id)

    def close(self, settlement_id: int) -> None:
        """What is unpaid is given up."""
        with atomic(self.conn):
            close(self.conn, settlement_id, self._unpaid(settlement_id), self._by())
        self.untouched.discard(settlement_id)

    def _by(self) -> By:
        return By("maria", "as counted", self.now)

    def refund(self, settlement_id: int, sats: int) -> None:
        """To the customer's address, out of what is retained."""
        with atomic(self.conn):
            refund(
                self.conn,
                settlement_id,
                amount_sats=sats,
                payee="customer@example.org",
                number=corrections.next_refund_number(self.conn, settlement_id),
                by=self._by(),
            )
        self.untouched.discard(settlement_id)
        self.pay(settlement_id)

    def share_out_later(self, settlement_id: int, **wish: Any) -> None:
        """What a sale retains."""
        sale = settlements.get(self.conn, settlement_id)
        with atomic(self.conn):
            redistribute(
                self.conn,
                settlement_id,
                terms_for(self.config, sale.machine_id),
                Wish(**wish),
                revision=sale.revision + 1,
                by=self._by(),
            )
        self.untouched.discard(settlement_id)
        self.pay(settlement_id)

    def _unpaid(self, settlement_id: int) -> Unpaid:
        found = {leg.id: leg for leg in corrections.unpaid_legs(self.conn, settlement_id)}
        return Unpaid(found, dict.fromkeys(found))

    def a_hash(self) -> str:
        """A new payment hash."""
        self.numbers += 1
        return f"{self.numbers:064x}"


def new_year(folder: Path, text: str = VALID + SECOND, seed: int = 1) -> Year:
    """Empty books, unless it says otherwise of two machines, in quetzales and dollars."""
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    config = load(path)
    prepare(config.database.path)
    conn = connect(config.database.path)
    conn.execute("PRAGMA synchronous = OFF")  # no power is cut here
    with atomic(conn):
        registry.mirror(conn, config, START)
    return Year(conn, config, Random(seed))


def every_event(year: Year) -> None:
    """One of everything, in the course of some weeks."""
    first, second = MACHINES
    maria = year.add_client(first, "maria")
    jose = year.add_client(first, "jose", payee_kind="lightning_address", payee="jose@example.org")
    ana = year.add_client(first, "ana", mode="fixed", daily_limit_minor=30_000)
    pedro = year.add_client(second, "pedro", autoforward="pedro@example.org", autoforward_key_file=KEYS + "pedro.admin")
    year.pay(year.sale(first))  # nobody has a balance: the LPs' part is retained
    year.now += 600
    for client, amount_minor in ((maria, 900_000), (jose, 700_000), (ana, 400_000), (pedro, 500_000)):
        year.bring(client, amount_minor)
    wrong = year.bring(maria, 5_000)
    year.now += 60
    with atomic(year.conn):
        deposits.reverse(year.conn, wrong, reason="counted twice", actor="maria", now=year.now)
    for machine in MACHINES:
        year.top_up(machine, 400_000)
    for _ in range(3):
        year.now += 7 * 3600
        year.pay(year.sale(first))
        year.pay(year.sale(second))
    _corrections(year)
    year.now += DAY_S
    _oddities(year, pedro)
    year.now += DAY_S
    with atomic(year.conn):
        deposits.withdraw(year.conn, jose, 20_000, actor="maria", now=year.now)
    _cash_book(year, maria)
    year.settle(maria, 10_000, Decimal("141.5"))
    year.settle(jose, 15_000, Decimal("141.5"))
    year.strange_payment(second, 1_234, 2)
    year.now += DAY_S


def _cash_book(year: Year, maria: int) -> None:
    """One begins with a count, the other with a load; notes are taken, mistyped, missing and too much."""
    first, second = MACHINES
    year.notes(first, EntryKind.COUNT, 800_000)
    year.now += 600
    load = year.notes(first, EntryKind.LOAD, 500_000, for_clients={maria: 200_000})
    year.bring(maria, 10_000)  # brought to the operator, and in no machine
    year.notes(second, EntryKind.LOAD, 90_000)
    year.now += 600
    year.pay(year.sale(first))
    year.notes(first, EntryKind.TAKE, 20_000)
    year.notes(first, EntryKind.LOAD, 450_000, corrects=load)
    year.now += DAY_S
    count = year.notes(first, EntryKind.COUNT, 900_000)
    year.book_difference(count)
    year.notes(first, EntryKind.COUNT, 901_000, corrects=count)
    mistake = year.notes(second, EntryKind.TAKE, 1_000)
    with atomic(year.conn):
        book.void(year.conn, mistake, reason="never", actor="maria", now=year.now)
    year.now += 600
    year.book_difference(year.notes(second, EntryKind.COLLECT, 95_000))
    for machine in MACHINES:
        year.invoiced_top_up(machine, 7_000)


def _corrections(year: Year) -> None:
    first = MACHINES[0]
    jammed = year.sale(first)
    year.now += 60
    year.dispense_less(jammed, 1, 3)
    year.pay(jammed)
    year.refund(jammed, settlements.get(year.conn, jammed).retained_sats - 5)
    given_up = year.sale(first)
    year.pay(given_up, but="dca")
    year.now += 3600
    year.close(given_up)
    year.now += 3600
    year.share_out_later(given_up)
    rateless = year.sale(first, exchange_rate=Decimal(0), fiat_amount_minor=None)
    year.pay(rateless)
    year.now += 3600
    year.share_out_later(rateless, exchange_rate=Decimal("140.25"))
    _shortfalls(year)


def _shortfalls(year: Year) -> None:
    """Jams that were seen late: a customer gets their part back; another one had got all."""
    paid_back, mistaken = year.sale(MACHINES[0]), year.sale(MACHINES[1])
    for sale in (paid_back, mistaken):
        year.now += 60
        year.pay(sale)
    year.short(paid_back, 2_500)
    year.pay(paid_back)
    year.short(mistaken, 100, client_id=4)
    year.now += 60
    year.undo_short(mistaken)


def _oddities(year: Year, pedro: int) -> None:
    first, second = MACHINES
    late = year.sale(first, occurred_at=year.now - 2 * DAY_S)
    year.pay(late)
    # From the wallet, without the cash; then the machine's own word.
    told_later = year.sale(second, source="wallet", fiat_amount_minor=None)
    sale = settlements.get(year.conn, told_later)
    year.now += 300
    word: dict[str, Any] = {
        "net_sats": sale.net_sats,
        "gross_sats": sale.gross_sats,
        "commission_sats": sale.commission_sats,
    }
    cash_minor = sale.net_sats * 100 // int(sale.exchange_rate)
    again = year.land(
        second,
        payment_hash=sale.payment_hash,
        exchange_rate=sale.exchange_rate,
        fiat_amount_minor=cash_minor,
        occurred_at=sale.occurred_at,
        **word,
    )
    assert again == told_later
    year.pay(told_later)
    # A payment without a sale turns out to be one.
    payment_hash = year.top_up(second, 103_000)
    year.now += 3600
    found = year.sale(
        second,
        payment_hash=payment_hash,
        gross_sats=103_000,
        net_sats=100_000,
        commission_sats=3_000,
        exchange_rate=Decimal(1000),
        fiat_amount_minor=10_000,
    )
    year.pay(found)
    with atomic(year.conn):
        clients.update(year.conn, clients.get(year.conn, pedro), {"status": "paused"}, actor="maria", now=year.now)
        clients.update(year.conn, clients.get(year.conn, pedro), {"status": "active"}, actor="maria", now=year.now)
    year.sale(first)  # planned, and not paid yet
    unproven = year.land(first)
    assert settlements.get(year.conn, unproven).proof == "waiting"


def random_events(year: Year, count: int) -> None:
    """So many things, each with its own chance."""
    for _ in range(count):
        year.now += year.rng.randrange(60, 3 * DAY_S)
        _something(year)


def _something(year: Year) -> None:
    machine = year.rng.choice(MACHINES)
    lps = [row["id"] for row in year.conn.execute("SELECT id FROM dca_clients WHERE machine_id = ?", (machine,))]
    chance = year.rng.random()
    if chance < 0.08 and len(lps) < 5:
        kind = year.rng.choice(("invoice_key_file", "lightning_address"))
        label = f"lp-{year.numbers}-{len(lps)}"
        payee = KEYS + label if kind == "invoice_key_file" else f"{label}@example.org"
        limit = year.rng.choice((None, 20_000))
        mode = {"mode": "flow"} if limit is None else {"mode": "fixed", "daily_limit_minor": limit}
        year.add_client(machine, label, payee_kind=kind, payee=payee, **mode)
    elif chance < 0.25 and lps:
        year.bring(year.rng.choice(lps), year.rng.randrange(10_000, 900_000))
    elif chance < 0.3:
        year.top_up(machine, year.rng.randrange(1, 100_000))
    elif chance < 0.34 and lps:
        _take(year, year.rng.choice(lps))
    elif chance < 0.44:
        _random_notes(year, machine)
    else:
        _random_sale(year, machine)


def _take(year: Year, client_id: int) -> None:
    try:
        if year.rng.random() < 0.5:
            year.settle(client_id, 5_000, Decimal("140.5"))
        else:
            with atomic(year.conn):
                deposits.withdraw(year.conn, client_id, 3_000, actor="maria", now=year.now)
    except Refused:
        pass  # so little is left


def _random_notes(year: Year, machine: str) -> None:
    kind = year.rng.choice((EntryKind.LOAD, EntryKind.LOAD, EntryKind.TAKE, EntryKind.COUNT, EntryKind.COLLECT))
    entry_id = year.notes(
        machine, kind, year.rng.randrange(1_000, 900_000), at=year.now - year.rng.choice((0, 0, 50, 2 * DAY_S))
    )
    if kind in (EntryKind.COUNT, EntryKind.COLLECT) and year.rng.random() < 0.7:
        year.book_difference(entry_id)
    elif year.rng.random() < 0.2:
        year.notes(machine, kind, year.rng.randrange(1_000, 900_000), corrects=entry_id)


def _random_sale(year: Year, machine: str) -> None:
    late_s = year.rng.choice((0, 0, 0, 40 * DAY_S))
    rate_known = year.rng.random() < 0.9
    changes: dict[str, Any] = {} if rate_known else {"exchange_rate": Decimal(0), "fiat_amount_minor": None}
    sale = year.sale(machine, occurred_at=max(START, year.now - late_s), **changes)
    fate = year.rng.random()
    if fate < 0.1:
        year.dispense_less(sale, year.rng.randrange(1, 9), 10)
    if fate < 0.15:
        year.pay(sale, but="split")
        year.now += 600
        year.close(sale)
    elif fate < 0.95:
        year.pay(sale)
    retained = settlements.get(year.conn, sale).retained_sats
    if retained > 30 and fate < 0.5:
        year.now += 600
        _use_retained(year, sale, retained, rate_known=rate_known)


def _use_retained(year: Year, sale: int, retained: int, *, rate_known: bool) -> None:
    try:
        if year.rng.random() < 0.5:
            year.refund(sale, year.rng.randrange(20, retained))
        else:
            wish = {} if rate_known else {"exchange_rate": Decimal("140.5")}
            year.share_out_later(sale, as_of=year.now, **wish)
    except Refused:
        pass  # nobody has a balance, or it is not what may be shared out
