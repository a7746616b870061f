"""Reading beacons: whatever a machine sends, what can be used is used."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.models import Rejection
from satmachine.nostr.event import FLEET_KIND
from satmachine.telemetry import beacons, exact_json
from satmachine.telemetry.beacons import BeaconRecord, SnapshotRecord
from satmachine.telemetry.parse import COLUMNS, MAX_EXTRA_KEYS, Fields, parse_beacon
from tests.telemetry.made import NOW, RICH, event, fields

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=10,
)


def test_a_rich_beacon_fills_every_column() -> None:
    read = fields(RICH)
    assert read.problems == ()
    assert read.columns == {
        "name": "Panajachel",
        "location": "Calle Santander",
        "status": "online",
        "software_version": "10.1.2",
        "uptime_s": 3600,
        "cassettes": '[{"denomination_minor":10000,"count":40,"capacity":500},'
        '{"denomination_minor":5000,"count":300,"capacity":500}]',
        "cash_total_minor": 1_900_000,
        "cash_left_minor": 1_900_000,
        "currency": "GTQ",
        "exchange_rate": "1234.56",
        "fee_pct": "0.05",
        "last_error": "",
    }
    assert exact_json.dumps(read.extra) == '{"battery":97.5}'
    assert set(read.columns) == set(COLUMNS)


def test_null_and_absence_both_mean_not_said() -> None:
    assert fields({"status": None, "weather": None}) == fields({})


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"status": 5}, "status is not a text"),
        ({"status": {"code": 1}}, "status is not a text"),
        ({"uptime": "long"}, "uptime is not a number"),
        ({"uptime": -1}, "uptime is not a number"),
        ({"uptime": True}, "uptime is not a number"),
        ({"cash_total": "1,200"}, "cash_total is not a number"),
        ({"cash_total": 1e300}, "cash_total is not a number"),
        ({"cassettes": {"a": 1}}, "cassettes is not a list"),
        ({"currency": "quetzal"}, "currency is not a currency code"),
    ],
)
def test_a_value_of_the_wrong_type_is_left_out_and_the_rest_is_kept(told: dict[str, Any], problem: str) -> None:
    read = fields({**told, "software_version": "10"})
    assert read.columns == {"software_version": "10"}
    assert read.extra == {}
    assert read.problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("told", "currency", "minor"),
    [
        ("1250.50", "GTQ", 125_050),
        ("99.999999999", "GTQ", 10_000),
        ("0.1", "GTQ", 10),
        ("70000", "JPY", 70_000),
        ("1.005", "KWD", 1_005),
        ('"1250.50"', "GTQ", 125_050),
        ("123456789012345", "GTQ", 12_345_678_901_234_500),
    ],
)
def test_cash_is_counted_in_minor_units_without_binary_floats(told: str, currency: str, minor: int) -> None:
    assert fields(f'{{"cash_total": {told}}}', currency).columns["cash_total_minor"] == minor


def test_cash_left_is_the_sum_of_the_cassettes_where_no_total_is_told() -> None:
    told = {"cassettes": [{"denomination": 100, "count": 3}, {"denomination": 0.5, "count": 2}]}
    assert fields(told).columns["cash_left_minor"] == 30_100


@pytest.mark.parametrize("cassette", [{"denomination": 100}, {"count": 3}, {"denomination": "x", "count": 3}, 7])
def test_an_incomplete_cassette_keeps_its_place_and_makes_no_sum(cassette: object) -> None:
    read = fields({"cassettes": [{"denomination": 100, "count": 3}, cassette]})
    assert "cash_left_minor" not in read.columns
    assert len(json.loads(str(read.columns["cassettes"]))) == 2


def test_what_a_cassette_has_beside_is_kept() -> None:
    read = fields({"cassettes": [{"denomination": 100, "count": 3, "capacity": 9, "name": "upper"}]})
    assert json.loads(str(read.columns["cassettes"]))[0]["name"] == "upper"


def test_cash_in_another_currency_than_the_machines_is_not_counted() -> None:
    read = fields({"currency": "USD", "cash_total": 500, "cassettes": []})
    assert read.columns == {"currency": "USD"}
    assert read.problems == ("its cash is in USD, but the machine is configured for GTQ",)


def test_a_location_may_be_an_object() -> None:
    assert fields('{"location": {"lat": 14.740, "lon": -91.1}}').columns["location"] == '{"lat":14.740,"lon":-91.1}'


def test_unknown_fields_keep_their_digits() -> None:
    text = '{"a":1.50,"b":123456789012345678901234567890,"c":1E+400}'
    assert exact_json.dumps(exact_json.loads(text.replace(',"c":1E+400', ""))) == text.replace(',"c":1E+400', "")
    assert isinstance(parse_beacon(text, "GTQ"), Rejection)


def test_unknown_fields_are_bounded() -> None:
    read = fields({f"k{n}": n for n in range(MAX_EXTRA_KEYS + 5)} | {"huge": "x" * 10_000, "y" * 500: 1})
    assert len(read.extra) == MAX_EXTRA_KEYS
    assert "huge" not in read.extra
    assert read.problems


def test_text_cannot_steer_a_terminal() -> None:
    assert fields({"status": "on\x1b[2Jline\u202e"}).columns["status"] == "on [2Jline"


@pytest.mark.parametrize(
    "content",
    ["", "no", "[]", "7", '"x"', "{", '{"a": NaN}', '{"a": "\\ud800"}', "[" * 2000, '{"a":' * 40 + "1" + "}" * 40],
)
def test_what_is_no_json_object_is_rejected(content: str) -> None:
    rejection = parse_beacon(content, "GTQ")
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "bad_json"


@given(st.dictionaries(st.sampled_from([*RICH, "extra", "other"]), JSON, max_size=12))
def test_no_json_object_is_a_surprise(told: dict[str, Any]) -> None:
    try:
        content = json.dumps(told, ensure_ascii=False)
        content.encode()
    except UnicodeEncodeError:
        return
    read = parse_beacon(content, "GTQ")
    if isinstance(read, Fields):
        assert all(type(value) in (str, int) for value in read.columns.values())
        exact_json.dumps(read.extra).encode()


def test_an_event_becomes_a_record_with_its_first_d_tag() -> None:
    made = event(RICH, tags=(("p", "x"), ("d", "one"), ("d", "two")))
    read = beacons.read(made, "m", NOW + 5, content=made.content, currency="GTQ")
    assert isinstance(read, BeaconRecord)
    assert (read.d_tag, read.created_at, read.received_at, read.event_id) == ("one", NOW, NOW + 5, made.id)


def test_a_fleet_snapshot_is_any_json_as_it_came() -> None:
    made = event("[ 1, 2.50 ]", kind=FLEET_KIND)
    read = beacons.read(made, "m", NOW, content=made.content, currency="GTQ")
    assert isinstance(read, SnapshotRecord)
    assert (read.content, read.d_tag) == ("[ 1, 2.50 ]", "")
    broken = event("[ 1, ", kind=FLEET_KIND)
    assert isinstance(beacons.read(broken, "m", NOW, content=broken.content, currency="GTQ"), Rejection)


def test_a_beacon_from_the_future_is_refused() -> None:
    made = event(RICH, NOW + 901)
    rejection = beacons.read(made, "m", NOW, content=made.content, currency="GTQ")
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "future"
    assert isinstance(beacons.read(made, "m", NOW + 1, content=made.content, currency="GTQ"), BeaconRecord)


def test_another_kind_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no telemetry"):
        beacons.read(event(RICH, kind=1), "m", NOW, content="{}", currency="GTQ")
