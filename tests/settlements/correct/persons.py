"""Who decides in these tests, and a payment that waits for them."""

from __future__ import annotations

import sqlite3

from satmachine.models import By, HoldReason, Leg
from satmachine.store import legs, settlements
from satmachine.store.database import atomic
from testkit.books import NOW, give_invoice, landed, plan

BY = By("ana", "looked at it", NOW)


def audited(books: sqlite3.Connection) -> list[str]:
    return [str(row["action"]) for row in books.execute("SELECT action FROM audit_log WHERE actor = 'ana' ORDER BY id")]


def held_leg(books: sqlite3.Connection, *, invoice: bool, evidence: dict[str, object]) -> tuple[int, Leg]:
    settlement = plan(books, landed(books))
    leg = next(leg for leg in legs.of_settlement(books, settlement.id) if leg.leg == "super")
    with atomic(books):
        if invoice:
            leg = give_invoice(books, leg.id, "cd" * 32)
        legs.hold(books, leg, reason=HoldReason.DEBIT_WITHOUT_CREDIT, error="x", evidence=evidence)
        settlements.refresh_status(books, settlement.id, NOW)
    return settlement.id, legs.get(books, leg.id)[0]
