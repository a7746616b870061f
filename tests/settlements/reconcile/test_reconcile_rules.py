"""How a sale bears a payment that its books lacked, and what marks of another life say: pure rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.models import Retained, RetainedReason
from satmachine.settlements.reconcile.reconcile_rules import (
    Choice,
    OpenLeg,
    PaymentLine,
    Reconciliation,
    Resolution,
    booked_sats,
    cover,
    heads,
    parse_choice,
    revisions,
    superseded,
    withdrawn,
)

NAMES = st.sampled_from(["super", "split:owner", "dca:maria", "dca:bob", "refund:1"])
RETAINED = st.builds(Retained, st.sampled_from(list(RetainedReason)), st.integers(1, 5_000), NAMES)
LEGS = st.builds(OpenLeg, st.integers(1, 99), NAMES, st.integers(1, 3), st.integers(1, 5_000), st.booleans())

LINE = PaymentLine("ab" * 32, f"sm1:{'cd' * 32}:r1:super", 5, 0, 1, Resolution.BOOK, "x")
REPORT = Reconciliation("m", None, (LINE,), (), (), ())


@given(
    st.integers(1, 20_000), NAMES, st.lists(RETAINED, max_size=5), st.lists(LEGS, max_size=5, unique_by=lambda x: x.id)
)
def test_what_gives_way_is_exactly_what_the_payment_costs(
    cost_sats: int, name: str, retained: list[Retained], legs: list[OpenLeg]
) -> None:
    borne = cover(cost_sats, name, retained, legs)
    there_sats = sum(row.amount_sats for row in retained) + sum(leg.amount_sats for leg in legs if leg.unpaid)
    if borne is None:
        assert there_sats < cost_sats
        return
    amounts = {leg.id: leg.amount_sats for leg in legs if leg.unpaid}
    freed_sats = sum(amounts[leg_id] for leg_id in borne.voided)
    assert freed_sats - sum(row.amount_sats for row in borne.retained) == cost_sats
    for row in borne.retained:
        kept_sats = sum(r.amount_sats for r in retained if (r.reason, r.leg) == (row.reason, row.leg))
        assert row.amount_sats > 0 or -row.amount_sats <= kept_sats


def test_its_own_part_gives_way_first_and_the_customers_last() -> None:
    retained = [
        Retained(RetainedReason.UNDISPENSED, 100),
        Retained(RetainedReason.NO_SUPER_PAYEE, 100, "super"),
        Retained(RetainedReason.NO_LP_BALANCE, 100, "dca"),
    ]
    borne = cover(250, "dca:maria", retained, [])
    assert borne is not None
    assert [(row.reason, row.amount_sats) for row in borne.retained] == [
        ("no_lp_balance", -100),
        ("no_super_payee", -100),
        ("undispensed", -50),
    ]
    refund = cover(50, "refund:1", retained, [])
    assert refund is not None
    assert refund.retained[0].reason is RetainedReason.UNDISPENSED


def test_a_leg_that_may_have_been_paid_never_gives_way() -> None:
    assert cover(10, "super", [], [OpenLeg(1, "super", 1, 50, unpaid=False)]) is None
    borne = cover(10, "super", [], [OpenLeg(1, "super", 1, 50, unpaid=True)])
    assert borne is not None
    assert borne.retained == (Retained(RetainedReason.VOIDED_LEG, 40, "super"),)


@pytest.mark.parametrize(
    ("revision", "leg", "newest", "expected"),
    [(1, "dca:bob", 2, True), (1, "dca:maria", 1, True), (1, "dca:bob", 1, False), (3, "dca:bob", 2, False)],
)
def test_what_a_later_revision_or_the_same_name_has_replaced(
    revision: int, leg: str, newest: int, expected: bool
) -> None:
    assert superseded(OpenLeg(1, leg, revision, 5, unpaid=True), {(2, "dca:maria")}, newest) is expected


@pytest.mark.parametrize(("fee", "leg_sats", "expected"), [(3, 103, 103), (3, None, 103), (3, 100, 100), (0, 100, 100)])
def test_a_fee_is_the_legs_unless_the_machine_bore_it_on_top(fee: int, leg_sats: int | None, expected: int) -> None:
    assert booked_sats(100, fee, leg_sats) == expected


def test_heads_are_the_marks_that_nothing_replaces() -> None:
    assert heads({"a": frozenset(), "b": frozenset("a"), "c": frozenset("a")}) == ["b", "c"]


def test_a_leg_that_was_named_once_and_is_not_any_more_was_stopped() -> None:
    assert withdrawn(["x", "y", "z"], [{"x": "1", "y": "2"}, {"y": "2"}], {"y": "2"}) == ["x"]


def test_revisions_are_read_from_keys_of_sales_alone() -> None:
    sale = "ab" * 32
    assert revisions([f"sm1:{sale}:r1:super", f"sm1:{sale}:r12:dca:bob", "sm1:bal:m:bob:7", "junk"]) == [1, 12]


@pytest.mark.parametrize(
    ("text", "choice"),
    [("sale:12", Choice(settlement_id=12)), ("client:3", Choice(client_id=3)), ("not-ours", Choice())],
)
def test_choices_are_read_as_they_are_printed(text: str, choice: Choice) -> None:
    assert parse_choice(f"{'ab' * 32}={text}") == ("ab" * 32, choice)


@pytest.mark.parametrize("text", ["", "ab=sale:1", f"{'ab' * 32}=sale:x", f"{'ab' * 32}=", f"{'ab' * 32}:sale=1"])
def test_what_is_no_choice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no choice"):
        parse_choice(text)


@pytest.mark.parametrize(
    "other",
    [
        replace(REPORT, payments=(replace(LINE, verdict=Resolution.NOT_OURS),)),
        replace(REPORT, payments=(replace(LINE, amount_sats=6),)),
        replace(REPORT, payments=()),
        replace(REPORT, waits=("y",)),
        replace(REPORT, paused="restored"),
    ],
)
def test_everything_that_is_shown_is_in_the_digest(other: Reconciliation) -> None:
    assert other.digest != REPORT.digest
