"""A payment that no sale explains is landed by a person, who may know better than the books."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from satmachine.errors import Refused
from satmachine.settlements.correct import unmatched
from satmachine.store import incoming, settlements
from satmachine.store.database import atomic
from testkit.books import MACHINE, NOW, on_word, plan
from testkit.config_files import VALID, load_text
from tests.settlements.correct.persons import BY


def test_a_payment_that_may_be_of_a_sale_paid_on_a_word_is_landed_when_a_person_knows_better(
    books: sqlite3.Connection, tmp_path: Path
) -> None:
    [machine] = load_text(tmp_path, VALID).machines
    machine = machine.model_copy(update={"id": MACHINE, "payouts_since": 0})
    plan(books, on_word(books, 1))
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
        with pytest.raises(Refused, match=f"land {'77' * 32} --machine {MACHINE} --another-sale"):
            unmatched.land(books, machine, "77" * 32, BY)
        landing = unmatched.land(books, machine, "77" * 32, BY, another_sale=True)
        assert landing.settlement_id is not None
        sale = settlements.get(books, landing.settlement_id)
        settlements.mark_proven(
            books,
            sale,
            payment_hash="77" * 32,
            settlement_key="77" * 32,
            occurred_at=NOW,
            proof="proven",
            now=NOW,
        )
    assert plan(books, landing.settlement_id).hold_reason is None
