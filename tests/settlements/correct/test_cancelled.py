"""A payment that nobody ordered, or an LP's payout, is given up: no sat and no cash is lost, and none is made."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal

import pytest

from satmachine.clients.payout import plan_balance_payout
from satmachine.errors import Refused
from satmachine.models import HoldReason, Leg, LegStatus, SettlementStatus
from satmachine.settlements.correct.cancelled import cancel_payout, require_unfinished
from satmachine.settlements.correct.changes import ProvenUnpaid
from satmachine.store import balances, legs, settlements
from satmachine.store.database import atomic
from testkit.books import NOW, add_provider, landed, plan
from tests.clients.sales import add_client, deposit
from tests.settlements.correct.persons import BY, audited


def leg_of(conn: sqlite3.Connection, name: str) -> Leg:
    row = conn.execute("SELECT id FROM dca_payments WHERE leg = ? ORDER BY id DESC", (name,)).fetchone()
    return legs.get(conn, row["id"])[0]


def unordered(conn: sqlite3.Connection, name: str) -> Leg:
    leg = leg_of(conn, name)
    with atomic(conn):
        legs.hold(conn, leg, reason=HoldReason.UNORDERED, error="strange", evidence={})
        assert leg.settlement_id is not None
        assert settlements.refresh_status(conn, leg.settlement_id, NOW) is SettlementStatus.ERRORED
    return leg_of(conn, name)


def cancelled(conn: sqlite3.Connection, leg: Leg) -> str:
    with atomic(conn):
        return cancel_payout(conn, leg_id=leg.id, proof=ProvenUnpaid({leg.id: leg}, {leg.id: {"seen": "x"}}), by=BY)


def retained(conn: sqlite3.Connection) -> list[tuple[str, str, int]]:
    found = conn.execute("SELECT reason, leg, amount_sats FROM dca_retained ORDER BY id")
    return [(row["reason"], row["leg"], row["amount_sats"]) for row in found]


class TestAPayout:
    @pytest.fixture
    def payout(self, books: sqlite3.Connection) -> Leg:
        client_id = add_client(books, "maria")
        deposit(books, client_id, 100_000)
        with atomic(books):
            plan_balance_payout(
                books, client_id, exchange_rate=Decimal(100), amount_minor=60_000, number=1, actor="ana", now=NOW
            )
        assert balances.of_client(books, client_id).available_minor == 40_000
        return leg_of(books, "bal:maria:1")

    def test_its_cash_is_the_lps_again(self, books: sqlite3.Connection, payout: Leg) -> None:
        assert payout.client_id is not None
        assert cancelled(books, payout) == f"payment {payout.id} is given up; the balance is the LP's again"
        assert balances.of_client(books, payout.client_id).available_minor == 100_000
        assert leg_of(books, payout.leg).status is LegStatus.VOIDED
        assert retained(books) == []
        assert audited(books) == ["client.settle", "leg.cancel"]

    def test_what_the_wallets_showed_stays_with_it(self, books: sqlite3.Connection, payout: Leg) -> None:
        cancelled(books, payout)
        assert legs.evidence(books, payout.id) == {"seen": "x"}

    def test_one_that_has_moved_on_is_not_given_up(self, books: sqlite3.Connection, payout: Leg) -> None:
        with pytest.raises(Refused, match="was changed in the meantime"):
            cancelled(books, replace(payout, generation=1))
        assert leg_of(books, payout.leg).status is LegStatus.PENDING


class TestOfASale:
    @pytest.fixture
    def sale(self, books: sqlite3.Connection) -> int:
        add_provider(books, "alice", 500_000)
        return plan(books, landed(books)).id

    def test_what_somebody_put_beside_a_whole_plan_leaves_no_sats_behind(
        self, books: sqlite3.Connection, sale: int
    ) -> None:
        """They were never the sale's: retained, they would be paid to somebody else."""
        original = leg_of(books, "super")
        books.execute(
            "INSERT INTO dca_payments (settlement_id, machine_id, leg_type, leg, leg_key, amount_sats, payee, "
            "effective_at, planned_at, payee_kind, payee_ref, payee_scope) SELECT settlement_id, machine_id, leg_type, "
            "'split:thief', 'sm1:x:r1:split:thief', 5000, payee, 1, 1, payee_kind, payee_ref, payee_scope "
            "FROM dca_payments WHERE id = ?",
            (original.id,),
        )
        forged = unordered(books, "split:thief")
        assert cancelled(books, forged) == f"payment {forged.id} is given up"
        assert retained(books) == []
        assert settlements.get(books, sale).retained_sats == 0

    def test_what_took_the_place_of_a_payment_leaves_what_the_sale_lacks(
        self, books: sqlite3.Connection, sale: int
    ) -> None:
        leg = unordered(books, "super")
        cancelled(books, leg)
        assert retained(books) == [("voided_leg", "super", leg.amount_sats)]
        assert settlements.get(books, sale).status is SettlementStatus.PENDING

    def test_an_lps_cash_is_counted_again_from_what_is_left(self, books: sqlite3.Connection, sale: int) -> None:
        leg = unordered(books, "dca:alice")
        assert leg.client_id is not None
        cancelled(books, leg)
        assert balances.of_client(books, leg.client_id).available_minor == 500_000
        assert retained(books) == [("voided_leg", "dca:alice", leg.amount_sats)]

    @pytest.mark.parametrize("wrong_by", [-70_000, 70_000])
    def test_who_wrote_a_share_past_the_totals_makes_no_cash_by_it(
        self, books: sqlite3.Connection, sale: int, wrong_by: int
    ) -> None:
        """Without its triggers, a row counts in no total; given up with them, it would be counted back."""
        leg = unordered(books, "dca:alice")
        assert leg.client_id is not None
        books.execute("UPDATE dca_clients SET used_minor = used_minor + ? WHERE id = ?", (wrong_by, leg.client_id))
        cancelled(books, leg)
        assert balances.of_client(books, leg.client_id).available_minor == 500_000
        assert balances.wrong_totals(books) == []


@pytest.mark.parametrize("status", list(LegStatus))
def test_only_what_is_not_ended_can_be_given_up(books: sqlite3.Connection, status: LegStatus) -> None:
    leg = replace(legs.of_settlement(books, plan(books, landed(books)).id)[0], status=status)
    if status in (LegStatus.COMPLETED, LegStatus.VOIDED, LegStatus.SKIPPED):
        with pytest.raises(Refused, match=f"is {status}: there is nothing to give up"):
            require_unfinished(leg)
    else:
        require_unfinished(leg)
