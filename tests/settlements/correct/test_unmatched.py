"""A payment that no sale explains is landed by a person, who may know better than the books."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from satmachine.config import Machine
from satmachine.errors import Refused
from satmachine.models import HoldReason
from satmachine.settlements.correct import changes, unmatched
from satmachine.settlements.correct.changes import ProvenUnpaid
from satmachine.settlements.land.landing import land_claim
from satmachine.store import incoming, settlements
from satmachine.store.database import atomic
from testkit.books import MACHINE, NOW, RULES, a_claim, on_word, plan
from testkit.config_files import VALID, load_text
from tests.settlements.correct.persons import BY


@pytest.fixture
def machine(books: sqlite3.Connection, tmp_path: Path) -> Machine:
    """Its wallet shows a payment of the amount of every sale here, which no sale explains."""
    [machine] = load_text(tmp_path, VALID).machines
    with atomic(books):
        incoming.note(
            books,
            MACHINE,
            payment_hash="77" * 32,
            amount_sats=266_800,
            memo="",
            extra={},
            settled_at=NOW,
            reason="?",
            kind="unknown",
            now=NOW,
        )
    return machine.model_copy(update={"id": MACHINE, "payouts_since": 0})


def proven(books: sqlite3.Connection, settlement_id: int) -> int:
    settlements.mark_proven(
        books,
        settlements.get(books, settlement_id),
        payment_hash="77" * 32,
        settlement_key="77" * 32,
        occurred_at=NOW,
        proof="proven",
        now=NOW,
    )
    return settlement_id


def test_a_payment_that_may_be_of_a_sale_paid_on_a_word_is_landed_when_a_person_knows_better(
    books: sqlite3.Connection, machine: Machine
) -> None:
    plan(books, on_word(books, 1))
    with atomic(books):
        with pytest.raises(Refused, match=f"land {'77' * 32} --machine {MACHINE} --another-sale"):
            unmatched.land(books, machine, "77" * 32, BY)
        landing = unmatched.land(books, machine, "77" * 32, BY, another_sale=True)
        assert landing.settlement_id is not None
        proven(books, landing.settlement_id)
    assert plan(books, landing.settlement_id).hold_reason is None


@pytest.mark.parametrize(("another_sale", "hold"), [(False, HoldReason.TOLD_TWICE), (True, None)])
def test_a_payment_that_may_be_of_a_sale_that_was_closed_is_paid_when_a_person_says_that_it_is_another_one(
    books: sqlite3.Connection, machine: Machine, another_sale: bool, hold: HoldReason | None
) -> None:
    with atomic(books):
        stopped = land_claim(books, a_claim(payment_hash=None), RULES, NOW, event_id="ab" * 32).settlement_id
        assert stopped is not None
        changes.close(books, stopped, ProvenUnpaid(), BY)
        landing = unmatched.land(books, machine, "77" * 32, BY, another_sale=another_sale)
        assert landing.settlement_id is not None
        proven(books, landing.settlement_id)
    assert plan(books, landing.settlement_id).hold_reason == hold
