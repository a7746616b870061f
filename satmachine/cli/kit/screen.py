"""How a terminal shows rows. The idea: nothing that decides is ever cut away.

A table is drawn if it fits. Else columns that may be left out go, then long texts move to a line of their own below
their row, and where even that is too wide each row becomes a small block. What is longer than the screen goes through a
pager.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, tzinfo

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from satmachine.cli.kit.output import Column, Row, is_time, make_console, text_of
from satmachine.plain_text import printable

_STYLES = {
    **dict.fromkeys(("completed", "processed", "confirmed", "active", "subscribed", "landed", "done", "yes"), "green"),
    **dict.fromkeys(("pending", "invoiced", "sending", "connecting", "connected", "partial", "open"), "yellow"),
    **dict.fromkeys(("failed", "held", "errored", "rejected", "refused", "backing_off", "no"), "red"),
    **dict.fromkeys(("voided", "skipped", "removed", "paused", "stopped", "refunded"), "dim"),
}

#: A column that folds is not made narrower than this by the others.
_LEAST = 26
_GAP = 2
_INDENT = " " * 4


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
    """Names and values below one another."""
    console = make_console()
    grid = Table.grid(padding=(0, _GAP))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for field in fields:
        grid.add_row(field.title, _cell(row, field, tz, seconds=True))
    show(console, title, grid)


def item(mark: str, text: str, more: str) -> None:
    """A mark, a text beside it, and a quieter line below: a command stays on one line, so that it can be copied."""
    console = make_console()
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="red", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(mark, Text(text))
    console.print(grid)
    if more:
        console.print(Text(f"  {more}", style="cyan"), soft_wrap=True)


def show(console: Console, title: str, body: RenderableType) -> None:
    """Print, through a pager where it is longer than the screen."""
    with console.capture() as captured:
        if title:
            console.print(printable(title), style="bold")
        console.print(body)
        console.print()
    text = captured.get()
    if text.count("\n") > console.height and sys.stdout.isatty() and sys.stdin.isatty():
        _page(text)
    else:
        sys.stdout.write(text)


def _page(text: str) -> None:
    """Through $PAGER, else less; where there is none, as it is."""
    pager = shlex.split(os.environ.get("PAGER") or "less")
    try:
        subprocess.run(pager, input=text, text=True, check=False, env={"LESS": "-FRX", **os.environ})  # noqa: S603
    except OSError:
        sys.stdout.write(text)


def _cell(row: Row, column: Column, tz: tzinfo, *, seconds: bool = False) -> Text:
    state = column.show is None and column.key in ("status", "state")
    return Text(text_of(row, column, tz, seconds=seconds), _STYLES.get(str(row[column.key]), "") if state else "")


def _width(columns: Sequence[Column], cells: dict[Column, list[Text]], tz: tzinfo) -> int:
    """What a table needs at the least: long texts wrap, everything else stays on its line."""
    widths = [max(len(_heading(column, tz)), _needed(column, cells[column])) for column in columns]
    return sum(widths) + _GAP * (len(widths) - 1)


def _needed(column: Column, texts: list[Text]) -> int:
    """A text that folds is not broken within a word: a hash or a command is copied whole."""
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
    """A table of what is short; long texts stand below their row."""
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
    """Each row as a block: as many values side by side as fit, each behind its name."""
    out = Text()
    for number in range(len(cells[columns[0]])):
        line = Text()
        for position, column in enumerate(columns):
            value = cells[column][number]
            if not value.plain:
                continue
            part = Text.assemble((_heading(column, tz) + " ", "dim"), value) if position else Text(value.plain, "bold")
            if part.cell_len > width - _GAP:  # it has lines of its own, all of them indented
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
    """Times say their zone in the heading, so that the cells need not."""
    if not is_time(column.key) or column.show is not None:
        return column.title
    return f"{column.title} ({datetime.now(tz):%Z})"


def _is_number(column: Column, rows: Sequence[Row]) -> bool:
    if column.key.endswith(("_sats", "_minor", "pct", "_ms")) or column.key == "exchange_rate":
        return True
    plain = column.show is None and not is_time(column.key)
    return plain and any(isinstance(row.get(column.key), int) for row in rows)
