"""Rows of SQLite as the dataclasses of `models`: the field names are the column names."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable
from dataclasses import fields
from decimal import Decimal
from enum import Enum
from functools import cache
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_type_hints

T = TypeVar("T")


def load(cls: type[T], row: sqlite3.Row) -> T:
    """Build `cls` from a row that has at least its columns."""
    places = _places(cast("Hashable", cls), tuple(row.keys()))
    return cls(*[row[place] if convert is None else convert(row[place]) for place, convert in places])


@cache
def _places(cls: Any, columns: tuple[str, ...]) -> tuple[tuple[int, Callable[[Any], Any] | None], ...]:
    """Where each field is in rows with these columns, and what makes its value; None: it is used as it is."""
    hints = get_type_hints(cls)
    return tuple((columns.index(field.name), _converter(hints[field.name])) for field in fields(cls))


def _converter(hint: Any) -> Callable[[Any], Any] | None:
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for option in options:
        if option in (Decimal, bool) or (isinstance(option, type) and issubclass(option, Enum)):
            return lambda value: None if value is None else option(value)
    return None
