"""Rows for people (Rich tables, made for 80 columns and better with more) and for programs (JSON, CSV).

Programs get the tables' column names; `.._minor` becomes a decimal string in major units under the name without the
suffix, times are ISO 8601 in UTC, JSON columns are JSON (SPEC section 10). With JSON or CSV nothing else is printed.
"""

from __future__ import annotations

import csv as csv_format
import json as json_format
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import typer

from satmachine.money import minor_to_fiat

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Row = Mapping[str, Any]

#: Narrow no-break space: groups digits, never breaks a line.
_THIN = "\u202f"
#: A table has this many columns of the terminal or more before its `wide` columns are shown.
_WIDE = 120
#: A column that does not fold keeps this much of its content, however narrow the terminal is.
_RIGID = 24

_JSON_COLUMNS = frozenset(
    {"bills", "cassettes", "params", "extra", "faults", "evidence", "explain", "before", "after", "origins"}
)
_TIMES = frozenset({"at", "payouts_since", "swept_until", "known_until"})

#: How a cell begins that spreadsheets run (also in full width); a negative number is none.
_FORMULA_STARTS = ("=", "+", "-", "@", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")

_STYLES = {
    **dict.fromkeys(("completed", "processed", "confirmed", "active", "subscribed", "landed", "done", "yes"), "green"),
    **dict.fromkeys(("pending", "invoiced", "sending", "connecting", "connected", "partial", "open"), "yellow"),
    **dict.fromkeys(("failed", "held", "errored", "rejected", "refused", "backing_off", "no"), "red"),
    **dict.fromkeys(("voided", "skipped", "removed", "paused", "stopped", "refunded"), "dim"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table for people. How it looks follows from its key; `show` says it otherwise.

    `wide`: only where the terminal has room. `fold`: gives way where the terminal is narrow, and is wrapped.
    """

    key: str
    title: str
    wide: bool = False
    fold: bool = False
    show: Callable[[Row], str] | None = None


def emit_table(
    rows: Iterable[Row],
    columns: Sequence[Column],
    *,
    json: bool = False,
    csv: bool = False,
    title: str = "",
    empty: str = "Nothing to show.",
    tz: tzinfo = UTC,
    keys: Sequence[str] | None = None,
    more: str = "",
    first: int | None = None,
) -> None:
    """Print rows. `keys` are the keys of CSV when there are no rows; `more` is told below the table, or on stderr.

    With `first`, people see only so many rows, and that there are more; programs get all of them.
    """
    rows = list(rows)
    if json and csv:
        raise typer.BadParameter("choose one of --json and --csv")
    if json:
        print_json([to_json(row) for row in rows])
    elif csv:
        _print_csv([to_json(row) for row in rows], keys or [column.key for column in columns])
    elif not rows:
        typer.echo(empty)
    else:
        shown = rows[:first]
        _print_table(shown, columns, title, tz)
        if len(shown) < len(rows):
            more = "There are more; show them with --limit, or all of them with --csv."
    if more:
        typer.echo(more, err=json or csv)


def emit_record(
    record: Row,
    fields: Sequence[Column],
    *,
    json: bool = False,
    title: str = "",
    tz: tzinfo = UTC,
) -> None:
    """Print one record: lines of name and value for people (what is NULL is left out), an object for programs."""
    if json:
        print_json(to_json(record))
        return
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for field in fields:
        text = cell(record, field, tz, seconds=True)
        if text.plain:
            grid.add_row(field.title, text)
    console = make_console()
    if title:
        console.print(title, style="bold")
    console.print(grid)
    console.print()


def print_line(text: str, *, style: str = "") -> None:
    """A line or some between tables, wrapped to the terminal."""
    make_console().print(printable(text), style=style or None, overflow="fold")


def print_item(mark: str, text: str, more: str) -> None:
    """A point of a list: a mark, a text that is wrapped beside it, and below it a quieter line."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="red", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(mark, Text(printable(text)))
    grid.add_row("", Text(printable(more), style="cyan"))
    make_console().print(grid)


def print_json(value: object) -> None:
    """JSON on stdout; whatever is not plain is printed as text."""
    typer.echo(plain_json(json_format.dumps(value, indent=2, ensure_ascii=False, default=str)))


def as_row(record: Any) -> dict[str, Any]:
    """A dataclass of plain values as a row; `dataclasses.asdict` would copy each value deeply."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def to_json(row: Row) -> dict[str, Any]:
    """One row as programs get it (SPEC section 10)."""
    return dict(_json_item(key, row[key], row) for key in row)


def format_sats(amount_sats: int, separator: str = _THIN) -> str:
    """266800 -> 266 800, with narrow no-break spaces."""
    return f"{amount_sats:,}".replace(",", separator)


def format_fiat(amount_minor: int, currency: str, separator: str = _THIN) -> str:
    """1234567, GTQ -> 12 345.67 GTQ."""
    return f"{minor_to_fiat(amount_minor, currency):,f} {currency}".replace(",", separator)


def format_pct(pct: str) -> str:
    """A fraction 0..1 as people say it: 0.30 -> 30 %."""
    return f"{Decimal(pct).scaleb(2).normalize():f}{_THIN}%"


def iso(at: int) -> str:
    """Unix seconds as 2026-11-22T10:00:00Z."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def format_time(at: int, tz: tzinfo = UTC, *, seconds: bool = False) -> str:
    """Unix seconds as people read them in their zone: 2026-11-22 04:00, and the zone where there is room."""
    moment = datetime.fromtimestamp(at, tz)
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}" if seconds else f"{moment:%Y-%m-%d %H:%M}"


def format_age(seconds: int) -> str:
    """A span as people say it: 45 s, 12 min, 3 h, 5 d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def printable(text: str) -> str:
    """Text of a machine or a payer, fit for a terminal: what would steer it is shown as an escape."""
    return "".join(
        char if char.isprintable() or char in f"\n{_THIN}" else char.encode("unicode_escape").decode() for char in text
    )


def plain_json(text: str) -> str:
    """JSON text in which what would steer a terminal (C1, directions of writing) stands as an escape; the same JSON."""
    return text if text.isprintable() else "".join(map(_plain_in_json, text))


def _plain_in_json(char: str) -> str:
    # Such characters only occur within strings; line breaks between values are ours.
    return char if char.isprintable() or char == "\n" or char == _THIN else json_format.dumps(char)[1:-1]


def make_console() -> Console:
    """Where people read; nothing in a text is taken for markup."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False, soft_wrap=False)


def cell(row: Row, column: Column, tz: tzinfo, *, seconds: bool = False) -> Text:
    """One value as people read it; empty for NULL."""
    from rich.text import Text

    if column.show is not None:
        return Text(printable(column.show(row)))
    value = row[column.key]
    if value is None or value == "":
        return Text("")
    if _is_time(column.key):
        return Text(format_time(value, tz, seconds=seconds))
    if column.key.endswith("_minor"):
        return Text(format_fiat(value, row["currency"]))
    if column.key.endswith("_sats"):
        return Text(format_sats(value))
    return Text(printable(str(value)), style=_STYLES.get(str(value), "") if _is_state(column.key) else "")


def _print_table(rows: Sequence[Row], columns: Sequence[Column], title: str, tz: tzinfo) -> None:
    """Columns that are empty in every row are left out."""
    from rich import box
    from rich.table import Table

    console = make_console()
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    shown = []
    for column in columns:
        cells = [cell(row, column, tz) for row in rows]
        widest = max(text.cell_len for text in cells)
        if widest == 0 or (column.wide and console.width < _WIDE):
            continue
        shown.append(cells)
        table.add_column(
            _header(column, tz),
            justify="right" if _is_number(column, rows) else "left",
            no_wrap=not column.fold,
            min_width=None if column.fold else min(widest, _RIGID),
            overflow="fold" if column.fold else "ellipsis",
        )
    for cells_of_row in zip(*shown, strict=True):
        table.add_row(*cells_of_row)
    if title:
        console.print(title, style="bold")
    console.print(table)
    console.print()


def _print_csv(records: Sequence[Row], keys: Sequence[str]) -> None:
    names = list(records[0]) if records else [key.removesuffix("_minor") for key in keys]
    writer = csv_format.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_csv_value(record[name]) for name in names] for record in records)


def _csv_value(value: object) -> object:
    """A cell that no spreadsheet takes for a formula and no terminal for a command."""
    if isinstance(value, dict | list):
        return plain_json(json_format.dumps(value, ensure_ascii=False))
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(text) else text


def _json_item(key: str, value: Any, row: Row) -> tuple[str, Any]:
    if _is_plain(key) and not isinstance(value, bytes):
        return key, value
    if key.endswith("_minor"):
        return key.removesuffix("_minor"), None if value is None else f"{minor_to_fiat(value, row['currency']):f}"
    if isinstance(value, bytes):
        return key, value.hex()
    if _is_time(key) and isinstance(value, int):
        return key, iso(value) if value else None  # 0 is "at once", not a moment in 1970
    if key in _JSON_COLUMNS and isinstance(value, str):
        found = json_format.loads(value)
        return key, _denominations(found, row) if key == "cassettes" else found
    return key, value


def _denominations(cassettes: Any, row: Row) -> Any:
    """A merged beacon's cassettes: their denomination is fiat too. What a sale told of its own stays as it came."""
    if not isinstance(cassettes, list) or "currency" not in row:
        return cassettes
    return [_denomination(one, row) for one in cassettes]


def _denomination(cassette: Any, row: Row) -> Any:
    if not isinstance(cassette, dict) or not isinstance(cassette.get("denomination_minor", ""), int | None):
        return cassette
    return dict(
        _json_item(key, item, row) if key == "denomination_minor" else (key, item) for key, item in cassette.items()
    )


def _header(column: Column, tz: tzinfo) -> str:
    """Times say their zone in the heading, so that the cells need not."""
    if not _is_time(column.key) or column.show is not None:
        return column.title
    return f"{column.title} ({datetime.now(tz):%Z})"


@cache
def _is_plain(key: str) -> bool:
    """Whether values under this key are for programs what they are in the books."""
    return not (key.endswith("_minor") or _is_time(key) or key in _JSON_COLUMNS)


def _is_time(key: str) -> bool:
    return key.endswith("_at") or key in _TIMES


def _is_number(column: Column, rows: Sequence[Row]) -> bool:
    if column.key.endswith(("_sats", "_minor", "pct", "_ms")) or column.key == "exchange_rate":
        return True
    plain = column.show is None and not _is_time(column.key)
    return plain and any(isinstance(row[column.key], int) for row in rows)


def _is_state(key: str) -> bool:
    return key in ("status", "state")
