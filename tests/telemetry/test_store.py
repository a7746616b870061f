"""The telemetry tables: batches, replays, retention, and giving space back."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from satmachine.store import telemetry_rows
from satmachine.store.database import atomic
from satmachine.telemetry.beacons import BeaconRecord, SnapshotRecord
from tests.telemetry.made import MACHINE, NOW, RICH, database, record, snapshot


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = database(tmp_path, machines=(MACHINE, "solola-1"))
    yield opened
    opened.close()


def store(conn: sqlite3.Connection, *records: BeaconRecord | SnapshotRecord) -> None:
    with atomic(conn):
        telemetry_rows.store_batch(conn, records)


def table(conn: sqlite3.Connection, name: str) -> list[dict[str, Any]]:
    return [dict(row) for row in conn.execute(f"SELECT * FROM {name} ORDER BY 1, 2")]


def count(conn: sqlite3.Connection, name: str) -> int:
    return int(conn.execute(f"SELECT count(*) FROM {name}").fetchone()[0])


def test_a_batch_is_logged_and_merged(conn: sqlite3.Connection) -> None:
    store(
        conn,
        record(RICH),
        record({"status": "busy"}, NOW + 1),
        record({"status": "x"}, machine_id="solola-1"),
        snapshot(),
    )
    [first, second] = table(conn, "dca_telemetry")
    assert (first["status"], first["cash_total_minor"], first["exchange_rate"]) == ("busy", 1_900_000, "1234.56")
    assert (first["beacon_at"], first["raw"], first["extra"]) == (NOW + 1, '{"status": "busy"}', '{"battery":97.5}')
    assert json.loads(first["origins"])["status"][0] == NOW + 1
    assert json.loads(first["origins"])["extra.battery"][0] == NOW
    assert (second["status"], second["name"]) == ("x", None)
    assert count(conn, "dca_telemetry_log") == 3
    assert [row["raw"] for row in table(conn, "dca_fleet_snapshots")] == ['{"machines": [1]}']


def test_a_state_comes_back_as_it_was_stored(conn: sqlite3.Connection) -> None:
    store(conn, record({**RICH, "weights": [1.50, {"a": None}]}))
    before = table(conn, "dca_telemetry")
    store(conn, record({}, NOW - 1))
    assert table(conn, "dca_telemetry") == before


def test_neither_replays_nor_order_nor_batches_change_the_tables(conn: sqlite3.Connection, tmp_path: Path) -> None:
    keys = ["status", "uptime", "fan", "cash_total"]
    chance = random.Random(7)
    beacons = [
        record({key: chance.choice([None, 1, "a"]) for key in keys}, NOW + chance.randrange(9), event_id=f"{n:064x}")
        for n in range(60)
    ]
    (tmp_path / "other").mkdir()
    other = database(tmp_path / "other")
    store(conn, *beacons)
    for beacon in chance.sample(beacons * 2, 120):
        store(other, beacon)
    for name in ("dca_telemetry", "dca_telemetry_log"):
        assert table(other, name) == table(conn, name)
    other.close()


def test_an_empty_batch_is_fine(conn: sqlite3.Connection) -> None:
    store(conn)
    assert count(conn, "dca_telemetry_log") == 0


def test_retention_deletes_what_is_old_in_steps_and_nothing_else(conn: sqlite3.Connection) -> None:
    for machine_id in (MACHINE, "solola-1"):
        store(conn, *(record({"n": n}, NOW + n, machine_id=machine_id) for n in range(10)))
    store(conn, *(snapshot(NOW + n) for n in range(10)))
    steps: list[int] = []
    while not steps or steps[-1]:
        with atomic(conn):
            steps.append(telemetry_rows.expire_step(conn, NOW + 7, 4))
    assert sum(steps) == 21
    assert max(steps) == 4
    assert {row["created_at"] for row in table(conn, "dca_telemetry_log")} == {NOW + 7, NOW + 8, NOW + 9}
    assert {row["created_at"] for row in table(conn, "dca_fleet_snapshots")} == {NOW + 7, NOW + 8, NOW + 9}


def test_retention_keeps_the_present_state(conn: sqlite3.Connection) -> None:
    store(conn, record(RICH))
    with atomic(conn):
        assert telemetry_rows.expire_step(conn, NOW + 1) == 1
        assert telemetry_rows.expire_step(conn, NOW + 1) == 0
    assert count(conn, "dca_telemetry") == 1


def test_freed_space_goes_back_to_the_disk(conn: sqlite3.Connection, tmp_path: Path) -> None:
    path = tmp_path / "satmachine.db"
    store(conn, *(record({"note": "x" * 3000, "n": n}, NOW + n) for n in range(1000)))
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    full = path.stat().st_size
    with atomic(conn):
        telemetry_rows.expire_step(conn, NOW + 990)
    steps: list[int] = []
    while not steps or steps[-1]:
        with atomic(conn):
            steps.append(telemetry_rows.reclaim_step(conn, 100))
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert max(steps) == 100
    assert path.stat().st_size < full / 4
    assert count(conn, "dca_telemetry_log") == 10


def test_a_database_that_cannot_shrink_is_left_alone(conn: sqlite3.Connection) -> None:
    conn.execute("PRAGMA auto_vacuum = FULL")
    with atomic(conn):
        assert telemetry_rows.reclaim_step(conn) == 0


def test_reads_are_bound_to_their_scope(conn: sqlite3.Connection) -> None:
    store(conn, record(RICH), snapshot())
    span = {"since": 0, "until": NOW + 9, "limit": 9}
    for scope, number in (("atitlan", 1), (None, 1), ("flores", 0)):
        assert len(telemetry_rows.latest(conn, scope)) == number
        assert len(telemetry_rows.snapshots(conn, scope, None, **span)) == number
        assert len(telemetry_rows.fleet(conn, scope)) == number * 2


def test_history_is_newest_first_and_by_d_tag(conn: sqlite3.Connection) -> None:
    store(conn, *(record({"n": n}, NOW + n, d_tag="ab"[n % 2]) for n in range(6)))
    rows = telemetry_rows.history(conn, MACHINE, since=NOW + 1, until=NOW + 5, limit=3)
    assert [row["created_at"] - NOW for row in rows] == [4, 3, 2]
    tagged = telemetry_rows.history(conn, MACHINE, since=NOW, until=NOW + 9, limit=9, d_tag="a")
    assert [row["created_at"] - NOW for row in tagged] == [4, 2, 0]


def test_cash_points_are_the_last_figure_of_each_part(conn: sqlite3.Connection) -> None:
    store(conn, *(record({"cash_total": n}, NOW + n) for n in (0, 5, 25)), record({"status": "x"}, NOW + 9))
    points = telemetry_rows.cash_points(conn, [MACHINE], since=NOW, until=NOW + 30, points=3)
    assert points == {MACHINE: [500, None, 2500]}
