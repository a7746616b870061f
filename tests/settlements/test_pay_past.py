"""Payments of another life of the database: planned as they were paid, adopted, or shown to a person; never again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.models import INTERNAL_PAYEE, LegType, PlannedLeg, Retained, RetainedReason
from satmachine.settlements.past import PaidBefore, honour
from satmachine.settlements.plan import Plan
from satmachine.store import legs, wallets
from satmachine.store.database import atomic
from satmachine.store.wallets import Outgoing
from tests.books import MACHINE, NOW, fresh_books
from tests.settlements.test_planning import landed, plan

PAYEE = f"{INTERNAL_PAYEE} (key from x)"


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path) as conn:
        yield conn


def a_plan(shares: list[int], orphan_sats: int = 0) -> Plan:
    parts = [
        PlannedLeg(LegType.DCA, f"dca:lp{n}", sats, PAYEE, client_id=n, fiat_amount_minor=sats)
        for n, sats in enumerate(shares)
    ]
    kept = (Retained(RetainedReason.NO_LP_BALANCE, orphan_sats, "dca"),) if orphan_sats else ()
    return Plan(0, 0, tuple(parts), kept)


def total(plan: Plan) -> int:
    return sum(leg.amount_sats for leg in plan.legs) + sum(row.amount_sats for row in plan.retained)


def payment(key: str, sats: int, made_at: int = NOW, payment_hash: str = "ab" * 32) -> Outgoing:
    return Outgoing(payment_hash, key, "lnbc1", sats, "success", None, {}, made_at)


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=6),
    st.integers(0, 50),
    st.dictionaries(st.integers(0, 5), st.integers(0, 10_000)),
)
def test_what_was_paid_is_planned_and_the_sale_conserves(
    shares: list[int], orphan_sats: int, paid: dict[int, int]
) -> None:
    before = a_plan(shares, orphan_sats)
    after = honour(before, [PaidBefore(f"dca:lp{n}", sats, sats) for n, sats in paid.items()])
    assert total(after) == total(before)
    assert all(leg.amount_sats >= 0 for leg in after.legs)
    known = {n: sats for n, sats in paid.items() if n < len(shares)}
    if sum(known.values()) <= total(before):
        assert all(after.legs[n].amount_sats == sats for n, sats in known.items())
    else:
        assert after == before, "more was paid than the sale has: it is held, not bent"


def test_a_payment_of_another_life_is_adopted_by_its_leg(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    leg = next(leg for leg in legs.of_settlement(books, sale.id) if leg.amount_sats)
    with atomic(books):
        assert wallets.note_outgoing(books, leg.machine_id, [payment(leg.leg_key, leg.amount_sats)], NOW) == 1
    adopted, invoice = legs.get(books, leg.id)
    assert adopted.status == "invoiced"
    assert invoice is not None
    assert invoice.adopted


def test_a_payment_made_while_this_daemon_runs_is_another_daemons(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    leg = next(leg for leg in legs.of_settlement(books, sale.id) if leg.amount_sats)
    with atomic(books):
        found = [payment(leg.leg_key, leg.amount_sats, made_at=NOW + 1)]
        assert wallets.note_outgoing(books, leg.machine_id, found, NOW, alone_since=NOW) == 0
        assert "another daemon" in str(wallets.refresh_safe_mode(books, leg.machine_id))
        assert legs.due(books, NOW, [leg.machine_id], per_payee=9, limit=9) == []


def test_accepting_unknown_payments_does_not_make_a_later_landing_pay_them_again(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    key = f"sm1:{1:064x}:r1:super"
    with atomic(books):
        wallets.note_outgoing(books, MACHINE, [payment(key, 2_390)], NOW)
        wallets.accept_foreign(books, MACHINE, "ana")
    sale = plan(books, settlement_id)
    with atomic(books):
        assert wallets.adopt_foreign(books, MACHINE, sale.settlement_key or "", NOW) in ([], [f"{key} (2390 sats)"])
    leg = next(leg for leg in legs.of_settlement(books, sale.id) if leg.leg == "super")
    assert leg.payment_hash == "ab" * 32 or leg.status == "held"


def test_a_long_queue_for_one_payee_hides_nobody_elses_legs(books: sqlite3.Connection) -> None:
    for number in range(1, 30):
        plan(books, landed(books, number))
    due = legs.due(books, NOW, [MACHINE], per_payee=2, limit=100)
    payees = {leg.payee for leg in due}
    assert len(due) == 2 * len(payees)
    assert legs.due(books, NOW, [], per_payee=2, limit=100) == []
