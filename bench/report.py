"""What a benchmark says: figures with their ratio and target, as a table for people and for bench/RESULTS.md."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("RESULTS.md")
_HEADER = """# Last results

Made by `make bench`; absolute figures are this machine's, the ratios are within one run. Each part says when it ran.
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a table.

    `ratio` is against the yardstick that the section names, of the same run. `met` is None where there is no target.
    """

    name: str
    value: str
    ratio: str = ""
    target: str = ""
    met: bool | None = None

    def cells(self) -> tuple[str, str, str, str, str]:
        verdict = {None: "", True: "yes", False: "NO"}[self.met]
        return self.name, self.value, self.ratio, self.target, verdict


@dataclass(frozen=True, slots=True)
class Section:
    """A benchmark's outcome. `about` says in a sentence or two what was done and what the ratios are against."""

    title: str
    about: str
    figures: Sequence[Figure]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def met(self) -> bool:
        return all(figure.met is not False for figure in self.figures)


COLUMNS = ("", "measured", "ratio", "target", "met")


def show(section: Section, console: Console) -> None:
    table = Table(title=section.title, title_justify="left", caption=section.about, caption_justify="left")
    columns, rows = _filled(section)
    for column in columns:
        table.add_column(column, ratio=None if column else 1)
    for row, figure in zip(rows, section.figures, strict=True):
        table.add_row(*row, style="bold red" if figure.met is False else "")
    console.print(table)
    for note in section.notes:
        console.print(note, markup=False, highlight=False)


def save(sections: Sequence[Section], path: Path = RESULTS) -> None:
    """Put the sections into the file; sections of other benchmarks stay as they are."""
    kept = _read(path)
    for section in sections:
        kept[section.title] = _markdown(section)
    path.write_text(_HEADER + "".join(f"\n## {title}\n\n{body}\n" for title, body in kept.items()), "utf-8")


def machine() -> str:
    """This machine in a line: processor, cores, load, Python, SQLite."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor() or "unknown processor",
    )
    memory_kb = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return (
        f"{model}, {os.cpu_count()} cores, {memory_kb / 2**20:.0f} GiB, load {os.getloadavg()[0]:.1f}, "
        f"{platform.system()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """A median with its lowest and highest: `0.52 (0.50-0.55)`."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def _filled(section: Section) -> tuple[list[str], list[list[str]]]:
    """The columns in which anything stands, and the rows."""
    cells = [figure.cells() for figure in section.figures]
    used = [at for at in range(len(COLUMNS)) if at == 0 or any(row[at] for row in cells)]
    return [COLUMNS[at] for at in used], [[row[at] for at in used] for row in cells]


def _markdown(section: Section) -> str:
    columns, cells = _filled(section)
    rows = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    rows += ["| " + " | ".join(row) + " |" for row in cells]
    when = f"{datetime.now(UTC):%Y-%m-%d}; {machine()}."
    return "\n".join([when, section.about, "", *rows, *(f"\n{note}" for note in section.notes)])


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    parts = path.read_text("utf-8").split("\n## ")[1:]
    return {title: body.strip() for title, _, body in (part.partition("\n") for part in parts)}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return []
