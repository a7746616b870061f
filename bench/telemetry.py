"""Telemetry over 5 million log rows of 1,000 machines: the present, one machine's day, and the retention of a day.

    .venv/bin/python bench/telemetry.py [--rows N] [--machines N] [--runs N] [--dir FOLDER]

Builds a database of its own (about 1 GB at 5 million rows) with satmachine's functions, prints a table, and deletes it.
Targets: 10 ms for the latest state, 20 ms for a machine's day, 100 ms for the longest hold of the writer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import anyio

from satmachine.store import telemetry
from satmachine.store.database import Store, atomic, connect, open_store, prepare
from satmachine.telemetry import retention
from satmachine.telemetry.beacons import BeaconRecord
from satmachine.telemetry.parse import Fields, parse_beacon

DAYS = 90
DAY_S = 86_400
BATCH = 500
INSERT_ROWS = 100_000

LATEST = "SELECT * FROM telemetry_latest"
ONLINE = "SELECT * FROM telemetry_online"
CASH_DAY = "SELECT at, cash_left FROM cash_over_time WHERE machine_id = ? AND at >= ? AND at < ?"
LOG_DAY = "SELECT * FROM dca_telemetry_log WHERE machine_id = ? AND created_at >= ? AND created_at < ?"


def main() -> int:
    args = _arguments()
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-", dir=args.dir) as folder:
        path = Path(folder) / "bench.db"
        now = int(time.time())
        insert_per_s = build(path, args.rows, args.machines, now)
        print(f"{args.rows:,} beacons of {args.machines:,} machines over {DAYS} days, {os.cpu_count()} cores")
        print(f"SQLite {sqlite3.sqlite_version}, {path.stat().st_size / 2**20:,.0f} MiB")
        print(f"store_batch, {BATCH} beacons of {BATCH} machines a transaction: {insert_per_s:,.0f} beacons/s\n")
        print(f"{'':<52}{'best':>10}{'median':>11}{'worst':>11}{'target':>10}")
        kept = [*queries(path, args.machines, args.runs, now), *anyio.run(retention_of_days, path, args.runs, now)]
    return 0 if all(kept) else 1


# --- building


def build(path: Path, rows: int, machines: int, now: int) -> float:
    """Make the database; beacons per second through `store_batch`, as the daemon calls it, for the last of them.

    The bulk of the log is written by one multi-row statement per machine: only its shape matters.
    """
    _create_shrinkable(path)
    conn = connect(path)
    conn.execute("PRAGMA synchronous = OFF")
    with atomic(conn):
        register(conn, machines)
    each = rows // machines
    step_s = DAYS * DAY_S / each
    with atomic(conn):
        for number in range(machines):
            conn.executemany(_INSERT, _log_rows(number, each, step_s, now))
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rate = _store_recent(conn, machines, now)
    conn.close()
    return rate


_INSERT = "INSERT INTO dca_telemetry_log VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def _create_shrinkable(path: Path) -> None:
    """auto_vacuum has to be chosen before the first table is made."""
    with contextlib.closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
        conn.execute("VACUUM")
    prepare(path)


def register(conn: sqlite3.Connection, machines: int) -> None:
    conn.execute("INSERT INTO dca_operators VALUES ('bench', 'Bench', 1)")
    conn.executemany(
        "INSERT INTO dca_machines VALUES (?, 'bench', ?, ?, ?, 'GTQ', '0.05', 0, 1, 1, 0)",
        [(machine_id(n), f"npub{n}", f"{n:064x}", f"Machine {n}") for n in range(machines)],
    )


def _log_rows(number: int, count: int, step_s: float, now: int) -> Iterator[tuple[object, ...]]:
    raw = content(number)
    start = now - DAYS * DAY_S
    for i in range(count):
        at = start + int(i * step_s)
        yield machine_id(number), at, event_id(number, i), "beacon", at + 1, "online", 1_000_000 - i % 5_000, raw


def _store_recent(conn: sqlite3.Connection, machines: int, now: int) -> float:
    """One beacon a machine at first, so that each has a state, then batches until INSERT_ROWS are stored."""
    fields = parse_beacon(content(0), "GTQ")
    assert isinstance(fields, Fields)
    records = [
        BeaconRecord(
            machine_id(i % machines),
            sha256(f"new{i}".encode()).hexdigest(),
            now - 60 + i % 60,
            now,
            "beacon",
            content(i % machines),
            fields,
        )
        for i in range(max(machines, INSERT_ROWS))
    ]
    started = time.perf_counter()
    for first in range(0, len(records), BATCH):
        with atomic(conn):
            telemetry.store_batch(conn, records[first : first + BATCH])
    return len(records) / (time.perf_counter() - started)


def machine_id(number: int) -> str:
    return f"machine-{number:04}"


def event_id(number: int, i: int) -> bytes:
    return sha256(f"{number}/{i}".encode()).digest()


def content(number: int) -> str:
    """A rich beacon of tomorrow, about 230 bytes."""
    cassettes = [
        {"denomination": 100, "count": number % 400, "capacity": 500},
        {"denomination": 50, "count": 210, "capacity": 500},
    ]
    told = {"status": "online", "software_version": "10.1.2", "cassettes": cassettes, "uptime": number, "battery": 97}
    return json.dumps(told)


# --- measuring


def queries(path: Path, machines: int, runs: int, now: int) -> Iterator[bool]:
    conn = connect(path, read_only=True)
    day = (now - 30 * DAY_S, now - 29 * DAY_S)
    for title, sql, per_machine, target_ms in (
        ("latest state of every machine (telemetry_latest)", LATEST, False, 10),
        ("who is online (telemetry_online)", ONLINE, False, 10),
        ("one machine's day, cash (cash_over_time)", CASH_DAY, True, 20),
        ("one machine's day, every beacon (the log)", LOG_DAY, True, 20),
    ):

        def once(run: int, sql: str = sql, per_machine: bool = per_machine) -> None:
            params = (machine_id(run * 37 % machines), *day) if per_machine else ()
            assert conn.execute(sql, params).fetchall()

        yield report(title, [timed(once, run) for run in range(runs)], target_ms)
    conn.close()


async def retention_of_days(path: Path, runs: int, now: int) -> list[bool]:
    """Delete the oldest day, several times over; how long each transaction keeps the writer."""
    holds: dict[str, list[float]] = {"expire_step": [], "reclaim_step": []}
    days: list[float] = []
    rows = 0
    async with open_store(path) as store:
        watched = WatchedStore(store, holds)
        for run in range(runs):
            started = time.perf_counter()
            deleted, _ = await retention.tidy(watched, now - (DAYS - 1 - run) * DAY_S)  # type: ignore[arg-type]
            rows += deleted
            days.append((time.perf_counter() - started) * 1000)
    print(f"\nretention: {rows:,} rows in {sum(map(len, holds.values())):,} steps over {runs} days")
    return [
        report("retention of one day, with its pauses", days, None),
        report("one step of deleting holds the writer", holds["expire_step"], 100),
        report("one step of giving space back holds the writer", holds["reclaim_step"], 100),
    ]


class WatchedStore:
    """A store that writes down how long the writer was kept, by function."""

    def __init__(self, store: Store, holds_ms: dict[str, list[float]]) -> None:
        self._store = store
        self._holds_ms = holds_ms

    async def write(self, fn: Callable[..., int], *args: object) -> int:
        started = time.perf_counter()
        result = await self._store.write(fn, *args)
        self._holds_ms[fn.__name__].append((time.perf_counter() - started) * 1000)
        return result


def timed(fn: Callable[[int], None], run: int) -> float:
    started = time.perf_counter()
    fn(run)
    return (time.perf_counter() - started) * 1000


def report(title: str, times_ms: list[float], target_ms: float | None) -> bool:
    """Print a line. A target for the writer counts for the worst step, the others for the median."""
    best, median, worst = min(times_ms), statistics.median(times_ms), max(times_ms)
    target = "" if target_ms is None else f"< {target_ms:g} ms"
    print(f"{title:<52}{best:>7.1f} ms{median:>8.1f} ms{worst:>8.1f} ms{target:>10}")
    return target_ms is None or (worst if "writer" in title else median) < target_ms


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--machines", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--dir", help="where the temporary files go (default: the system's place)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
