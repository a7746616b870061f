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


def sent_sats(books: sqlite3.Connection, leg_id: int) -> int:
    return int(books.execute("SELECT sent_sats FROM dca_payments WHERE id = ?", (leg_id,)).fetchone()[0])


@pytest.mark.parametrize(
    ("msat", "fee_msat", "sats"),
    [
        (-2_300_000, 5_000, 2_305),
        (-2_300_000, None, 2_300),
        (-2_300_000, 1, 2_301),
        (-2_300_000, -999, 2_301),
        (-2_390_000, 0, 2_390),
        (-9_000_000, 0, 2_390),
    ],
)
def test_what_has_left_the_wallet_is_booked_with_its_fee_and_never_more_than_the_leg(
    books: sqlite3.Connection, msat: int, fee_msat: int | None, sats: int
) -> None:
    source = {"amount_msat": msat, "fee_msat": fee_msat}
    settlement_id, leg = held_leg(books, invoice=True, evidence={"source": source})
    before = settlements.get(books, settlement_id).retained_sats
    with atomic(books):
        vouched.declare_paid(books, leg=leg, by=BY)
    assert sent_sats(books, leg.id) == sats
    assert settlements.get(books, settlement_id).retained_sats - before == leg.amount_sats - sats


@pytest.mark.parametrize("source", [None, "success", {}, {"amount_msat": None}, {"amount_msat": "5"}], ids=str)
def test_where_the_wallet_showed_no_amount_the_invoices_own_counts(books: sqlite3.Connection, source: object) -> None:
    _, leg = held_leg(books, invoice=True, evidence={"source": source})
    with atomic(books):
        vouched.declare_paid(books, leg=leg, by=BY)
    assert sent_sats(books, leg.id) == leg.amount_sats


def test_what_has_no_payment_at_all_cannot_be_called_paid(books: sqlite3.Connection) -> None:
    _, leg = held_leg(books, invoice=False, evidence={"source": None})
    with pytest.raises(Refused, match=f"payments resolve {leg.id} --unpaid"), atomic(books):
        vouched.declare_paid(books, leg=leg, by=BY)
    assert legs.get(books, leg.id)[0].status is LegStatus.HELD


@pytest.mark.parametrize("key", ["another_payment", "payment"])
def test_what_another_payment_has_paid_is_booked_by_that_one(books: sqlite3.Connection, key: str) -> None:
    _, leg = held_leg(books, invoice=True, evidence={key: "ef" * 32})
    with atomic(books):
        said = vouched.declare_paid(books, leg=leg, by=BY)
    found, _ = legs.get(books, leg.id)
    assert (found.status, found.payment_hash) == (LegStatus.COMPLETED, "ef" * 32)
    assert said == f"payment {leg.id} (super) is completed, on the word of ana"
    assert sent_sats(books, leg.id) == leg.amount_sats


def test_a_word_wakes_the_sale_and_names_it_in_the_journal(books: sqlite3.Connection) -> None:
    settlement_id, leg = held_leg(books, invoice=True, evidence={})
    with atomic(books):
        vouched.declare_unpaid(books, leg=leg, by=BY)
    assert settlements.get(books, settlement_id).person_acted_at == NOW
    row = books.execute("SELECT * FROM audit_log WHERE action = 'leg.declare_unpaid'").fetchone()
    assert (row["subject"], row["reason"]) == (f"settlement {settlement_id}", "looked at it")


def test_what_another_payment_has_paid_is_not_called_unpaid(books: sqlite3.Connection) -> None:
    """A new invoice would be paid beside it."""
    _, leg = held_leg(books, invoice=True, evidence={"payment": "ef" * 32})
    with pytest.raises(Refused, match="the wallet shows another payment for super"), atomic(books):
        vouched.declare_unpaid(books, leg=leg, by=BY)
    assert legs.get(books, leg.id)[0].status is LegStatus.HELD


def test_a_person_reads_what_became_of_it(books: sqlite3.Connection) -> None:
    _, leg = held_leg(books, invoice=True, evidence={})
    with atomic(books):
        assert vouched.declare_unpaid(books, leg=leg, by=BY) == f"payment {leg.id} (super) is made anew"
