"""LNbits' rows: what is asked, what is believed."""

from __future__ import annotations

import pytest

from satmachine.models import Answer
from satmachine.wallet.rows import AnswerError, PaymentFilters, matches, parse_payment, query_params

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


@pytest.mark.parametrize("row", [None, [], "row", 5])
def test_a_row_that_is_no_object(row: object) -> None:
    with pytest.raises(AnswerError):
        parse_payment(row)


FILTERS: list[tuple[PaymentFilters, dict[str, str]]] = [
    ({"payment_hash": "ab"}, {"payment_hash": "ab"}),
    ({"external_id_prefix": "sm1:"}, {"external_id[like]": "sm1:"}),
    ({"status": Answer.FAILURE}, {"status": "failed"}),
    ({"incoming": True}, {"amount[gt]": "0"}),
    ({"incoming": False}, {"amount[lt]": "0"}),
    ({"created_since": 5}, {"time[ge]": "5"}),
    ({"updated_since": 5}, {}),
]


@pytest.mark.parametrize(("filters", "params"), FILTERS)
def test_filters_in_lnbits_words(filters: PaymentFilters, params: dict[str, str]) -> None:
    assert query_params(filters) == params


IGNORED: list[PaymentFilters] = [
    {"payment_hash": "cd"},
    {"external_id": "sm1:cd"},
    {"external_id_prefix": "sm1:cd"},
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
    assert matches(parse_payment(ROW), {"external_id_prefix": "sm1:ab:"})
    assert not matches(parse_payment(ROW), {"external_id_prefix": "ab:"})
