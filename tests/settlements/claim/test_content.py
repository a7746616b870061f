"""What a machine says about a sale: read exactly, or refused with a reason an operator understands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.models import Claim, Rejection
from satmachine.settlements.claim.content import (
    MAX_SATS,
    claim_from_event,
    claim_from_payment,
    derived_claim,
    names_a_sale,
)

HASH = "ab" * 32
SALE = {
    "source": "bitspire",
    "payment_hash": HASH,
    "txid": "t-1",
    "gross_sats": 266_800,
    "net_sats": 258_835,
    "fee_sats": 7_965,
    "exchange_rate": 143.797,
    "fiat_amount": 1800,
    "currency": "GTQ",
}


@dataclass(frozen=True)
class Terms:
    id: str = "machine-1"
    npub: str = "npub1machine"
    currency: str = "GTQ"
    fallback_commission_pct: Decimal = Decimal("0.05")


def read(content: object) -> Claim | Rejection:
    text = content if isinstance(content, str) else json.dumps(content)
    return claim_from_event(text, Terms(), created_at=1_800_000_000)


def accepted(content: object) -> Claim:
    claim = read(content)
    assert isinstance(claim, Claim), claim
    return claim


def test_the_happy_path_reads_amounts_as_they_are() -> None:
    claim = accepted(SALE)
    assert (claim.gross_sats, claim.net_sats, claim.commission_sats) == (266_800, 258_835, 7_965)
    assert not claim.used_fallback_split
    assert claim.exchange_rate == Decimal("143.797")
    assert claim.fiat_amount_minor == 180_000


def test_the_fallback_path_derives_the_split_from_the_machines_commission() -> None:
    claim = accepted({"source": "bitspire", "gross_sats": 266_800, "payment_hash": HASH})
    assert (claim.net_sats, claim.commission_sats) == (254_095, 12_705)
    assert claim.used_fallback_split
    assert claim.fallback_commission_pct == Decimal("0.05")


def test_a_discount_counts_only_where_the_split_is_derived() -> None:
    assert accepted({**SALE, "discount_pct": 50}).commission_sats == 7_965
    assert accepted({"gross_sats": 266_800, "discount_pct": 100}).commission_sats == 0


def test_gross_may_be_left_out() -> None:
    assert accepted({"net_sats": 100, "fee_sats": 7}).gross_sats == 107


def test_the_keys_may_sit_in_extra() -> None:
    assert accepted({"memo": "x", "extra": SALE}) == accepted(SALE)


def test_numbers_may_stand_in_quotes() -> None:
    quoted = {key: str(value) if isinstance(value, int | float) else value for key, value in SALE.items()}
    assert accepted(quoted) == accepted(SALE)


def test_what_is_empty_was_not_said() -> None:
    empty = {"txid": "", "machine_npub": "", "discount_pct": None, "bills": None}
    assert accepted({**empty, "extra": SALE}) == accepted(SALE)


def test_currency_and_source_are_read_in_any_case() -> None:
    assert accepted({**SALE, "currency": "gtq", "source": "bitSpire"}).currency == "GTQ"


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("quoted", [False, True], ids=["numbers", "texts"])
def test_a_payments_extra_is_read_in_every_form(nested: bool, quoted: bool) -> None:
    """Exactly the keys that the machine's next release writes: no gross amount, no payment hash, no fiat amount."""
    said: dict[str, object] = {
        "source": "bitspire",
        "net_sats": 258_835,
        "fee_sats": 7_965,
        "fee_pct": Decimal("3.0"),
        "exchange_rate": Decimal("143.797"),
        "currency": "GTQ",
        "txid": "tx-1",
        "machine_npub": Terms().npub,
        "bills": [{"denomination": 100, "count": 18}],
        "cassettes": {"a": 1},
    }
    if quoted:
        said = {key: str(value) if isinstance(value, int | Decimal) else value for key, value in said.items()}
    extra: dict[str, object] = {"extra": said, "wallet_fiat_currency": "GTQ"} if nested else said
    claim = claim_from_payment(extra, Terms(), payment_hash=HASH, amount_sats=266_800, settled_at=5)
    assert isinstance(claim, Claim)
    assert (claim.gross_sats, claim.net_sats, claim.commission_sats) == (266_800, 258_835, 7_965)
    assert (claim.exchange_rate, claim.fiat_amount_minor, claim.txid) == (Decimal("143.797"), None, "tx-1")
    assert (claim.payment_hash, claim.occurred_at, claim.used_fallback_split) == (HASH, 5, False)


@pytest.mark.parametrize("value", [5, ["npub1machine"], {"a": 1}, True])
@pytest.mark.parametrize("key", ["machine_npub", "currency", "source"])
def test_a_value_of_another_kind_where_a_text_belongs_is_refused_and_stops_nothing(key: str, value: object) -> None:
    rejection = read({**SALE, key: value})
    assert isinstance(rejection, Rejection)
    assert rejection.reason == key


def test_the_machines_own_names_are_read_in_any_case_and_with_blanks() -> None:
    said = {"source": " BitSpire ", "machine_npub": f" {Terms().npub.upper()}", "currency": "gtq "}
    assert accepted({**SALE, **said}) == accepted(SALE)


def test_all_the_bitcoin_there_can_be_may_be_sold_and_not_one_sat_more() -> None:
    everything = {"net_sats": MAX_SATS - 1, "fee_sats": 1}
    assert MAX_SATS == 2_100_000_000_000_000
    assert accepted(everything).gross_sats == MAX_SATS
    assert accepted({"gross_sats": MAX_SATS}).gross_sats == MAX_SATS
    for too_much in ({"net_sats": MAX_SATS, "fee_sats": 1}, {"gross_sats": MAX_SATS + 1}):
        rejection = read(too_much)
        assert isinstance(rejection, Rejection)
        assert rejection.reason == "amounts"


@pytest.mark.parametrize(("net_sats", "fee_sats"), [(0, 100), (100, 0), (1, 1)])
def test_a_sale_of_nothing_but_commission_or_without_any_is_a_sale(net_sats: int, fee_sats: int) -> None:
    claim = accepted({"net_sats": net_sats, "fee_sats": fee_sats})
    assert (claim.net_sats, claim.commission_sats) == (net_sats, fee_sats)


@pytest.mark.parametrize(
    ("rate", "read_as"),
    [
        ("0", Decimal(0)),
        ("0.5", Decimal("0.5")),
        ("143.79700000000000000000001", Decimal("143.797")),
        ("1000000000000000", Decimal(10) ** 15),
        (None, Decimal(0)),
    ],
)
def test_a_rate_is_read_to_eighteen_decimals_and_a_missing_one_is_unknown(rate: str | None, read_as: Decimal) -> None:
    claim = accepted({key: value for key, value in {**SALE, "exchange_rate": rate}.items() if value is not None})
    assert claim.exchange_rate == read_as
    assert isinstance(claim.exchange_rate, Decimal)


def test_a_rate_above_all_sense_is_refused() -> None:
    rejection = read({**SALE, "exchange_rate": "1000000000000001"})
    assert isinstance(rejection, Rejection)
    assert "between 0 and 1000000000000000" in rejection.detail


@pytest.mark.parametrize(
    ("amount", "minor"), [(0, 0), (0.005, 1), (0.004, 0), (99.999999, 10_000), (1800, 180_000), ("12.34", 1_234)]
)
def test_cash_is_read_to_the_nearest_cent(amount: object, minor: int) -> None:
    assert accepted({**SALE, "fiat_amount": amount}).fiat_amount_minor == minor


@pytest.mark.parametrize(
    ("txid", "read_as"),
    [("x", "x"), ("x" * 128, "x" * 128), (17, "17"), (0, "0"), ("tx 7", "tx 7")],
)
def test_a_machines_own_number_is_kept_as_a_text(txid: object, read_as: str) -> None:
    assert accepted({**SALE, "txid": txid}).txid == read_as


@pytest.mark.parametrize("txid", ["x" * 129, True, False, 1.5, ["x"], "a\nb", "\u202e"], ids=repr)
def test_what_could_not_be_shown_to_a_person_names_no_sale(txid: object) -> None:
    rejection = read({**SALE, "txid": txid})
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "txid"
    assert "1 to 128 printable" in rejection.detail


def test_a_key_that_stands_twice_with_the_same_value_says_one_thing() -> None:
    assert accepted({**SALE, "extra": {"gross_sats": 266_800, "txid": "t-1"}}) == accepted(SALE)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_not_read_as_a_number_that_was_not_said(word: str) -> None:
    rejection = read(f'{{"gross_sats": 1000, "exchange_rate": {word}}}')
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, word in rejection.detail) == ("bad_json", True)


def test_what_is_null_at_the_top_may_be_said_in_extra_and_the_other_way_round() -> None:
    nulls = dict.fromkeys(SALE)
    assert accepted({**nulls, "extra": SALE}) == accepted(SALE)
    assert accepted({**SALE, "extra": nulls}) == accepted(SALE)


def test_whole_numbers_may_have_a_point_up_to_all_the_bitcoin_there_can_be() -> None:
    assert accepted({"gross_sats": float(MAX_SATS)}).gross_sats == MAX_SATS
    assert accepted({**SALE, "bills": [-float(MAX_SATS), float(MAX_SATS)]}).bills == f"[-{MAX_SATS}, {MAX_SATS}]"
    assert accepted({**SALE, "bills": [1e300]}).bills == '["1E+300"]'


def test_a_name_that_stands_twice_in_one_object_is_named() -> None:
    rejection = read('{"txid": "a", "gross_sats": 5, "gross_sats": 6}')
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "bad_json"
    assert "gross_sats" in rejection.detail


def test_bills_are_kept_in_the_letters_that_they_came_in() -> None:
    assert accepted({**SALE, "bills": {"casete": "ñandú", "n": 1.0, "m": None}}).bills == (
        '{"casete": "ñandú", "n": 1, "m": null}'
    )


class TestOfAPayment:
    def read(self, extra: dict[str, object], amount_sats: int = 266_800) -> Claim | Rejection | None:
        return claim_from_payment(extra, Terms(), payment_hash=HASH, amount_sats=amount_sats, settled_at=5)

    @pytest.mark.parametrize("source", [None, "", "lnurlp", 5, ["bitspire"]])
    def test_a_payment_that_is_not_called_a_sale_is_none(self, source: object) -> None:
        assert self.read({"source": source, "net_sats": 258_835, "fee_sats": 7_965}) is None

    def test_the_wallets_amount_is_taken_where_the_payment_names_none(self) -> None:
        for said in ({}, {"net_sats": None, "fee_sats": ""}):
            claim = self.read({"source": "bitspire", **said})
            assert isinstance(claim, Claim)
            assert (claim.gross_sats, claim.used_fallback_split) == (266_800, True)

    @pytest.mark.parametrize("known", ["net_sats", "fee_sats"])
    def test_half_a_split_is_no_split(self, known: str) -> None:
        found = self.read({"source": "bitspire", known: 7})
        assert isinstance(found, Rejection)
        assert "the split is not known" in found.detail

    @pytest.mark.parametrize("said", [{"gross_sats": 266_799}, {"net_sats": 258_835, "fee_sats": 7_966}])
    def test_words_never_outweigh_what_the_wallet_has_received(self, said: dict[str, object]) -> None:
        found = self.read({"source": "bitspire", **said})
        assert isinstance(found, Rejection)
        assert found.reason == "amounts"
        assert "the wallet received 266800 sats" in found.detail

    def test_a_payment_that_bears_the_hash_of_another_is_refused(self) -> None:
        found = self.read({"source": "bitspire", "payment_hash": "cd" * 32})
        assert isinstance(found, Rejection)
        assert found.reason == "payment_hash"

    def test_a_bare_payment_is_split_by_the_machines_own_commission(self) -> None:
        claim = derived_claim(
            Terms(), payment_hash=HASH, amount_sats=266_800, settled_at=5, exchange_rate=Decimal(3), fiat_amount_minor=9
        )
        assert (claim.gross_sats, claim.net_sats, claim.commission_sats) == (266_800, 254_095, 12_705)
        assert (claim.used_fallback_split, claim.fallback_commission_pct) == (True, Decimal("0.05"))
        assert (claim.payment_hash, claim.txid, claim.occurred_at) == (HASH, None, 5)
        assert (claim.exchange_rate, claim.fiat_amount_minor, claim.currency) == (Decimal(3), 9, "GTQ")
        assert derived_claim(Terms(), payment_hash=HASH, amount_sats=1, settled_at=5).exchange_rate == 0

    @pytest.mark.parametrize("inside", [False, True])
    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"txid": "t-1"}, True),
            ({"txid": "t-2"}, False),
            ({"bitspire_event_id": "e1"}, True),
            ({"event_id": "e2"}, True),
            ({"nostr_event_id": "e1"}, True),
            ({"event_id": "e3"}, False),
            ({"another_key": "e1"}, False),
            ({}, False),
        ],
    )
    def test_a_payment_points_to_its_sale_by_number_or_event(
        self, fields: dict[str, object], inside: bool, named: bool
    ) -> None:
        extra = {"extra": fields} if inside else fields
        assert names_a_sale(extra, txid="t-1", event_ids=frozenset({"e1", "e2"})) is named

    def test_a_sale_without_a_number_is_not_found_by_the_lack_of_one(self) -> None:
        assert not names_a_sale({"txid": None}, txid=None, event_ids=frozenset())
        assert not names_a_sale({"txid": "None", "event_id": None}, txid=None, event_ids=frozenset())
        assert names_a_sale({"txid": 17}, txid="17", event_ids=frozenset())


def test_unknown_keys_are_ignored_and_bills_are_kept_as_they_came() -> None:
    claim = accepted({**SALE, "colour": "blue", "bills": [{"denomination": 100, "count": 18}], "cassettes": {"a": 1.5}})
    assert claim.bills == '[{"denomination": 100, "count": 18}]'
    assert claim.cassettes == '{"a": "1.5"}'


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"gross_sats": 1}, "amounts", "do not add up"),
        ({"net_sats": -1}, "amounts", "between 0"),
        ({"net_sats": 12.5}, "amounts", "whole number"),
        ({"net_sats": True}, "amounts", "whole number"),
        ({"net_sats": "many"}, "amounts", "whole number"),
        ({"net_sats": "1e5"}, "amounts", "whole number"),
        ({"net_sats": None}, "amounts", "fee_sats came without net_sats"),
        ({"fee_sats": None}, "amounts", "net_sats came without fee_sats"),
        ({"gross_sats": None, "net_sats": None, "fee_sats": None}, "amounts", "no amount"),
        ({"gross_sats": 0, "net_sats": 0, "fee_sats": 0}, "amounts", "nothing was sold"),
        ({"gross_sats": 0, "net_sats": None, "fee_sats": None}, "amounts", "nothing was sold"),
        ({"gross_sats": 10**30, "net_sats": 10**30, "fee_sats": 0}, "amounts", "absurdly large"),
        ({"currency": "USD"}, "currency", "configured for GTQ"),
        ({"currency": 5}, "currency", "configured for GTQ"),
        ({"source": "lamassu"}, "source", "only bitspire"),
        ({"machine_npub": "npub1other"}, "machine_npub", "another machine"),
        ({"payment_hash": "zz"}, "payment_hash", "64 hexadecimal"),
        ({"payment_hash": 5}, "payment_hash", "64 hexadecimal"),
        ({"txid": "a\x00"}, "txid", "printable"),
        ({"exchange_rate": -1}, "numbers", "between 0"),
        ({"exchange_rate": "dear"}, "numbers", "must be a number"),
        ({"discount_pct": 101}, "numbers", "between 0 and 100"),
        ({"fiat_amount": 10**16}, "numbers", "between 0"),
        ({"extra": {"gross_sats": 5}}, "ambiguous", "at the top and in extra"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(change: dict[str, object], reason: str, words: str) -> None:
    rejection = read({key: value for key, value in {**SALE, **change}.items() if value is not None})
    assert isinstance(rejection, Rejection), rejection
    assert rejection.reason == reason
    assert words in rejection.detail


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        "[]",
        "5",
        "null",
        '{"gross_sats": NaN}',
        '{"gross_sats": Infinity}',
        '{"gross_sats": 1e99999999999999999999}',
        '{"gross_sats": ' + "9" * 5000 + "}",
        '{"gross_sats": 5, "gross_sats": 6}',
        '{"bills": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"bills": ' + "[" * 100 + "]" * 100 + ', "gross_sats": 5}',
    ],
)
def test_content_that_is_no_usable_json_object_is_refused(content: str) -> None:
    rejection = read(content)
    assert isinstance(rejection, Rejection)
    assert rejection.reason in ("bad_json", "amounts")
    assert len(rejection.detail) < 300


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.sampled_from([*SALE, "extra"]) | st.text(), children),
)


@given(st.dictionaries(st.sampled_from([*SALE, "extra", "bills"]), JSON))
def test_no_json_is_a_surprise_and_every_claim_adds_up(content: dict[str, object]) -> None:
    claim = read(content)
    if isinstance(claim, Claim):
        assert claim.gross_sats == claim.net_sats + claim.commission_sats
        assert 0 < claim.gross_sats <= MAX_SATS
        assert claim.net_sats >= 0
        assert claim.commission_sats >= 0


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_text_is_a_surprise(content: str) -> None:
    read(content)


def from_payment(extra: dict[str, object], amount_sats: int = 266_800) -> Claim | Rejection | None:
    # LNbits' answers are read with exact decimals, as everything is.
    exact = json.loads(json.dumps(extra), parse_float=Decimal)
    return claim_from_payment(exact, Terms(), payment_hash=HASH, amount_sats=amount_sats, settled_at=5)


def test_a_payment_that_says_nothing_of_bitspire_is_no_sale() -> None:
    assert from_payment({"tag": "lnurlp"}) is None
    assert from_payment({}) is None


def test_a_payments_extra_is_a_claim_like_an_events() -> None:
    claim = from_payment(dict(SALE))
    assert isinstance(claim, Claim)
    assert (claim.source, claim.payment_hash, claim.net_sats, claim.occurred_at) == ("wallet", HASH, 258_835, 5)


def test_a_payment_with_only_its_source_is_split_by_the_fallback() -> None:
    claim = from_payment({"source": "bitspire"})
    assert isinstance(claim, Claim)
    assert (claim.gross_sats, claim.net_sats, claim.used_fallback_split) == (266_800, 254_095, True)


@pytest.mark.parametrize(
    "extra", [{**SALE, "payment_hash": "cd" * 32}, {**SALE, "net_sats": 258_834, "gross_sats": 266_799}]
)
def test_an_extra_that_contradicts_its_own_payment_is_refused(extra: dict[str, object]) -> None:
    assert isinstance(from_payment(extra), Rejection)
