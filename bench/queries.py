"""The first page of every list, and everything that is shown of one thing, over millions of rows.

Each command runs in this process with everything imported: what is measured is what a person waits for on top of the
program's start (bench/cli.py measures that). The output is made as for a terminal of 120 columns, and thrown away.
"""

from __future__ import annotations

import re
import shlex
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from typer.testing import CliRunner, Result

from bench.books import BIG, DAY_S, SALE_EVERY_S, SMALL, START, Say, Size, books, machine_id, write_config
from bench.report import Figure, Section, median, spread
from satmachine.cli.kit import books as common
from satmachine.cli.main import app
from satmachine.store import database as store

TARGET_MS = 100
RUNS = 5

#: Tables that grow with the years.
GROWING = (
    *("dca_settlements", "dca_settlement_events", "dca_payments", "dca_invoices", "dca_retained", "dca_deposits"),
    *("dca_telemetry_log", "dca_fleet_snapshots", "dca_unmatched_payments", "quarantine", "audit_log"),
)


@dataclass(slots=True)
class Work:
    """What SQLite did for one command: the statements, and how many thousands of its machine's instructions."""

    statements: list[str] = field(default_factory=list)
    thousands: int = 0


def run(quick: bool, say: Say) -> list[Section]:
    """Measure every command of `commands`."""
    size = SMALL if quick else BIG
    database = books(size, say)
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(database, size.machines, Path(folder))
        figures = [_figure(config, command, 1 if quick else RUNS) for command in _told(commands(database, size), say)]
    about = (
        f"{size.sales:,} sales with their payments, {size.beacons:,} beacons and {size.machines:,} machines; "
        f"the median of {RUNS} runs (lowest-highest), in milliseconds on top of the program's start."
    )
    return [Section("First pages of the command line", about, figures)]


def commands(database: Path, size: Size) -> list[str]:
    """Every list with every filter, and everything that is shown of one thing."""
    machine, last = machine_id(1), size.sales - 100
    middle, old = _iso(START + size.sales // 2 * SALE_EVERY_S), _iso(START + size.sales // 100 * SALE_EVERY_S)
    month = _iso(size.end - 30 * DAY_S)
    payment = _largest_id(database, "dca_payments") // 2
    return [
        "status",
        "--operator operator-0 status",
        "status --json",
        "settlements list",
        *(f"settlements list --status {status}" for status in _SALE_STATUSES),
        f"settlements list --machine {machine}",
        f"settlements list --machine {machine} --status refunded",
        f"settlements list --since {month}",
        f"settlements list --until {middle}",
        f"settlements list --since {old} --until {middle} --status partial",
        f"settlements list --before {size.sales // 2}",
        f"settlements list --before {size.sales // 2} --status refunded",
        "--operator operator-0 settlements list",
        "--operator operator-0 settlements list --status processed",
        "--operator operator-0 settlements list --status refunded",
        "settlements list --json --limit 50",
        "settlements list --csv --limit 50",
        f"settlements show {last}",
        f"settlements show tx-{last}",
        f"settlements explain {last}",
        "settlements unmatched",
        f"settlements unmatched --machine {machine}",
        f"settlements unmatched --since {month}",
        "payments list",
        *(f"payments list --type {leg_type}" for leg_type in _LEG_TYPES),
        *(f"payments list --status {status}" for status in _LEG_STATUSES),
        f"payments list --machine {machine}",
        f"payments list --machine {machine} --type refund",
        "payments list --client 2",
        f"payments list --settlement {last}",
        f"payments list --since {month}",
        f"payments list --until {middle} --type dca --status voided",
        f"payments list --before {payment}",
        f"payments list --before {payment} --type refund",
        "--operator operator-0 payments list",
        "--operator operator-0 payments list --type settlement",
        "machines list",
        f"machines show {machine}",
        "splits show",
        "splits show --effective",
        f"splits show --machine {machine} --effective",
        "clients list",
        f"clients list --machine {machine}",
        "clients list --person person-7",
        "clients list --status active",
        "clients show 2",
        "clients balance",
        "clients balance 2",
        f"clients balance --machine {machine}",
        f"clients balance 2 --as-of {middle}",
        "clients statement 2",
        f"clients statement 2 --since {month}",
        "clients settle 2 --rate 143.797 --dry-run",
        "deposits list",
        *(f"deposits list --status {status}" for status in ("pending", "confirmed", "rejected")),
        f"deposits list --machine {machine}",
        "deposits list --client 2",
        f"deposits list --since {month}",
        "--operator operator-0 deposits list",
        "deposits show 2",
        "quarantine list",
        "quarantine list --all",
        f"quarantine list --machine {machine} --all",
        f"quarantine list --since {month} --all",
        "--operator operator-0 quarantine list",
        "quarantine show 2",
        "audit log",
        "audit log --author maria",
        "audit log --action settlement.refund",
        "audit log --action settlement",
        "audit log --subject 'settlement 12'",
        f"audit log --machine {machine}",
        f"audit log --machine {machine} --author maria",
        f"audit log --since {month}",
        f"audit log --until {middle}",
        "--operator operator-0 audit log",
        "--operator operator-0 audit log --author maria",
        "telemetry latest",
        f"telemetry latest {machine}",
        "telemetry latest --json",
        "telemetry fleet",
        "telemetry fleet --json",
        f"telemetry history {machine} --since {_iso(size.end - DAY_S)} --until {_iso(size.end)}",
        f"telemetry history {machine} --since {_iso(size.end - 90 * DAY_S)}",
        "telemetry snapshots",
        f"telemetry snapshots {machine}",
        f"telemetry snapshots --since {_iso(size.end - DAY_S)}",
    ]


_SALE_STATUSES = ("pending", "held", "processed", "errored", "partial", "refunded")
_LEG_TYPES = ("super_fee", "operator_split", "dca", "settlement", "autoforward", "refund")
_LEG_STATUSES = ("pending", "invoiced", "sending", "completed", "failed", "held", "voided", "skipped")


def call(config: Path, command: str) -> Result:
    """Run a command as a person does, on a terminal of 120 columns."""
    env = {"COLUMNS": "120", "TTY_COMPATIBLE": "1", "SATMACHINE_OPERATOR": "", "SATMACHINE_CONFIG": str(config)}
    result = CliRunner().invoke(app, shlex.split(command), env=env)
    if result.exit_code not in ((0, 1) if "status" in shlex.split(command) else (0,)):
        raise RuntimeError(f"satmachine {command} left with {result.exit_code}: {result.output}") from result.exception
    return result


@contextmanager
def watched() -> Iterator[Work]:
    """What SQLite does for the commands that run meanwhile."""
    work = Work()

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        conn = store.connect(*args, **kwargs)
        conn.set_trace_callback(work.statements.append)
        conn.set_progress_handler(step, 1_000)
        return conn

    def step() -> int:
        work.thousands += 1
        return 0

    with mock.patch.object(common, "connect", connect):
        yield work


def walks(database: Path, statements: Sequence[str]) -> list[str]:
    """The steps of these statements' plans that read a growing table row by row, in no order of an index."""
    conn = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    found = []
    for statement in statements:
        if re.match(r"\s*(SELECT|WITH)\b", statement):
            plan = [str(row[3]) for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}")]
            found += [f"{step}: {statement}" for step in plan if _is_walk(step, statement)]
    conn.close()
    return found


def _is_walk(step: str, statement: str) -> bool:
    scanned = re.fullmatch(r"SCAN (\w+)", step)
    if scanned is None:
        return False
    names = [table for table in GROWING if re.search(rf"\b{table}( AS)? {scanned[1]}\b", statement)]
    return scanned[1] in GROWING or bool(names)


def _figure(config: Path, command: str, runs: int) -> Figure:
    times_ms = []
    for _ in range(runs):
        started = time.perf_counter()
        call(config, command)
        times_ms.append((time.perf_counter() - started) * 1000)
    return Figure(f"`{command}`", spread(times_ms, 0), target=f"< {TARGET_MS}", met=median(times_ms) < TARGET_MS)


def _told(found: Sequence[str], say: Say) -> Iterator[str]:
    for number, command in enumerate(found):
        if number % 10 == 0:
            say(f"{number} of {len(found)} commands")
        yield command


def _largest_id(database: Path, table: str) -> int:
    conn = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    [(largest,)] = conn.execute(f"SELECT max(id) FROM {table}")
    conn.close()
    return int(largest)


def _iso(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S}"
