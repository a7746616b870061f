"""Defects that are put into the real code, one at a time, to see whether the simulator finds them.

Each is a patch of named things, so that it fails loudly when the code has moved on, and the kinds of actions that it
takes to show. A seed finds a defect when the run fails with it and holds without it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio

from satmachine import marks
from satmachine.models import Answer
from satmachine.settlements import worker
from satmachine.settlements.correct import changes, proven_unpaid
from satmachine.settlements.correct.changes import ProvenUnpaid
from satmachine.settlements.land import landing
from satmachine.settlements.pay import both_sides, invoicing, jobs, marker, payer
from satmachine.settlements.pay.transition import Decision, Sighting, Step
from satmachine.settlements.plan import planning
from satmachine.settlements.prove.verdict import Proven
from satmachine.settlements.sweep import arrivals, one_sweep
from satmachine.store import reconciling
from satmachine.wallet.lnbits import Lnbits
from simulator import planted_unseen
from simulator.defect import Planted, Put
from simulator.run import Outcome, simulate

#: How many steps a run has in which a defect is looked for, and how many seeds are tried.
STEPS = 600
SEEDS = 12


@dataclass(frozen=True, slots=True)
class Found:
    """A seed that finds a defect, and how."""

    seed: int
    violation: str


@contextmanager
def planted(name: str) -> Iterator[None]:
    """While the block runs, the code has this defect."""
    before: list[tuple[Any, str, Any]] = []

    def put(where: Any, attribute: str, new: Any) -> None:
        before.append((where, attribute, where.__dict__[attribute]))
        setattr(where, attribute, new)

    try:
        DEFECTS[name].plant(put)
        yield
    finally:
        for where, attribute, old in reversed(before):
            setattr(where, attribute, old)


def hunt(name: str, first: int = 1, seeds: int = SEEDS) -> Found | None:
    """The first seed that finds the defect; None where none of them does."""
    focus = DEFECTS[name].focus
    for seed in range(first, first + seeds):
        with planted(name):
            outcome = simulate(seed, STEPS, focus=focus)
        if outcome.violation is not None and sound(seed, focus).violation is None:
            return Found(seed, outcome.violation)
    return None


def sound(seed: int, focus: frozenset[str]) -> Outcome:
    """The same run without a defect."""
    return simulate(seed, STEPS, focus=focus)


# --- the defects


def _one_side(put: Put) -> None:
    decide = _of(payer, "decide")

    def careless(view: Any) -> Decision:
        return Decision(Step.COMPLETE) if view.source is Sighting.SUCCESS else decide(view)

    put(payer, "decide", careless)


def _new_invoice(put: Put) -> None:
    decide = _of(payer, "decide")

    def hasty(view: Any) -> Decision:
        return Decision(Step.RENEW) if view.source is Sighting.PENDING else decide(view)

    put(payer, "decide", hasty)
    put(_of(marker, "legs"), "hold_paid_otherwise", lambda *_facts: None)


def _answer_believed(put: Put) -> None:
    pay_for_real, decide = Lnbits.pay, _of(payer, "decide")

    async def tell(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = await pay_for_real(self, *args, **kwargs)
        return replace(answer, answer=Answer.FAILURE, ended=True) if answer.answer is Answer.UNKNOWN else answer

    def hasty(view: Any) -> Decision:
        unpaid_yet = view.source is Sighting.ABSENT and view.destination is not Sighting.SUCCESS
        return Decision(Step.RENEW) if unpaid_yet and view.last_look else decide(view)

    put(Lnbits, "pay", tell)
    put(payer, "decide", hasty)
    put(payer, "LOOKS", 0)
    put(_of(marker, "legs"), "hold_paid_otherwise", lambda *_facts: None)


def _no_past(put: Put) -> None:
    put(marker, "outgoing", lambda _rows: [])
    put(one_sweep, "outgoing", lambda _rows: [])
    put(marker, "_note_strange", lambda *_facts: None)


def _marks_ignored(put: Put) -> None:
    """Both mark, both list, and each goes on."""
    note = marker._note_strange

    def go_on(conn: Any, purse: Any, seen: Any, paid: Any, mine: Any, now: int) -> str | None:
        return note(conn, purse, [mine] if mine in seen else seen, paid, mine, now)

    put(marker, "_note_strange", go_on)


def _mark_unseen(put: Put) -> None:
    """A mark counts when it was written, or when writing it has timed out."""

    async def take_for_granted(self: Any, written: Any) -> dict[str, Exception]:
        for purse, mark in written.items():
            self._remember(purse.bundle, (anyio.current_time(), self._now()), ())
            await self._store.write(_of(marker, "mark_rows").establish, mark, self._now())
        return {}

    put(marker.Marker, "_see", take_for_granted)


def _own_dead_start(put: Put) -> None:
    """A copy takes the living daemon's marks and payments for its own, because they bear its name."""
    require = marker.Marker._require_known

    async def recognise(self: Any, purse: Any, rows: Any, mine: Any) -> bool:
        name = self._lnbits._instance_id
        own = mine is not None and any(_mark_of(row, purse) == mine for row in rows)
        kept = [row for row in rows if row.extra.get("instance") != name or _mark_of(row, purse) == mine]
        return await require(self, purse, kept if own else [], mine)

    put(marker.Marker, "_require_known", recognise)


def _stale_look(put: Put) -> None:
    """A daemon wakes after an hour between its look and its payment, and pays."""

    async def believe(_self: Any, _purse: Any) -> None:
        return None

    put(marker.Marker, "is_fresh", lambda _self, _bundle: True)
    put(marker.Marker, "look_unless_fresh", believe)


def _oldest_wins(put: Put) -> None:
    """Of two marks the one with the earlier time goes on; but times do not follow the order of commits."""
    require = marker.Marker._require_known

    async def compare(self: Any, purse: Any, rows: Any, mine: Any) -> bool:
        times = [row.created_at for row in rows if mine is not None and _mark_of(row, purse) == mine]
        later = [
            row for row in rows if times and _mark_of(row, purse) not in (None, mine) and row.created_at >= times[0]
        ]
        return await require(self, purse, [row for row in rows if row not in later], mine)

    put(marker.Marker, "_require_known", compare)


def _mark_of(row: Any, purse: Any) -> Any:
    return marks.genuine(row.extra, row.external_id, purse.admin_key)


def _payee_changed(put: Put) -> None:
    """Both guards are taken away: whom the file names is not compared, nor whose wallet the invoice is of."""
    put(jobs, "has_changed", lambda _payee, _leg: False)
    put(invoicing, "_unwelcome", lambda _conn, _leg, _invoice, _now: None)


def _lies(put: Put) -> None:
    def believe(settlement: Any, *_facts: Any) -> Proven:
        return Proven(settlement.payment_hash, settlement.occurred_at)

    put(worker, "judge", believe)


def _no_caps(put: Put) -> None:
    positions = _of(planning, "positions")
    of_sale = positions.of_sale

    def generous(*args: Any, **kwargs: Any) -> list[Any]:
        found = of_sale(*args, **kwargs)
        return [replace(one, weight_minor=one.weight_minor * 50, cap_minor=10**9) for one in found]

    put(positions, "of_sale", generous)


def _no_proof_of_unpaid(put: Put) -> None:
    async def take_for_unpaid(_self: Any, _machine_id: str, _bundle: Any, legs: Any) -> ProvenUnpaid:
        return ProvenUnpaid({leg.id: leg for leg in legs}, {leg.id: None for leg in legs})

    put(proven_unpaid.Unpaid, "withdrawn", take_for_unpaid)


def _not_aside(put: Put) -> None:
    @asynccontextmanager
    async def at_once(_self: Any, _settlement_id: int) -> AsyncIterator[None]:
        yield

    put(worker.Worker, "set_aside", at_once)
    _no_proof_of_unpaid(put)


def _refund_for_nothing(put: Put) -> None:
    put(changes, "draw", lambda _entries, _amount_sats: [])


def _sweep_lands_nothing(put: Put) -> None:
    put(arrivals, "note_incoming", lambda *_args, **_kwargs: arrivals.Arrived())


def _landed_again(put: Put) -> None:
    put(_of(landing, "settlements"), "find_same_sale", lambda _conn, _claim: [])


def _one_sat_more(put: Put) -> None:
    create = Lnbits.create_invoice

    async def generous(self: Any, invoice_key: str, **wish: Any) -> Any:
        return await create(self, invoice_key, **(wish | {"amount_sats": wish["amount_sats"] + 1}))

    put(Lnbits, "create_invoice", generous)
    put(both_sides.BothSides, "_amounts_fit", lambda _self, _job, _sides: True)


def _wrong_lp(put: Put) -> None:
    client_payee = _of(jobs, "client_payee")
    first: list[Any] = []

    def always_the_first(client: Any) -> Any:
        if client.kind == "invoice_key_file":
            first.append(client)
        return client_payee(first[0] if first else client)

    put(jobs, "client_payee", always_the_first)


def _no_memory(put: Put) -> None:
    """Nobody asks whether LNbits has forgotten what it once showed, and nobody remembers it."""

    async def trust(_self: Any, _job: Any) -> bool:
        return True

    put(both_sides.BothSides, "remembers", trust)
    _shown_forgotten(put)


def _shown_forgotten(put: Put) -> None:
    async def note_nothing(_self: Any, _job: Any, _sides: Any) -> None:
        return None

    put(payer.Payer, "_note_shown", note_nothing)


def _booked_on_a_debit(put: Put) -> None:
    put(reconciling.Found, "inside", False)


def _told_twice(put: Put) -> None:
    put(planning, "_told_twice", lambda _conn, _settlement: None)


def _of(module: Any, name: str) -> Any:
    """What a module has under a name, whether it says so or not."""
    return module.__dict__[name]


_BREAKS = frozenset({"bank_kill", "bank_dies_soon", "wait_between"})
_CORRECTS = frozenset({"partial_dispense", "close", "redistribute", "refund", "slow", "payments_slow"})
_TWO = frozenset({"second_daemon", "stop_second", "slow"})

DEFECTS: Mapping[str, Planted] = {
    "one_side": Planted("a debit alone counts as paid", _BREAKS, _one_side),
    "new_invoice": Planted(
        "a payment under way is given up for a new invoice", frozenset({"payments_slow"}), _new_invoice
    ),
    "answer_believed": Planted(
        "an answer that says no is believed, and a new invoice made",
        frozenset({"late_requests", "gateway_504", "spoilt_answers"}),
        _answer_believed,
    ),
    "no_past": Planted(
        "the wallet is not asked for payments of another life", frozenset({"backup", "restore", "lose_books"}), _no_past
    ),
    "marks_ignored": Planted("two daemons see each other's marks, and go on", _TWO, _marks_ignored),
    "mark_unseen": Planted("a mark counts before it was seen", _TWO | {"late_requests"}, _mark_unseen),
    "own_dead_start": Planted("a copy takes the living daemon for its own dead start", _TWO, _own_dead_start),
    "stale_look": Planted(
        "a daemon wakes between its look and its payment",
        frozenset({"sleep_after_look", "wall_jump"}),
        _stale_look,
    ),
    "oldest_wins": Planted("the mark with the earlier time wins", _TWO | {"bank_clock"}, _oldest_wins),
    "payee_changed": Planted(
        "a leg goes to whoever the file names now", frozenset({"reload_replace_payee", "payees_down"}), _payee_changed
    ),
    "lies": Planted("a machine's word counts as a payment", frozenset({"lie"}), _lies),
    "no_caps": Planted("LPs get more than their balance", frozenset({"deposit"}), _no_caps),
    "no_proof_of_unpaid": Planted("a sale is corrected while it is paid", _CORRECTS, _no_proof_of_unpaid),
    "not_aside": Planted("a correction does not wait for the payer", _CORRECTS, _not_aside),
    "refund_for_nothing": Planted("a refund takes nothing from what is retained", _CORRECTS, _refund_for_nothing),
    "sweep_lands_nothing": Planted("the wallet is no second way in", frozenset({"kill"}), _sweep_lands_nothing),
    "landed_again": Planted("a sale that is told again is landed again", frozenset({"retell"}), _landed_again),
    "one_sat_more": Planted("invoices are over a sat more than the leg", frozenset({"deposit"}), _one_sat_more),
    "wrong_lp": Planted("one LP gets what is another's", frozenset({"client_add"}), _wrong_lp),
    "no_memory": Planted(
        "an LNbits that was rolled back is taken at its word",
        frozenset({"bank_backup", "bank_rollback", "payments_slow", "late_answers", "retry"}),
        _no_memory,
    ),
    "shown_forgotten": Planted(
        "nobody keeps that the wallet has shown a payment",
        frozenset({"bank_backup", "bank_rollback", "payments_slow", "late_answers", "retry"}),
        _shown_forgotten,
    ),
    "booked_on_a_debit": Planted(
        "lost books take a debit for a payment",
        frozenset({"lose_books", "bank_dies_soon", "reconcile"}),
        _booked_on_a_debit,
    ),
    "told_twice": Planted(
        "a sale that is told again in other words is paid again", frozenset({"retell", "reload_proof"}), _told_twice
    ),
    **planted_unseen.DEFECTS,
}


#: Seeds that have found these; near them one does as long as the code is about what it was.
KNOWN_SEEDS: Mapping[str, int] = {
    "one_side": 4,
    "new_invoice": 2,
    "answer_believed": 16,
    "no_past": 1,
    "marks_ignored": 11,
    "mark_unseen": 1,
    "own_dead_start": 1,
    "oldest_wins": 1,
    "payee_changed": 1,
    "lies": 2,
    "no_caps": 5,
    "no_proof_of_unpaid": 1,
    "not_aside": 2,
    "refund_for_nothing": 4,
    "sweep_lands_nothing": 1,
    "landed_again": 1,
    "one_sat_more": 1,
    "wrong_lp": 1,
    "no_memory": 14,
    "told_twice": 2,
    "booked_on_a_debit": 8,
    "retained_twice": 5,
    "taken_home_shares": 2,
    "limit_forgotten": 2,
    "lps_forgotten": 1,
    "unpaid_invoice": 2,
    "less_is_enough": 2,
    "hold_ignored": 1,
    "top_up_shared": 1,
    "order_unsealed": 1,
    "fee_rounded_down": 1,
}

#: How many seeds are tried from a known one on.
SEEDS_NEARBY = 8


def show_table() -> int:
    """Print every defect with the first seed that finds it; 1 where one was not found."""
    missed = 0
    for name, found in table():
        missed += found is None
        how = "NOT FOUND" if found is None else f"seed {found.seed}: {found.violation[:120]}"
        print(f"{name:20} {DEFECTS[name].what:60} {how}", flush=True)
    return 1 if missed else 0


def table(first: int = 1, seeds: int = SEEDS) -> Iterator[tuple[str, Found | None]]:
    """Every defect with the first seed that finds it."""
    for name in DEFECTS:
        yield name, hunt(name, first, seeds)
