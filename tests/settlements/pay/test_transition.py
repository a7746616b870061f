"""The leg's transition function: every view has one decision, and none of them can pay twice."""

from __future__ import annotations

import dataclasses
from itertools import product

import pytest

from satmachine.models import HoldReason
from satmachine.settlements.pay.transition import Decision, Sighting, Step, View, decide

A, P, S, F = Sighting.ABSENT, Sighting.PENDING, Sighting.SUCCESS, Sighting.FAILED

#: source, destination, expired -> step at the last look (docs/lnbits.md "The protocol").
INTERNAL = [
    (S, S, False, Step.COMPLETE, None),
    (S, P, False, Step.HOLD, HoldReason.DEBIT_WITHOUT_CREDIT),
    (S, F, False, Step.HOLD, HoldReason.DEBIT_WITHOUT_CREDIT),
    (S, A, False, Step.HOLD, HoldReason.DEBIT_WITHOUT_CREDIT),
    (P, P, False, Step.WAIT, None),
    (P, F, True, Step.WAIT, None),
    (P, S, False, Step.WAIT, None),
    (A, P, False, Step.PAY, None),
    (A, P, True, Step.WAIT, None),
    (A, F, False, Step.RENEW, None),
    (A, F, True, Step.RENEW, None),
    (A, S, False, Step.HOLD, HoldReason.PAID_BY_ANOTHER),
    (A, A, False, Step.HOLD, HoldReason.WALLET_ROLLED_BACK),
    (F, P, False, Step.HOLD, HoldReason.CONTRADICTION),
    (F, F, False, Step.WAIT, None),
    (F, F, True, Step.RENEW, None),
    (F, S, False, Step.HOLD, HoldReason.PAID_BY_ANOTHER),
    (F, A, False, Step.HOLD, HoldReason.WALLET_ROLLED_BACK),
]


@pytest.mark.parametrize(("source", "destination", "expired", "step", "reason"), INTERNAL)
def test_internal_payment(
    source: Sighting, destination: Sighting, expired: bool, step: Step, reason: HoldReason | None
) -> None:
    view = View(source, destination, expired, last_look=True)
    assert decide(view) == Decision(step, reason)


@pytest.mark.parametrize(("source", "destination", "expired", "step", "reason"), INTERNAL)
def test_a_puzzle_is_looked_at_again_before_a_person_is_called(
    source: Sighting, destination: Sighting, expired: bool, step: Step, reason: HoldReason | None
) -> None:
    expected = Step.LOOK_AGAIN if step is Step.HOLD else step
    assert decide(View(source, destination, expired)).step is expected


@pytest.mark.parametrize(
    ("source", "expired", "preimage_fits", "step"),
    [
        (S, False, True, Step.COMPLETE),
        (S, True, True, Step.COMPLETE),
        (S, False, False, Step.HOLD),
        (P, False, False, Step.WAIT),
        (P, True, False, Step.WAIT),
        (A, False, False, Step.PAY),
        (A, True, False, Step.RENEW),
        (F, False, False, Step.WAIT),
        (F, True, False, Step.RENEW),
    ],
)
def test_external_payment(source: Sighting, expired: bool, preimage_fits: bool, step: Step) -> None:
    assert decide(View(source, None, expired, preimage_fits, last_look=True)).step is step


@pytest.mark.parametrize("expired", [False, True])
def test_an_lnbits_that_shows_no_more_what_it_showed_has_forgotten_what_it_may_have_paid(expired: bool) -> None:
    for source in (A, F):
        view = View(source, None, expired, last_look=True, forgotten=True)
        assert decide(view) == Decision(Step.HOLD, HoldReason.WALLET_ROLLED_BACK)
    for source in (P, S):
        seen = View(source, None, expired, preimage_fits=True, last_look=True)
        assert decide(seen) == decide(dataclasses.replace(seen, forgotten=True))


def test_a_preimage_proves_nothing_of_a_payee_of_the_same_lnbits() -> None:
    view = View(S, None, expired=False, preimage_fits=True, same_lnbits=True, last_look=True)
    assert decide(view) == Decision(Step.HOLD, HoldReason.CREDIT_UNSEEN)


def test_nothing_is_ever_sent_anew_while_the_old_invoice_may_still_succeed() -> None:
    for source, destination, expired, fits, last, forgotten in product(
        Sighting, [None, *Sighting], *[(False, True)] * 4
    ):
        decision = decide(View(source, destination, expired, fits, last_look=last, forgotten=forgotten))
        if decision.step in (Step.PAY, Step.RENEW):
            assert source in (A, F)
            assert destination is not S
        if decision.step is Step.RENEW:
            assert expired or destination is F
        if decision.step is Step.PAY:
            assert source is A
            assert destination is P or (destination is None and not forgotten)


def test_complete_needs_every_side_that_can_be_seen() -> None:
    for source, destination, expired, fits, last in product(Sighting, [None, *Sighting], *[(False, True)] * 3):
        if decide(View(source, destination, expired, fits, last)).step is Step.COMPLETE:
            assert source is S
            assert destination is S or (destination is None and fits)


def test_a_hold_always_has_a_reason() -> None:
    for source, destination, expired, fits, last in product(Sighting, [None, *Sighting], *[(False, True)] * 3):
        decision = decide(View(source, destination, expired, fits, last))
        assert (decision.step is Step.HOLD) == (decision.reason is not None)


@pytest.mark.parametrize("destination", [Sighting.SUCCESS, None])
def test_other_amounts_are_looked_at_again_and_then_held(destination: Sighting | None) -> None:
    def view(*, last_look: bool) -> View:
        return View(
            Sighting.SUCCESS, destination, expired=False, preimage_fits=True, amounts_fit=False, last_look=last_look
        )

    assert decide(view(last_look=False)) == Decision(Step.LOOK_AGAIN)
    assert decide(view(last_look=True)) == Decision(Step.HOLD, HoldReason.AMOUNT_MISMATCH)
