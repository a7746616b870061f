"""Beacons, merged states and fleet snapshots: the telemetry tables and their views (SPEC section 7).

The log is only ever read by machine and time (its key); a GROUP BY over it would read all of it.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from satmachine.telemetry import exact_json
from satmachine.telemetry.beacons import BeaconRecord, SnapshotRecord
from satmachine.telemetry.merge import Known, Origin, State
from satmachine.telemetry.parse import COLUMNS

Record = BeaconRecord | SnapshotRecord

#: What stands before the name of an `extra` field in `origins`; no column's name has a dot.
_EXTRA = "extra."


# --- writing


def store_batch(conn: sqlite3.Connection, records: Sequence[Record], now: int) -> None:
    """Keep a batch of records and merge its beacons; each machine's state is written once. Replays change nothing.

    `now` (Unix seconds) is when a record that names no time of arrival was received. Needs a write transaction.
    """
    beacons = [record for record in records if isinstance(record, BeaconRecord)]
    snapshots = [record for record in records if isinstance(record, SnapshotRecord)]
    conn.executemany(_INSERT_BEACON, [_beacon_row(beacon) for beacon in beacons])
    conn.executemany(_INSERT_SNAPSHOT, [_snapshot_row(snapshot) for snapshot in snapshots])
    by_machine: dict[str, list[BeaconRecord]] = defaultdict(list)
    for beacon in beacons:
        by_machine[beacon.machine_id].append(beacon)
    for machine_id, own in by_machine.items():
        state = state_of(conn, machine_id) or State()
        for beacon in own:
            state.absorb(beacon)
        _write_state(conn, machine_id, state)
