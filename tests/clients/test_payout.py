"""Settle balance: planned once per request, never above what is available, released when it is voided."""

from __future__ import annotations

import sqlite3
from decimal import Decimal

import pytest

from satmachine.clients.payout import carry_out, propose_payout
from satmachine.clients.removal import remove
from satmachine.errors import NotFound, Refused
from satmachine.orders import SettleBalance
from satmachine.store import balances
from satmachine.store.database import atomic
from testkit.books import NOW
from tests.clients.sales import add_client, deposit, plan_sale

RATE = Decimal("145.37")


@pytest.fixture
def maria(books: sqlite3.Connection) -> int:
    client_id = add_client(books, "maria")
    deposit(books, client_id, 100_000)
    return client_id


def ask(books: sqlite3.Connection, client_id: int, amount_minor: int, *, number: int, rate: Decimal = RATE) -> str:
    with atomic(books):
        return carry_out(books, order=SettleBalance(client_id, rate, amount_minor, number), actor="ana", now=NOW)


def payouts(books: sqlite3.Connection) -> list[tuple[object, ...]]:
    found = books.execute(
        "SELECT leg, leg_key, settlement_id, amount_sats, fiat_amount_minor, exchange_rate, payee, effective_at, "
        "status FROM dca_payments WHERE leg_type = 'settlement' ORDER BY id"
    )
    return [tuple(row) for row in found]


def test_a_payout_is_a_leg_of_its_own_under_a_key_of_its_own(books: sqlite3.Connection, maria: int) -> None:
    ask(books, maria, 60_000, number=1)
    ask(books, maria, 40_000, number=2)
    assert payouts(books) == [
        (
            "bal:maria:1",
            "sm1:bal:machine-1:maria:1",
            None,
            87_222,
            60_000,
            "145.37",
            "maria@example.org",
            NOW,
            "pending",
        ),
        (
            "bal:maria:2",
            "sm1:bal:machine-1:maria:2",
            None,
            58_148,
            40_000,
            "145.37",
            "maria@example.org",
            NOW,
            "pending",
        ),
    ]
    balance = balances.of_client(books, maria)
    assert (balance.reserved_minor, balance.available_minor) == (100_000, 0)


def test_a_request_that_is_carried_out_twice_plans_one_payout(books: sqlite3.Connection, maria: int) -> None:
    assert "60" in ask(books, maria, 60_000, number=1)
    assert ask(books, maria, 60_000, number=1) == "this payout is already planned"
    assert len(payouts(books)) == 1


def test_two_different_requests_for_one_number_are_told_apart(books: sqlite3.Connection, maria: int) -> None:
    ask(books, maria, 60_000, number=1)
    with pytest.raises(Refused, match="another payout"):
        ask(books, maria, 30_000, number=1)
    with pytest.raises(Refused, match="another payout"):
        ask(books, maria, 60_000, number=1, rate=Decimal(1))
    with pytest.raises(Refused, match="another payout"):
        ask(books, maria, 30_000, number=7)


def test_what_is_reserved_for_a_sale_is_not_paid_out(books: sqlite3.Connection, maria: int) -> None:
    plan_sale(books, 1, net_sats=30_000, rate=Decimal(100))
    assert propose_payout(books, maria, exchange_rate=RATE).fiat_amount_minor == 70_000
    with pytest.raises(Refused, match=r"has 700\.00 GTQ available; 700\.01 GTQ cannot be paid out"):
        ask(books, maria, 70_001, number=1)


def test_a_sale_after_a_payout_finds_only_what_is_left(books: sqlite3.Connection, maria: int) -> None:
    ask(books, maria, 90_000, number=1)
    sale = plan_sale(books, 1, net_sats=30_000, rate=Decimal(100), occurred_at=NOW + 1)
    assert sale.retained_sats == 20_000


def test_a_voided_payout_is_available_again_and_its_number_is_not(books: sqlite3.Connection, maria: int) -> None:
    ask(books, maria, 100_000, number=1)
    books.execute("UPDATE dca_payments SET status = 'voided'")
    payout = propose_payout(books, maria, exchange_rate=RATE)
    assert (payout.fiat_amount_minor, payout.leg_key) == (100_000, "sm1:bal:machine-1:maria:2")


@pytest.mark.parametrize("rate", [Decimal(0), Decimal(-1), Decimal("NaN")])
def test_a_rate_must_be_above_zero(books: sqlite3.Connection, maria: int, rate: Decimal) -> None:
    with pytest.raises(Refused, match="rate must be above 0"):
        propose_payout(books, maria, exchange_rate=rate)


@pytest.mark.parametrize("amount_minor", [0, -1])
def test_nothing_is_not_paid_out(books: sqlite3.Connection, maria: int, amount_minor: int) -> None:
    with pytest.raises(Refused, match="cannot be paid out"):
        propose_payout(books, maria, exchange_rate=RATE, amount_minor=amount_minor)


def test_less_than_a_sat_is_not_paid_out(books: sqlite3.Connection, maria: int) -> None:
    with pytest.raises(Refused, match="less than one sat"):
        propose_payout(books, maria, exchange_rate=Decimal("0.5"), amount_minor=100)


def test_removed_and_unknown_clients_get_nothing(books: sqlite3.Connection, maria: int) -> None:
    with atomic(books):
        remove(books, maria, actor="ana", now=NOW, write_off="gone")
    with pytest.raises(Refused, match="was removed"):
        propose_payout(books, maria, exchange_rate=RATE)
    with pytest.raises(NotFound):
        propose_payout(books, 99, exchange_rate=RATE)
