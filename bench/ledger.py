"""A month's report, export and close among a million sales, and the audit of all, beside the least that SQLite takes
for the same rows.

Whole processes, on a database that is in the system's cache. The yardstick is a process
that does nothing but add up the same rows of payments and sales with one bare statement each.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path

from bench.books import BIG, SMALL, START, Say, Size, books, write_config
from bench.report import Figure, Section, median, spread
from satmachine.ledger.periods import make_period, month_of, month_span
from satmachine.store import period_rows
from satmachine.store.database import atomic, connect

ROUNDS, QUICK_ROUNDS = 3, 1
#: The yardstick.
_ALL = "bare: all rows up to the month's end"
#: Processor seconds for a month among a million sales.
MOST_S = 10
#: Against the same in books of a tenth: memory must not grow with them.
MOST_MEMORY = 1.5

#: What a process begins with: at its end it tells how much memory it had at most. (What the system tells of a child
#: begins with its parent's.)
_TELLING = """
import atexit, os, re
@atexit.register
def tell():
    with open("/proc/self/status") as status, open(os.environ["PEAK"], "w") as told:
        told.write(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])
"""
_PROGRAM = _TELLING + "from satmachine.cli.main import main\nmain()\n"
_BARE = (
    _TELLING
    + """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1])
since, until = sys.argv[2:]
print(conn.execute("SELECT leg_type, count(*), sum(sent_sats), sum(fee_sats), sum(fiat_amount_minor) FROM dca_payments "
                   "WHERE completed_at >= ? AND completed_at < ? GROUP BY leg_type", (since, until)).fetchall())
print(conn.execute("SELECT count(*), sum(gross_sats), sum(fiat_amount_minor) FROM dca_settlements "
                   "WHERE occurred_at >= ? AND occurred_at < ?", (since, until)).fetchall())
"""
)


@dataclass(frozen=True, slots=True)
class Run:
    """A process: wall and processor seconds, and the most memory that it had, in MiB."""

    wall_s: float
    cpu_s: float
    memory_mib: float


def run(quick: bool, say: Say) -> list[Section]:
    """Measure a month that lies nine tenths into the books, with nothing closed before, and with the month before."""
    size = replace(SMALL, sale_every_s=36_000) if quick else BIG  # some months, also of a tenth
    tenth = replace(size, sales=size.sales // 10, beacons=max(1, size.beacons // 100))
    rounds = QUICK_ROUNDS if quick else ROUNDS
    found = _measure(size, rounds, say)
    small = _measure(tenth, 1, say)
    figures = [_figure(name, runs, found[_ALL]) for name, runs in found.items()]
    figures += [_memory(name, found[name], small[name]) for name in found if name.endswith("nothing closed")]
    load = f"Load average meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    about = (
        f"{size.sales:,} sales of {size.machines:,} machines with their payments. Processor time of whole processes: "
        f"what a person waits on an idle machine; the median of {rounds} interleaved rounds (lowest-highest; the audit "
        f"once). Ratios are to a bare SQL aggregate over all rows up to the month's end. {load}"
    )
    return [Section("A month in large books", about, figures)]


def _measure(size: Size, rounds: int, say: Say) -> dict[str, list[Run]]:
    database = books(size, say)
    found: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(dir=database.parent) as folder:
        closed = Path(folder) / "closed.db"
        subprocess.run(["cp", "--reflink=auto", str(database), str(closed)], check=True)
        month = month_of(START + size.sales * size.sale_every_s * 9 // 10, UTC)
        _close_before(closed, month)
        opened_config = write_config(database, size.machines, Path(folder))
        closed_config = opened_config.with_name("closed.toml")
        closed_config.write_text(opened_config.read_text().replace(str(database.absolute()), str(closed)), "utf-8")
        closed_config.chmod(0o600)
        commands = _commands(database, month, opened_config, closed_config)
        for number in range(-1, rounds):  # the first one warms the cache, and does not count
            for name, arguments in commands.items():
                if name.startswith("audit") and number != 0:
                    continue
                say(f"{size.sales:,} sales, {'warming' if number < 0 else f'round {number + 1}'}: {name}")
                done = _run(arguments)
                if number >= 0:
                    found.setdefault(name, []).append(done)
    return found


def _commands(database: Path, month: str, opened: Path, closed: Path) -> Mapping[str, Sequence[str]]:
    """What is measured, by what it is called."""
    since, until = map(str, month_span(month, UTC))
    found: dict[str, Sequence[str]] = {
        _ALL: ("-c", _BARE, str(database), "0", until),
        "bare: the month's rows": ("-c", _BARE, str(database), since, until),
    }
    asked: Mapping[str, Sequence[str]] = {
        "report": ("report", "--month", month, "--json"),
        "export as CSV": ("export", "ledger", "--format", "csv", "--month", month, "--anyway"),
        "period close": ("period", "close", month, "--reason", "measured", "--dry-run", "--json"),
        "audit --offline": ("audit", "--offline"),
    }
    for name, arguments in asked.items():
        for config, said in ((opened, "nothing closed"), (closed, "the month before closed")):
            found[f"{name}, {said}"] = ("-c", _PROGRAM, "--config", str(config), *arguments)
    return found


def _close_before(path: Path, month: str) -> None:
    """Close the month before, as a person would have."""
    start_at, end_at = month_span(month, UTC)
    with closing(connect(path)) as conn:
        before = make_period(conn, month_of(start_at - 1, UTC), UTC, actor="bench", reason="", now=end_at)
        with atomic(conn):
            period_rows.add(conn, before)


def _run(arguments: Sequence[str]) -> Run:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SATMACHINE")}
    with tempfile.NamedTemporaryFile("r") as peak:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], env={**environ, "PEAK": peak.name}, stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(arguments)} left with {process.returncode}")
        return Run(wall_s, used.ru_utime + used.ru_stime, int(peak.read()) / 1024)


def _figure(name: str, runs: Sequence[Run], bare: Sequence[Run]) -> Figure:
    cpu_s, wall_s = [one.cpu_s for one in runs], median([one.wall_s for one in runs])
    ratio = median(cpu_s) / median([one.cpu_s for one in bare])
    told = f"{spread(cpu_s, 1)} s (wall {wall_s:.1f}), {max(one.memory_mib for one in runs):.0f} MiB"
    has_target = name.startswith(("report", "period close"))
    target = f"< {MOST_S} s" if has_target else ""
    return Figure(name, told, f"{ratio:.2f} x", target, median(cpu_s) < MOST_S if has_target else None)


def _memory(name: str, runs: Sequence[Run], small: Sequence[Run]) -> Figure:
    most_mib, small_mib = (max(one.memory_mib for one in found) for found in (runs, small))
    ratio = most_mib / small_mib
    told = f"{small_mib:.0f} -> {most_mib:.0f} MiB"
    met = ratio <= MOST_MEMORY
    return Figure(f"memory, ten times the sales: {name}", told, f"{ratio:.2f} x", f"<= {MOST_MEMORY} x", met)
