"""The arithmetic of SPEC section 4: its worked examples, and what must hold for every amount.

`fractions.Fraction` is the oracle: it never rounds, and `round(Fraction)` rounds half to even.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.money import (
    allocate_operator_split_legs,
    calculate_commission,
    calculate_distribution,
    fiat_to_minor,
    minor_digits,
    minor_to_fiat,
    minor_to_sats,
    sats_to_minor,
    scale_linear,
    split_two_stage_commission,
)

ALL_SATS = 21_000_000 * 100_000_000
CURRENCIES = ["GTQ", "JPY", "KWD"]


def decimals(low: int, high: int, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(low, high, places=places, allow_nan=False, allow_infinity=False)


amounts = st.integers(0, 1000) | st.integers(0, ALL_SATS)
pcts = decimals(0, 1, 2) | decimals(0, 1, 18)
discounts = decimals(0, 100, 2)
rates = decimals(0, 1000, 2) | decimals(0, 10**8, 8)
positive_rates = rates.filter(bool)
#: Few and small, so that ties, empty balances and binding caps are common.
labels = st.sampled_from("abcdefg")
balances = st.dictionaries(labels, decimals(0, 20, 0) | decimals(0, 10**6, 2))
caps = st.dictionaries(labels, decimals(0, 20, 0) | decimals(0, 10**6, 2))


@st.composite
def rulesets(draw: st.DrawFn) -> list[Decimal]:
    """Pcts that sum to exactly 1."""
    cuts = sorted(draw(st.lists(st.integers(0, 10_000), max_size=6)))
    edges = [0, *cuts, 10_000]
    return [Decimal(high - low) / 10_000 for low, high in pairwise(edges)]


# ---- Stage one: platform and operator ----


@pytest.mark.parametrize(
    ("commission_sats", "pct", "parts"),
    [
        (100, "0.30", (30, 70)),
        (7965, "0.30", (2390, 5575)),  # 2389.5 rounds to even
        (5, "0.50", (2, 3)),
        (7, "0.50", (4, 3)),
        (100, "0", (0, 100)),
        (100, "1", (100, 0)),
        (0, "0.30", (0, 0)),
    ],
)
def test_stage_one_examples(commission_sats: int, pct: str, parts: tuple[int, int]) -> None:
    assert split_two_stage_commission(commission_sats, Decimal(pct)) == parts


@given(amounts, pcts)
def test_stage_one_is_exact_and_sums(commission_sats: int, pct: Decimal) -> None:
    platform, operator = split_two_stage_commission(commission_sats, pct)
    assert platform == round(Fraction(commission_sats) * Fraction(pct))
    assert platform + operator == commission_sats
    assert min(platform, operator) >= 0


@given(amounts, st.integers(0, 1000), pcts)
def test_a_bigger_commission_is_no_smaller_for_either_side(amount: int, more: int, pct: Decimal) -> None:
    before, after = (split_two_stage_commission(sats, pct) for sats in (amount, amount + more))
    assert after[0] >= before[0]
    assert after[1] >= before[1]


# ---- Stage two: the operator's partners ----


@pytest.mark.parametrize(
    ("fee_sats", "leg_pcts", "legs"),
    [
        (70, ["0.5", "0.3", "0.2"], [35, 21, 14]),
        (70, ["1"], [70]),
        (0, ["0.5", "0.5"], [0, 0]),
        (5, ["0.5", "0.5"], [2, 3]),
        (1, ["0.4", "0.4", "0.2"], [0, 0, 1]),
        (3, ["0.25", "0.25", "0.25", "0.25"], [1, 1, 1, 0]),
        (1, ["0.6", "0.4", "0"], [1, 0, 0]),
        (10, ["0", "1"], [0, 10]),
    ],
)
def test_stage_two_examples(fee_sats: int, leg_pcts: list[str], legs: list[int]) -> None:
    assert allocate_operator_split_legs(fee_sats, [Decimal(pct) for pct in leg_pcts]) == legs


@given(amounts, rulesets())
def test_stage_two_is_exact_and_sums(fee_sats: int, leg_pcts: list[Decimal]) -> None:
    legs = allocate_operator_split_legs(fee_sats, leg_pcts)
    left = fee_sats
    for leg, pct in zip(legs[:-1], leg_pcts, strict=False):
        assert leg == min(round(fee_sats * Fraction(pct)), left)
        left -= leg
    assert legs[-1] == left >= 0
    assert sum(legs) == fee_sats


@given(amounts, rulesets())
def test_rounding_moves_a_leg_by_at_most_half_a_sat_for_each_leg(fee_sats: int, leg_pcts: list[Decimal]) -> None:
    for leg, pct in zip(allocate_operator_split_legs(fee_sats, leg_pcts), leg_pcts, strict=True):
        assert abs(leg - fee_sats * Fraction(pct)) <= Fraction(len(leg_pcts), 2)


@pytest.mark.parametrize("leg_pcts", [[], ["0.5"], ["0.5", "0.5", "0.000000000000000001"], ["0.9", "0.2"]])
def test_rules_that_do_not_sum_to_one_are_refused(leg_pcts: list[str]) -> None:
    with pytest.raises(ValueError, match="must sum to exactly 1"):
        allocate_operator_split_legs(100, [Decimal(pct) for pct in leg_pcts])


# ---- The fallback split ----


@pytest.mark.parametrize(
    ("gross_sats", "pct", "discount", "parts"),
    [
        (266_800, "0.05", "0", (254_095, 12_705)),
        (266_800, "0.05", "100", (266_800, 0)),
        (266_800, "0", "0", (266_800, 0)),
        (105, "0.05", "0", (100, 5)),
        (110, "0.20", "50", (100, 10)),
        (1, "1", "0", (0, 1)),
        (0, "0.05", "0", (0, 0)),
    ],
)
def test_fallback_examples(gross_sats: int, pct: str, discount: str, parts: tuple[int, int]) -> None:
    assert calculate_commission(gross_sats, Decimal(pct), Decimal(discount)) == parts


@given(amounts, pcts, discounts)
def test_the_fallback_is_exact_and_sums(gross_sats: int, pct: Decimal, discount: Decimal) -> None:
    net, commission = calculate_commission(gross_sats, pct, discount)
    effective = Fraction(pct) * (100 - Fraction(discount)) / 100
    assert net == floor(gross_sats / (1 + effective))
    assert net + commission == gross_sats
    assert min(net, commission) >= 0


@given(amounts, st.integers(0, 1000), pcts, discounts)
def test_a_bigger_gross_is_no_smaller_for_either_side(gross: int, more: int, pct: Decimal, off: Decimal) -> None:
    before, after = (calculate_commission(sats, pct, off) for sats in (gross, gross + more))
    assert after[0] >= before[0]
    assert after[1] >= before[1]


@given(amounts, pcts, pcts, discounts, discounts)
def test_a_higher_rate_never_lowers_the_commission_and_a_discount_never_raises_it(
    gross: int, one: Decimal, other: Decimal, off: Decimal, more_off: Decimal
) -> None:
    low, high = sorted([one, other])
    less, more = sorted([off, more_off])
    assert calculate_commission(gross, low, less)[1] <= calculate_commission(gross, high, less)[1]
    assert calculate_commission(gross, low, more)[1] <= calculate_commission(gross, low, less)[1]


# ---- Shares of the liquidity providers ----


def of(**amounts_by_label: str) -> dict[str, Decimal]:
    return {label: Decimal(amount) for label, amount in amounts_by_label.items()}


@pytest.mark.parametrize(
    ("net_sats", "rate", "weights", "bounds", "shares", "orphan_sats"),
    [
        # proportional; the sat that is left over goes to the largest remainder, then by label
        (100, "10", of(a="75", b="25"), None, {"a": 75, "b": 25}, 0),
        (100, "10", of(c="50", b="50", a="50"), None, {"a": 34, "b": 33, "c": 33}, 0),
        (10, "10", of(a="6", b="6", c="2"), None, {"a": 4, "b": 4, "c": 2}, 0),
        (1, "10", of(a="1", b="2"), None, {"a": 0, "b": 1}, 0),
        # nobody gets more than the balance buys; the rest is orphan
        (100, "2", of(a="10", b="20"), None, {"a": 20, "b": 40}, 40),
        (100, "0.5", of(a="3"), None, {"a": 1}, 99),
        # what a cap cuts off goes to the others, again and again
        (100, "1", of(a="100", b="100"), of(a="10", b="100"), {"a": 10, "b": 90}, 0),
        (90, "1", of(a="10", b="10", c="10"), of(a="5", b="35", c="99"), {"a": 5, "b": 35, "c": 50}, 0),
        (90, "1", of(a="50", b="50"), of(a="0"), {"a": 0, "b": 0}, 90),
        # caps without a balance weigh nothing
        (90, "1", of(a="0", b="1"), of(a="50", b="50", z="50"), {"a": 0, "b": 50}, 40),
        # unknown rate, no balance, nothing to share
        (100, "0", of(a="75", b="25"), None, {"a": 0, "b": 0}, 100),
        (100, "10", {}, None, {}, 100),
        (100, "10", of(a="0"), None, {"a": 0}, 100),
        (0, "10", of(a="75"), None, {"a": 0}, 0),
    ],
)
def test_distribution_examples(
    net_sats: int,
    rate: str,
    weights: dict[str, Decimal],
    bounds: dict[str, Decimal] | None,
    shares: dict[str, int],
    orphan_sats: int,
) -> None:
    assert calculate_distribution(net_sats, Decimal(rate), weights, bounds) == (shares, orphan_sats)


@given(amounts, rates, balances, st.none() | caps)
def test_a_distribution_sums_keeps_every_cap_and_leaves_no_sat_that_somebody_could_take(
    net: int, rate: Decimal, weights: dict[str, Decimal], bounds: dict[str, Decimal] | None
) -> None:
    shares, orphan = calculate_distribution(net, rate, weights, bounds)
    limits = weights if bounds is None else bounds
    cap_sats = {label: floor(Fraction(limits.get(label, Decimal(0))) * Fraction(rate)) for label in weights}
    assert shares.keys() == weights.keys()
    assert all(0 <= share <= cap_sats[label] for label, share in shares.items())
    assert sum(shares.values()) + orphan == net
    assert sum(shares.values()) == min(net, sum(cap_sats[label] for label in weights if weights[label]))


@given(amounts, rates, balances, caps, st.randoms())
def test_the_order_of_the_providers_does_not_matter(
    net: int, rate: Decimal, weights: dict[str, Decimal], bounds: dict[str, Decimal], random: Any
) -> None:
    shuffled = [dict(random.sample(sorted(table.items()), len(table))) for table in (weights, bounds)]
    assert calculate_distribution(net, rate, *shuffled) == calculate_distribution(net, rate, weights, bounds)


@given(amounts, rates, balances)
def test_a_bigger_balance_never_gets_a_smaller_share(net: int, rate: Decimal, weights: dict[str, Decimal]) -> None:
    shares, _ = calculate_distribution(net, rate, weights)
    ranked = sorted(weights, key=lambda label: (-weights[label], label))
    assert [shares[label] for label in ranked] == sorted(shares.values(), reverse=True)


@given(amounts, rates, st.sets(labels, min_size=1), decimals(1, 10**6, 2))
def test_equal_balances_differ_by_one_sat_at_most(net: int, rate: Decimal, names: set[str], balance: Decimal) -> None:
    shares, _ = calculate_distribution(net, rate, dict.fromkeys(names, balance))
    assert max(shares.values()) - min(shares.values()) <= 1


@given(amounts, balances)
def test_without_a_binding_cap_every_share_is_within_a_sat_of_exact(net: int, weights: dict[str, Decimal]) -> None:
    unbound = dict.fromkeys(weights, Decimal(ALL_SATS))
    shares, _ = calculate_distribution(net, Decimal(1), weights, unbound)
    total = sum(map(Fraction, weights.values()))
    for label, share in shares.items():
        exact = net * Fraction(weights[label]) / total if total else Fraction(0)
        assert abs(share - exact) < 1


@given(amounts, balances, labels, decimals(0, 100, 2))
def test_without_a_binding_cap_a_deposit_never_shrinks_the_own_share(
    net: int, weights: dict[str, Decimal], label: str, deposit: Decimal
) -> None:
    before = {**weights, label: weights.get(label, Decimal(0))}
    unbound = dict.fromkeys(before, Decimal(ALL_SATS))
    after = {**before, label: before[label] + deposit}
    shares = [calculate_distribution(net, Decimal(1), table, unbound)[0] for table in (before, after)]
    assert shares[0][label] <= shares[1][label]


def test_a_bigger_sale_can_cost_the_smallest_provider_one_sat() -> None:
    """Largest remainder is not monotonic in the amount (the Alabama paradox): nobody may rely on it."""
    weights = of(a="6", b="6", c="2")
    small, large = (calculate_distribution(net, Decimal(10), weights)[0]["c"] for net in (10, 11))
    assert (small, large) == (2, 1)


# ---- Fiat ----


@pytest.mark.parametrize(
    ("amount_sats", "rate", "currency", "amount_minor"),
    [
        (100, "10", "GTQ", 1000),
        (1, "2000", "GTQ", 0),  # 0.05 cents
        (10, "2000", "GTQ", 1),  # half a cent rounds up
        (30, "2000", "GTQ", 2),  # 1.5 cents too
        (10, "20", "JPY", 1),
        (1, "2", "KWD", 500),
    ],
)
def test_the_fiat_value_of_sats_is_rounded_half_up(
    amount_sats: int, rate: str, currency: str, amount_minor: int
) -> None:
    assert sats_to_minor(amount_sats, Decimal(rate), currency) == amount_minor


@given(amounts, positive_rates, st.sampled_from(CURRENCIES))
def test_fiat_and_sats_convert_exactly(amount: int, rate: Decimal, currency: str) -> None:
    scale = 10 ** minor_digits(currency)
    assert sats_to_minor(amount, rate, currency) == floor(amount * scale / Fraction(rate) + Fraction(1, 2))
    assert minor_to_sats(amount, rate, currency) == floor(Fraction(amount, scale) * Fraction(rate))


@given(st.integers(-ALL_SATS, ALL_SATS), st.sampled_from(CURRENCIES))
def test_minor_units_survive_the_way_to_major_units_and_back(amount_minor: int, currency: str) -> None:
    shown = minor_to_fiat(amount_minor, currency)
    assert fiat_to_minor(shown, currency) == amount_minor
    assert -int(shown.as_tuple().exponent) == minor_digits(currency)


@pytest.mark.parametrize(("amount", "currency"), [("0.001", "GTQ"), ("0.5", "JPY"), ("1.0001", "KWD")])
def test_a_fraction_that_the_currency_does_not_have_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(ValueError, match="decimals"):
        fiat_to_minor(Decimal(amount), currency)


def test_trailing_zeros_are_no_fraction() -> None:
    assert fiat_to_minor(Decimal("10.5000"), "GTQ") == 1050
    assert fiat_to_minor(Decimal("1E+3"), "JPY") == 1000


# ---- Partial dispense ----


@given(st.integers(0, ALL_SATS), st.integers(0, ALL_SATS), st.integers(1, 10**6), st.data())
def test_scaling_is_exact_half_up_and_drifts_by_one_sat_at_most(
    net: int, fee: int, whole: int, data: st.DataObject
) -> None:
    part = data.draw(st.integers(0, whole))
    assert scale_linear(net, part, whole) == floor(Fraction(net * part, whole) + Fraction(1, 2))
    drift = scale_linear(net, part, whole) + scale_linear(fee, part, whole) - scale_linear(net + fee, part, whole)
    assert drift in (-1, 0, 1)
    assert (scale_linear(net, whole, whole), scale_linear(net, 0, whole)) == (net, 0)


@pytest.mark.parametrize(("part", "whole"), [(1, 0), (2, 1), (-1, 1)])
def test_scaling_to_more_than_everything_is_refused(part: int, whole: int) -> None:
    with pytest.raises(ValueError, match="cannot scale"):
        scale_linear(100, part, whole)


# ---- What is refused everywhere ----

ONE = Decimal(1)
CALLS: list[Callable[[Any, Any], object]] = [
    split_two_stage_commission,
    lambda amount, number: allocate_operator_split_legs(amount, [number]),
    calculate_commission,
    lambda amount, number: calculate_commission(amount, ONE, number),
    lambda amount, number: calculate_distribution(amount, number, {"a": ONE}),
    lambda amount, number: calculate_distribution(amount, ONE, {"a": number}),
    lambda amount, number: calculate_distribution(amount, ONE, {"a": ONE}, {"a": number}),
    lambda amount, number: sats_to_minor(amount, number, "GTQ"),
    lambda amount, number: minor_to_sats(amount, number, "GTQ"),
]


@pytest.mark.parametrize("call", CALLS)
def test_binary_floats_are_refused_in_every_place(call: Callable[[Any, Any], object]) -> None:
    for amount, number in [(100.0, ONE), (True, ONE), (Decimal(100), ONE), ("100", ONE), (100, 1.0), (100, "1")]:
        with pytest.raises(TypeError):
            call(amount, number)
    with pytest.raises(TypeError):
        fiat_to_minor(10.5, "GTQ")  # type: ignore[arg-type]


@pytest.mark.parametrize("call", CALLS)
def test_negative_amounts_and_numbers_that_are_none_are_refused(call: Callable[[Any, Any], object]) -> None:
    for amount, number in [(-1, ONE), (100, -ONE), (100, Decimal("NaN")), (100, Decimal("Infinity"))]:
        with pytest.raises(ValueError, match=r"must|negative|above 0"):
            call(amount, number)


@given(amounts, pcts, positive_rates, balances)
def test_the_callers_decimal_context_changes_nothing(
    amount: int, pct: Decimal, rate: Decimal, weights: dict[str, Decimal]
) -> None:
    def everything() -> list[object]:
        return [
            split_two_stage_commission(amount, pct),
            calculate_commission(amount, pct),
            calculate_distribution(amount, rate, weights),
            sats_to_minor(amount, rate, "GTQ"),
            minor_to_sats(amount, rate, "GTQ"),
            minor_to_fiat(amount, "GTQ"),
        ]

    expected = everything()
    with localcontext(prec=2):
        assert everything() == expected


@given(amounts, rates, balances, st.integers(1, 10**6), st.sampled_from(["0", "nothing named"]))
def test_who_can_take_nothing_changes_nobodys_share(
    net_sats: int, rate: Decimal, weights: dict[str, Decimal], weight: int, cap: str
) -> None:
    """An LP whose daily limit is used up is as if they were not there, to the last sat of rounding."""
    caps = dict.fromkeys(weights, Decimal(10**9))
    alone, orphan_sats = calculate_distribution(net_sats, rate, weights, caps)
    also = {**weights, "~used up": Decimal(weight)}
    their_caps = {**caps, "~used up": Decimal(0)} if cap == "0" else caps
    assert calculate_distribution(net_sats, rate, also, their_caps) == ({**alone, "~used up": 0}, orphan_sats)


def test_a_used_up_limit_does_not_move_the_sat_that_rounding_gives() -> None:
    caps = {"a": Decimal(10), "b": Decimal(10), "c": Decimal(0)}
    weights = {"a": Decimal(1), "b": Decimal(4), "c": Decimal(1)}
    assert calculate_distribution(2, Decimal(1), weights, caps) == ({"a": 0, "b": 2, "c": 0}, 0)


def test_at_a_rate_of_nothing_cash_buys_nothing() -> None:
    assert minor_to_sats(10**9, Decimal(0), "GTQ") == 0
