"""Beacons, merged states and fleet snapshots: the telemetry tables and their views (SPEC section 7).

The log is only ever read by machine and time (its key); a GROUP BY over it would read all of it.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from satmachine.telemetry import exact_json
from satmachine.telemetry.beacons import BeaconRecord, SnapshotRecord
from satmachine.telemetry.merge import FieldValue, Origin, State
from satmachine.telemetry.parse import COLUMNS

Record = BeaconRecord | SnapshotRecord

#: The prefix of an `extra` field's name in `origins`; no column's name has a dot.
_EXTRA = "extra."


# --- writing


def store_batch(conn: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Store a batch of records and merge its beacons; each machine's state is written once. Replays change nothing."""
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


def state_of(conn: sqlite3.Connection, machine_id: str) -> State | None:
    """A machine's merged state as `merge` works with it; None while it has sent no beacon."""
    row = conn.execute("SELECT * FROM dca_telemetry WHERE machine_id = ?", (machine_id,)).fetchone()
    if row is None:
        return None
    origins = {name: Origin(*origin) for name, origin in orjson.loads(row["origins"]).items()}
    extra = exact_json.loads(row["extra"])
    return State(
        columns={name: FieldValue(row[name], origins[name]) for name in COLUMNS if name in origins},
        extra={name: FieldValue(value, origins[_EXTRA + name]) for name, value in extra.items()},
        newest=Origin(row["beacon_at"], row["beacon_id"]),
        raw=row["raw"],
        received_at=row["received_at"],
    )


def expire_step(conn: sqlite3.Connection, before: int, limit: int = 5_000) -> int:
    """Delete up to `limit` beacons and snapshots created before a time (Unix seconds); returns how many, 0 when done.

    Machine by machine, as the log is ordered: neighbouring rows share pages, so a step touches few of them.
    """
    beacons = conn.execute(_EXPIRE_BEACONS, (before, limit)).rowcount
    snapshots = conn.execute(_EXPIRE_SNAPSHOTS, (before, limit - beacons)).rowcount
    return beacons + snapshots


def reclaim_step(conn: sqlite3.Connection, max_pages: int = 500) -> int:
    """Give free pages at the end of the file back to the disk; returns how many, 0 when there is no more to give.

    A twentieth of the file stays free for new rows. Does nothing in a database without incremental auto_vacuum.
    """
    free, pages = _pragma(conn, "freelist_count"), _pragma(conn, "page_count")
    surplus = min(max_pages, free - pages // 20)
    if surplus <= 0 or _pragma(conn, "auto_vacuum") != _INCREMENTAL:
        return 0
    # The pragma gives back one page at each step of its statement, and Python's execute() takes only one step.
    for _ in range(surplus):
        conn.execute("PRAGMA incremental_vacuum(1)")
    return free - _pragma(conn, "freelist_count")


_INCREMENTAL = 2


def _pragma(conn: sqlite3.Connection, name: str) -> int:
    return int(conn.execute(f"PRAGMA {name}").fetchone()[0])


def _beacon_row(beacon: BeaconRecord) -> tuple[object, ...]:
    said = beacon.fields.columns
    return (
        beacon.machine_id,
        beacon.created_at,
        bytes.fromhex(beacon.event_id),
        beacon.d_tag,
        beacon.received_at,
        said.get("status"),
        said.get("cash_left_minor"),
        beacon.content,
    )


def _snapshot_row(snapshot: SnapshotRecord) -> tuple[object, ...]:
    return (
        snapshot.machine_id,
        snapshot.created_at,
        bytes.fromhex(snapshot.event_id),
        snapshot.d_tag,
        snapshot.received_at,
        snapshot.content,
    )


def _write_state(conn: sqlite3.Connection, machine_id: str, state: State) -> None:
    """Names are sorted, so that the same beacons make the same row, byte by byte."""
    assert state.newest is not None, "a state is written after a beacon was merged into it"
    values = {name: known.value for name, known in state.columns.items()}
    extra = sorted(state.extra.items())
    origins = {name: tuple(state.columns[name].origin) for name in COLUMNS if name in values}
    origins |= {_EXTRA + name: tuple(known.origin) for name, known in extra}
    conn.execute(
        _UPSERT_STATE,
        (
            machine_id,
            *(values.get(name) for name in COLUMNS),
            exact_json.dumps({name: known.value for name, known in extra}),
            state.raw,
            exact_json.dumps(origins),
            state.newest.created_at,
            state.newest.event_id,
            state.received_at,
        ),
    )


_INSERT_BEACON = """
INSERT INTO dca_telemetry_log (machine_id, created_at, event_id, d_tag, received_at, status, cash_left_minor, raw)
VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""

_INSERT_SNAPSHOT = """
INSERT INTO dca_fleet_snapshots (machine_id, created_at, event_id, d_tag, received_at, raw)
VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""

_STATE_COLUMNS = (*COLUMNS, "extra", "raw", "origins", "beacon_at", "beacon_id", "received_at")
_UPSERT_STATE = f"""
INSERT INTO dca_telemetry (machine_id, {", ".join(_STATE_COLUMNS)})
VALUES (?{", ?" * len(_STATE_COLUMNS)})
ON CONFLICT (machine_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _STATE_COLUMNS)}
"""  # noqa: S608 (made of constants)

# CROSS JOIN: one probe of the table's key for each machine, never a walk through the table.
_EXPIRE = """
DELETE FROM {table} WHERE (machine_id, created_at, event_id) IN (
    SELECT old.machine_id, old.created_at, old.event_id
    FROM dca_machines m CROSS JOIN {table} old ON old.machine_id = m.id AND old.created_at < ?
    LIMIT ?)
"""
_EXPIRE_BEACONS = _EXPIRE.format(table="dca_telemetry_log")
_EXPIRE_SNAPSHOTS = _EXPIRE.format(table="dca_fleet_snapshots")


# --- reading; `scope` is an operator's id, or None for all


def latest(conn: sqlite3.Connection, scope: str | None, machine_id: str | None = None) -> list[dict[str, Any]]:
    """The view `telemetry_latest`, of machines that have sent a beacon; with its raw text and where each field comes
    from."""
    return _all(conn, _LATEST, scope, machine_id)


def fleet(conn: sqlite3.Connection, scope: str | None) -> list[dict[str, Any]]:
    """Every configured machine: state, age of its newest beacon, cash, cassettes, last sale."""
    return _all(conn, _FLEET, scope)


def history(
    conn: sqlite3.Connection, machine_id: str, *, since: int, until: int, limit: int, d_tag: str | None = None
) -> list[dict[str, Any]]:
    """A machine's beacons, newest first, from `since` up to and without `until` (Unix seconds)."""
    return _all(conn, _HISTORY, machine_id, since, until, d_tag, limit)


def cash_points(
    conn: sqlite3.Connection, machine_ids: Sequence[str], *, since: int, until: int, points: int
) -> dict[str, list[int | None]]:
    """Cash left in minor units at the end of each of `points` equal parts of a period; None: nothing was reported in
    it.

    One probe of the log's key for each point, however many beacons there are.
    """
    step_s = max(1, (until - since) // points)
    found: dict[str, list[int | None]] = {}
    for machine_id in machine_ids:
        bounds = [(machine_id, since + i * step_s, since + (i + 1) * step_s) for i in range(points)]
        found[machine_id] = [_first(conn.execute(_CASH_AT, bound).fetchone()) for bound in bounds]
    return found


def statuses_since(conn: sqlite3.Connection, machine_id: str, since: int) -> list[tuple[int, str | None]]:
    """(when, status) of a machine's beacons from then on, oldest first, as far as they are kept."""
    found = conn.execute(
        "SELECT created_at, status FROM dca_telemetry_log WHERE machine_id = ? AND created_at >= ? ORDER BY created_at",
        (machine_id, since),
    )
    return [(int(row[0]), row[1]) for row in found]


def error_since(conn: sqlite3.Connection, machine_id: str, since: int) -> str | None:
    """The error that a machine last reported, if that was then or later (Unix seconds)."""
    row = conn.execute(
        "SELECT last_error FROM dca_telemetry WHERE machine_id = ? AND json_extract(origins, '$.last_error[0]') >= ?",
        (machine_id, since),
    ).fetchone()
    return None if row is None else row[0]


def snapshots(
    conn: sqlite3.Connection, scope: str | None, machine_id: str | None, *, since: int, until: int, limit: int
) -> list[dict[str, Any]]:
    """Fleet snapshots, newest first, from `since` up to and without `until` (Unix seconds)."""
    return _all(conn, _SNAPSHOTS, scope, machine_id, since, until, limit)


_LATEST = """
SELECT l.*, t.raw, t.origins, t.beacon_id FROM telemetry_latest l JOIN dca_telemetry t ON t.machine_id = l.machine_id
WHERE (?1 IS NULL OR l.operator_id = ?1) AND (?2 IS NULL OR l.machine_id = ?2)
ORDER BY l.operator_id, l.machine_id
"""

_FLEET = """
SELECT l.machine_id, l.operator_id, l.machine, o.state, l.status, l.age_s, l.beacon_at, l.cash_left_minor, l.currency,
       l.cassettes, l.last_error, s.last_sale_at, s.since_s AS since_sale_s,
       c.early_at AS cash_early_at, c.likely_at AS cash_out_at, c.late_at AS cash_late_at,
       (SELECT f.created_at FROM dca_fleet_snapshots f WHERE f.machine_id = l.machine_id
        ORDER BY f.created_at DESC LIMIT 1) AS snapshot_at
FROM telemetry_latest l JOIN telemetry_online o ON o.machine_id = l.machine_id
JOIN last_sale s ON s.machine_id = l.machine_id
LEFT JOIN dca_cash_forecasts c ON c.machine_id = l.machine_id
WHERE ?1 IS NULL OR l.operator_id = ?1 ORDER BY l.operator_id, l.machine_id
"""

_HISTORY = """
SELECT l.machine_id, l.created_at, lower(hex(l.event_id)) AS event_id, l.d_tag, l.received_at, l.status,
       l.cash_left_minor, m.currency, l.raw
FROM dca_telemetry_log l JOIN dca_machines m ON m.id = l.machine_id
WHERE l.machine_id = ?1 AND l.created_at >= ?2 AND l.created_at < ?3 AND (?4 IS NULL OR l.d_tag = ?4)
ORDER BY l.created_at DESC, l.event_id LIMIT ?5
"""

_CASH_AT = """
SELECT cash_left_minor FROM dca_telemetry_log
WHERE machine_id = ? AND created_at >= ? AND created_at < ? AND cash_left_minor IS NOT NULL
ORDER BY created_at DESC LIMIT 1
"""

# Of each machine no more than are shown, along the table's key.
_SNAPSHOTS = """
SELECT f.machine_id, f.created_at, lower(hex(f.event_id)) AS event_id, f.d_tag, f.received_at, f.raw
FROM dca_machines m CROSS JOIN dca_fleet_snapshots f ON f.machine_id = m.id
WHERE (?1 IS NULL OR m.operator_id = ?1) AND (?2 IS NULL OR m.id = ?2)
  AND f.created_at < ?4 AND f.created_at >= max(?3, coalesce((
      SELECT x.created_at FROM dca_fleet_snapshots x WHERE x.machine_id = m.id AND x.created_at < ?4
      ORDER BY x.created_at DESC LIMIT 1 OFFSET ?5 - 1), 0))
ORDER BY f.created_at DESC, f.event_id LIMIT ?5
"""


def _all(conn: sqlite3.Connection, sql: str, *params: object) -> list[dict[str, Any]]:
    return [dict(row) for row in conn.execute(sql, params)]


def _first(row: Mapping[int, Any] | None) -> int | None:
    return None if row is None else row[0]
