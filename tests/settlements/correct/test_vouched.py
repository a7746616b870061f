"""A person vouches for a payment: it is booked as they say, unless it has moved on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from satmachine.errors import Refused
from satmachine.models import LegStatus, Proof
from satmachine.settlements.correct import vouched
from satmachine.store import legs, settlements
from satmachine.store.database import atomic
from testkit.books import NOW
from tests.settlements.correct.persons import BY, audited, held_leg

Declare = Callable[..., str]


def test_a_person_declares_a_leg_paid(books: sqlite3.Connection) -> None:
    _, leg = held_leg(books, invoice=True, evidence={"source": None})
    with atomic(books):
        vouched.declare_paid(books, leg=leg, by=BY)
    paid, _ = legs.get(books, leg.id)
    assert paid.status is LegStatus.COMPLETED
    assert paid.error is None
    row = books.execute("SELECT proof, vouched_by FROM dca_payments WHERE id = ?", (leg.id,)).fetchone()
    assert tuple(row) == (Proof.PERSON, "ana: looked at it")
    assert audited(books) == ["leg.declare_paid"]


def test_a_payment_of_less_than_the_leg_is_booked_as_it_was_and_the_rest_retained(books: sqlite3.Connection) -> None:
    evidence: dict[str, object] = {"payment": "ef" * 32, "amount_sats": 100}
    settlement_id, leg = held_leg(books, invoice=False, evidence=evidence)
    before = settlements.get(books, settlement_id).retained_sats
    with atomic(books):
        vouched.declare_paid(books, leg=leg, by=BY)
    assert settlements.get(books, settlement_id).retained_sats - before == leg.amount_sats - 100


def test_a_person_declares_a_leg_unpaid_and_its_invoice_dead(books: sqlite3.Connection) -> None:
    _, leg = held_leg(books, invoice=True, evidence={"source": None})
    with atomic(books):
        vouched.declare_unpaid(books, leg=legs.get(books, leg.id)[0], by=BY)
    renewed, invoice = legs.get(books, leg.id)
    assert renewed.status is LegStatus.FAILED
    assert renewed.generation == 1, "the payer asks the wallet for the leg before it makes another invoice"
    assert invoice is not None
    assert invoice.dead_at == NOW


@pytest.mark.parametrize("declare", [vouched.declare_paid, vouched.declare_unpaid])
def test_a_leg_that_has_moved_on_cannot_be_declared_anything(books: sqlite3.Connection, declare: Declare) -> None:
    _, leg = held_leg(books, invoice=True, evidence={"source": None})
    with atomic(books):
        legs.look_again(books, leg)
    with pytest.raises(Refused, match="was changed in the meantime"), atomic(books):
        declare(books, leg=leg, by=BY)
