"""Telemetry over 5 million log rows of 1,000 machines: the present, one machine's day, and the retention of a day.

Builds a database of its own (about 1.5 GB at 5 million rows) with satmachine's functions, and deletes it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import anyio

from bench.report import Figure, Section, median
from satmachine import retention
from satmachine.store import telemetry_rows
from satmachine.store.database import Store, atomic, connect, open_store, prepare
from satmachine.telemetry.beacons import BeaconRecord
from satmachine.telemetry.parse import Fields, parse_beacon

ROWS, MACHINES, RUNS = 5_000_000, 1_000, 5
DAYS = 90
DAY_S = 86_400
BATCH = 500
INSERT_ROWS = 100_000

LATEST = "SELECT * FROM telemetry_latest"
ONLINE = "SELECT * FROM telemetry_online"
CASH_DAY = "SELECT at, cash_left FROM cash_over_time WHERE machine_id = ? AND at >= ? AND at < ?"
LOG_DAY = "SELECT * FROM dca_telemetry_log WHERE machine_id = ? AND created_at >= ? AND created_at < ?"


def run(quick: bool, say: Callable[[str], None]) -> list[Section]:
    rows, machines, runs = (20_000, 20, 2) if quick else (ROWS, MACHINES, RUNS)
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as folder:
        path = Path(folder) / "bench.db"
        now = int(time.time())
        say(f"building {rows:,} rows")
        insert_per_s = build(path, rows, machines, now)
        figures = [Figure(f"store_batch, {BATCH} beacons of {BATCH} machines a transaction", f"{insert_per_s:,.0f}/s")]
        say("queries")
        figures += queries(path, machines, runs, now)
        say("retention")
        figures += anyio.run(retention_of_days, path, runs, now)
        size_mib = path.stat().st_size / 2**20
    about = (
        f"{rows:,} beacons of {machines:,} machines over {DAYS} days, {size_mib:,.0f} MiB. Medians of {runs} runs "
        "(lowest-highest); for what holds the writer the longest counts."
    )
    return [Section("Telemetry", about, figures)]


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
        "INSERT INTO dca_machines VALUES (?, 'bench', ?, ?, ?, 'GTQ', '0.05', 0, 1, 1, 0, 2)",
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
            telemetry_rows.store_batch(conn, records[first : first + BATCH])
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


def queries(path: Path, machines: int, runs: int, now: int) -> Iterator[Figure]:
    conn = connect(path, read_only=True)
    day = (now - 30 * DAY_S, now - 29 * DAY_S)
    for title, sql, per_machine, target_ms in (
        ("latest state of every machine (telemetry_latest)", LATEST, False, 20),
        ("who is online (telemetry_online)", ONLINE, False, 20),
        ("one machine's day, cash (cash_over_time)", CASH_DAY, True, 20),
        ("one machine's day, every beacon (the log)", LOG_DAY, True, 20),
    ):

        def once(run: int, sql: str = sql, per_machine: bool = per_machine) -> None:
            params = (machine_id(run * 37 % machines), *day) if per_machine else ()
            assert conn.execute(sql, params).fetchall()

        yield figure(title, [timed(once, run) for run in range(runs)], target_ms)
    conn.close()


async def retention_of_days(path: Path, runs: int, now: int) -> list[Figure]:
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
    return [
        figure(f"retention of one day ({rows // runs:,} rows), with its pauses", days, None),
        figure("one step of deleting holds the writer", holds["expire_step"], 100, worst=True),
        figure("one step of giving space back holds the writer", holds["reclaim_step"], 100, worst=True),
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


def figure(title: str, times_ms: list[float], target_ms: float | None, *, worst: bool = False) -> Figure:
    """`worst`: the target counts for the longest, not the median."""
    if not times_ms:
        return Figure(title, "not needed")
    value = f"{median(times_ms):.1f} ms ({min(times_ms):.1f}-{max(times_ms):.1f})"
    if target_ms is None:
        return Figure(title, value)
    counts = max(times_ms) if worst else median(times_ms)
    return Figure(title, value, target=f"< {target_ms:g} ms", met=counts < target_ms)
