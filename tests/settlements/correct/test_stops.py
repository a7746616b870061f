"""What a person stops is not sent, and goes on when they say so; each leaves an audit row."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from satmachine.errors import Refused
from satmachine.models import HoldReason, SettlementStatus
from satmachine.settlements.correct import stops
from satmachine.settlements.land.landing import land_claim
from satmachine.settlements.plan.planning import Bounds
from satmachine.store import legs, settlements
from satmachine.store.database import atomic
from testkit.books import BOUNDS, HASH, MACHINE, NOW, RULES, a_claim, give_invoice, landed, plan
from tests.settlements.correct.persons import BY, audited

TIGHT = Bounds(BOUNDS.max_commission_pct, BOUNDS.max_rate_deviation, 1)


def test_hold_stops_sending_and_release_goes_on(books: sqlite3.Connection) -> None:
    settlement = plan(books, landed(books))
    with atomic(books):
        stops.hold(books, settlement.id, BY)
    assert legs.due(books, NOW, [MACHINE], per_payee=9, limit=9) == []
    with atomic(books):
        assert stops.release(books, settlement.id, BY) == SettlementStatus.PENDING
    assert legs.due(books, NOW, [MACHINE], per_payee=9, limit=9)
    assert audited(books) == ["settlement.hold", "settlement.release"]


def test_a_finished_sale_cannot_be_held(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    books.execute("UPDATE dca_settlements SET status = 'processed' WHERE id = ?", (settlement_id,))
    with pytest.raises(Refused, match="nothing to hold"), atomic(books):
        stops.hold(books, settlement_id, BY)


@pytest.mark.parametrize("reason", ["payment_not_found", "no_payment_hash"])
def test_a_sale_that_would_go_on_by_itself_when_its_payment_comes_is_held_by_a_person_too(
    books: sqlite3.Connection, reason: str
) -> None:
    """It is held already, for want of its payment: there was nothing to hold, and then the payment came."""
    with atomic(books):
        settlement_id = land_claim(books, a_claim(), RULES, NOW).settlement_id
        assert settlement_id is not None
        settlements.hold(books, settlement_id, reason=reason, error="the wallet has no such payment")
        stops.hold(books, settlement_id, BY)
        assert settlements.payment_arrived(books, MACHINE, HASH)
    sale = settlements.get(books, settlement_id)
    assert (sale.status, sale.hold_reason, sale.error) == (SettlementStatus.HELD, HoldReason.BY_OPERATOR, BY.reason)
    assert settlements.with_trouble(books, None) == [], "nor does `retry --all` let it go on"


def test_a_sale_that_waits_for_its_machine_names_what_ends_it(books: sqlite3.Connection) -> None:
    with atomic(books):
        settlement_id = land_claim(books, a_claim(), replace(RULES, machine_active=False), NOW).settlement_id
    assert settlement_id is not None
    with pytest.raises(Refused, match="goes on by itself then; `satmachine settlements close 1`"), atomic(books):
        stops.hold(books, settlement_id, BY)


def test_a_released_guard_is_not_asked_again(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    assert plan(books, settlement_id, bounds=TIGHT).hold_reason == HoldReason.DAILY_LIMIT
    with atomic(books):
        stops.release(books, settlement_id, BY)
    assert plan(books, settlement_id, bounds=TIGHT).planned_at == NOW


def test_releasing_is_a_persons_word_and_holding_is_not_yet(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    with atomic(books):
        stops.hold(books, settlement_id, BY)
    assert settlements.get(books, settlement_id).person_acted_at is None
    with atomic(books):
        stops.release(books, settlement_id, BY)
    assert settlements.get(books, settlement_id).person_acted_at == NOW


def test_pause_and_resume(books: sqlite3.Connection) -> None:
    settlement = plan(books, landed(books))
    leg = next(leg for leg in legs.of_settlement(books, settlement.id) if leg.amount_sats)
    with atomic(books):
        stops.pause(books, None, BY)
        begun = give_invoice(books, leg.id, "cd" * 32)
        assert not legs.mark_sending(books, begun, now=NOW), "what was already in work is not sent any more"
    with pytest.raises(Refused, match="paused already"), atomic(books):
        stops.pause(books, None, BY)
    with atomic(books):
        stops.resume(books, None, BY)
        assert legs.mark_sending(books, begun, now=NOW)
    assert audited(books) == ["payouts.pause", "payouts.resume"]
