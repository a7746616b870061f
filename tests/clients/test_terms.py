"""What an operator types about an LP becomes exact values, or a sentence that says what to type."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.clients.terms import MODES, changes, check_mode, parse_fiat, parse_person, parse_rate
from satmachine.models import Client, ClientStatus
from satmachine.money import minor_to_fiat

CLIENT = Client(
    id=1,
    machine_id="machine-1",
    operator_id="atitlan",
    currency="GTQ",
    label="maria",
    person="Maria",
    mode="flow",
    daily_limit_minor=None,
    status=ClientStatus.ACTIVE,
    payee_kind="lightning_address",
    payee="maria@example.org",
    autoforward=None,
    autoforward_key_file=None,
    created_at=1,
    created_by="ana",
    removed_at=None,
)
FIXED = replace(CLIENT, mode="fixed", daily_limit_minor=50_000)
WALLET = replace(CLIENT, payee_kind="invoice_key_file", payee="/keys/maria")
FORWARDING = replace(WALLET, autoforward="m@example.org", autoforward_key_file="/keys/admin")


class TestAmounts:
    @pytest.mark.parametrize(
        ("text", "currency", "minor"),
        [("0.01", "GTQ", 1), ("1", "JPY", 1), ("0.001", "KWD", 1), (" 12.50 ", "GTQ", 1_250), ("1e3", "GTQ", 100_000)],
    )
    def test_the_smallest_and_the_usual_are_read(self, text: str, currency: str, minor: int) -> None:
        assert parse_fiat(text, currency) == minor

    @pytest.mark.parametrize("text", ["10000000000000", "10000000000000.00"])
    def test_the_most_that_is_believed(self, text: str) -> None:
        assert parse_fiat(text, "GTQ") == 10**15

    @pytest.mark.parametrize(
        ("text", "currency"),
        [("10000000000000.01", "GTQ"), ("1000000000000000.01", "JPY"), ("1000000000000001", "JPY"), ("1e16", "GTQ")],
    )
    def test_more_than_a_machine_can_hold_is_a_slip_of_the_hand(self, text: str, currency: str) -> None:
        with pytest.raises(ValueError, match=r"more than any machine can hold|decimals"):
            parse_fiat(text, currency)

    @pytest.mark.parametrize("text", ["1e999999999", "1e16", "9e15"])
    def test_a_monstrous_number_is_refused_before_it_is_computed_with(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"more than any machine can hold|is not a number"):
            parse_fiat(text, "GTQ")

    @pytest.mark.parametrize("text", ["0", "-1", "0.00"])
    def test_nothing_or_less_is_no_amount(self, text: str) -> None:
        with pytest.raises(ValueError, match="must be above 0"):
            parse_fiat(text, "GTQ")

    @pytest.mark.parametrize("text", ["1,000", "", "NaN", "inf", "ten"])
    def test_what_is_no_number_is_told_how_to_write_one(self, text: str) -> None:
        with pytest.raises(ValueError, match="without commas"):
            parse_fiat(text, "GTQ")

    @given(st.integers(1, 10**15), st.sampled_from(["GTQ", "JPY", "KWD"]))
    def test_what_is_shown_can_be_typed_again(self, minor: int, currency: str) -> None:
        assert parse_fiat(f"{minor_to_fiat(minor, currency):f}", currency) == minor


class TestRates:
    @pytest.mark.parametrize("text", ["0.000000000000000001", "1", "999999999999", "760.5"])
    def test_every_rate_that_can_be_is_read_exactly(self, text: str) -> None:
        assert parse_rate(text) == Decimal(text)

    @pytest.mark.parametrize("text", ["0", "-1", "1000000000000", "0.0000000000000000001", "0.1000000000000000000"])
    def test_what_is_none_is_told_what_a_rate_is(self, text: str) -> None:
        with pytest.raises(ValueError, match="how many sats one unit of fiat buys"):
            parse_rate(text)


class TestPerson:
    @pytest.mark.parametrize("text", ["Maria", " Maria ", "M", "María José Ñ.", "x" * 100])
    def test_a_name_is_kept_without_the_blanks_around_it(self, text: str) -> None:
        assert parse_person(text) == text.strip()

    @pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\u202eb", "\x1b[31m", "x" * 101])
    def test_what_could_not_be_shown_on_a_line_is_no_name(self, text: str) -> None:
        with pytest.raises(ValueError, match="on one line, of at most 100 characters"):
            parse_person(text)


class TestMode:
    @pytest.mark.parametrize(("mode", "limit_minor"), [("flow", None), ("fixed", 1), ("fixed", 0)])
    def test_flow_has_no_limit_and_fixed_has_one(self, mode: str, limit_minor: int | None) -> None:
        check_mode(mode, limit_minor)

    @pytest.mark.parametrize(
        ("mode", "limit_minor", "words"),
        [
            ("fixed", None, "needs --daily-limit"),
            ("flow", 1, "--daily-limit is for --mode fixed"),
            ("Flow", None, "must be flow or fixed, not Flow"),
            ("", 1, "must be flow or fixed"),
        ],
    )
    def test_anything_else_is_told_what_it_lacks(self, mode: str, limit_minor: int | None, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            check_mode(mode, limit_minor)


class TestChanges:
    """What is not named stays as it is: an update changes what the operator meant and nothing beside it."""

    def test_nothing_named_changes_nothing(self) -> None:
        for client in (CLIENT, FIXED, FORWARDING):
            assert changes(client) == {}

    @pytest.mark.parametrize(
        ("client", "named", "expected"),
        [
            (CLIENT, {"person": " Ana "}, {"person": "Ana"}),
            (CLIENT, {"status": "paused"}, {"status": "paused"}),
            (CLIENT, {"mode": "fixed", "daily_limit_minor": 9}, {"mode": "fixed", "daily_limit_minor": 9}),
            (CLIENT, {"mode": "flow"}, {"mode": "flow", "daily_limit_minor": None}),
            (FIXED, {"daily_limit_minor": 9}, {"mode": "fixed", "daily_limit_minor": 9}),
            (FIXED, {"mode": "fixed"}, {"mode": "fixed", "daily_limit_minor": 50_000}),
            (FIXED, {"mode": "flow"}, {"mode": "flow", "daily_limit_minor": None}),
            (CLIENT, {"payee": ("lnurl", "lnurl1x")}, {"payee_kind": "lnurl", "payee": "lnurl1x"}),
            (
                WALLET,
                {"autoforward": ("m@example.org", "/keys/admin")},
                {"autoforward": "m@example.org", "autoforward_key_file": "/keys/admin"},
            ),
            (FORWARDING, {"no_autoforward": True}, {"autoforward": None, "autoforward_key_file": None}),
            (
                FORWARDING,
                {"payee": ("lightning_address", "m@x.org"), "no_autoforward": True},
                {
                    "payee_kind": "lightning_address",
                    "payee": "m@x.org",
                    "autoforward": None,
                    "autoforward_key_file": None,
                },
            ),
            (FORWARDING, {"payee": ("invoice_key_file", "/k")}, {"payee_kind": "invoice_key_file", "payee": "/k"}),
        ],
        ids=str,
    )
    def test_what_is_named_is_set(self, client: Client, named: dict[str, Any], expected: dict[str, object]) -> None:
        assert changes(client, **named) == expected

    @pytest.mark.parametrize(
        ("client", "named", "words"),
        [
            (CLIENT, {"mode": "fixed"}, "needs --daily-limit"),
            (CLIENT, {"daily_limit_minor": 9}, "is for --mode fixed"),
            (FIXED, {"mode": "flow", "daily_limit_minor": 9}, "is for --mode fixed"),
            (CLIENT, {"person": "\n"}, "--person is a name"),
            (CLIENT, {"autoforward": ("m@example.org", "/k")}, "add --no-autoforward"),
            (FORWARDING, {"payee": ("lightning_address", "m@x.org")}, "add --no-autoforward"),
        ],
        ids=str,
    )
    def test_what_does_not_fit_together_is_refused_whole(
        self, client: Client, named: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(ValueError, match=words):
            changes(client, **named)

    def test_there_are_two_modes(self) -> None:
        assert MODES == ("flow", "fixed")
