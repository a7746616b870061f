"""Payments of another life of the database: planned as they were paid, adopted, or shown to a person; never again."""

from __future__ import annotations

import sqlite3

from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.store import legs, wallet_rows
from satmachine.store.database import atomic
from satmachine.store.wallet_rows import Outgoing
from testkit.books import MACHINE, NOW, landed, plan

PAYEE = "LNbits wallet (key from x)"
WALLET = PayeeIdentity(PayeeKind.WALLET, None)


def payment(key: str, sats: int, made_at: int = NOW, payment_hash: str = "ab" * 32) -> Outgoing:
    return Outgoing(payment_hash, key, "lnbc1", sats, "success", None, {}, made_at)


def test_a_payment_that_no_leg_made_is_kept_and_stops_the_machine(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    leg = next(leg for leg in legs.of_settlement(books, sale.id) if leg.amount_sats)
    with atomic(books):
        assert wallet_rows.note_outgoing(books, leg.machine_id, [payment(leg.leg_key, leg.amount_sats)], NOW) == 1
        assert "these books do not know" in str(wallet_rows.refresh_safe_mode(books, leg.machine_id))
        assert legs.due(books, NOW, [leg.machine_id], per_payee=9, limit=9) == []
    assert legs.get(books, leg.id)[0].status == "pending", "nothing is adopted without a person"


def test_a_long_queue_for_one_payee_hides_nobody_elses_legs(books: sqlite3.Connection) -> None:
    for number in range(1, 30):
        plan(books, landed(books, number))
    due = legs.due(books, NOW, [MACHINE], per_payee=2, limit=100)
    payees = {leg.payee for leg in due}
    assert len(due) == 2 * len(payees)
    assert legs.due(books, NOW, [], per_payee=2, limit=100) == []
