"""LNbits' rows: what is asked, what is believed."""

from __future__ import annotations

import pytest

from satmachine.errors import WalletUnavailable
from satmachine.models import Answer
from satmachine.wallet.rows import AnswerError, PaymentFilters, matches, parse_payment, query_params, require_wallet
from tests.wallet.test_bolt11 import COFFEE

ROW: dict[str, object] = {
    "checking_id": "internal_ab",
    "payment_hash": "ab",
    "wallet_id": "w",
    "amount": -2000,
    "fee": -5,
    "bolt11": "lnbc1",
    "status": "success",
    "memo": None,
    "preimage": None,
    "tag": "t",
    "time": "2026-11-22T21:24:50.198250+00:00",
    "updated_at": "2026-11-22T21:24:51+00:00",
    "extra": {"leg_key": "from extra"},
    "external_id": "sm1:ab:r1:super",
}


def test_a_row_is_read() -> None:
    payment = parse_payment(ROW)
    assert (payment.outgoing, payment.amount_msat, payment.amount_sats, payment.fee_msat) == (True, -2000, 2, 5)
    assert (payment.status, payment.memo, payment.tag) == (Answer.SUCCESS, "", "t")
    assert (payment.created_at, payment.updated_at) == (1795382690, 1795382691)
    assert payment.leg_key == "sm1:ab:r1:super"
    assert payment.expires_at is None


def test_without_an_external_id_the_leg_key_is_in_extra() -> None:
    assert parse_payment(ROW | {"external_id": None}).leg_key == "from extra"
    assert parse_payment(ROW | {"external_id": None, "extra": {"leg_key": 5}}).leg_key is None
    assert parse_payment(ROW | {"external_id": None, "extra": None}).leg_key is None


def test_a_status_that_nobody_knows_is_unknown() -> None:
    assert parse_payment(ROW | {"status": "half-paid"}).status is Answer.UNKNOWN


@pytest.mark.parametrize(
    "spoilt",
    [
        {"amount": None},
        {"amount": "2000"},
        {"amount": True},
        {"amount": 2000.0},
        {"fee": None},
        {"status": None},
        {"payment_hash": 5},
        {"wallet_id": None},
        {"extra": []},
        {"time": "yesterday"},
        {"time": "2026-11-22T21:24:50"},
        {"updated_at": None},
        {"external_id": 7},
    ],
    ids=str,
)
def test_a_spoilt_row_is_not_guessed_at(spoilt: dict[str, object]) -> None:
    with pytest.raises(AnswerError):
        parse_payment(ROW | spoilt)


ALL_MSAT = 21_000_000 * 100_000_000 * 1_000


@pytest.mark.parametrize("name", ["amount", "fee"])
@pytest.mark.parametrize("sign", [1, -1])
def test_no_amount_is_larger_than_all_the_bitcoin_there_can_be(name: str, sign: int) -> None:
    """What is larger would not fit into the books."""
    assert abs(getattr(parse_payment(ROW | {name: sign * ALL_MSAT}), f"{name}_msat")) == ALL_MSAT
    with pytest.raises(AnswerError, match="all the bitcoin"):
        parse_payment(ROW | {name: sign * (ALL_MSAT + 1)})


@pytest.mark.parametrize(
    ("msat", "incoming", "outgoing", "sats"),
    [
        (1, True, False, 0),
        (-1, False, True, 0),
        (0, False, False, 0),
        (1_999, True, False, 1),
        (-2_000, False, True, 2),
    ],
)
def test_a_payment_comes_in_or_goes_out_by_its_sign_alone(msat: int, incoming: bool, outgoing: bool, sats: int) -> None:
    payment = parse_payment(ROW | {"amount": msat})
    assert (payment.incoming, payment.outgoing, payment.amount_sats) == (incoming, outgoing, sats)


@pytest.mark.parametrize(("fee_msat", "sats"), [(0, 0), (1, 1), (-1, 1), (999, 1), (1_000, 1), (-1_001, 2), (9_000, 9)])
def test_a_part_of_a_sat_that_routing_took_is_gone_as_a_whole_sat(fee_msat: int, sats: int) -> None:
    assert parse_payment(ROW | {"fee": fee_msat}).fee_sats == sats


@pytest.mark.parametrize(("checking_id", "inside"), [("internal_ab", True), ("ab", False), ("x_internal_", False)])
def test_whether_the_sats_stayed_inside_this_lnbits(checking_id: str, inside: bool) -> None:
    assert parse_payment(ROW | {"checking_id": checking_id}).moved_inside is inside


def test_when_an_invoice_expires_is_read_from_the_invoice_itself() -> None:
    assert parse_payment(ROW | {"bolt11": COFFEE, "expiry": "2099-01-01T00:00:00"}).expires_at == 1_496_314_718


def test_a_secret_that_proves_a_payment_is_not_in_a_trace() -> None:
    assert "cafe" not in repr(parse_payment(ROW | {"preimage": "cafe"}))


def test_half_a_character_in_a_memo_does_not_stop_the_books() -> None:
    parse_payment(ROW | {"memo": "ATM \ud800 17"}).memo.encode()
    assert parse_payment(ROW | {"memo": "ATM 17 ñ"}).memo == "ATM 17 ñ"


@pytest.mark.parametrize("prefix", ["sm1:%", "sm1:_", "sm1:\\"])
def test_what_would_be_a_pattern_is_never_asked_for(prefix: str) -> None:
    """It would find more than what begins so, and rows of others would be read as ours."""
    with pytest.raises(ValueError, match="pattern"):
        query_params({"external_id_prefixes": [prefix]})
    with pytest.raises(ValueError, match="pattern"):
        query_params({"tag_contains": prefix})


def test_rows_of_another_wallet_are_not_believed_at_all() -> None:
    mine, other = parse_payment(ROW), parse_payment(ROW | {"wallet_id": "other"})
    require_wallet([mine, mine], "w", "machine-1")
    require_wallet([], "w", "machine-1")
    for rows, wallet_id in (([mine, other], "w"), ([mine], None), ([other], "w")):
        with pytest.raises(WalletUnavailable, match="machine-1"):
            require_wallet(rows, wallet_id, "machine-1")


@pytest.mark.parametrize("row", [None, [], "row", 5])
def test_a_row_that_is_no_object(row: object) -> None:
    with pytest.raises(AnswerError):
        parse_payment(row)


FILTERS: list[tuple[PaymentFilters, dict[str, str | list[str]]]] = [
    ({"payment_hash": "ab"}, {"payment_hash": "ab"}),
    ({"payment_hashes": {"cd", "ab"}}, {"payment_hash": ["ab", "cd"]}),
    ({"external_id_prefixes": ["sm1:b", "sm1:a"]}, {"external_id[like]": ["sm1:a", "sm1:b"]}),
    ({"status": Answer.FAILURE}, {"status": "failed"}),
    ({"incoming": True}, {"amount[gt]": "0"}),
    ({"incoming": False}, {"amount[lt]": "0"}),
    ({"created_since": 5}, {"time[ge]": "5"}),
    ({"updated_since": 5}, {}),
]


@pytest.mark.parametrize(("filters", "params"), FILTERS)
def test_filters_in_lnbits_words(filters: PaymentFilters, params: dict[str, str | list[str]]) -> None:
    assert query_params(filters) == params


HELD: list[PaymentFilters] = [
    {},
    {"payment_hash": "ab", "checking_id": "internal_ab", "tag": "t", "status": Answer.SUCCESS, "incoming": False},
    {"created_since": 1795382690},
    {"updated_since": 2795382690},
    {"tag_contains": "t"},
    {"tag_contains": ""},
    {"external_id": "sm1:ab:r1:super"},
    {"external_id_prefixes": ["sm1:"]},
]


@pytest.mark.parametrize("filters", HELD)
def test_a_row_that_was_asked_for_is_taken(filters: PaymentFilters) -> None:
    assert matches(parse_payment(ROW), filters)


def test_a_row_without_a_tag_or_key_is_taken_where_none_was_asked_for() -> None:
    bare = parse_payment(ROW | {"tag": None, "external_id": None})
    assert matches(bare, {"payment_hash": "ab"})
    assert matches(bare, {"tag_contains": ""})
    for filters in ({"tag_contains": "t"}, {"external_id_prefixes": ["sm1:"]}):
        with pytest.raises(AnswerError, match="ignored the filter"):
            matches(bare, filters)  # type: ignore[arg-type]


def test_capitals_of_another_database_are_no_ignored_filter() -> None:
    """`like` does not distinguish capitals on SQLite: such a row is left out, and the answer is still believed."""
    assert not matches(parse_payment(ROW), {"external_id_prefixes": ["SM1:"]})


IGNORED: list[PaymentFilters] = [
    {"checking_id": "ab"},
    {"tag_contains": "u"},
    {"payment_hash": "cd"},
    {"external_id": "sm1:cd"},
    {"payment_hashes": {"cd", "ef"}},
    {"payment_hashes": set()},
    {"external_id_prefixes": ["sm1:cd"]},
    {"external_id_prefixes": ["sm1:cd", "sm1:ef"]},
    {"external_id_prefixes": []},
    {"tag": "u"},
    {"status": Answer.PENDING},
    {"incoming": True},
    {"created_since": 1795382691},
]


@pytest.mark.parametrize("filters", IGNORED)
def test_a_row_that_was_not_asked_for_shows_an_ignored_filter(filters: PaymentFilters) -> None:
    with pytest.raises(AnswerError, match="ignored the filter"):
        matches(parse_payment(ROW), filters)


def test_like_means_contains_and_the_rest_is_dropped() -> None:
    assert matches(parse_payment(ROW), {"external_id_prefixes": ["sm1:ab:"]})
    assert not matches(parse_payment(ROW), {"external_id_prefixes": ["ab:"]})


def test_of_several_prefixes_one_is_enough() -> None:
    assert matches(parse_payment(ROW), {"external_id_prefixes": ["sm1:cd:", "sm1:ab:"]})
    assert not matches(parse_payment(ROW), {"external_id_prefixes": ["sm1:cd:", "ab:"]})
