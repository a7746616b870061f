"""The present state of a machine does not depend on the order in which its beacons arrive."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from satmachine.telemetry import merge
from satmachine.telemetry.beacons import BeaconRecord
from satmachine.telemetry.merge import Origin, State
from tests.telemetry.made import NOW, RICH, record


def merged(*beacons: BeaconRecord) -> State:
    state = State()
    for beacon in beacons:
        state.absorb(beacon)
    return state


def values(state: State) -> dict[str, Any]:
    return {name: known.value for name, known in [*state.columns.items(), *state.extra.items()]}


def test_a_sparse_beacon_after_a_rich_one_blanks_nothing() -> None:
    rich = record(RICH, NOW)
    state = merged(rich, record({"status": "busy", "cassettes": None}, NOW + 60))
    assert values(state) == {**values(merged(rich)), "status": "busy"}


def test_an_older_beacon_fills_only_what_no_newer_one_said() -> None:
    state = merged(record({"status": "busy"}, NOW), record({"status": "idle", "name": "Old"}, NOW - 60, d_tag="other"))
    assert values(state) == {"status": "busy", "name": "Old"}


def test_the_raw_text_is_the_newest_beacons() -> None:
    newest = record({"status": "busy"}, NOW)
    state = merged(newest, record(RICH, NOW - 1))
    assert (state.raw, state.newest) == (newest.content, Origin(NOW, newest.event_id))


def test_on_a_tie_the_lower_id_wins() -> None:
    low, high = record({"status": "low"}, event_id="0a" * 32), record({"status": "high"}, event_id="0b" * 32)
    assert values(merged(low, high)) == values(merged(high, low)) == {"status": "low"}


def test_unknown_fields_are_merged_one_by_one() -> None:
    state = merged(record({"fan": 1, "door": "open"}, NOW), record({"fan": 2}, NOW + 1))
    assert values(state) == {"fan": 2, "door": "open"}


def test_a_machine_that_invents_keys_keeps_the_newest_of_them() -> None:
    state = merged(*(record({f"key{n}": n}, NOW + n) for n in range(merge.MAX_EXTRA_FIELDS + 10)))
    assert len(state.extra) == merge.MAX_EXTRA_FIELDS
    assert "key9" not in state.extra
    assert "key10" in state.extra


BEACONS = st.lists(
    st.builds(
        record,
        st.dictionaries(
            st.sampled_from(["status", "name", "uptime", "cash_total", "fan", "door"]),
            st.none() | st.integers(0, 3) | st.sampled_from(["x", "y"]),
        ),
        st.integers(NOW, NOW + 3),
        d_tag=st.sampled_from(["", "a"]),
        event_id=st.integers(0, 5).map(lambda n: f"{n:064x}"),
    ),
    max_size=8,
    unique_by=lambda beacon: beacon.event_id,
)


@given(BEACONS, st.data())
def test_the_order_of_arrival_and_replays_never_change_the_result(
    beacons: list[BeaconRecord], data: st.DataObject
) -> None:
    again = data.draw(
        st.permutations(beacons + data.draw(st.lists(st.sampled_from(beacons)) if beacons else st.just([])))
    )
    assert merged(*again) == merged(*beacons)


@given(BEACONS)
def test_each_field_is_the_newest_that_was_said(beacons: list[BeaconRecord]) -> None:
    by_age = sorted(beacons, key=lambda beacon: beacon.event_id, reverse=True)
    expected: dict[str, Any] = {}
    for beacon in sorted(by_age, key=lambda beacon: beacon.created_at):
        expected |= {**beacon.fields.columns, **beacon.fields.extra}
    assert values(merged(*beacons)) == expected
