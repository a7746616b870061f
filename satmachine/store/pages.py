"""Pages of long lists, newest first, each read along an index that has the order already.

So the first page of a million rows is as quick as that of ten: nothing is sorted that is not shown.
"""

# ruff: noqa: S608 - statements are put together from this package's own words; what people type is always a value.

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

Record = dict[str, Any]

#: How much of each of many lists is read first.
_HEAD = 2


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list; `keys` are the columns, even if there are no rows; `hints` are printed below it."""

    rows: list[Record]
    keys: tuple[str, ...]
    more: bool
    hints: tuple[str, ...] = ()


class Where:
    """Conditions joined by AND, with their values."""

    def __init__(self, terms: Sequence[str] = (), values: Sequence[object] = ()) -> None:
        self.terms = [*terms]
        self.values = [*values]

    def add(self, term: str, *values: object) -> None:
        self.terms.append(term)
        self.values += values

    def given(self, term: str, value: object) -> None:
        """Add a term unless its value is None."""
        if value is not None:
            self.add(term, value)

    def plus(self, term: str, *values: object) -> Where:
        """The same and one more; this one stays as it is."""
        return Where([*self.terms, term], [*self.values, *values])

    def sql(self) -> str:
        return f"WHERE {' AND '.join(self.terms)}" if self.terms else ""


@dataclass(frozen=True, slots=True)
class Order:
    """Newest first by (`time`, id) of a table's rows; `select` is the statement up to WHERE, the table first in it.

    `by_sorting`: an index of what is in the conditions finds so few rows that they are sorted; a plus before the column
    keeps SQLite from walking the table by time instead.
    """

    table: str
    time: str
    select: str
    by_sorting: bool = False

    @property
    def column(self) -> str:
        return f"+{self.time}" if self.by_sorting else self.time

    def span(self, where: Where, since: int | None, until: int | None) -> None:
        """Only what is of `since` <= time < `until`, in Unix seconds."""
        where.given(f"{self.column} >= ?", since)
        where.given(f"{self.column} < ?", until)

    def go_on(self, conn: sqlite3.Connection, where: Where, before_id: int | None) -> None:
        """Only what comes after the row with this id, the last one of a page."""
        if before_id is None:
            return
        anchor = conn.execute(f"SELECT {self.time}, id FROM {self.table} WHERE id = ?", (before_id,)).fetchone()
        at, row_id = tuple(anchor) if anchor else (0, 0)
        # The first term is for the index, which a comparison of pairs does not always use.
        id_column = f"{self.table}.id"
        where.add(f"{self.column} <= ? AND ({self.column}, +{id_column}) < (?, ?)", at, at, row_id)

    def sql(self, where: Where) -> str:
        return f"{self.select} {where.sql()} ORDER BY {self.column} DESC, {self.table}.id DESC LIMIT ?"


def page(conn: sqlite3.Connection, order: Order, where: Where, limit: int) -> Page:
    """The first rows in an order."""
    return page_of(conn, order.sql(where), where, limit)


def page_of(conn: sqlite3.Connection, sql: str, where: Where, limit: int) -> Page:
    """The first rows of a whole statement that ends with LIMIT ?."""
    cursor = conn.execute(sql, [*where.values, limit + 1])
    keys = tuple(column[0] for column in cursor.description)
    rows = [dict(row) for row in cursor]
    return Page(rows[:limit], keys, len(rows) > limit)


def merged(conn: sqlite3.Connection, order: Order, wheres: Sequence[Where], limit: int) -> Page:
    """The first rows of several lists together: each is read along its own index, and hardly further than it is shown.

    So rows of others are never passed over, however many of them lie in between. Of each list a few places (time, id)
    are read; only of those lists that may have more among the newest, as many as are shown.
    """
    places = replace(order, select=f"SELECT {order.time}, {order.table}.id FROM {order.table}")

    def read(where: Where, rows: int) -> list[tuple[int, int]]:
        return [(row[0], row[1]) for row in conn.execute(places.sql(where), [*where.values, rows])]

    heads = [read(where, _HEAD) for where in wheres]
    last = min(heapq.nlargest(limit + 1, chain.from_iterable(heads)), default=(0, 0))
    lists = [
        read(where, limit + 1) if len(head) == _HEAD and head[-1] >= last else head
        for where, head in zip(wheres, heads, strict=True)
    ]
    first = [row_id for _, row_id in heapq.nlargest(limit + 1, chain.from_iterable(lists))]
    chosen = Where([f"{order.table}.id IN (SELECT value FROM json_each(?))"], [json.dumps(first[:limit])])
    found = page(conn, replace(order, by_sorting=True), chosen, limit)
    return replace(found, more=len(first) > limit)
