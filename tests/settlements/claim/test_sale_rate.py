"""The rate of a sale that states none: from LNbits, else from a beacon, never a guess and never in another currency."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.settlements.claim.sale_rate import BEACON, LNBITS, ToldRate, of_beacons, of_payment

WALLETS = {"wallet_fiat_currency": "GTQ", "wallet_fiat_amount": Decimal("18.5"), "wallet_fiat_rate": Decimal("143.797")}
INVOICES = {"fiat_currency": "GTQ", "fiat_amount": Decimal(18), "fiat_rate": Decimal(150)}


class TestOfLnbits:
    def test_the_wallets_rate_is_taken_and_before_it_that_of_nothing_else(self) -> None:
        assert of_payment(WALLETS, "GTQ") == ToldRate(Decimal("143.797"), LNBITS)
        assert of_payment({**INVOICES, **WALLETS}, "GTQ") == ToldRate(Decimal("143.797"), LNBITS)

    def test_the_invoices_rate_is_taken_where_the_wallet_has_none_of_the_machines_currency(self) -> None:
        told = ToldRate(Decimal(150), LNBITS)
        assert of_payment(INVOICES, "GTQ") == told
        assert of_payment({**WALLETS, "wallet_fiat_currency": "USD", **INVOICES}, "GTQ") == told
        assert of_payment({**WALLETS, "wallet_fiat_rate": 0, **INVOICES}, "GTQ") == told

    @pytest.mark.parametrize("currency", ["USD", None, 5, "", "GT"])
    def test_a_rate_of_another_currency_is_no_rate(self, currency: object) -> None:
        assert of_payment({**WALLETS, "wallet_fiat_currency": currency}, "GTQ") is None

    def test_a_currency_is_read_in_any_case(self) -> None:
        assert of_payment({**WALLETS, "wallet_fiat_currency": "gtq"}, "GTQ") is not None

    @pytest.mark.parametrize(
        "rate", [None, 0, -1, True, "143", Decimal("NaN"), Decimal("Infinity"), Decimal(10) ** 12, Decimal("1e-30")]
    )
    def test_what_is_no_rate_is_not_taken(self, rate: object) -> None:
        assert of_payment({**WALLETS, "wallet_fiat_rate": rate}, "GTQ") is None

    @pytest.mark.parametrize("rate", [1, Decimal("0.001"), Decimal(10) ** 12 - 1, Decimal("1e-18")])
    def test_every_rate_that_a_currency_may_have_is_taken(self, rate: int | Decimal) -> None:
        assert of_payment({**WALLETS, "wallet_fiat_rate": rate}, "GTQ") == ToldRate(Decimal(rate), LNBITS)

    def test_the_noise_of_a_binary_float_is_cut_off(self) -> None:
        noisy = Decimal("143.7970000000000000000000271")
        assert of_payment({**WALLETS, "wallet_fiat_rate": noisy}, "GTQ") == ToldRate(Decimal("143.797"), LNBITS)

    def test_a_payment_without_any_fiat_tells_none(self) -> None:
        assert of_payment({}, "GTQ") is None

    @given(st.decimals(allow_nan=True, allow_infinity=True))
    def test_whatever_number_stands_there_the_rate_is_usable_or_there_is_none(self, rate: Decimal) -> None:
        found = of_payment({**WALLETS, "wallet_fiat_rate": rate}, "GTQ")
        if found is not None:
            assert found.rate > 0
            assert abs(found.rate - rate) <= Decimal("1e-18")


def beacon(**said: object) -> str:
    return json.dumps(said)


class TestOfBeacons:
    def test_the_newest_one_that_has_a_rate_tells_it(self) -> None:
        found = of_beacons([beacon(state="idle"), beacon(exchange_rate=150), beacon(exchange_rate=160)], "GTQ")
        assert found == ToldRate(Decimal(150), BEACON)

    @pytest.mark.parametrize("content", ["no json", "[]", "5", ""])
    def test_a_beacon_that_cannot_be_read_is_passed_over(self, content: str) -> None:
        assert of_beacons([content, beacon(exchange_rate=150)], "GTQ") == ToldRate(Decimal(150), BEACON)

    def test_a_beacon_that_names_another_currency_is_passed_over(self) -> None:
        other, own = beacon(exchange_rate=10, currency="USD"), beacon(exchange_rate=150, currency="GTQ")
        assert of_beacons([other, own], "GTQ") == ToldRate(Decimal(150), BEACON)
        assert of_beacons([other], "GTQ") is None

    def test_a_beacon_with_a_rate_of_nothing_is_passed_over(self) -> None:
        assert of_beacons([beacon(exchange_rate=0), beacon(exchange_rate=150)], "GTQ") == ToldRate(Decimal(150), BEACON)

    def test_without_beacons_there_is_none(self) -> None:
        assert of_beacons([], "GTQ") is None
