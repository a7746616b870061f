"""Is a payment that nobody announced a sale? What was shared out does not come back, so each check is tried alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.models import Answer
from satmachine.settlements.sweep.unannounced import (
    Judgement,
    JustListed,
    Kind,
    Share,
    Wait,
    classify,
    transfer,
    wait_s,
)
from satmachine.wallet.rows import WalletPayment
from testkit.books import HASH, NOW


@dataclass(frozen=True)
class Rule:
    sales: str = "share"
    memo: str | None = None
    min_sats: int = 1_000
    max_sats: int = 2_000_000
    tags: tuple[str, ...] = ()


def paid(**fields: Any) -> WalletPayment:
    row = WalletPayment(
        HASH, "x", "w", 266_800_000, 0, Answer.SUCCESS, "ATM 17", None, {}, None, "", None, NOW - 900, NOW - 600
    )
    return replace(row, **fields)


def judged(row: WalletPayment, rule: Rule | None = None, **said: Any) -> Judgement:
    facts: dict[str, Any] = {"top_up": False, "own": False, "after_s": 0, "now": NOW, **said}
    return classify(row, rule or Rule(), **facts)


def listed(row: WalletPayment, rule: Rule | None = None, **said: Any) -> JustListed:
    found = judged(row, rule, **said)
    assert isinstance(found, JustListed), found
    return found


def test_a_bare_payment_of_a_customer_is_shared() -> None:
    assert judged(paid()) == Share()


class TestMadeHere:
    def test_a_top_up_of_the_operators_own_sats_is_none_of_the_lps(self) -> None:
        assert listed(paid(), top_up=True).kind is Kind.TOP_UP

    def test_an_invoice_of_satmachines_own_is_told_by_its_name(self) -> None:
        found = listed(paid(external_id="sm1:bal:m:maria:1"), own=True)
        assert found.kind is Kind.OWN
        assert "sm1:bal:m:maria:1" in found.why

    @pytest.mark.parametrize(
        "row", [{"external_id": "sm1:ab:r1:super"}, {"extra": {"leg_key": "sm1:ab:r1:super"}}], ids=str
    )
    def test_a_key_that_these_books_did_not_give_is_for_a_person(self, row: dict[str, Any]) -> None:
        found = listed(paid(**row))
        assert found.kind is Kind.UNKNOWN
        assert "these books have not given" in found.why

    def test_the_key_of_somebody_else_is_no_key_of_satmachine(self) -> None:
        assert judged(paid(external_id="shop-17")) == Share()

    def test_whatever_the_rule_says_a_top_up_is_called_one(self) -> None:
        assert listed(paid(), Rule(sales="list"), top_up=True).kind is Kind.TOP_UP


class TestTheOperatorsRule:
    @pytest.mark.parametrize("sales", ["list", "", "Share"])
    def test_nothing_is_shared_unless_the_operator_says_so(self, sales: str) -> None:
        assert "nobody announced" in listed(paid(), Rule(sales=sales)).why

    @pytest.mark.parametrize(
        ("msat", "words"),
        [
            (999_000, "999 sats are less than unannounced.min_sats 1000"),
            (999_999, "999 sats are less"),
            (1_000_000, None),
            (2_000_000_000, None),
            (2_000_001_000, "2000001 sats are more than unannounced.max_sats 2000000"),
            (1_000_001, "1000001 msats are no whole number"),
            (1_000_999, "no whole number"),
        ],
    )
    def test_only_whole_sats_within_the_operators_sizes_are_shared(self, msat: int, words: str | None) -> None:
        found = judged(paid(amount_msat=msat))
        if words is None:
            assert found == Share()
        else:
            assert isinstance(found, JustListed)
            assert words in found.why

    @pytest.mark.parametrize(
        ("pattern", "memo", "shared"),
        [
            (None, "", True),
            ("^ATM ", "ATM 17", True),
            ("^ATM ", "my ATM 17", False),
            ("ATM", "my ATM 17", True),
            ("^ATM ", "", False),
            ("17$", "ATM 17", True),
        ],
    )
    def test_a_memo_that_the_rule_does_not_name_is_listed(self, pattern: str | None, memo: str, shared: bool) -> None:
        assert (judged(paid(memo=memo), Rule(memo=pattern)) == Share()) is shared

    def test_the_end_of_a_memo_that_no_invoice_could_carry_is_not_searched(self) -> None:
        """A stranger's megabyte under the operator's pattern would stop the daemon."""
        assert judged(paid(memo="x" * 639 + "A"), Rule(memo="A")) == Share()
        assert isinstance(judged(paid(memo="x" * 640 + "A"), Rule(memo="A")), JustListed)


class TestMadeByLnbits:
    def test_a_credit_out_of_nothing_is_no_sale(self) -> None:
        assert listed(paid(memo="Admin credit")).kind is Kind.CREDIT
        assert judged(paid(memo="Admin credit 2")) == Share()

    @pytest.mark.parametrize("row", [{"tag": "lnurlp"}, {"extra": {"tag": "lnurlp"}}], ids=str)
    def test_an_invoice_of_an_extension_counts_only_where_the_operator_names_it(self, row: dict[str, Any]) -> None:
        found = listed(paid(**row))
        assert found.kind is Kind.UNKNOWN
        assert 'extension "lnurlp"' in found.why
        assert judged(paid(**row), Rule(tags=("tpos", "lnurlp"))) == Share()
        assert isinstance(judged(paid(**row), Rule(tags=("tpos",))), JustListed)

    @pytest.mark.parametrize("tag", [None, ""])
    def test_a_payment_without_a_tag_is_of_no_extension(self, tag: str | None) -> None:
        assert judged(paid(tag=tag, extra={"tag": tag})) == Share()


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("source", "shared"), [("lamassu", False), (7, False), ("", True), (None, True)])
def test_what_calls_itself_something_else_than_a_sale_is_none(source: object, inside: bool, shared: bool) -> None:
    extra = {"extra": {"source": source}} if inside else {"source": source}
    assert (judged(paid(extra=extra)) == Share()) is shared


def test_an_extra_of_another_form_says_nothing() -> None:
    for inner in (None, "source", 7, ["source"]):
        assert judged(paid(extra={"extra": inner})) == Share()


class TestTheEventMayStillCome:
    def test_it_is_waited_for_and_not_a_second_longer(self) -> None:
        row = paid(updated_at=NOW - 119)
        assert judged(row, after_s=120) == Wait(NOW + 1)
        assert judged(row, after_s=119) == Share()
        assert judged(row, after_s=120, now=NOW + 1) == Share()

    def test_what_is_no_sale_anyway_is_listed_at_once(self) -> None:
        assert isinstance(judged(paid(updated_at=NOW, memo="Admin credit"), after_s=120), JustListed)

    @pytest.mark.parametrize(
        ("after_s", "announces", "waits_s"),
        [(None, True, 120), (None, False, 0), (0, True, 0), (300, False, 300), (300, True, 300)],
    )
    def test_how_long_is_what_the_file_says_or_two_minutes_for_a_machine_that_announces(
        self, after_s: int | None, announces: bool, waits_s: int
    ) -> None:
        assert wait_s(after_s, announces=announces) == waits_s


def test_what_one_of_our_own_wallets_paid_is_told_with_its_name() -> None:
    between = transfer("machine solola-1", is_machine=True)
    assert (between.kind, "machine solola-1" in between.why) == (Kind.TRANSFER, True)
    partner = transfer("the partner owner", is_machine=False)
    assert (partner.kind, "the partner owner" in partner.why) == (Kind.UNKNOWN, True)


@given(
    st.integers(0, 10**12),
    st.sampled_from(["ATM 17", "Admin credit", ""]),
    st.sampled_from([None, "lnurlp"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2_000),
)
def test_what_is_shared_passes_every_check(
    msat: int, memo: str, tag: str | None, top_up: bool, own: bool, after_s: int
) -> None:
    row = paid(amount_msat=msat, memo=memo, tag=tag)
    if judged(row, top_up=top_up, own=own, after_s=after_s) == Share():
        assert not top_up
        assert not own
        assert 1_000_000 <= msat <= 2_000_000_000
        assert msat % 1_000 == 0
        assert memo != "Admin credit"
        assert tag is None
        assert after_s <= 600
