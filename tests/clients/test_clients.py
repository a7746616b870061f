"""The life of a client: added once per label, changed while nothing is on its way, removed when nothing is left."""

from __future__ import annotations

import sqlite3
from decimal import Decimal

import bech32
import pytest

from satmachine.clients.removal import remove
from satmachine.errors import NotFound, Refused
from satmachine.models import Leg
from satmachine.store import balances, clients, deposits, legs
from satmachine.store.database import atomic
from testkit.books import NOW, give_invoice
from tests.clients.sales import add_client, complete, dca_legs, deposit, plan_sale


def update(books: sqlite3.Connection, client_id: int, **changes: object) -> None:
    with atomic(books):
        clients.update(books, clients.get(books, client_id), changes, actor="ana", now=NOW)


def take_away(books: sqlite3.Connection, client_id: int, write_off: str = "") -> None:
    with atomic(books):
        remove(books, client_id, actor="ana", now=NOW, write_off=write_off)


def sold(books: sqlite3.Connection, client_id: int) -> Leg:
    """A sale of all that the client has; its one leg."""
    deposit(books, client_id, 10_000)
    [leg] = dca_legs(books, plan_sale(books, 1, net_sats=10_000, rate=Decimal(100)).id)
    return leg


def invoiced(books: sqlite3.Connection, leg: Leg) -> None:
    with atomic(books):
        give_invoice(books, leg.id, "ab" * 32)


def test_a_label_is_never_used_again_at_its_machine(books: sqlite3.Connection) -> None:
    first = add_client(books, "maria")
    take_away(books, first)
    with pytest.raises(Refused, match=r"maria at machine machine-1 is LP 1 \(removed\)"):
        add_client(books, "maria")
    assert add_client(books, "maria", machine_id="machine-2") != first


def test_a_client_needs_a_machine_of_the_registry(books: sqlite3.Connection) -> None:
    with pytest.raises(NotFound, match="no machine elsewhere"):
        add_client(books, "maria", machine_id="elsewhere")
    books.execute("UPDATE dca_machines SET in_config = 0 WHERE id = 'machine-2'")
    with pytest.raises(NotFound, match="no machine machine-2"):
        add_client(books, "maria", machine_id="machine-2")


def test_one_person_may_be_a_client_at_several_machines(books: sqlite3.Connection) -> None:
    first = add_client(books, "maria", person="Maria Lopez")
    second = add_client(books, "maria-2", person="Maria Lopez", machine_id="machine-2")
    add_client(books, "jose")
    assert [client.id for client in clients.find(books, person="Maria Lopez")] == [first, second]
    deposit(books, second, 500)
    assert [entry.available_minor for entry in balances.find(books, person="Maria Lopez")] == [0, 500]


def test_another_operators_client_is_not_found(books: sqlite3.Connection) -> None:
    client_id = add_client(books, "maria")
    with pytest.raises(NotFound):
        clients.get(books, client_id, operator="somebody-else")
    assert clients.find(books, operator="somebody-else") == []
    assert balances.find(books, operator="somebody-else") == []


def test_an_update_writes_only_what_changed(books: sqlite3.Connection) -> None:
    client_id = add_client(books, "maria")
    update(books, client_id, status="paused", person="maria")
    row = books.execute("SELECT actor, before, after FROM audit_log ORDER BY id DESC").fetchone()
    assert tuple(row) == ("ana", '{"status": "active"}', '{"status": "paused"}')
    update(books, client_id, status="paused")
    assert books.execute("SELECT count(*) FROM audit_log").fetchone()[0] == 2


def test_the_payee_stays_while_its_invoice_may_still_be_paid(books: sqlite3.Connection) -> None:
    client_id = add_client(books, "maria")
    leg = sold(books, client_id)
    update(books, client_id, payee="before@example.org")
    invoiced(books, leg)
    with pytest.raises(Refused, match="invoice that may still be paid"):
        update(books, client_id, payee="after@example.org")
    with atomic(books):
        legs.mark_invoice_dead(books, legs.get(books, leg.id)[0], now=NOW)
    update(books, client_id, payee="after@example.org")
    assert clients.get(books, client_id).payee == "after@example.org"


def test_a_client_with_nothing_left_is_removed_and_the_history_stays(books: sqlite3.Connection) -> None:
    client_id = add_client(books, "maria")
    complete(books, sold(books, client_id))
    take_away(books, client_id)
    assert clients.find(books) == []
    assert [client.status for client in clients.find(books, removed=True)] == ["removed"]
    assert [movement.kind for movement in balances.movements(books, client_id)] == ["deposit", "purchase"]
    with pytest.raises(Refused, match="already removed"):
        take_away(books, client_id)
    with pytest.raises(Refused, match="was removed"):
        update(books, client_id, status="active")


def test_a_pending_deposit_keeps_a_client(books: sqlite3.Connection) -> None:
    client_id = add_client(books, "maria")
    with atomic(books):
        deposit_id = deposits.add(books, client_id=client_id, amount_minor=1, actor="ana", now=1)
    with pytest.raises(Refused, match=f"pending deposits: {deposit_id}"):
        take_away(books, client_id, write_off="never mind")


def test_an_open_payment_keeps_a_client(books: sqlite3.Connection) -> None:
    client_id = add_client(books, "maria")
    leg = sold(books, client_id)
    with pytest.raises(Refused, match=leg.leg_key):
        take_away(books, client_id, write_off="never mind")


def test_a_balance_keeps_a_client_unless_it_is_written_off_with_a_reason(books: sqlite3.Connection) -> None:
    client_id = add_client(books, "maria")
    deposit(books, client_id, 12_050)
    with pytest.raises(Refused, match=r"balance of 120\.50 GTQ"):
        take_away(books, client_id)
    take_away(books, client_id, write_off="handed back in cash")
    row = books.execute("SELECT action, reason FROM audit_log ORDER BY id DESC").fetchone()
    assert tuple(row) == ("client.remove", "balance of 120.50 GTQ written off: handed back in cash")


def test_clients_are_never_deleted_and_keep_machine_and_label(books: sqlite3.Connection) -> None:
    add_client(books, "maria")
    for statement in ("DELETE FROM dca_clients", "UPDATE dca_clients SET label = 'x'"):
        with pytest.raises(sqlite3.IntegrityError):
            books.execute(statement)


def test_an_lnurl_is_shown_by_its_host_only() -> None:
    octets = bech32.convertbits(b"https://service.com/api?key=secret", 8, 5)
    assert octets is not None
    code = bech32.bech32_encode("lnurl", octets)
    assert clients.describe_payee("lnurl", code) == "LNURL of service.com"
