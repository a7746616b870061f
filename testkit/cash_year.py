"""A fleet's year of cash, made up: sales, visits, beacons, and what goes wrong with notes. Seeded.

What is true (the notes in each machine) is kept apart from what the books, the beacons and the people say, and each
thing that goes wrong is written down: `CashYear.planted` is what a search for differences must find, and all of it.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from satmachine.cash import book
from satmachine.models.banknotes import of_sale
from satmachine.models.cash_values import CashEntry, EntryKind, NoteLine
from satmachine.money import minor_digits
from satmachine.store.cash_rows import Draft
from satmachine.store.database import atomic

#: 2026-01-01T00:00:00Z
START = 1_767_225_600
DAY_S = 86_400
#: The door is open for so long around a visit: nothing is sold then.
_DOOR_S = 600


@dataclass(frozen=True, slots=True)
class MadeMachine:
    """How a machine behaves. `denominations` in minor units, one a cassette, the largest first.

    `beacon_every_s` None: it sends none. `resets`: a visit tells the machine's own counter what is in it. `clock_s`:
    its clock runs ahead (or, below 0, behind).
    """

    id: str
    currency: str
    denominations: tuple[int, ...]
    beacon_every_s: int | None = 1_800
    tells_bills: bool = True
    resets: bool = True
    clock_s: int = 0
    garbage_chance: float = 0.0
    dead: tuple[int, int] = (0, 0)  # days without beacons
    by_notes: bool = True  # people count by cassette, not only the sum


@dataclass(frozen=True, slots=True)
class Planted:
    """Cash that is missing (below 0) or too much since a moment. `noticed`: the machine's own counter knows of it."""

    machine_id: str
    what: str
    at: int
    amount_minor: int
    noticed: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to go wrong in a machine: on about which day, how many notes (of the largest denomination)."""

    what: str  # theft, jam, double, miscounted, miscounted_noticed, mistyped, reboot
    day: int
    notes: int


@dataclass
class CashYear:
    """What was planted, machine by machine; the rest is in the database."""

    planted: list[Planted] = field(default_factory=list)


def add_machine(conn: sqlite3.Connection, machine: MadeMachine, number: int) -> None:
    """The registry's row of a made machine, of the operator atitlan."""
    conn.execute(
        "INSERT INTO dca_machines VALUES (?, 'atitlan', ?, ?, ?, ?, '0.05', 0, 1, 1, 1, ?)",
        (
            machine.id,
            f"npub-{machine.id}",
            f"{number:064x}",
            machine.id.title(),
            machine.currency,
            minor_digits(machine.currency),
        ),
    )


def play(
    conn: sqlite3.Connection, fleet: Mapping[MadeMachine, tuple[Plan, ...]], *, seed: int, days: int = 365
) -> CashYear:
    """Play a year of each machine into the books."""
    year = CashYear()
    with atomic(conn):
        conn.execute("INSERT INTO dca_operators VALUES ('atitlan', 'Atitlan Cash', 1) ON CONFLICT DO NOTHING")
        for number, (machine, plans) in enumerate(fleet.items(), 1):
            add_machine(conn, machine, 1_000 + number)
            _Life(conn, machine, list(plans), random.Random(f"{seed}/{machine.id}"), year).play(days)
    return year


class _Life:
    """One machine's year. `truth` are the notes in it, `counter` is what it believes to hold, in minor units."""

    def __init__(
        self, conn: sqlite3.Connection, machine: MadeMachine, plans: list[Plan], rng: random.Random, year: CashYear
    ) -> None:
        self._conn, self._machine, self._plans, self._rng, self._year = conn, machine, plans, rng, year
        self._truth: Counter[int] = Counter()
        self._counter = 0
        self._sold = 0

    def play(self, days: int) -> None:
        at = START + self._rng.randrange(DAY_S)
        at -= at % 60
        self._visit(at)
        while at < START + days * DAY_S:
            until = at + self._rng.randint(5, 9) * DAY_S + self._rng.randrange(DAY_S // 2)
            until -= until % 60
            self._between(at, until)
            self._visit(until)
            at = until

    # --- between two visits

    def _between(self, since: int, until: int) -> None:
        """Sales, beacons and what goes wrong, in the order of time."""
        happenings: list[tuple[int, int, str, Plan | None]] = [
            (self._rng.randint(since + _DOOR_S, until - _DOOR_S), 1, "sale", None)
            for _ in range(self._rng.randint(20, 60))
        ]
        every_s = self._machine.beacon_every_s
        if every_s is not None:
            happenings += [
                (at, 2, "beacon", None) for at in range(since + self._rng.randrange(every_s), until, every_s)
            ]
        for due in self._due(since, until, ("theft", "jam", "double", "reboot")):
            middle = self._rng.randint(since + (until - since) // 4, until - (until - since) // 4)
            happenings.append((middle, 0, due.what, due))
        waiting: list[Plan] = []
        for at, _, what, planned in sorted(happenings, key=lambda one: one[:3]):
            if what == "sale":
                self._sell(at, waiting.pop() if waiting else None)
            elif what == "beacon":
                self._tell(at)
            elif planned is not None and what in ("jam", "double"):
                waiting.append(planned)
            elif planned is not None and what == "theft":
                self._lose(at, planned)
            elif planned is not None:
                self._counter -= planned.notes * self._machine.denominations[0]  # a reboot: it forgets some notes

    def _due(self, since: int, until: int, kinds: tuple[str, ...]) -> list[Plan]:
        due = [plan for plan in self._plans if plan.what in kinds and START + plan.day * DAY_S < until]
        self._plans = [plan for plan in self._plans if plan not in due]
        return due

    def _sell(self, at: int, plan: Plan | None) -> None:
        """A sale; with a plan, the machine gives fewer or more notes than it sold, and its counter knows."""
        bills: Counter[int] = Counter()
        for _ in range(self._rng.randint(1, 6)):
            bills[self._rng.choice(self._machine.denominations)] += 1
        if plan is not None:
            bills[self._machine.denominations[0]] += plan.notes
        if any(self._truth[note] < number + 5 for note, number in bills.items()):
            if plan is not None:
                self._plans.append(Plan(plan.what, plan.day + 7, plan.notes))
            return
        sold_minor = sum(note * number for note, number in bills.items())
        self._settle(at, sold_minor, bills)
        given = Counter(bills)
        if plan is not None:
            wrong = -plan.notes if plan.what == "jam" else plan.notes
            given[self._machine.denominations[0]] += wrong
            self._plant(plan.what, at, -wrong * self._machine.denominations[0], noticed=True)
        self._truth.subtract(given)
        self._counter -= sum(note * number for note, number in given.items())

    def _settle(self, at: int, sold_minor: int, bills: Counter[int]) -> None:
        self._sold += 1
        digits = minor_digits(self._machine.currency)
        told = [{"denomination": note / 10**digits, "count": number} for note, number in bills.items()]
        text = json.dumps(told) if self._machine.tells_bills else None
        assert text is None or of_sale(text, sold_minor, self._machine.currency) is not None
        self._conn.execute(
            "INSERT INTO dca_settlements (payment_hash, machine_id, source, status, gross_sats, net_sats, "
            "commission_sats, exchange_rate, fiat_amount_minor, currency, bills, proof, occurred_at, landed_at, "
            "planned_at, settlement_key, super_fee_pct, platform_fee_sats, operator_fee_sats) VALUES (?1, ?2, 'event', "
            "'processed', 1000, 950, 50, '9.5', ?3, ?4, ?5, 'proven', ?6, ?6, ?6, ?1, '0.3', 15, 35)",
            (f"{self._machine.id}-{self._sold}", self._machine.id, sold_minor, self._machine.currency, text, at),
        )

    def _lose(self, at: int, plan: Plan) -> None:
        note = self._machine.denominations[0]
        assert self._truth[note] >= plan.notes, "there is nothing to steal"
        self._truth[note] -= plan.notes
        self._plant("theft", at, -plan.notes * note, noticed=False)

    def _tell(self, at: int) -> None:
        machine = self._machine
        day = (at - START) // DAY_S
        if machine.dead[0] <= day < machine.dead[1]:
            return
        cash = self._counter
        if self._rng.random() < machine.garbage_chance:
            cash = self._rng.randrange(10**7)
        self._conn.execute(
            "INSERT INTO dca_telemetry_log VALUES (?, ?, ?, '', ?, NULL, ?, '{}')",
            (machine.id, at + machine.clock_s, self._rng.randbytes(32), at + 1, max(cash, 0)),
        )

    # --- a visit

    def _visit(self, at: int) -> None:
        """A person counts (or empties the machine) and loads it; sometimes they write it down wrongly."""
        empties = self._rng.random() < 0.5
        counted = dict(self._truth)
        kind = EntryKind.COLLECT if empties else EntryKind.COUNT
        mistyped = self._due(at, at, ("mistyped",)) if any(counted.values()) else []
        if any(self._truth.values()):
            typed = dict(counted)
            for plan in mistyped:
                typed[self._machine.denominations[0]] += plan.notes
            entry = self._write(kind, typed, at)
            if mistyped:
                self._write(kind, counted, at, corrects=entry)
            if empties:
                self._truth.clear()
        self._load(at)

    def _load(self, at: int) -> None:
        note = self._machine.denominations[0]
        brought = {one: self._rng.randint(300, 500) for one in self._machine.denominations}
        written = dict(brought)
        noticed_minor = 0
        for plan in self._due(at, at, ("miscounted", "miscounted_noticed")):
            written[note] += plan.notes
            noticed = plan.what == "miscounted_noticed"
            self._plant(plan.what, at, -plan.notes * note, noticed=noticed)
            noticed_minor += 0 if noticed else plan.notes * note
        self._truth.update(brought)
        self._write(EntryKind.LOAD, written, at)
        if self._machine.resets:
            self._counter = sum(one * number for one, number in self._truth.items()) + noticed_minor

    def _write(
        self, kind: EntryKind, notes: Mapping[int, int], at: int, *, corrects: CashEntry | None = None
    ) -> CashEntry:
        lines = tuple(
            NoteLine(cassette, one, notes.get(one, 0), one * notes.get(one, 0))
            for cassette, one in enumerate(self._machine.denominations, 1)
        )
        if not self._machine.by_notes:
            lines = (NoteLine(None, None, None, sum(line.amount_minor for line in lines)),)
        draft = Draft(
            self._machine.id, kind, at, self._machine.currency, lines, "", None if corrects is None else corrects.id
        )
        entry, _ = book.record(self._conn, draft, for_clients={}, actor="maria", now=at + 120)
        return entry

    def _plant(self, what: str, at: int, amount_minor: int, *, noticed: bool) -> None:
        self._year.planted.append(Planted(self._machine.id, what, at, amount_minor, noticed))
