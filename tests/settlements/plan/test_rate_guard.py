"""Is a rate believable? Each limit has two sides: what is believed at it, and what is not one step further."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.settlements.plan.planning import (
    OLDEST_S,
    RATES_FOR_A_MEDIAN,
    YOUNGEST_S,
    RateBounds,
    Sold,
    rate_breach,
    usual_rate,
)
from testkit.books import a_settlement

DAY_S = 24 * 60 * 60
QUARTER = RateBounds(Decimal("0.25"))


def test_the_usual_rate_is_that_of_the_week_that_ended_a_day_ago() -> None:
    """As SPEC section 6.4 says: a thief has to sell a day in advance, and a week of sales has to be outsold."""
    assert (YOUNGEST_S, OLDEST_S, RATES_FOR_A_MEDIAN) == (DAY_S, 8 * DAY_S, 5)


class TestUsualRate:
    def test_four_sales_say_nothing_and_the_fifth_does(self) -> None:
        assert usual_rate([(Decimal(100), 1_000, 4)]) is None
        assert usual_rate([(Decimal(100), 1_000, 4), (Decimal(100), 1, 1)]) == 100

    def test_no_sales_say_nothing(self) -> None:
        assert usual_rate() is None
        assert usual_rate([], []) is None

    def test_the_first_span_with_enough_sales_tells_it(self) -> None:
        few, enough, other = [(Decimal(90), 1, 4)], [(Decimal(100), 1, 5)], [(Decimal(200), 1, 9)]
        assert usual_rate(few, enough, other) == 100
        assert usual_rate(other, enough) == 200

    def test_half_of_the_sats_is_reached_from_below(self) -> None:
        assert usual_rate([(Decimal(100), 500, 3), (Decimal(200), 500, 3)]) == 100
        assert usual_rate([(Decimal(100), 499, 3), (Decimal(200), 501, 3)]) == 200
        assert usual_rate([(Decimal(100), 499, 3), (Decimal(200), 501, 3), (Decimal(300), 2, 1)]) == 200

    def test_sats_weigh_and_not_how_many_sales_there_were(self) -> None:
        assert usual_rate([(Decimal(100), 1_000_000, 1), (Decimal(900), 1, 1_000)]) == 100

    def test_sales_of_nothing_but_commission_weigh_a_sat_each(self) -> None:
        assert usual_rate([(Decimal(100), 0, 2), (Decimal(200), 0, 2), (Decimal(300), 0, 1)]) == 200
        assert usual_rate([(Decimal(100), 0, 4), (Decimal(200), 2, 1)]) == 200

    @given(
        st.lists(
            st.tuples(st.decimals("0.01", 10**6, places=2), st.integers(0, 10**9), st.integers(1, 9)),
            min_size=5,
            max_size=30,
        )
    )
    def test_a_thief_who_sells_less_than_the_machine_cannot_lift_it_above_what_the_machine_sold_at(
        self, span: list[Sold]
    ) -> None:
        honest = sum(max(1, net_sats) for _, net_sats, _ in span)
        stolen = (max(rate for rate, _, _ in span) * 10, honest - 1, 1)
        found = usual_rate([*span, stolen])
        assert found is not None
        assert found <= max(rate for rate, _, _ in span)

    @given(
        st.lists(st.tuples(st.decimals(1, 1000, places=2), st.integers(1, 10**9), st.integers(1, 9)), min_size=5),
        st.randoms(),
    )
    def test_the_order_in_which_sales_are_read_says_nothing(self, span: list[Sold], chance: object) -> None:
        shuffled = sorted(span, key=lambda _: chance.random())  # type: ignore[attr-defined]
        assert usual_rate(shuffled) == usual_rate(span)


class TestBreach:
    @pytest.mark.parametrize(
        ("rate", "believed"), [("75", True), ("74.99", False), ("125", True), ("125.01", False), ("100", True)]
    )
    def test_a_quarter_away_from_the_usual_rate_is_believed_and_a_hair_more_is_not(
        self, rate: str, believed: bool
    ) -> None:
        found = rate_breach(a_settlement(exchange_rate=Decimal(rate)), Decimal(100), QUARTER)
        assert (found is None) == believed
        if found is not None:
            assert "max_rate_deviation 0.25" in found
            assert f"exchange rate {rate} sats per GTQ" in found
            assert "usual rate 100" in found

    @pytest.mark.parametrize(
        ("rate", "words"),
        [("9.99", "below this machine's rate_min 10"), ("20.01", "above this machine's rate_max 20")],
    )
    def test_what_is_outside_of_the_operators_own_bounds_is_told_with_the_bound(self, rate: str, words: str) -> None:
        bounds = RateBounds(Decimal(9), lowest=Decimal(10), highest=Decimal(20))
        found = rate_breach(a_settlement(exchange_rate=Decimal(rate)), None, bounds)
        assert found is not None
        assert words in found

    @pytest.mark.parametrize("rate", ["10", "15", "20"])
    def test_the_operators_bounds_themselves_are_inside(self, rate: str) -> None:
        bounds = RateBounds(Decimal(9), lowest=Decimal(10), highest=Decimal(20))
        assert rate_breach(a_settlement(exchange_rate=Decimal(rate)), None, bounds) is None

    def test_an_unknown_rate_breaks_no_limit(self) -> None:
        """Then nothing is shared with LPs, and nothing of theirs is used up."""
        bounds = RateBounds(Decimal("0.25"), lowest=Decimal(10), highest=Decimal(20))
        unknown = a_settlement(exchange_rate=Decimal(0), fiat_amount_minor=100, net_sats=5)
        assert rate_breach(unknown, Decimal(100), bounds) is None

    @pytest.mark.parametrize("rate", ["1", "0.0001"])
    def test_the_smallest_rate_is_a_rate(self, rate: str) -> None:
        assert rate_breach(a_settlement(exchange_rate=Decimal(rate)), Decimal(100), QUARTER) is not None


class TestCash:
    """The machine's own figures must agree: notes are rounded, so 2 % or one major unit, whichever is more, is fine."""

    @pytest.mark.parametrize(
        ("cash_minor", "net_sats", "rate", "believed"),
        [
            # 100,000 sats at 100 are 1,000.00: 2 % are 20.00
            (102_000, 100_000, "100", True),
            (102_001, 100_000, "100", False),
            (98_000, 100_000, "100", True),
            (97_999, 100_000, "100", False),
            # 1,000 sats at 100 are 10.00: 2 % would be 0.20, but 1.00 is fine
            (1_100, 1_000, "100", True),
            (1_101, 1_000, "100", False),
            (900, 1_000, "100", True),
            (899, 1_000, "100", False),
            # no cash at all for next to nothing, but not for more
            (0, 100, "100", True),
            (0, 101, "100", False),
        ],
    )
    def test_cash_within_the_tolerance_is_believed(
        self, cash_minor: int, net_sats: int, rate: str, believed: bool
    ) -> None:
        sale = a_settlement(net_sats=net_sats, fiat_amount_minor=cash_minor, exchange_rate=Decimal(rate))
        found = rate_breach(sale, None, QUARTER)
        assert (found is None) == believed
        if found is not None:
            assert f"were given for {net_sats} sats net" in found

    def test_a_sale_that_names_no_cash_is_not_compared(self) -> None:
        assert rate_breach(a_settlement(net_sats=10**9, fiat_amount_minor=None), None, QUARTER) is None

    def test_a_derived_split_is_only_about_right_and_is_not_compared(self) -> None:
        derived = a_settlement(
            net_sats=100_000, fiat_amount_minor=1, exchange_rate=Decimal(100), used_fallback_split=True
        )
        assert rate_breach(derived, None, QUARTER) is None

    def test_a_currency_without_cents_is_compared_in_whole_units(self) -> None:
        fits = a_settlement(net_sats=100_000, fiat_amount_minor=1_000, exchange_rate=Decimal(100), currency="JPY")
        assert rate_breach(fits, None, QUARTER) is None

    @given(st.integers(1, 10**9), st.decimals(1, 10**6, places=2))
    def test_who_gives_what_the_sats_buy_is_always_believed(self, cash_minor: int, rate: Decimal) -> None:
        net_sats = int(cash_minor * rate / 100)
        sale = a_settlement(net_sats=net_sats, fiat_amount_minor=cash_minor, exchange_rate=rate)
        assert rate_breach(sale, None, QUARTER) is None
