"""Who gets how much: each part of a plan for itself, from the sale, the rules and the LPs' places alone."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.models import LegType, Position, Retained, RetainedReason
from satmachine.settlements.plan.amounts import Terms, make_plan, plan_distribution, plan_splits, plan_super
from testkit.books import TERMS, a_rule, a_settlement

RATE = Decimal(100)


def position(label: str, weight_minor: int, cap_minor: int | None = None, client_id: int = 7) -> Position:
    payee = f"{label}@example.org"
    return Position(
        client_id,
        label,
        "flow",
        payee,
        PayeeIdentity(PayeeKind.LIGHTNING_ADDRESS, payee),
        weight_minor,
        weight_minor if cap_minor is None else cap_minor,
    )


class TestPlatform:
    def test_the_platform_is_paid_where_the_file_says_by_the_pct_of_that_moment(self) -> None:
        [leg], retained = plan_super(2_390, TERMS)
        assert (leg.leg_type, leg.leg, leg.amount_sats, leg.pct) == (
            LegType.SUPER_FEE,
            "super",
            2_390,
            TERMS.super_fee_pct,
        )
        assert TERMS.super_payee is not None
        assert (leg.payee, leg.identity, leg.scope) == (
            "payee@example.org",
            TERMS.super_payee.identity,
            "operator:op:super",
        )
        assert (leg.client_id, leg.fiat_amount_minor, retained) == (None, None, [])

    def test_a_platform_that_names_nobody_leaves_its_part_in_the_wallet(self) -> None:
        legs, retained = plan_super(2_390, replace(TERMS, super_payee=None))
        assert (legs, retained) == ([], [Retained(RetainedReason.NO_SUPER_PAYEE, 2_390, "super")])


class TestPartners:
    def test_every_partner_of_the_ruleset_gets_a_part_under_their_own_name(self) -> None:
        legs, retained = plan_splits(5_575, TERMS)
        assert [(leg.leg, leg.label, leg.pct, leg.amount_sats) for leg in legs] == [
            ("split:owner", "owner", Decimal("0.7"), 3_902),
            ("split:technician", "technician", Decimal("0.3"), 1_673),
        ]
        assert {leg.leg_type for leg in legs} == {LegType.OPERATOR_SPLIT}
        assert [leg.scope for leg in legs] == ["operator:op:owner", "operator:op:technician"]
        assert retained == []

    def test_without_a_ruleset_the_operators_part_stays(self) -> None:
        legs, retained = plan_splits(5_575, replace(TERMS, rules=()))
        assert (legs, retained) == ([], [Retained(RetainedReason.NO_RULESET, 5_575, "split")])


class TestProviders:
    def test_an_lps_leg_says_who_is_paid_how_much_and_what_it_uses_up(self) -> None:
        sale = a_settlement(net_sats=3_000, exchange_rate=RATE)
        legs, retained = plan_distribution(sale, [position("maria", 10_000, client_id=4), position("bruno", 20_000)])
        assert [(leg.leg, leg.client_id, leg.amount_sats, leg.fiat_amount_minor) for leg in legs] == [
            ("dca:maria", 4, 1_000, 1_000),
            ("dca:bruno", 7, 2_000, 2_000),
        ]
        assert [(leg.scope, leg.payee) for leg in legs] == [
            ("client:4", "maria@example.org"),
            ("client:7", "bruno@example.org"),
        ]
        assert {leg.leg_type for leg in legs} == {LegType.DCA}
        assert [row.amount_sats for row in retained] == [0]

    def test_each_leg_explains_itself_by_what_its_share_was_made_of(self) -> None:
        sale = a_settlement(net_sats=3_000, exchange_rate=RATE)
        legs, _ = plan_distribution(sale, [position("maria", 10_000, 9_000), position("bruno", 20_000)])
        assert json.loads(str(legs[0].explain)) == {
            "mode": "flow",
            "weight_minor": 10_000,
            "total_weight_minor": 30_000,
            "cap_minor": 9_000,
        }

    def test_an_lp_whose_cash_was_in_it_but_whose_part_is_less_than_a_sat_is_named_with_nothing(self) -> None:
        legs, _ = plan_distribution(
            a_settlement(net_sats=1, exchange_rate=RATE), [position("maria", 1), position("bruno", 10_000)]
        )
        assert [(leg.leg, leg.amount_sats) for leg in legs] == [("dca:maria", 0), ("dca:bruno", 1)]

    def test_an_lp_without_a_balance_is_no_part_of_the_sale(self) -> None:
        legs, retained = plan_distribution(
            a_settlement(net_sats=100, exchange_rate=RATE), [position("maria", 0), position("bruno", 10_000)]
        )
        assert [leg.leg for leg in legs] == ["dca:bruno"]
        assert sum(row.amount_sats for row in retained) == 0

    def test_a_sale_never_takes_more_of_a_balance_than_it_has(self) -> None:
        """A cent buys 1.5 sats: one sat is worth 0.67 cents, so half up would take a second cent from two sats."""
        sale = a_settlement(net_sats=100, exchange_rate=Decimal(150))
        legs, _ = plan_distribution(sale, [position("maria", 1)])
        assert [(leg.amount_sats, leg.fiat_amount_minor) for leg in legs] == [(1, 1)]

    def test_the_daily_limit_of_an_lp_cuts_and_the_rest_goes_to_the_others(self) -> None:
        sale = a_settlement(net_sats=3_000, exchange_rate=RATE)
        legs, retained = plan_distribution(sale, [position("maria", 10_000, 500), position("bruno", 10_000)])
        assert [(leg.leg, leg.amount_sats) for leg in legs] == [("dca:maria", 500), ("dca:bruno", 2_500)]
        assert sum(row.amount_sats for row in retained) == 0

    def test_what_no_balance_can_take_stays(self) -> None:
        sale = a_settlement(net_sats=3_000, exchange_rate=RATE)
        _, retained = plan_distribution(sale, [position("maria", 1_000)])
        assert retained == [Retained(RetainedReason.NO_LP_BALANCE, 2_000, "dca")]

    def test_without_a_rate_no_balance_is_touched(self) -> None:
        sale = a_settlement(net_sats=3_000, exchange_rate=Decimal(0))
        legs, retained = plan_distribution(sale, [position("maria", 10**9)])
        assert (legs, retained) == ([], [Retained(RetainedReason.UNKNOWN_RATE, 3_000, "dca")])

    @given(
        st.integers(0, 10**7),
        st.decimals("0.001", 10_000, places=3),
        st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), max_size=6),
        st.sampled_from(["GTQ", "JPY", "KWD"]),
    )
    def test_every_sat_is_somebodys_and_nobodys_cash_is_taken_twice(
        self, net_sats: int, rate: Decimal, places: list[tuple[int, int]], currency: str
    ) -> None:
        lps = [position(f"lp-{n}", weight, cap, client_id=n) for n, (weight, cap) in enumerate(places)]
        sale = a_settlement(net_sats=net_sats, exchange_rate=rate, currency=currency)
        legs, retained = plan_distribution(sale, lps)
        assert sum(leg.amount_sats for leg in legs) + sum(row.amount_sats for row in retained) == net_sats
        for leg in legs:
            assert leg.client_id is not None
            assert leg.fiat_amount_minor is not None
            assert 0 <= leg.fiat_amount_minor <= lps[leg.client_id].cap_minor
            assert lps[leg.client_id].weight_minor > 0


@pytest.mark.parametrize("super_payee", [True, False])
@pytest.mark.parametrize("ruleset", [True, False])
@pytest.mark.parametrize("lps", [0, 1, 3])
def test_a_plan_is_its_parts_in_order_and_says_the_two_fees(super_payee: bool, ruleset: bool, lps: int) -> None:
    terms = Terms(Decimal("0.30"), a_rule("super") if super_payee else None, "operator", TERMS.rules if ruleset else ())
    sale = a_settlement(gross_sats=266_800, net_sats=258_835, commission_sats=7_965, exchange_rate=Decimal("143.797"))
    plan = make_plan(sale, terms, [position(f"lp-{n}", 90_000, client_id=n) for n in range(lps)])
    assert (plan.platform_fee_sats, plan.operator_fee_sats) == (2_390, 5_575)
    expected = ["super"] * super_payee + ["split:owner", "split:technician"] * ruleset
    assert [leg.leg for leg in plan.legs] == [*expected, *(f"dca:lp-{n}" for n in range(lps))]
    assert all(row.amount_sats > 0 for row in plan.retained)
    total_sats = sum(leg.amount_sats for leg in plan.legs) + sum(row.amount_sats for row in plan.retained)
    assert total_sats == sale.gross_sats
