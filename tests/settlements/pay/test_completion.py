"""A leg is paid: every sat of it is accounted for in the same transaction, once."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal

import pytest

from satmachine.clients.payout import plan_balance_payout
from satmachine.models import Leg, LegStatus, LegType, Proof, SettlementStatus
from satmachine.settlements.pay.payer import complete_leg
from satmachine.store import corrections, legs, settlements
from satmachine.store.database import atomic
from satmachine.store.settlements import retain_reserve
from testkit.books import NOW, add_provider, give_invoice, landed, plan
from tests.clients.sales import add_client, deposit


def leg_of(conn: sqlite3.Connection, name: str) -> Leg:
    row = conn.execute("SELECT id FROM dca_payments WHERE leg = ?", (name,)).fetchone()
    return legs.get(conn, row["id"])[0]


def paid(conn: sqlite3.Connection, name: str, *, less_sats: int = 0, fee_sats: int = 0) -> bool:
    """The payer has proof that the leg's invoice was paid, of `less_sats` less than the leg."""
    with atomic(conn):
        leg = leg_of(conn, name)
        if leg.payment_hash is None:
            leg = give_invoice(conn, leg.id, f"{leg.id:064x}", internal=False)
        return complete_leg(
            conn,
            leg,
            sent_sats=leg.amount_sats - less_sats,
            fee_sats=fee_sats,
            preimage="aa" * 32,
            proof=Proof.PREIMAGE,
            now=NOW + 5,
        )


def retained(conn: sqlite3.Connection) -> list[tuple[str, str, int]]:
    found = conn.execute("SELECT reason, leg, amount_sats FROM dca_retained ORDER BY id")
    return [(row["reason"], row["leg"], row["amount_sats"]) for row in found]


@pytest.fixture
def sale(books: sqlite3.Connection) -> int:
    add_provider(books, "alice", 500_000)
    return plan(books, landed(books)).id


def test_a_paid_leg_says_how_when_and_what_proves_it(books: sqlite3.Connection, sale: int) -> None:
    assert paid(books, "super")
    row = books.execute("SELECT * FROM dca_payments WHERE leg = 'super'").fetchone()
    assert (row["status"], row["sent_sats"], row["fee_sats"]) == ("completed", 2_390, 0)
    assert (row["preimage"], row["proof"], row["completed_at"]) == ("aa" * 32, "preimage", NOW + 5)
    assert retained(books) == []


@pytest.mark.parametrize(
    ("less_sats", "fee_sats", "left_sats"), [(24, 3, 21), (24, 24, 0), (24, 0, 24), (0, 0, 0), (1, 0, 1)]
)
def test_what_routing_left_of_the_reserve_stays_with_its_reason(
    books: sqlite3.Connection, sale: int, less_sats: int, fee_sats: int, left_sats: int
) -> None:
    assert paid(books, "super", less_sats=less_sats, fee_sats=fee_sats)
    assert retained(books) == ([("unused_fee_reserve", "super", left_sats)] if left_sats else [])
    assert settlements.get(books, sale).retained_sats == left_sats


def test_a_fee_that_the_machine_pays_on_top_is_not_taken_from_what_stays(books: sqlite3.Connection, sale: int) -> None:
    """`routing_fees = "machine"`: the payee got all of it."""
    assert paid(books, "super", fee_sats=30)
    assert retained(books) == []


def test_a_leg_is_paid_once_whoever_says_so_again(books: sqlite3.Connection, sale: int) -> None:
    assert paid(books, "super", less_sats=24, fee_sats=3)
    before = books.execute("SELECT * FROM dca_payments WHERE leg = 'super'").fetchone()
    assert not paid(books, "super")
    assert tuple(books.execute("SELECT * FROM dca_payments WHERE leg = 'super'").fetchone()) == tuple(before)
    assert retained(books) == [("unused_fee_reserve", "super", 21)]


def test_what_was_given_up_does_not_become_paid(books: sqlite3.Connection, sale: int) -> None:
    leg = leg_of(books, "super")
    with atomic(books):
        corrections.void(books, leg, None)
        settled = complete_leg(books, leg, sent_sats=1, fee_sats=0, preimage=None, proof=Proof.ANSWER, now=NOW)
    assert not settled
    assert leg_of(books, "super").status is LegStatus.VOIDED
    assert retained(books) == []


def test_the_sale_is_processed_with_its_last_leg(books: sqlite3.Connection, sale: int) -> None:
    names = [leg.leg for leg in legs.of_settlement(books, sale)]
    for name in names[:-1]:
        assert paid(books, name)
        assert settlements.get(books, sale).status is SettlementStatus.PENDING
    assert paid(books, names[-1])
    assert settlements.get(books, sale).status is SettlementStatus.PROCESSED


def test_a_reserve_that_cannot_be_is_not_booked(books: sqlite3.Connection, sale: int) -> None:
    with atomic(books):
        retain_reserve(books, leg_of(books, "super"), -1, NOW)
        retain_reserve(books, leg_of(books, "super"), 0, NOW)
    assert retained(books) == []


class TestAPayoutOfABalance:
    @pytest.fixture
    def payout(self, books: sqlite3.Connection) -> Leg:
        client_id = add_client(books, "maria")
        deposit(books, client_id, 100_000)
        with atomic(books):
            plan_balance_payout(
                books, client_id, exchange_rate=Decimal(100), amount_minor=50_000, number=1, actor="ana", now=NOW
            )
        row = books.execute("SELECT id FROM dca_payments WHERE leg_type = 'settlement'").fetchone()
        return legs.get(books, row["id"])[0]

    def test_what_is_left_of_its_reserve_is_the_payouts_own(self, books: sqlite3.Connection, payout: Leg) -> None:
        assert payout.settlement_id is None
        assert paid(books, payout.leg, less_sats=500, fee_sats=120)
        row = books.execute("SELECT * FROM dca_retained").fetchone()
        assert (row["settlement_id"], row["payment_id"], row["amount_sats"]) == (None, payout.id, 380)

    def test_an_lps_own_forward_leaves_its_reserve_in_their_wallet(
        self, books: sqlite3.Connection, payout: Leg
    ) -> None:
        forward = replace(payout, leg_type=LegType.AUTOFORWARD)
        with atomic(books):
            retain_reserve(books, forward, 380, NOW)
        assert retained(books) == []
