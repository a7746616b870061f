"""Rows for people on a terminal (kit/screen.py), for tools behind a pipe (plain), and for programs (JSON, CSV).

A list that is not on a terminal is complete: one row on each line, tabs between cells, nothing cut or wrapped (SPEC
section 10). Programs get the tables' column names; `.._minor` becomes a decimal string in major units under the name
without the suffix, times are ISO 8601 in UTC, flags are booleans, JSON columns are JSON. With JSON or CSV nothing else
is printed. docs/output.schema.json describes the format.
"""

from __future__ import annotations

import csv as csv_format
import json as json_format
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, tzinfo
from functools import cache
from typing import Any

import typer

from satmachine.cli.kit.values import (
    Column,
    Row,
    is_terminal,
    is_time,
    iso,
    text_of,
)
from satmachine.money import minor_to_fiat
from satmachine.plain_text import THIN, cell, printable

JSON_COLUMNS = frozenset(
    {"bills", "cassettes", "params", "extra", "faults", "evidence", "explain", "before", "after", "origins"}
)
#: Stored as 0 or 1 in the books.
FLAGS = frozenset({"active", "in_config", "named", "quiet", "raised", "reachable", "silenced", "used_fallback_split"})
FLAGS |= {"whole"}


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
    """Print rows. `keys` are the keys of CSV when there are no rows; `more` is printed below the table, or on stderr.

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
    if more and not (json or csv) and is_terminal():
        print_line(more)
    elif more:
        typer.echo(more, err=True)


def emit_section(rows: Iterable[Row], columns: Sequence[Column], title: str, **how: Any) -> None:
    """Print a table that is one of several on a screen: behind a pipe its title stands above it too."""
    if not is_terminal():
        typer.echo(f"\n{printable(title)}")
    emit_table(rows, columns, title=title, **how)


def emit_record(
    record: Row,
    fields: Sequence[Column],
    *,
    json: bool = False,
    title: str = "",
    tz: tzinfo = UTC,
) -> None:
    """Print one record: lines of name and value for people (without what is NULL), an object for programs."""
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
    """One or more lines between tables, wrapped to the terminal; one without a space, an invoice, stays whole to be
    copied."""
    if is_terminal():
        from satmachine.cli.kit import screen

        screen.lines(printable(text), style)
    else:
        typer.echo(printable(text))


def print_item(mark: str, text: str, more: str, *, style: str = "red") -> None:
    """A point of a list: a mark, a text that is wrapped beside it, and below it a quieter line."""
    if is_terminal():
        from satmachine.cli.kit import screen

        screen.item(mark, printable(text), printable(more), style)
    else:
        typer.echo(f"{mark} {printable(text)}" + (f"\n  {printable(more)}" if more else ""))


def print_json(value: object) -> None:
    """JSON on stdout; what JSON cannot hold is printed as text."""
    typer.echo(plain_json(json_format.dumps(value, indent=2, ensure_ascii=False, default=str)))


def as_row(record: Any) -> dict[str, Any]:
    """A dataclass of plain values as a row; `dataclasses.asdict` would copy each value deeply."""
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def to_json(row: Row) -> dict[str, Any]:
    """One row as programs get it (SPEC section 10)."""
    return dict(_json_item(key, row[key], row) for key in row)


def plain_json(text: str) -> str:
    """JSON text in which characters that control a terminal (C1, text direction) are escapes; it is still the same
    JSON."""
    return text if text.isprintable() else "".join(map(_plain_in_json, text))


def _plain_in_json(char: str) -> str:
    # Such characters occur only inside strings; line breaks between values are our own.
    return char if char.isprintable() or char == "\n" or char == THIN else json_format.dumps(char)[1:-1]


def _print_plain(rows: Sequence[Row], columns: Sequence[Column], tz: tzinfo) -> None:
    """A heading and one line for each row, tabs between cells: for grep, cut and awk."""
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
    """A cell that no spreadsheet treats as a formula and no terminal as a command."""
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
    """A merged beacon's cassettes: their denomination is fiat too. What a sale says about its own cassettes stays as it
    was."""
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
    """Whether programs get the values under this key as they are in the books."""
    return not (key.endswith("_minor") or is_time(key) or key in JSON_COLUMNS or key in FLAGS)
