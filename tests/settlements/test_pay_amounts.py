"""A payment is complete only if the wallets moved what the leg says; one odd look is not yet a reason to hold it."""

from __future__ import annotations

import pytest

from satmachine.models import HoldReason
from satmachine.settlements.transition import Decision, Sighting, Step, View, decide


@pytest.mark.parametrize("destination", [Sighting.SUCCESS, None])
def test_other_amounts_are_looked_at_again_and_then_held(destination: Sighting | None) -> None:
    def view(*, last_look: bool) -> View:
        return View(
            Sighting.SUCCESS, destination, expired=False, preimage_fits=True, amounts_fit=False, last_look=last_look
        )

    assert decide(view(last_look=False)) == Decision(Step.LOOK_AGAIN)
    assert decide(view(last_look=True)) == Decision(Step.HOLD, HoldReason.AMOUNT_MISMATCH)
