"""Rows for people on a terminal (kit/screen.py), for tools behind a pipe (plain), and for programs (JSON, CSV).

A list that is not on a terminal is whole: one row a line, cells between tabs, nothing cut or wrapped (SPEC section 10).
Programs get the tables' column names; `.._minor` becomes a decimal string in major units under the name without the
suffix, times are ISO 8601 in UTC, what is true or false is a boolean, JSON columns are JSON. With JSON or CSV nothing
else is printed. docs/output.schema.json describes the shapes.
"""

from __future__ import annotations

import csv as csv_format
import json as json_format
import os
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
from satmachine.plain_text import THIN, cell, printable

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]

JSON_COLUMNS = frozenset(
    {"bills", "cassettes", "params", "extra", "faults", "evidence", "explain", "before", "after", "origins"}
)
_TIMES = frozenset({"at", "since", "swept_until", "known_until"})
#: Kept as 0 or 1 in the books.
FLAGS = frozenset({"active", "in_config", "named", "quiet", "raised", "reachable", "silenced", "used_fallback_split"})
FLAGS |= {"whole"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table for people. How it looks follows from its key; `show` says it otherwise.

    `wide`: left out where the terminal has no room, so nothing that decides. `fold`: wrapped where it is long.
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
    only: Sequence[str] | None = None,
) -> None:
    """Print rows. `keys` are the keys of CSV when there are no rows; `more` is told below the table, or on stderr.

    `only`: these keys of the rows and no others, in this order.
    """
    rows = list(rows)
    if json and csv:
        raise typer.BadParameter("choose one of --json and --csv")
    names = None
    if only is not None:
        columns = _chosen(only, columns, rows[0] if rows else dict.fromkeys(keys or only))
        names = keys = [column.key.removesuffix("_minor") for column in columns]
    if json:
        print_json([_limited(to_json(row), names) for row in rows])
    elif csv:
        keys = keys or [column.key for column in columns]
        _print_csv([_limited(to_json(row), names) for row in rows], keys)
    elif not is_terminal():
        _print_plain(rows, columns, tz)
        if not rows:
            typer.echo(empty, err=True)
    elif not rows:
        typer.echo(empty)
    else:
        from satmachine.cli.kit import screen

        screen.table(rows, columns, title, tz)
    if more:
        typer.echo(more, err=json or csv or not is_terminal())


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
    told = [field for field in fields if text_of(record, field, tz, seconds=True)]
    if is_terminal():
        from satmachine.cli.kit import screen

        screen.record(record, told, title, tz)
        return
    if title:
        typer.echo(printable(title))
    for field in told:
        typer.echo(f"{field.title}\t{_in_a_cell(text_of(record, field, tz, seconds=True))}")


def print_line(text: str, *, style: str = "") -> None:
    """A line or some between tables, wrapped to the terminal; one without a space, an invoice, stays whole to be
    copied."""
    if is_terminal():
        console = make_console()
        for line in printable(text).split("\n"):
            whole = " " not in line
            console.print(line, style=style or None, overflow="ignore" if whole else "fold", soft_wrap=whole)
    else:
        typer.echo(printable(text))


def print_item(mark: str, text: str, more: str) -> None:
    """A point of a list: a mark, a text that is wrapped beside it, and below it a quieter line."""
    if is_terminal():
        from satmachine.cli.kit import screen

        screen.item(mark, printable(text), printable(more))
    else:
        typer.echo(f"{mark} {printable(text)}" + (f"\n  {printable(more)}" if more else ""))


def print_json(value: object) -> None:
    """JSON on stdout; whatever is not plain is printed as text."""
    typer.echo(plain_json(json_format.dumps(value, indent=2, ensure_ascii=False, default=str)))


def as_row(record: Any) -> dict[str, Any]:
    """A dataclass of plain values as a row; `dataclasses.asdict` would copy each value deeply."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def to_json(row: Row) -> dict[str, Any]:
    """One row as programs get it (SPEC section 10)."""
    return dict(_json_item(key, row[key], row) for key in row)


#: Sats in a sentence.
_SATS = re.compile(r"\b\d{4,15}(?= sats\b)")


def is_terminal() -> bool:
    """Whether a person reads what is printed; $TTY_COMPATIBLE=1 says so where it cannot be seen."""
    return sys.stdout.isatty() or os.environ.get("TTY_COMPATIBLE") == "1"


def format_sats(amount_sats: int) -> str:
    """266800 -> 266 800, with narrow no-break spaces; behind a pipe the digits alone. Both are read as input."""
    return f"{amount_sats:,}".replace(",", THIN if is_terminal() else "")


def format_fiat(amount_minor: int, currency: str) -> str:
    """1234567, GTQ -> 12 345.67 GTQ, grouped alike."""
    return f"{minor_to_fiat(amount_minor, currency):,f} {currency}".replace(",", THIN if is_terminal() else "")


def format_pct(pct: str) -> str:
    """A fraction 0..1 as people say it: 0.30 -> 30 %."""
    return f"{Decimal(pct).scaleb(2).normalize():f}{THIN if is_terminal() else ' '}%"


def iso(at: int) -> str:
    """Unix seconds as 2026-11-22T10:00:00Z."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def format_time(at: int, tz: tzinfo = UTC, *, seconds: bool = False) -> str:
    """Unix seconds as people read them in their zone: 2026-11-22 04:00; in full, and behind a pipe, with its offset."""
    moment = datetime.fromtimestamp(at, tz)
    if not is_terminal():
        return moment.isoformat().replace("+00:00", "Z")
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}" if seconds else f"{moment:%Y-%m-%d %H:%M}"


def format_age(seconds: int) -> str:
    """A span as people say it: 45 s, 12 min, 3 h, 5 d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def plain_json(text: str) -> str:
    """JSON text in which what would steer a terminal (C1, directions of writing) stands as an escape; the same JSON."""
    return text if text.isprintable() else "".join(map(_plain_in_json, text))


def _plain_in_json(char: str) -> str:
    # Such characters only occur within strings; line breaks between values are ours.
    return char if char.isprintable() or char == "\n" or char == THIN else json_format.dumps(char)[1:-1]


def make_console() -> Console:
    """Where people read; nothing in a text is taken for markup."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False, soft_wrap=False)


def text_of(row: Row, column: Column, tz: tzinfo, *, seconds: bool = False) -> str:
    """One value as people read it; empty for NULL."""
    if column.show is not None:
        return printable(column.show(row))
    value = row[column.key]
    if value is None or value == "":
        return ""
    if is_time(column.key):
        return format_time(value, tz, seconds=seconds) if value else ""
    if column.key.endswith("_minor"):
        return format_fiat(value, row["currency"])
    if column.key.endswith("_sats"):
        return format_sats(value)
    return printable(grouped(str(value)) if column.fold else str(value))


def grouped(text: str) -> str:
    """A sentence whose sats are grouped like all others."""
    return _SATS.sub(lambda found: format_sats(int(found[0])), text)


def _print_plain(rows: Sequence[Row], columns: Sequence[Column], tz: tzinfo) -> None:
    """A heading and one line a row, cells between tabs: for grep, cut and awk."""
    lines = ["\t".join(column.title for column in columns)]
    lines += ["\t".join(_in_a_cell(text_of(row, column, tz, seconds=True)) for column in columns) for row in rows]
    typer.echo("\n".join(lines))


def _in_a_cell(text: str) -> str:
    return text.replace("\t", " ").replace("\n", "; ")


def _chosen(only: Sequence[str], columns: Sequence[Column], row: Row) -> list[Column]:
    """The columns that a person names, as JSON calls them. Raises BadParameter."""
    known = {key.removesuffix("_minor"): Column(key, key) for key in row}
    known |= {column.key.removesuffix("_minor"): column for column in columns}
    wrong = [key for key in only if key not in known]
    if wrong:
        raise typer.BadParameter(f"--columns: there is no {', '.join(wrong)}; there are {', '.join(known)}")
    return [known[key] for key in only]


def _limited(record: dict[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    return record if names is None else {name: record.get(name) for name in names}


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
    return cell(value)


def _json_item(key: str, value: Any, row: Row) -> tuple[str, Any]:
    if _is_plain(key) and not isinstance(value, bytes):
        return key, value
    if key.endswith("_minor"):
        return key.removesuffix("_minor"), None if value is None else f"{minor_to_fiat(value, row['currency']):f}"
    if isinstance(value, bytes):
        return key, value.hex()
    if is_time(key) and isinstance(value, int):
        return key, iso(value) if value else None  # 0 is "at once", not a moment in 1970
    if key in FLAGS and isinstance(value, int):
        return key, bool(value)
    if key in JSON_COLUMNS and isinstance(value, str):
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


@cache
def _is_plain(key: str) -> bool:
    """Whether values under this key are for programs what they are in the books."""
    return not (key.endswith("_minor") or is_time(key) or key in JSON_COLUMNS or key in FLAGS)


def is_time(key: str) -> bool:
    """Whether values under this key are moments, in Unix seconds."""
    return key.endswith(("_at", "_since")) or key in _TIMES
