"""The rules of corrections: figures to the sat, what is allowed in which state, and when a leg is proven unpaid."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.models import Figures, Retained, RetainedReason, Settlement, SettlementStatus
from satmachine.settlements.correct.correction_rules import (
    CorrectionKind,
    Dispensed,
    draw,
    memo,
    refusal,
    scale,
    why_not_unpaid,
)
from satmachine.settlements.pay.transition import Sighting, Step, View, decide

SALE = Figures(258_835, 7_965, 0, 180_000)

A, P, S, F = Sighting.ABSENT, Sighting.PENDING, Sighting.SUCCESS, Sighting.FAILED


@pytest.mark.parametrize(
    ("dispensed", "expected"),
    [
        (Dispensed.fraction(Decimal("0.5")), Figures(129_418, 3_982, 133_400, 90_000)),
        (Dispensed.sats(133_400, 266_800), Figures(129_418, 3_982, 133_400, 90_000)),
        (Dispensed.fraction(Decimal(0)), Figures(0, 0, 266_800, 0)),
        (Dispensed.fraction(Decimal(1)), SALE),
        (Dispensed.sats(1, 266_800), Figures(1, 0, 266_799, 1)),
    ],
)
def test_the_worked_example_is_scaled_to_the_sat(dispensed: Dispensed, expected: Figures) -> None:
    assert scale(266_800, SALE, dispensed) == expected


@given(
    net=st.integers(0, 10**12),
    commission=st.integers(0, 10**11),
    fraction=st.decimals(min_value=0, max_value=1, places=9),
)
def test_every_scaling_conserves_and_keeps_the_ratio_within_a_sat(net: int, commission: int, fraction: Decimal) -> None:
    gross = net + commission
    new = scale(gross, Figures(net, commission, 0, None), Dispensed.fraction(fraction))
    assert new.net_sats + new.commission_sats + new.undispensed_sats == gross
    assert min(new.net_sats, new.commission_sats, new.undispensed_sats) >= 0
    part, whole = fraction.as_integer_ratio()
    assert abs(new.commission_sats * whole - commission * part) <= whole


@pytest.mark.parametrize("fraction", ["-0.1", "1.1", "NaN", "Infinity"])
def test_a_fraction_outside_0_and_1_is_refused(fraction: str) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dispensed.fraction(Decimal(fraction))


def test_more_sats_than_the_customer_paid_cannot_have_been_dispensed() -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        Dispensed.sats(101, 100)
    with pytest.raises(ValueError, match="between 0 and 100"):
        Dispensed.sats(-1, 100)


def test_nothing_or_all_of_what_the_customer_paid_may_have_been_dispensed() -> None:
    assert Dispensed.sats(0, 100) == Dispensed(0, 100)
    assert Dispensed.sats(100, 100) == Dispensed(100, 100)


def test_the_note_of_a_partial_dispense_names_what_was_and_what_is_with_the_cash() -> None:
    half = scale(266_800, SALE, Dispensed.sats(133_400, 266_800))
    sale = replace(a_settlement(SettlementStatus.PENDING), currency="GTQ")
    assert memo(sale, SALE, half, "a jam") == (
        "Partial dispense of 266800 sats: a jam. "
        "Before: net 258835, commission 7965, not dispensed 0 sats, cash 1800.00 GTQ. "
        "Now: net 129418, commission 3982, not dispensed 133400 sats, cash 900.00 GTQ."
    )
    assert "cash" not in memo(sale, replace(SALE, fiat_amount_minor=None), replace(half, fiat_amount_minor=None), "x")


def test_a_refund_takes_what_was_not_dispensed_first() -> None:
    entries = [
        Retained(RetainedReason.NO_SUPER_PAYEE, 30, "super"),
        Retained(RetainedReason.UNDISPENSED, 100),
        Retained(RetainedReason.VOIDED_LEG, 50, "dca:ana"),
    ]
    assert draw(entries, 120) == [
        Retained(RetainedReason.UNDISPENSED, -100),
        Retained(RetainedReason.VOIDED_LEG, -20, "dca:ana"),
    ]
    with pytest.raises(ValueError, match="only 180 sats"):
        draw(entries, 181)


def test_every_reason_can_be_drawn_on() -> None:
    for reason in RetainedReason:
        assert draw([Retained(reason, 5)], 5) == [Retained(reason, -5)]


#: source, destination, expired, sent -> part of the reason, or None for proven unpaid.
UNPAID = [
    (A, P, False, False, None),
    (A, F, False, False, None),
    (A, F, False, True, None),
    (A, P, False, True, "may still be working"),
    (A, P, True, True, "may still be working"),
    (A, S, False, False, "payee's wallet shows it paid"),
    (A, A, False, False, "does not know the invoice"),
    (P, P, False, False, "on its way"),
    (P, F, True, False, "on its way"),
    (S, S, False, False, "machine's wallet shows it paid"),
    (S, P, True, False, "machine's wallet shows it paid"),
    (F, F, False, False, "could still be paid"),
    (F, P, True, False, "could still be paid"),
    (F, F, True, True, None),
    (A, None, False, False, None),
    (A, None, False, True, "may still be working"),
    (A, None, True, True, None),
    (F, None, False, True, "could still be paid"),
    (F, None, True, True, None),
    (P, None, True, True, "on its way"),
    (S, None, True, True, "machine's wallet shows it paid"),
]


@pytest.mark.parametrize(("source", "destination", "expired", "sent", "why"), UNPAID)
def test_unpaid_is_only_what_both_sides_prove(
    source: Sighting, destination: Sighting | None, expired: bool, sent: bool, why: str | None
) -> None:
    said = why_not_unpaid(View(source, destination, expired), sent=sent)
    assert said is None if why is None else why in (said or "")


def test_nothing_that_may_have_been_paid_is_ever_proven_unpaid() -> None:
    for source, destination, expired, sent, forgotten in product(Sighting, [None, *Sighting], *[(False, True)] * 3):
        view = View(source, destination, expired, preimage_fits=True, last_look=True, forgotten=forgotten)
        if why_not_unpaid(view, sent=sent) is None:
            assert not forgotten
            assert source in (A, F)
            assert destination is not S
            assert decide(view).step in (Step.PAY, Step.RENEW, Step.WAIT)


#: What each command says to a settlement in each state; None: allowed. SPEC section 9.
HELD = "release"
STATES = {
    SettlementStatus.PENDING: {},
    SettlementStatus.HELD: {CorrectionKind.REDISTRIBUTE: HELD, CorrectionKind.REFUND: HELD},
    SettlementStatus.PROCESSED: {CorrectionKind.CLOSE: "nothing left to close"},
    SettlementStatus.ERRORED: {},
    SettlementStatus.PARTIAL: {CorrectionKind.PARTIAL_DISPENSE: "closed", CorrectionKind.CLOSE: "closed already"},
    SettlementStatus.REFUNDED: {
        CorrectionKind.PARTIAL_DISPENSE: "refunded",
        CorrectionKind.CLOSE: "nothing left to close",
    },
}


def a_settlement(status: SettlementStatus, *, planned_at: int | None = 1) -> Settlement:
    """A sale of the worked example in some state."""
    hold = "by_operator" if status is SettlementStatus.HELD else None
    names = dict.fromkeys(Settlement.__dataclass_fields__)
    blank = Settlement(**names)  # type: ignore[arg-type]
    return replace(blank, id=12, status=status, hold_reason=hold, gross_sats=266_800, planned_at=planned_at)


@pytest.mark.parametrize(("status", "command"), [*product(SettlementStatus, CorrectionKind)])
def test_every_status_against_every_command(status: SettlementStatus, command: CorrectionKind) -> None:
    expected = STATES[status].get(command)
    said = refusal(command, a_settlement(status))
    assert (said is None) == (expected is None)
    assert (expected or "") in (said or "")
    assert said is None or "sale 12" in said


@pytest.mark.parametrize("command", [CorrectionKind.PARTIAL_DISPENSE, CorrectionKind.CLOSE])
def test_what_was_never_planned_can_be_stopped_and_scaled(command: CorrectionKind) -> None:
    assert refusal(command, a_settlement(SettlementStatus.PENDING, planned_at=None)) is None


@pytest.mark.parametrize("command", [CorrectionKind.REDISTRIBUTE, CorrectionKind.REFUND])
def test_a_held_sale_is_released_first_planned_or_not(command: CorrectionKind) -> None:
    assert HELD in (refusal(command, a_settlement(SettlementStatus.HELD, planned_at=None)) or "")


@pytest.mark.parametrize("command", [CorrectionKind.REDISTRIBUTE, CorrectionKind.REFUND])
@pytest.mark.parametrize(
    ("status", "words"),
    [(SettlementStatus.PENDING, "not planned yet"), (SettlementStatus.PARTIAL, "before the customer's payment")],
)
def test_what_was_never_planned_has_nothing_to_give_out(
    command: CorrectionKind, status: SettlementStatus, words: str
) -> None:
    assert words in (refusal(command, a_settlement(status, planned_at=None)) or "")
