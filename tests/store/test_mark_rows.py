"""Marks in the books: what is kept of them when nothing of their bundle is open any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from satmachine import identity
from satmachine.marks import Mark
from satmachine.models import Proof
from satmachine.store import legs, mark_rows
from satmachine.store.database import atomic
from testkit.books import MACHINE, NOW, fresh_books, give_invoice, landed, plan

BUNDLE = identity.sale_bundle(f"{1:064x}")
MARK = Mark("0" * 16, BUNDLE, (), {identity.sale_leg_key(f"{1:064x}", 1, "super"): "cd" * 32})


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path) as conn:
        yield conn


def pay_everything(books: sqlite3.Connection, settlement_id: int) -> None:
    with atomic(books):
        for number, leg in enumerate(legs.of_settlement(books, settlement_id)):
            given = give_invoice(books, leg.id, f"{number + 50:064x}")
            legs.complete(
                books, given, sent_sats=leg.amount_sats, fee_sats=0, preimage=None, proof=Proof.BOTH_SIDES, now=NOW
            )


def test_an_old_mark_of_a_sale_that_has_ended_becomes_its_digest_and_is_still_known(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    with atomic(books):
        mark_rows.write_down(books, MACHINE, MARK, NOW)
        assert mark_rows.shorten(books, MACHINE, written_before=NOW + 1) == 0, "legs of it are open"
    pay_everything(books, sale.id)
    with atomic(books):
        assert mark_rows.shorten(books, MACHINE, written_before=NOW) == 0, "it is not old enough"
        assert mark_rows.shorten(books, MACHINE, written_before=NOW + 1) == 1
        assert mark_rows.shorten(books, MACHINE, written_before=NOW + 1) == 0
    assert mark_rows.known(books, MACHINE, BUNDLE) == {MARK.id: MARK.digest}
    assert MARK.is_known(mark_rows.known(books, MACHINE, BUNDLE))
    current = mark_rows.current(books, MACHINE, BUNDLE)
    assert current is not None
    assert current[0].invoices == {}
