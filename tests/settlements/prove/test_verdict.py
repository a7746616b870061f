"""Did the customer's payment arrive? Every answer that a wallet can give has one verdict, and only one pays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.models import Answer, HoldReason, Settlement
from satmachine.settlements.prove.verdict import NotYet, Proven, Refuted, Verdict, judge
from satmachine.wallet.rows import WalletPayment
from testkit.books import HASH, MACHINE, NOW, a_settlement

GROSS, NET, FEE = 266_800, 258_835, 7_965
SALE = a_settlement(
    gross_sats=GROSS, net_sats=NET, commission_sats=FEE, exchange_rate=Decimal("143.797"), txid="tx-1", proof="waiting"
)
SINCE = NOW - 3_600
SAID = {"source": "bitspire", "net_sats": NET, "fee_sats": FEE, "exchange_rate": Decimal("143.797"), "txid": "tx-1"}


@dataclass(frozen=True)
class Terms:
    id: str = MACHINE
    npub: str = "npub1machine"
    currency: str = "GTQ"
    fallback_commission_pct: Decimal = Decimal("0.05")


def came(**fields: Any) -> WalletPayment:
    """The customer's payment, as the machine's wallet shows it."""
    row = WalletPayment(
        HASH, "x", "w", GROSS * 1_000, 0, Answer.SUCCESS, "ATM", None, {}, None, "", None, NOW - 60, NOW - 30
    )
    return replace(row, **fields)


def verdict(*rows: WalletPayment, sale: Settlement = SALE) -> Verdict:
    return judge(sale, rows, Terms(), SINCE)


def why(found: Verdict) -> str:
    assert isinstance(found, Refuted | NotYet), found
    return found.detail


def test_a_payment_of_exactly_the_sales_amount_proves_it_at_the_time_when_it_was_paid() -> None:
    assert verdict(came()) == Proven(HASH, NOW - 30)


def test_what_names_a_proven_sale_is_the_hash_that_the_wallet_shows() -> None:
    told = replace(SALE, payment_hash=None)
    assert verdict(came(payment_hash="cd" * 32), sale=told) == Proven("cd" * 32, NOW - 30)


@pytest.mark.parametrize("status", [Answer.PENDING, Answer.FAILURE, Answer.UNKNOWN])
def test_an_invoice_that_nobody_has_paid_proves_nothing(status: Answer) -> None:
    assert verdict(came(status=status)) == NotYet("the invoice is there, but not paid")


@pytest.mark.parametrize("rows", [[], [came(amount_msat=-GROSS * 1_000)]], ids=["nothing", "sent, not received"])
def test_a_wallet_that_has_received_nothing_proves_nothing(rows: list[WalletPayment]) -> None:
    assert verdict(*rows) == NotYet("the machine's wallet has no such payment")


def test_a_payment_that_went_out_with_the_same_hash_is_not_the_customers() -> None:
    """A transfer between two wallets has the same hash on both sides."""
    out = came(amount_msat=-GROSS * 1_000, updated_at=NOW - 50)
    assert verdict(out, came()) == Proven(HASH, NOW - 30)


def test_the_paid_row_counts_whatever_stands_before_it() -> None:
    assert verdict(came(status=Answer.PENDING), came()) == Proven(HASH, NOW - 30)


@pytest.mark.parametrize(
    ("msat", "told"),
    [
        (GROSS * 1_000 - 1, "266799.999"),
        (GROSS * 1_000 + 1, "266800.001"),
        (GROSS * 1_000 + 1_000, "266801"),
        (1_000, "1"),
        (GROSS, "266.800"),
    ],
)
def test_another_amount_than_the_sales_refutes_it_and_both_are_told(msat: int, told: str) -> None:
    found = verdict(came(amount_msat=msat))
    assert isinstance(found, Refuted)
    assert found.reason is HoldReason.PAYMENT_MISMATCH
    assert found.detail == f"the wallet received {told} sats, the sale says 266800 sats"


@given(st.integers(1, 10**12), st.integers(1, 10**15))
def test_only_the_exact_amount_ever_proves_a_sale(gross_sats: int, msat: int) -> None:
    sale = replace(SALE, gross_sats=gross_sats, net_sats=gross_sats, commission_sats=0)
    assert isinstance(verdict(came(amount_msat=msat), sale=sale), Proven) == (msat == 1_000 * gross_sats)


@pytest.mark.parametrize(
    ("made_at", "paid_at", "proven"),
    [
        (SINCE, SINCE, True),
        (SINCE - 1, SINCE + 60, False),
        (SINCE + 60, SINCE - 1, False),
        (SINCE, SINCE + 60, True),
    ],
)
def test_what_began_before_payouts_since_is_never_paid_out(made_at: int, paid_at: int, proven: bool) -> None:
    found = verdict(came(created_at=made_at, updated_at=paid_at))
    assert isinstance(found, Proven) == proven
    if not proven:
        assert isinstance(found, Refuted)
        assert found.reason is HoldReason.BEFORE_PAYOUTS_SINCE
        assert "payouts_since" in found.detail


def test_a_payment_that_says_the_same_as_the_sale_proves_it() -> None:
    assert verdict(came(extra=SAID)) == Proven(HASH, NOW - 30)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"net_sats": NET - 1, "fee_sats": FEE + 1}, "the sale says net_sats 258835, the customer's payment carries"),
        ({"exchange_rate": Decimal("143.8")}, "the sale says exchange_rate 143.797, the customer's payment carries"),
        ({"txid": "tx-2"}, "the sale says txid tx-1, the customer's payment carries tx-2"),
        ({"net_sats": NET + 1}, "cannot be used"),
        ({"currency": "USD"}, "cannot be used"),
        ({"payment_hash": "cd" * 32}, "cannot be used"),
    ],
    ids=str,
)
def test_a_payment_that_says_otherwise_than_the_sale_refutes_it(says: dict[str, object], words: str) -> None:
    found = verdict(came(extra={**SAID, **says}))
    assert isinstance(found, Refuted)
    assert found.reason is HoldReason.PAYMENT_MISMATCH
    assert words in found.detail


@pytest.mark.parametrize(
    ("says", "sale"),
    [
        ({"source": "somebody else", "net_sats": 1, "fee_sats": GROSS - 1}, {}),
        ({"exchange_rate": 0}, {}),
        ({"exchange_rate": None}, {}),
        ({"txid": None}, {}),
        ({}, {"txid": None}),
        ({"net_sats": None, "fee_sats": None}, {}),
    ],
    ids=str,
)
def test_what_one_of_both_does_not_say_contradicts_nothing(says: dict[str, Any], sale: dict[str, Any]) -> None:
    assert verdict(came(extra={**SAID, **says}), sale=replace(SALE, **sale)) == Proven(HASH, NOW - 30)


@pytest.mark.parametrize("rate", [Decimal(1), Decimal("0.5"), Decimal("1e-9")])
def test_any_rate_but_zero_is_a_rate_and_must_agree(rate: Decimal) -> None:
    assert isinstance(verdict(came(extra={**SAID, "exchange_rate": rate})), Refuted)
    assert verdict(came(extra={**SAID, "exchange_rate": rate}), sale=replace(SALE, exchange_rate=rate)) == Proven(
        HASH, NOW - 30
    )


@pytest.mark.parametrize("undispensed_sats", [1, 100_000])
def test_a_sale_that_was_corrected_since_keeps_the_proof_of_its_whole_amount(undispensed_sats: int) -> None:
    """A partial dispense has scaled its figures: what the payment carries is from before."""
    corrected = replace(SALE, net_sats=NET - undispensed_sats, undispensed_sats=undispensed_sats)
    assert verdict(came(extra=SAID), sale=corrected) == Proven(HASH, NOW - 30)
    other_rate = {**SAID, "exchange_rate": Decimal(150)}
    assert "exchange_rate" in why(verdict(came(extra=other_rate), sale=corrected))
