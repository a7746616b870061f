"""What a person has tried again: failed payments, held ones that can be looked at, proofs that were not found."""

from __future__ import annotations

import sqlite3

import pytest

from satmachine.errors import Refused
from satmachine.models import Cause, HoldReason, Leg, LegStatus, SettlementStatus
from satmachine.settlements.correct import retries, vouched
from satmachine.store import legs, settlements, wallet_rows
from satmachine.store.database import atomic
from testkit.books import MACHINE, NOW, add_provider, landed, plan
from tests.settlements.correct.persons import BY, audited, held_leg


def test_retry_looks_again_at_a_held_leg_with_its_own_invoice(books: sqlite3.Connection) -> None:
    settlement_id, leg = held_leg(books, invoice=True, evidence={"source": None, "destination": None})
    with atomic(books):
        assert retries.retry(books, settlement_id, BY) == 1
    assert legs.get(books, leg.id)[0].status is LegStatus.SENDING


def test_retry_leaves_a_leg_alone_for_which_the_wallet_shows_another_payment(books: sqlite3.Connection) -> None:
    settlement_id, leg = held_leg(books, invoice=True, evidence={"another_payment": "ef" * 32})
    with atomic(books):
        assert retries.retry(books, settlement_id, BY) == 0
    assert legs.get(books, leg.id)[0].status is LegStatus.HELD
    with pytest.raises(Refused, match="another payment"), atomic(books):
        vouched.declare_unpaid(books, leg=legs.get(books, leg.id)[0], by=BY)


def test_a_wallet_that_was_funded_wakes_what_waits_for_it(books: sqlite3.Connection) -> None:
    settlement = plan(books, landed(books))
    leg = next(leg for leg in legs.of_settlement(books, settlement.id) if leg.amount_sats)

    def reached(balance_sats: int) -> None:
        with atomic(books):
            wallet_rows.note_answer(books, MACHINE, wallet_id="w", balance_sats=balance_sats, version="1", now=NOW)

    reached(10)
    with atomic(books):
        legs.postpone(books, leg, status=LegStatus.FAILED, until=NOW + 500, error="not paid", cause=Cause.NO_FUNDS)
    reached(10)
    assert legs.get(books, leg.id)[0].next_attempt_at == NOW + 500
    reached(11)
    assert legs.get(books, leg.id)[0].next_attempt_at == NOW


def test_retry_looks_for_a_payment_that_was_not_found(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    with atomic(books):
        settlements.hold(books, settlement_id, reason=HoldReason.PAYMENT_NOT_FOUND, error="x")
        assert retries.retry(books, settlement_id, BY) == 1
    assert settlements.get(books, settlement_id).status is SettlementStatus.PENDING


class TestPayoutsOfABalance:
    """They belong to no sale, so they have ways out of their own."""

    def planned(self, books: sqlite3.Connection) -> Leg:
        client_id = add_provider(books, "maria", 100_000)
        with atomic(books):
            books.execute(
                "INSERT INTO dca_payments (machine_id, leg_type, leg, leg_key, client_id, amount_sats, "
                "fiat_amount_minor, exchange_rate, currency, payee, effective_at, planned_at) VALUES "
                "(?, 'settlement', 'bal:maria:1', 'sm1:bal:machine-1:maria:1', ?, 1000, 700, '143', 'GTQ', "
                "'maria@example.org', ?, ?)",
                (MACHINE, client_id, NOW, NOW),
            )
        return legs.get(books, 1)[0]

    def test_a_failed_one_is_tried_again(self, books: sqlite3.Connection) -> None:
        leg = self.planned(books)
        with atomic(books):
            legs.postpone(books, leg, status=LegStatus.FAILED, until=None, error="the address does not exist")
            retries.retry_payment(books, leg.id, BY)
        assert legs.get(books, leg.id)[0].next_attempt_at == 0
        assert audited(books) == ["leg.retry"]
