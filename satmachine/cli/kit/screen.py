"""How a terminal shows rows. The idea: nothing that decides is ever cut off.

A table is drawn if it fits. If not, columns that may be left out go first; then long texts move to a line of their own
below their row; and if even that is too wide, each row becomes a small block. What is longer than the screen goes
through a pager.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, tzinfo

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from satmachine.cli.kit.values import Column, Row, is_time, make_console, text_of
from satmachine.cli.kit.wrap import QUOTED, TO_BLANKS, TO_LETTERS, may_wrap
from satmachine.plain_text import printable

_STYLES = {
    **dict.fromkeys(("completed", "processed", "confirmed", "active", "subscribed", "landed", "done", "yes"), "green"),
    **dict.fromkeys(("pending", "invoiced", "sending", "connecting", "connected", "partial", "open"), "yellow"),
    **dict.fromkeys(("failed", "held", "errored", "rejected", "refused", "backing_off", "no"), "red"),
    **dict.fromkeys(("voided", "skipped", "removed", "paused", "stopped", "refunded"), "dim"),
}

#: The other columns do not make a column that folds narrower than this.
_LEAST = 26
_GAP = 2
_INDENT = " " * 4

#: Where no line may break: within a number, between a number and its unit, and within a command in backticks.
_NUMBERS = re.compile(r"\u202f|(?<=\d) (?=(?:\d{3}|min|sats|[smhd]|[A-Z]{3})\b|%)")
_WHOLE = re.compile(rf"{QUOTED.pattern}|{_NUMBERS.pattern}")


def table(rows: Sequence[Row], columns: Sequence[Column], title: str, tz: tzinfo) -> None:
    """Rows as a table, or stacked. Columns that are empty in every row are left out."""
    console = make_console()
    cells = {column: [_cell(row, column, tz) for row in rows] for column in columns}
    shown = [column for column in columns if any(text.plain for text in cells[column])]
    if _width(shown, cells, tz) > console.width:
        shown = [column for column in shown if not column.wide]
    if _width(shown, cells, tz) <= console.width:
        show(console, title, _drawn(shown, cells, rows, tz))
        return
    short = [column for column in shown if not column.fold]
    if short and _width(short, cells, tz) <= console.width:
        show(console, title, _with_lines_below(console, shown, cells, rows, tz))
    else:
        show(console, title, _stacked(shown, cells, tz, console.width))


def record(row: Row, fields: Sequence[Column], title: str, tz: tzinfo) -> None:
    """Names and values, side by side; a value with a word that would be broken there (a hash) stands below its name."""
    console = make_console()
    names = max((len(field.title) for field in fields), default=0) + _GAP
    lines = []
    for field in fields:
        name, value = Text(field.title, "bold"), _cell(row, field, tz, seconds=True)
        beside = max(map(len, value.plain.split()), default=0) <= console.width - names
        parts = value.wrap(console, console.width - (names if beside else len(_INDENT)))
        name.pad_right(names - len(field.title) if beside else 0)
        lines += [Text.assemble(name, parts[0])] if beside else [name, Text.assemble(_INDENT, parts[0])]
        lines += [Text.assemble(" " * (names if beside else len(_INDENT)), part) for part in parts[1:]]
    show(console, title, Text("\n").join(lines))


def lines(text: str, style: str) -> None:
    """One or more lines, wrapped to the terminal; what is copied (an invoice, a command) stays whole."""
    console = make_console()
    for line in text.split("\n"):
        _write(console, whole(line, style), soft_wrap=" " not in line or not may_wrap(line, console.width))


def item(mark: str, text: str, more: str, style: str) -> None:
    """A mark, a text beside it, and a quieter line below. A command is never broken over lines, so that it can be
    copied: the terminal itself continues it at its edge."""
    console = make_console()
    indent = len(mark) + 1
    _write(console, _beside(Text(mark, style), whole(text)))
    if more and may_wrap(more, console.width - indent):
        _write(console, _beside(Text(" " * len(mark)), whole(more, "cyan")))
    elif more:
        _write(console, Text(" " * indent + more, style="cyan"), soft_wrap=True)


def whole(text: str, style: str = "") -> Text:
    """A text whose numbers and commands are not broken over lines, once it is written by this module."""
    return Text(_WHOLE.sub(lambda found: found[0].translate(TO_LETTERS), text), style)


def _beside(mark: Text, text: Text) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(mark, text)
    return grid


def _write(console: Console, body: RenderableType, *, soft_wrap: bool = False) -> None:
    with console.capture() as captured:
        console.print(body, overflow="ignore" if soft_wrap else "fold", soft_wrap=soft_wrap)
    sys.stdout.write(captured.get().translate(TO_BLANKS))


def show(console: Console, title: str, body: RenderableType) -> None:
    """Print, through a pager if it is longer than the screen."""
    with console.capture() as captured:
        if title:
            console.print(printable(title), style="bold")
        console.print(body)
        console.print()
    text = captured.get().translate(TO_BLANKS)
    if text.count("\n") > console.height and sys.stdout.isatty() and sys.stdin.isatty():
        _page(text)
    else:
        sys.stdout.write(text)


def _page(text: str) -> None:
    """Through $PAGER, else less; if there is neither, directly."""
    pager = shlex.split(os.environ.get("PAGER") or "less")
    try:
        subprocess.run(pager, input=text, text=True, check=False, env={"LESS": "-FRX", **os.environ})  # noqa: S603
    except OSError:
        sys.stdout.write(text)


def _cell(row: Row, column: Column, tz: tzinfo, *, seconds: bool = False) -> Text:
    state = column.show is None and column.key in ("status", "state")
    style = _STYLES.get(str(row[column.key]), "") if state else ""
    return whole(text_of(row, column, tz, seconds=seconds), style)


def _width(columns: Sequence[Column], cells: dict[Column, list[Text]], tz: tzinfo) -> int:
    """The least width that a table needs: long texts wrap, everything else stays on its line."""
    widths = [max(len(_heading(column, tz)), _needed(column, cells[column])) for column in columns]
    return sum(widths) + _GAP * (len(widths) - 1)


def _needed(column: Column, texts: list[Text]) -> int:
    """A text that folds is not broken inside a word, so that a hash can be copied."""
    widest = max(text.cell_len for text in texts)
    if not column.fold:
        return widest
    longest_word = max((len(word) for text in texts for word in text.plain.split()), default=0)
    return max(min(widest, _LEAST), longest_word)


def _drawn(columns: Sequence[Column], cells: dict[Column, list[Text]], rows: Sequence[Row], tz: tzinfo) -> Table:
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        drawn.add_column(
            _heading(column, tz),
            justify="right" if _is_number(column, rows) else "left",
            no_wrap=not column.fold,
            min_width=_needed(column, cells[column]),
            overflow="fold",
        )
    for row in zip(*(cells[column] for column in columns), strict=True):
        drawn.add_row(*row)
    return drawn


def _with_lines_below(
    console: Console, columns: Sequence[Column], cells: dict[Column, list[Text]], rows: Sequence[Row], tz: tzinfo
) -> Text:
    """A table of the short columns; long texts are below their row."""
    short = [column for column in columns if not column.fold]
    widths = {column: max(len(_heading(column, tz)), *(t.cell_len for t in cells[column])) for column in short}

    def line(texts: Sequence[Text]) -> Text:
        out = Text()
        for column, text in zip(short, texts, strict=True):
            padding = " " * (widths[column] - text.cell_len)
            out.append(Text.assemble(padding, text) if _is_number(column, rows) else Text.assemble(text, padding))
            out.append(" " * _GAP)
        out.rstrip()
        return out

    out = [line([Text(_heading(column, tz), "bold") for column in short])]
    out.append(Text("─" * (sum(widths.values()) + _GAP * (len(short) - 1))))
    for number in range(len(rows)):
        out.append(line([cells[column][number] for column in short]))
        for column in columns:
            if column.fold and cells[column][number].plain:
                long = Text.assemble((f"{_heading(column, tz)}: ", "dim"), cells[column][number])
                out += [Text.assemble(_INDENT, part) for part in long.wrap(console, console.width - len(_INDENT))]
    return Text("\n").join(out)


def _stacked(columns: Sequence[Column], cells: dict[Column, list[Text]], tz: tzinfo, width: int) -> Text:
    """Each row as a block: as many values side by side as fit, each after its name."""
    out = Text()
    for number in range(len(cells[columns[0]])):
        line = Text()
        for position, column in enumerate(columns):
            value = cells[column][number]
            if not value.plain:
                continue
            part = Text.assemble((_heading(column, tz) + " ", "dim"), value) if position else Text(value.plain, "bold")
            if part.cell_len > width - _GAP:  # it gets lines of its own, all of them indented
                out.append(line).append("\n" if line else "")
                below = part.wrap(make_console(), width - len(_INDENT))
                out.append(
                    Text("\n").join(Text.assemble("  " if n == 0 else _INDENT, one) for n, one in enumerate(below))
                )
                out.append("\n")
                line = Text()
                continue
            if line and line.cell_len + _GAP + part.cell_len > width:
                out.append(line).append("\n")
                line = Text("  ")
            elif line:
                line.append(" " * _GAP)
            line.append(part)
        if line:
            out.append(line).append("\n")
    out.right_crop(1)
    return out


def _heading(column: Column, tz: tzinfo) -> str:
    """The heading names the time zone, so that the cells need not."""
    if not is_time(column.key) or column.show is not None:
        return column.title
    return f"{column.title} ({datetime.now(tz):%Z})"


def _is_number(column: Column, rows: Sequence[Row]) -> bool:
    if column.key.endswith(("_sats", "_minor", "pct", "_ms")) or column.key == "exchange_rate":
        return True
    plain = column.show is None and not is_time(column.key)
    return plain and any(isinstance(row.get(column.key), int) for row in rows)
