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
    return cls(**{name: convert(row[name]) for name, convert in _converters(cast("Hashable", cls))})


@cache
def _converters(cls: Any) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    hints = get_type_hints(cls)
    return tuple((field.name, _converter(hints[field.name])) for field in fields(cls))


def _converter(hint: Any) -> Callable[[Any], Any]:
    options = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for option in options:
        if option in (Decimal, bool) or (isinstance(option, type) and issubclass(option, Enum)):
            return lambda value: None if value is None else option(value)
    return lambda value: value
