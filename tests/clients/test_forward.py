"""Autoforward: planned with the completion of the purchase, never part of the sale's sats or status."""

from __future__ import annotations

import sqlite3
from decimal import Decimal

import pytest

from satmachine.clients.forward import plan_autoforward
from satmachine.models import Leg, Proof
from satmachine.settlements.pay.payer import complete_leg
from satmachine.store import clients, legs, settlements
from satmachine.store.database import atomic
from testkit.books import NOW, give_invoice
from tests.clients.sales import add_client, complete, dca_legs, deposit, plan_sale


@pytest.fixture
def purchase(books: sqlite3.Connection) -> Leg:
    """A planned purchase of an LP who forwards."""
    client_id = add_client(
        books,
        "maria",
        payee_kind="invoice_key_file",
        payee="/keys/maria",
        autoforward="maria@example.org",
        autoforward_key_file="/keys/maria-admin",
    )
    deposit(books, client_id, 10_000)
    [leg] = dca_legs(books, plan_sale(books, 1, net_sats=10_000, rate=Decimal(100)).id)
    return leg


def forwards(books: sqlite3.Connection) -> list[Leg]:
    found = books.execute("SELECT id FROM dca_payments WHERE leg_type = 'autoforward' ORDER BY id")
    return [legs.get(books, row["id"])[0] for row in found]


def test_a_completed_purchase_is_forwarded_once(books: sqlite3.Connection, purchase: Leg) -> None:
    assert forwards(books) == []
    complete(books, purchase)
    [forward] = forwards(books)
    assert forward.leg == "fwd:maria"
    assert forward.leg_key == purchase.leg_key.replace("dca:maria", "fwd:maria")
    assert (forward.amount_sats, forward.payee, forward.status) == (10_000, "maria@example.org", "pending")
    with atomic(books):
        assert not plan_autoforward(books, purchase, sent_sats=10_000, now=NOW)


def test_its_failure_never_marks_the_sale_errored(books: sqlite3.Connection, purchase: Leg) -> None:
    complete(books, purchase)
    assert purchase.settlement_id is not None
    with atomic(books):
        books.execute("UPDATE dca_payments SET status = 'failed', error = 'no route' WHERE leg_type = 'autoforward'")
        assert settlements.refresh_status(books, purchase.settlement_id, NOW) == "processed"


def test_its_reserve_stays_in_the_lps_wallet(books: sqlite3.Connection, purchase: Leg) -> None:
    complete(books, purchase)
    [forward] = forwards(books)
    assert purchase.settlement_id is not None
    before = settlements.get(books, purchase.settlement_id).retained_sats
    with atomic(books):
        forward = give_invoice(books, forward.id, "ab" * 32, amount_sats=9_900, internal=False)
        proof = Proof.PREIMAGE
        assert complete_leg(books, forward, sent_sats=9_900, fee_sats=3, preimage=None, proof=proof, now=NOW)
    assert settlements.get(books, purchase.settlement_id).retained_sats == before


def test_ending_it_voids_what_was_not_sent(books: sqlite3.Connection, purchase: Leg) -> None:
    complete(books, purchase)
    assert purchase.client_id is not None
    with atomic(books):
        client = clients.get(books, purchase.client_id)
        clients.update(books, client, {"autoforward": None, "autoforward_key_file": None}, actor="ana", now=NOW)
    assert [forward.status for forward in forwards(books)] == ["voided"]


def test_who_does_not_forward_has_no_forwards(books: sqlite3.Connection) -> None:
    deposit(books, add_client(books, "jose"), 10_000)
    [leg] = dca_legs(books, plan_sale(books, 1, net_sats=10_000, rate=Decimal(100)).id)
    complete(books, leg)
    assert forwards(books) == []
