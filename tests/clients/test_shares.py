"""An LP asks why they got what they got: the explanation is what was computed, to the sixth decimal of a sat."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.clients.shares import Distribution, PlannedShare, explain_distribution
from satmachine.money import calculate_distribution, minor_to_fiat

RATE = Decimal(100)  # a cent buys a sat


def share(
    label: str, sats: int, weight_minor: int, cap_minor: int | None = None, *, mode: str = "flow"
) -> PlannedShare:
    cap = weight_minor if cap_minor is None else cap_minor
    return PlannedShare(label, 1, sats, sats, mode, weight_minor, cap)


def explained(net_sats: int, *planned: PlannedShare, rate: Decimal = RATE) -> Distribution:
    return explain_distribution(net_sats, rate, "GTQ", planned)


def test_a_leg_carries_what_it_was_planned_with() -> None:
    why = {"mode": "fixed", "weight_minor": 700, "total_weight_minor": 900, "cap_minor": 600}
    row = {"leg": "dca:maria", "client_id": 3, "amount_sats": 55, "fiat_amount_minor": 56, "explain": json.dumps(why)}
    assert PlannedShare.of(row) == PlannedShare("maria", 3, 55, 56, "fixed", 700, 600)


def test_an_exact_share_is_shown_to_the_sixth_decimal_and_cut() -> None:
    found = explained(100, share("a", 67, 2_000), share("b", 33, 1_000))
    assert [str(one.exact_sats) for one in found.shares] == ["66.666666", "33.333333"]
    assert [one.remainder_sat for one in found.shares] == [True, False]
    assert [one.capped for one in found.shares] == [False, False]
    assert (found.orphan_sats, found.orphan_reason, found.as_recorded) == (0, "", True)
    assert (found.net_sats, found.distributable_sats, found.total_weight_minor) == (100, 100, 3_000)


def test_a_whole_share_has_no_sat_of_rounding() -> None:
    found = explained(300, share("a", 200, 2_000), share("b", 100, 1_000))
    assert [(str(one.exact_sats), one.remainder_sat) for one in found.shares] == [
        ("200.000000", False),
        ("100.000000", False),
    ]


def test_who_is_capped_is_told_what_the_share_would_have_been_and_the_others_what_they_got_of_it() -> None:
    found = explained(3_000, share("a", 500, 10_000, 500, mode="fixed"), share("b", 2_500, 10_000))
    a, b = found.shares
    assert (a.capped, str(a.exact_sats), a.cap_sats, a.amount_sats) == (True, "1500.000000", 500, 500)
    assert (b.capped, str(b.exact_sats), b.cap_sats, b.amount_sats) == (False, "2500.000000", 10_000, 2_500)
    assert (a.mode, a.weight_minor, a.cap_minor, a.fiat_amount_minor) == ("fixed", 10_000, 500, 500)
    assert found.as_recorded


def test_a_share_of_exactly_the_cap_is_not_capped() -> None:
    found = explained(1_000, share("a", 500, 500), share("b", 500, 500))
    assert [one.capped for one in found.shares] == [False, False]


def test_who_can_take_nothing_takes_no_part_and_is_told_so() -> None:
    found = explained(1_000, share("a", 0, 10_000, 0), share("b", 1_000, 10_000))
    a, b = found.shares
    assert (a.capped, a.cap_sats, str(a.exact_sats)) == (True, 0, "500.000000")
    assert str(b.exact_sats) == "1000.000000"


def test_an_lp_without_weight_is_not_called_capped() -> None:
    found = explained(1_000, share("a", 0, 0, 0), share("b", 1_000, 10_000))
    assert (found.shares[0].capped, found.shares[0].exact_sats) == (False, Decimal(0))
    alone = explained(1_000, share("a", 0, 0, 0)).shares[0]
    assert (alone.exact_sats, alone.remainder_sat) == (Decimal(0), False)


def test_books_that_say_otherwise_than_the_formula_are_found_out() -> None:
    assert not explained(100, share("a", 66, 2_000), share("b", 34, 1_000)).as_recorded


@pytest.mark.parametrize(
    ("rate", "planned", "words"),
    [
        (Decimal(0), [share("a", 0, 1_000)], "no exchange rate"),
        (RATE, [], "no active LP had a balance"),
        (RATE, [share("a", 0, 1_000, 0)], "have been spent since"),
        (RATE, [share("a", 0, 0, 0)], "have been spent since"),
        (RATE, [share("a", 0, 1_000, 0), share("b", 100, 1_000, 100)], "more cash"),
        (RATE, [share("a", 100, 1_000, 100)], "more cash was in the machine than is in the books"),
    ],
)
def test_what_nobody_got_is_told_with_its_reason(rate: Decimal, planned: list[PlannedShare], words: str) -> None:
    found = explained(1_000, *planned, rate=rate)
    assert words in found.orphan_reason
    assert found.orphan_sats == 1_000 - sum(one.amount_sats for one in planned)
    assert found.distributable_sats == sum(one.amount_sats for one in planned)


@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)), max_size=6),
    st.decimals("0.5", 1_000, places=2),
)
def test_the_exact_shares_of_those_who_were_not_capped_are_within_a_sat_of_what_they_got(
    net_sats: int, lps: list[tuple[int, int]], rate: Decimal
) -> None:
    weights = {f"lp-{n}": minor_to_fiat(weight, "GTQ") for n, (weight, _) in enumerate(lps)}
    caps = {f"lp-{n}": minor_to_fiat(cap, "GTQ") for n, (_, cap) in enumerate(lps)}
    shares, orphan_sats = calculate_distribution(net_sats, rate, weights, caps)
    planned = [share(f"lp-{n}", shares[f"lp-{n}"], weight, cap) for n, (weight, cap) in enumerate(lps)]
    found = explain_distribution(net_sats, rate, "GTQ", planned)
    assert found.as_recorded
    assert found.orphan_sats == orphan_sats
    for one in found.shares:
        if one.capped:
            assert one.amount_sats == one.cap_sats
        else:
            assert abs(one.amount_sats - one.exact_sats) < 1 + Decimal("0.000001")
            assert one.remainder_sat == (one.amount_sats > one.exact_sats)
