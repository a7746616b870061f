"""Deposits: pending, then decided for good; who did what stands in the audit log."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from satmachine.clients.payout import propose_payout
from satmachine.clients.statement import make_statement
from satmachine.errors import NotFound, Refused
from satmachine.store import balances, clients, deposits
from satmachine.store.database import atomic
from testkit.books import NOW
from tests.clients.sales import add_client, deposit, plan_sale


@pytest.fixture
def pending(books: sqlite3.Connection) -> int:
    client_id = add_client(books, "maria")
    with atomic(books):
        return deposits.add(books, client_id=client_id, amount_minor=100_000, notes="20 x 50", actor="ana", now=10)


def available(books: sqlite3.Connection) -> int:
    [balance] = balances.find(books)
    return balance.available_minor


def actions(books: sqlite3.Connection) -> list[tuple[str, str]]:
    found = books.execute("SELECT action, actor FROM audit_log WHERE subject LIKE 'deposit %' ORDER BY id")
    return [tuple(row) for row in found]


def test_a_deposit_counts_only_once_it_is_confirmed(books: sqlite3.Connection, pending: int) -> None:
    assert available(books) == 0
    with atomic(books):
        confirmed = deposits.confirm(books, pending, actor="luis", now=20)
    assert available(books) == 100_000
    assert (confirmed.status, confirmed.recorded_by, confirmed.decided_by, confirmed.decided_at) == (
        "confirmed",
        "ana",
        "luis",
        20,
    )
    assert (confirmed.currency, confirmed.machine_id, confirmed.notes) == ("GTQ", "machine-1", "20 x 50")
    assert actions(books) == [("deposit.add", "ana"), ("deposit.confirm", "luis")]


def test_a_rejected_deposit_never_counts(books: sqlite3.Connection, pending: int) -> None:
    with atomic(books):
        assert deposits.reject(books, pending, actor="luis", now=20, reason="counted 900").status == "rejected"
    assert available(books) == 0
    assert books.execute("SELECT reason FROM audit_log ORDER BY id DESC").fetchone()["reason"] == "counted 900"


def test_a_pending_deposit_can_be_edited_and_the_log_says_what_it_was(books: sqlite3.Connection, pending: int) -> None:
    with atomic(books):
        edited = deposits.edit(books, pending, amount_minor=90_000, actor="ana", now=11)
    assert (edited.amount_minor, edited.notes) == (90_000, "20 x 50")
    row = books.execute("SELECT before, after FROM audit_log ORDER BY id DESC").fetchone()
    assert json.loads(row["before"]) == {"amount_minor": 100_000}
    assert json.loads(row["after"]) == {"amount_minor": 90_000}


def test_an_edit_that_changes_nothing_leaves_no_trace(books: sqlite3.Connection, pending: int) -> None:
    with atomic(books):
        deposits.edit(books, pending, amount_minor=100_000, notes="20 x 50", actor="ana", now=11)
    assert actions(books) == [("deposit.add", "ana")]


def test_a_pending_deposit_can_be_deleted(books: sqlite3.Connection, pending: int) -> None:
    with atomic(books):
        deposits.delete(books, pending, actor="ana", now=11)
    with pytest.raises(NotFound):
        deposits.get(books, pending)
    assert actions(books)[-1] == ("deposit.delete", "ana")


@pytest.mark.parametrize("decision", [deposits.confirm, deposits.reject])
@pytest.mark.parametrize("change", [deposits.confirm, deposits.reject, deposits.edit, deposits.delete])
def test_a_decided_deposit_never_changes(
    books: sqlite3.Connection, pending: int, decision: Callable[..., object], change: Callable[..., object]
) -> None:
    with atomic(books):
        decision(books, pending, actor="luis", now=20)
    with pytest.raises(Refused, match="by luis at 1970-01-01 00:00 UTC"), atomic(books):
        change(books, pending, actor="ana", now=30)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE dca_deposits SET amount_minor = 1", "DELETE FROM dca_deposits", "UPDATE dca_deposits SET notes = 'x'"],
)
def test_the_database_itself_keeps_a_decided_deposit(books: sqlite3.Connection, pending: int, statement: str) -> None:
    with atomic(books):
        deposits.confirm(books, pending, actor="luis", now=20)
    with pytest.raises(sqlite3.IntegrityError, match="audit record"):
        books.execute(statement)


@pytest.mark.parametrize(("machine", "currency"), [("machine-2", "GTQ"), ("machine-1", "USD")])
def test_machine_client_and_currency_belong_together(books: sqlite3.Connection, machine: str, currency: str) -> None:
    client_id = add_client(books, "maria")
    with pytest.raises(sqlite3.IntegrityError):
        books.execute(
            "INSERT INTO dca_deposits (client_id, machine_id, amount_minor, currency, recorded_by, recorded_at) "
            "VALUES (?, ?, 1, ?, 'x', 1)",
            (client_id, machine, currency),
        )


def test_a_removed_client_takes_no_deposits(books: sqlite3.Connection) -> None:
    client_id = add_client(books, "maria")
    with atomic(books):
        clients.mark_removed(books, clients.get(books, client_id), actor="ana", now=5)
    with pytest.raises(Refused, match="was removed"), atomic(books):
        deposits.add(books, client_id=client_id, amount_minor=1, actor="ana", now=6)


def test_lists_are_filtered_and_scoped(books: sqlite3.Connection, pending: int) -> None:
    other = add_client(books, "maria", machine_id="machine-2")
    second = deposit(books, other, 500, at=50)

    def ids(**filters: Any) -> list[int]:
        return [entry.id for entry in deposits.find(books, **filters)]

    assert ids() == [second, pending]
    assert ids(status="pending") == [pending]
    assert ids(machine="machine-2") == [second]
    assert ids(client_id=other) == [second]
    assert ids(since=10, until=50) == [pending]
    assert ids(operator="somebody-else") == []
    with pytest.raises(NotFound) as hidden:
        deposits.get(books, pending, operator="somebody-else")
    with pytest.raises(NotFound) as missing:
        deposits.get(books, 99)
    assert str(hidden.value).replace(str(pending), "N") == str(missing.value).replace("99", "N")


# --- reversed, withdrawn, and entered late


def confirmed(books: sqlite3.Connection, pending: int) -> int:
    with atomic(books):
        deposits.confirm(books, pending, actor="luis", now=20)
    return pending


def test_a_reversed_deposit_counts_up_to_its_reversal(books: sqlite3.Connection, pending: int) -> None:
    confirmed(books, pending)
    with atomic(books):
        taken = deposits.reverse(books, pending, reason="entered twice", actor="ana", now=30)
    assert (taken.amount_minor, taken.kind, taken.reverses, taken.effective_at) == (-100_000, "reversal", pending, 30)
    assert available(books) == 0
    assert [row.confirmed_minor for row in balances.find(books, as_of=29)] == [100_000]
    assert deposits.get(books, pending).status == "confirmed", "what was confirmed stays as it was"
    assert actions(books)[-1] == ("deposit.reverse", "ana")


def test_a_deposit_is_reversed_once(books: sqlite3.Connection, pending: int) -> None:
    with pytest.raises(Refused, match="is pending"), atomic(books):
        deposits.reverse(books, pending, reason="x", actor="ana", now=30)
    confirmed(books, pending)
    with atomic(books):
        taken = deposits.reverse(books, pending, reason="x", actor="ana", now=30)
    with pytest.raises(Refused, match=f"already reversed, by {taken.id}"), atomic(books):
        deposits.reverse(books, pending, reason="x", actor="ana", now=31)
    with pytest.raises(Refused, match="a reversal"), atomic(books):
        deposits.reverse(books, taken.id, reason="x", actor="ana", now=31)


def test_nobody_takes_home_what_is_not_there(books: sqlite3.Connection, pending: int) -> None:
    client_id = deposits.get(books, confirmed(books, pending)).client_id
    with atomic(books):
        deposits.withdraw(books, client_id, 60_000, notes="market", actor="ana", now=30)
    assert available(books) == 40_000
    with pytest.raises(Refused, match=r"has 400\.00 GTQ available"), atomic(books):
        deposits.withdraw(books, client_id, 40_001, actor="ana", now=31)
    with pytest.raises(Refused, match="cannot be taken back"), atomic(books):
        deposits.reverse(books, pending, reason="x", actor="ana", now=31)
    assert actions(books)[-1] == ("deposit.withdraw", "ana")


def test_a_statement_has_what_was_taken_home(books: sqlite3.Connection, pending: int) -> None:
    client_id = deposits.get(books, confirmed(books, pending)).client_id
    with atomic(books):
        deposits.withdraw(books, client_id, 60_000, actor="ana", now=30)
    statement = make_statement(balances.movements(books, client_id))
    assert [(line.movement.kind, line.balance_minor) for line in statement.lines] == [
        ("deposit", 100_000),
        ("withdrawal", 40_000),
    ]
    assert statement.totals.deposited_minor == 40_000


def test_a_deposit_entered_late_counts_from_when_the_cash_came(books: sqlite3.Connection) -> None:
    client_id = add_client(books, "maria")
    with atomic(books):
        late = deposits.add(books, client_id=client_id, amount_minor=7, effective_at=50, actor="ana", now=90)
        deposits.confirm(books, late, actor="ana", now=100)
    assert [row.confirmed_minor for at in (49, 50) for row in balances.find(books, as_of=at)] == [0, 7]


def test_a_sale_that_was_shared_out_is_not_shared_anew(books: sqlite3.Connection) -> None:
    deposit(books, add_client(books, "bob"), 100_000)
    client_id = add_client(books, "maria")
    plan_sale(books, 1, net_sats=1_000, rate=Decimal(100), occurred_at=NOW, now=NOW)
    with pytest.raises(Refused, match="sale 1 of machine-1 was shared out"), atomic(books):
        deposits.add(books, client_id=client_id, amount_minor=7, effective_at=NOW, actor="ana", now=NOW + 9)
    with atomic(books):
        late = deposits.add(books, client_id=client_id, amount_minor=7, effective_at=NOW + 1, actor="ana", now=NOW + 9)
    plan_sale(books, 2, net_sats=1_000, rate=Decimal(100), occurred_at=NOW + 5, now=NOW + 5)
    with pytest.raises(Refused, match="sale 2"), atomic(books):
        deposits.confirm(books, late, actor="ana", now=NOW + 9)
    with atomic(books):
        deposits.edit(books, late, effective_at=NOW + 6, actor="ana", now=NOW + 9)
        assert deposits.confirm(books, late, actor="ana", now=NOW + 9).effective_at == NOW + 6


def test_while_books_are_put_right_deposits_have_their_true_date(books: sqlite3.Connection) -> None:
    deposit(books, add_client(books, "bob"), 100_000)
    client_id = add_client(books, "maria")
    plan_sale(books, 1, net_sats=1_000, rate=Decimal(100), occurred_at=NOW, now=NOW)
    books.execute("UPDATE dca_wallets SET safe_mode = 'restored'")
    with atomic(books):
        late = deposits.add(books, client_id=client_id, amount_minor=7, effective_at=NOW - 9, actor="ana", now=NOW + 9)
        assert deposits.confirm(books, late, actor="ana", now=NOW + 9).effective_at == NOW - 9


def test_cash_never_counts_before_it_is_there(books: sqlite3.Connection) -> None:
    client_id = add_client(books, "maria")
    with pytest.raises(Refused, match="is in the future"), atomic(books):
        deposits.add(books, client_id=client_id, amount_minor=7, effective_at=11, actor="ana", now=10)


def test_nobody_takes_cash_home_by_books_that_may_lack_payments(books: sqlite3.Connection, pending: int) -> None:
    with atomic(books):
        deposits.confirm(books, pending, actor="luis", now=20)
        books.execute("UPDATE dca_wallets SET safe_mode = 'these books are a copy'")
        client_id = deposits.get(books, pending).client_id
    with pytest.raises(Refused, match="machines reconcile machine-1"), atomic(books):
        deposits.withdraw(books, client_id, 100, actor="luis", now=30)
    with pytest.raises(Refused, match="machines reconcile machine-1"):
        propose_payout(books, client_id, exchange_rate=Decimal(100))
    with atomic(books):
        books.execute("UPDATE dca_wallets SET safe_mode = NULL")
        deposits.withdraw(books, client_id, 100, actor="luis", now=40)


def test_cash_that_has_gone_is_entered_before_lost_books_are_put_right(books: sqlite3.Connection, pending: int) -> None:
    with atomic(books):
        deposits.confirm(books, pending, actor="luis", now=20)
        books.execute("UPDATE dca_wallets SET safe_mode = 'these books are a copy'")
        client_id = deposits.get(books, pending).client_id
        deposits.withdraw(books, client_id, 60_000, effective_at=25, actor="luis", now=30)
    assert available(books) == 40_000
    with pytest.raises(Refused, match=r"has 400\.00 GTQ available"), atomic(books):
        deposits.withdraw(books, client_id, 60_000, effective_at=26, actor="luis", now=30)
    with pytest.raises(Refused, match="is in the future"), atomic(books):
        deposits.withdraw(books, client_id, 1, effective_at=31, actor="luis", now=30)


def test_cash_that_went_before_a_planned_sale_is_not_entered_into_sound_books(books: sqlite3.Connection) -> None:
    client_id = add_client(books, "bob")
    deposit(books, client_id, 100_000)
    plan_sale(books, 1, net_sats=1_000, rate=Decimal(100), occurred_at=NOW, now=NOW)
    with pytest.raises(Refused, match="sale 1 of machine-1 was shared out"), atomic(books):
        deposits.withdraw(books, client_id, 7, effective_at=NOW, actor="ana", now=NOW + 9)
    with atomic(books):
        taken = deposits.withdraw(books, client_id, 7, effective_at=NOW + 1, actor="ana", now=NOW + 9)
    assert taken.effective_at == NOW + 1
