"""What one sale costs the books when there are a thousand others, or a million; and when its machine has many LPs.

The daemon's own functions of landing, proving, planning, looking for due work and paying are called one after the other
on a connection of the daemon's kind. Each round is one transaction that is rolled back, so what is measured is the work
on the books and not the disk's way of keeping it; no wallet is asked.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

from bench.books import RATE, SALE_EVERY_S, SUPER_PCT, Say, Size, books, machine_id, stop_watching_clients
from bench.report import Figure, Section
from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.marks import Mark
from satmachine.models import Claim, LegStatus, Proof
from satmachine.settlements.land.landing import Rules, land_event
from satmachine.settlements.pay.payer import complete_leg
from satmachine.settlements.plan.amounts import Rule, Terms
from satmachine.settlements.plan.planning import Bounds, plan_settlement
from satmachine.store import balances, legs, mark_rows, settlements, wallet_rows
from satmachine.store.database import atomic, connect, prepare
from satmachine.store.settlements import EventRecord

STORED, QUICK_STORED = (1_000, 10_000, 100_000, 1_000_000), (1_000, 4_000)
PROVIDERS, QUICK_PROVIDERS = (10, 100, 500, 1_000, 2_000), (10, 100)
MACHINES = 20
BATCH = 50
ROUNDS = 7

MOST_PER_SALE = 1.25
MOST_PER_PROVIDER = 1.3
#: The number of LPs that the largest is held against.
_FEW_PROVIDERS = 100


def _rule(label: str, pct: Decimal, address: str) -> Rule:
    return Rule(label, pct, address, PayeeIdentity(PayeeKind.LIGHTNING_ADDRESS, address), f"operator:op:{label}")


TERMS = Terms(
    super_fee_pct=SUPER_PCT,
    super_payee=_rule("super", SUPER_PCT, "platform@example.org"),
    ruleset_source="operator",
    rules=(_rule("owner", Decimal("0.6"), "owner@example.org"), _rule("tech", Decimal("0.4"), "tech@example.org")),
)
BOUNDS = Bounds(max_commission_pct=Decimal(1), max_rate_deviation=Decimal(1), daily_limit_sats=10**12)

#: What a sale goes through, in order; the first word of a line of the table.
STEPS = {
    "land": f"land its event, in batches of {BATCH}",
    "prove": "find that nobody else has its payment, and mark it proven",
    "plan": "plan its legs, with all guards",
    "due": "look for due work, once",
    "pay": "take every leg from planned to completed",
    "sweep": "note its payment at the next sweep",
}


@dataclass(slots=True)
class Clock:
    """Seconds that each step has taken, for all sales of a round together."""

    taken_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 0.0))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.taken_s[name] += time.perf_counter() - started


def run(quick: bool, say: Say) -> list[Section]:
    """Both: many sales, and many LPs."""
    return [_many_sales(quick, say), _many_providers(quick, say)]


# --- many sales


def _many_sales(quick: bool, say: Say) -> Section:
    sizes = [Size(machines=MACHINES, sales=stored, beacons=1_000) for stored in (QUICK_STORED if quick else STORED)]
    paths = {size: books(size, say) for size in sizes}
    clocks: dict[Size, list[Clock]] = {size: [] for size in sizes}
    for number in range(-1, 1 if quick else ROUNDS):  # the first one warms, and does not count
        say(f"round {number + 1}")
        for size in sizes:
            with closing(connect(paths[size])) as conn:
                clock = one_round(conn, size)
            if number >= 0:
                clocks[size].append(clock)
    cost_us = {
        size: {step: statistics.median(clock.taken_s[step] for clock in found) / BATCH * 1e6 for step in STEPS}
        for size, found in clocks.items()
    }
    about = (
        f"Microseconds for each sale of {MACHINES} machines, 4 to 6 legs each; medians of {ROUNDS} interleaved rounds "
        f"of {BATCH} sales, without waiting for the disk. Ratios are to {sizes[0].sales:,} stored sales."
    )
    return Section("The cost of a sale as the books grow", about, [*_sale_figures(cost_us)])


def _sale_figures(cost_us: Mapping[Size, Mapping[str, float]]) -> Iterator[Figure]:
    first, *_, last = cost_us
    for size, cost in cost_us.items():
        ratio = sum(cost.values()) / sum(cost_us[first].values())
        target = "" if size == first else f"<= {MOST_PER_SALE} x"
        met = None if size == first else ratio <= MOST_PER_SALE
        yield Figure(f"{size.sales:,} stored: all of it", f"{sum(cost.values()):.0f} us", f"{ratio:.2f} x", target, met)
    for step, told in STEPS.items():
        few_us, many_us = cost_us[first][step], cost_us[last][step]
        yield Figure(f"{step}: {told}", f"{few_us:.0f} -> {many_us:.0f} us", f"{many_us / few_us:.2f} x")


def one_round(conn: sqlite3.Connection, size: Size) -> Clock:
    """Take BATCH new sales through all steps, and undo it."""
    clock = Clock()
    conn.execute("BEGIN IMMEDIATE")
    try:
        _take_through(conn, size, clock)
    finally:
        conn.execute("ROLLBACK")
    return clock


def _take_through(conn: sqlite3.Connection, size: Size, clock: Clock) -> None:
    claims = [a_claim(number, machine_id(number % size.machines), size.end) for number in range(BATCH)]
    now = size.end + BATCH * SALE_EVERY_S
    with clock.step("land"):
        landings = [land(conn, claim, now) for claim in claims]
    for settlement_id, claim in zip(landings, claims, strict=True):
        with clock.step("prove"):
            prove(conn, settlement_id, now)
        with clock.step("plan"):
            plan(conn, settlement_id, now)
        with clock.step("due"):
            settlements.due_to_prove(conn, now, per_machine=8, limit=512)
            legs.due(conn, now, [claim.machine_id], per_payee=4, limit=512)
        with clock.step("pay"):
            pay(conn, settlement_id, now)
        with clock.step("sweep"):
            sweep(conn, claim, now)


# --- the steps, as the daemon takes them


def a_claim(number: int, machine: str, at: int) -> Claim:
    """What a machine says of its sale; `number` makes it unique."""
    return Claim(
        machine_id=machine,
        source="event",
        payment_hash=digest("live payment", number),
        txid=f"live-{number}",
        gross_sats=266_800,
        net_sats=258_835,
        commission_sats=7_965,
        used_fallback_split=False,
        fallback_commission_pct=None,
        fee_pct=Decimal("0.03"),
        discount_pct=None,
        exchange_rate=RATE,
        fiat_amount_minor=180_000,
        currency="GTQ",
        bills='[{"denomination": 100, "count": 18}]',
        cassettes=None,
        occurred_at=at + number * SALE_EVERY_S,
    )


def land(conn: sqlite3.Connection, claim: Claim, now: int) -> int:
    """The event of a sale becomes a settlement; its id."""
    event_id = digest("live event", str(claim.txid))
    event = EventRecord(event_id, claim.occurred_at, now, "wss://relay.example.org", '{"kind":21000}' + " " * 400)
    landing = land_event(conn, claim.machine_id, event, claim, Rules(machine_active=True, payouts_since=0), now)
    settlement_id = getattr(landing, "settlement_id", None)
    assert isinstance(settlement_id, int), landing
    return settlement_id


def prove(conn: sqlite3.Connection, settlement_id: int, now: int) -> None:
    """Its payment was found in the wallet."""
    sale = settlements.get(conn, settlement_id)
    key = str(sale.payment_hash)
    assert settlements.id_of_key(conn, sale.machine_id, key) == sale.id
    assert settlements.mark_proven(
        conn, sale, payment_hash=key, settlement_key=key, occurred_at=sale.occurred_at, proof="proven", now=now
    )


def plan(conn: sqlite3.Connection, settlement_id: int, now: int) -> None:
    """The transaction of planning; the wallet has shown nothing that was paid for the sale before."""
    sale = settlements.get(conn, settlement_id)
    wallet_rows.note_outgoing(conn, sale.machine_id, [], now)
    outcome = plan_settlement(conn, settlement_id, TERMS, BOUNDS, now)
    assert outcome is not None
    assert outcome.held is None


def pay(conn: sqlite3.Connection, settlement_id: int, now: int) -> None:
    """What is written down for every leg on its way."""
    for leg in legs.of_settlement(conn, settlement_id):
        if leg.status is not LegStatus.PENDING:
            continue
        own = digest("live leg", leg.leg_key)
        assert legs.add_invoice(
            conn,
            leg,
            bolt11="lnbc1" + "q" * 240,
            payment_hash=own,
            amount_sats=leg.amount_sats,
            expires_at=now + 3600,
            wallet_id=None,
            now=now,
        )
        conn.execute("UPDATE dca_invoices SET internal = 1 WHERE payment_hash = ?", (own,))  # seen on both sides
        mark_rows.establish(conn, Mark("0" * 16, leg.leg_key, (), {leg.leg_key: own}), now)
        invoiced, _ = legs.get(conn, leg.id)
        assert legs.mark_sending(conn, invoiced, now=now)
        sent, _ = legs.get(conn, leg.id)
        assert complete_leg(
            conn, sent, sent_sats=leg.amount_sats, fee_sats=0, preimage="00" * 32, proof=Proof.ANSWER, now=now
        )
    assert settlements.get(conn, settlement_id).status == "processed"


def sweep(conn: sqlite3.Connection, claim: Claim, now: int) -> None:
    """The next look into the machine's wallet finds the payment known, and nothing strange."""
    wallet_rows.note_answer(conn, claim.machine_id, wallet_id="w", balance_sats=1, version="1.6.2", now=now)
    assert settlements.payment_arrived(conn, claim.machine_id, str(claim.payment_hash))
    assert wallet_rows.refresh_safe_mode(conn, claim.machine_id) is None
    balances.find(conn, machine=claim.machine_id)


# --- many LPs


def _many_providers(quick: bool, say: Say) -> Section:
    sizes, rounds = (QUICK_PROVIDERS, 2) if quick else (PROVIDERS, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as folder:
        paths = {providers: Path(folder) / f"{providers}.db" for providers in sizes}
        for providers, path in paths.items():
            make_providers(path, providers)
        per_lp_us: dict[int, list[float]] = {providers: [] for providers in sizes}
        for number in range(-1, rounds):
            say(f"providers, round {number + 1}")
            for providers, path in paths.items():
                taken_us = plan_for(path, providers) * 1e6 / providers
                if number >= 0:
                    per_lp_us[providers].append(taken_us)
    medians = {providers: statistics.median(found) for providers, found in per_lp_us.items()}
    few = medians[_FEW_PROVIDERS]
    about = (
        f"One sale is planned: microseconds for each LP of its machine, medians of {rounds} interleaved rounds. "
        f"Ratios are to {_FEW_PROVIDERS} LPs."
    )
    figures = [
        Figure(
            f"{providers:,} LPs",
            f"{cost_us:.1f} us per LP",
            f"{cost_us / few:.2f} x",
            f"<= {MOST_PER_PROVIDER} x" if providers == sizes[-1] else "",
            cost_us / few <= MOST_PER_PROVIDER if providers == sizes[-1] else None,
        )
        for providers, cost_us in medians.items()
    ]
    return Section("The cost of a plan as its LPs grow in number", about, figures)


def make_providers(path: Path, providers: int) -> None:
    """A machine with so many LPs, each with a confirmed deposit of its own size; every third has a daily limit."""
    prepare(path)
    with closing(connect(path)) as conn, atomic(conn):
        conn.execute("INSERT INTO dca_operators VALUES ('operator', 'Operator', 1)")
        conn.execute(
            "INSERT INTO dca_machines VALUES ('machine', 'operator', 'npub', ?, 'M', 'GTQ', '0.05', 0, 1, 1, 0, 2)",
            ("0" * 64,),
        )
        conn.execute("INSERT INTO dca_wallets (machine_id) VALUES ('machine')")
        unwatched = stop_watching_clients(conn)
        conn.executemany(
            "INSERT INTO dca_clients (machine_id, label, person, mode, daily_limit_minor, payee_kind, payee, "
            "created_at, created_by) "
            "VALUES ('machine', ?1, ?1, ?2, ?3, 'lightning_address', ?1 || '@example.org', 1, '')",
            [(f"lp{n}", *(("flow", None) if n % 3 else ("fixed", 10**6))) for n in range(providers)],
        )
        conn.execute(unwatched)
        conn.execute(
            "INSERT INTO dca_deposits (client_id, machine_id, amount_minor, currency, status, recorded_by, "
            "recorded_at, decided_by, decided_at, effective_at) "
            "SELECT id, machine_id, 1000000 + id * 7919, 'GTQ', 'confirmed', '', 1, '', 1, 1 "
            "FROM dca_clients"
        )


def plan_for(path: Path, providers: int) -> float:
    """Seconds for the plan of one sale among so many LPs; it is rolled back."""
    with closing(connect(path)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        settlement_id = land(conn, a_claim(0, "machine", 1_800_000_000), 1_800_000_001)
        prove(conn, settlement_id, 1_800_000_002)
        taken_s = timed(lambda: plan(conn, settlement_id, 1_800_000_003))
        planned = len(legs.of_settlement(conn, settlement_id))
        assert planned == providers + 3, f"{planned} legs for {providers} LPs"
        conn.execute("ROLLBACK")
    return taken_s


def timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def digest(what: str, which: object) -> str:
    """An event id or payment hash."""
    return sha256(f"{what} {which}".encode()).hexdigest()
