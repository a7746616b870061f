"""A payment is complete only if the wallets moved what the leg says; one odd look is not yet a reason to hold it."""

from __future__ import annotations

from pathlib import Path

import pytest

from satmachine.models import Cause, HoldReason
from satmachine.settlements.pay.payer import _unwelcome
from satmachine.settlements.pay.transition import Decision, Sighting, Step, View, decide
from satmachine.store import legs
from satmachine.store.database import atomic
from satmachine.wallet.lnbits import Invoice
from testkit.books import NOW, fresh_books, give_invoice, landed, plan


@pytest.mark.parametrize("destination", [Sighting.SUCCESS, None])
def test_other_amounts_are_looked_at_again_and_then_held(destination: Sighting | None) -> None:
    def view(*, last_look: bool) -> View:
        return View(
            Sighting.SUCCESS, destination, expired=False, preimage_fits=True, amounts_fit=False, last_look=last_look
        )

    assert decide(view(last_look=False)) == Decision(Step.LOOK_AGAIN)
    assert decide(view(last_look=True)) == Decision(Step.HOLD, HoldReason.AMOUNT_MISMATCH)


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
