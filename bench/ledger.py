"""A month's report and export among a million sales, beside the least that SQLite takes for the same rows.

Whole processes, as a person waits for them, on a database that is in the system's cache. The yardstick is a process
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
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from bench.books import BIG, SALE_EVERY_S, SMALL, START, Say, Size, books, write_config
from bench.report import Figure, Section, median, spread
from satmachine.ledger.entries import balances
from satmachine.ledger.periods import month_of, month_span
from satmachine.store import periods
from satmachine.store.database import atomic, connect
from satmachine.store.periods import Period

ROUNDS, QUICK_ROUNDS = 3, 1
#: Seconds for a month among a million sales.
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
    """Measure a month that lies nine tenths into the books, with nothing closed before, and with all of it."""
    size = SMALL if quick else BIG
    tenth = Size(size.machines, size.sales // 10, max(1, size.beacons // 100))
    rounds = QUICK_ROUNDS if quick else ROUNDS
    found = _measure(size, rounds, say)
    small = _measure(tenth, 1, say)
    figures = [_figure(name, runs, found["bare: all rows up to the month's end"]) for name, runs in found.items()]
    figures += [_memory(name, found[name], small[name]) for name in found if name.endswith("nothing closed")]
    load = f"Load average meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    about = (
        f"{size.sales:,} sales of {size.machines:,} machines with their payments. Wall time of whole processes, the "
        f"median of {rounds} interleaved rounds (lowest-highest); ratios are of processor time, to a bare SQL "
        f"aggregate over all rows up to the month's end. {load}"
    )
    return [Section("A month in large books", about, figures)]


def _measure(size: Size, rounds: int, say: Say) -> dict[str, list[Run]]:
    database = books(size, say)
    found: dict[str, list[Run]] = {}
    with tempfile.TemporaryDirectory(dir=database.parent) as folder:
        closed = Path(folder) / "closed.db"
        subprocess.run(["cp", "--reflink=auto", str(database), str(closed)], check=True)
        month = month_of(START + size.sales * SALE_EVERY_S * 9 // 10, UTC)
        since, until = month_span(month, UTC)
        _close_before(closed, since)
        opened_config = write_config(database, size.machines, Path(folder))
        closed_config = opened_config.with_name("closed.toml")
        closed_config.write_text(opened_config.read_text().replace(str(database.absolute()), str(closed)), "utf-8")
        closed_config.chmod(0o600)
        program = ("-c", _PROGRAM, "--config")
        month_of_it = ("--month", month)
        commands: Mapping[str, Sequence[str]] = {
            "bare: all rows up to the month's end": ("-c", _BARE, str(database), "0", str(until)),
            "bare: the month's rows": ("-c", _BARE, str(database), str(since), str(until)),
            "report, nothing closed": (*program, str(opened_config), "report", *month_of_it, "--json"),
            "report, the months before closed": (*program, str(closed_config), "report", *month_of_it, "--json"),
            "export as CSV, nothing closed": (
                *(*program, str(opened_config), "export", "ledger", "--format", "csv", *month_of_it, "--anyway"),
            ),
        }
        for number in range(-1, rounds):  # the first one warms the cache, and does not count
            for name, arguments in commands.items():
                say(f"{size.sales:,} sales, {'warming' if number < 0 else f'round {number + 1}'}: {name}")
                done = _run(arguments)
                if number >= 0:
                    found.setdefault(name, []).append(done)
    return found


def _close_before(path: Path, at: int) -> None:
    """As if every month before had been closed. (The digests, which no report reads, are not made.)"""
    with closing(connect(path)) as conn, atomic(conn):
        name = month_of(at - 1, UTC)
        totals = balances(conn, at)
        digest = "0" * 64
        periods.add(conn, Period(name, 0, at, "UTC", at + 3600, "bench", "", 0, totals, digest, "", digest))


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
    wall = [one.wall_s for one in runs]
    ratio = median([one.cpu_s for one in runs]) / median([one.cpu_s for one in bare])
    told = f"{spread(wall, 1)} s, {max(one.memory_mib for one in runs):.0f} MiB"
    is_report = name.startswith("report")
    target = f"< {MOST_S} s" if is_report else ""
    return Figure(name, told, f"{ratio:.2f} x", target, median(wall) < MOST_S if is_report else None)


def _memory(name: str, runs: Sequence[Run], small: Sequence[Run]) -> Figure:
    most_mib, small_mib = (max(one.memory_mib for one in found) for found in (runs, small))
    ratio = most_mib / small_mib
    told = f"{small_mib:.0f} -> {most_mib:.0f} MiB"
    met = ratio <= MOST_MEMORY
    return Figure(f"memory, ten times the sales: {name}", told, f"{ratio:.2f} x", f"<= {MOST_MEMORY} x", met)
