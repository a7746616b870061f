"""How long a person waits for a command: whole processes, from `satmachine` to the last line of its output.

The yardsticks of the same rounds are Python itself and the library that the command line is made with: below those two
no command can come.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.books import Say, Size, books, write_config
from bench.report import Figure, Section, median

ROUNDS, QUICK_ROUNDS = 15, 2
SIZE, QUICK_SIZE = Size(machines=1_000, sales=100_000, beacons=20_000), Size(machines=20, sales=1_000, beacons=200)

_PYTHON = "python -c pass"
#: Name -> arguments of the interpreter, and the most milliseconds that the median may take.
COMMANDS: Mapping[str, tuple[tuple[str, ...], int | None]] = {
    _PYTHON: (("-c", "pass"), None),
    "python -c 'import typer'": (("-c", "import typer"), None),
    "satmachine --help": (("-m", "satmachine", "--help"), 250),
    "satmachine status": (("-m", "satmachine", "status"), 300),
    "satmachine settlements list": (("-m", "satmachine", "settlements", "list"), None),
}


#: `status` leaves with 1 where something needs a person, as in these books.
_FINE = (0, 1)


def run(quick: bool, say: Say) -> list[Section]:
    """Run every command in turn, round after round."""
    size, rounds = (QUICK_SIZE, QUICK_ROUNDS) if quick else (SIZE, ROUNDS)
    times_ms: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        environ = _environ(write_config(books(size, say), size.machines, Path(folder)), Path(folder) / "bytecode")
        for number in range(-1, rounds):  # the first one compiles and warms, and does not count
            say("warming" if number < 0 else f"round {number + 1} of {rounds}")
            for name, (arguments, _) in COMMANDS.items():
                taken_ms = _run(arguments, environ)
                if number >= 0:
                    times_ms[name].append(taken_ms)
    about = (
        f"Whole processes; medians of {rounds} interleaved rounds, the best in brackets; "
        f"ratios are to `{_PYTHON}`. `status` and `list` read {size.sales:,} sales of {size.machines:,} machines. "
        f"Load average meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    )
    python_ms = median(times_ms[_PYTHON])
    return [Section("How long a command takes", about, [_figure(n, t, python_ms) for n, t in times_ms.items()])]


def _figure(name: str, times_ms: Sequence[float], python_ms: float) -> Figure:
    most_ms = COMMANDS[name][1]
    middle_ms = median(times_ms)
    return Figure(
        f"`{name}`",
        f"{middle_ms:.0f} ms ({min(times_ms):.0f})",
        f"{middle_ms / python_ms:.1f} x",
        "" if most_ms is None else f"< {most_ms} ms",
        None if most_ms is None else middle_ms < most_ms,
    )


def _run(arguments: Sequence[str], environ: Mapping[str, str]) -> float:
    """Milliseconds from start to end of one process."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], env=environ, capture_output=True, text=True, check=False)
    taken_ms = (time.perf_counter() - started) * 1000
    if done.returncode not in _FINE or done.stderr:
        raise RuntimeError(f"{' '.join(arguments)} left with {done.returncode}: {done.stderr}")
    return taken_ms


def _environ(config: Path, bytecode: Path) -> dict[str, str]:
    """As an installed program runs: with compiled modules, into a pipe, all operators' machines."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SATMACHINE"))}
    return {**kept, "SATMACHINE_CONFIG": str(config), "PYTHONPYCACHEPREFIX": str(bytecode), "COLUMNS": "120"}
