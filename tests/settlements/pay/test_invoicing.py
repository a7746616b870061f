"""An invoice is taken only once: one that was given before would pay nobody."""

from __future__ import annotations

from pathlib import Path

from satmachine.models import Cause
from satmachine.settlements.pay.invoicing import _unwelcome
from satmachine.store import legs
from satmachine.store.database import atomic
from satmachine.wallet.lnbits import Invoice
from testkit.books import NOW, fresh_books, give_invoice, landed, plan


def test_an_invoice_that_another_leg_has_had_is_not_taken(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        plan(conn, landed(conn, 1))
        first, second = legs.of_settlement(conn, 1)[:2]
        with atomic(conn):
            give_invoice(conn, first.id, "cc" * 32)
        given = Invoice("cc" * 32, "lnbc1", second.amount_sats, NOW + 600)
        again = _unwelcome(conn, second, given, NOW)
        assert again is not None
        assert again.cause is Cause.PAYEE_UNREACHABLE
        assert _unwelcome(conn, second, Invoice("dd" * 32, "lnbc1", second.amount_sats, NOW + 600), NOW) is None
