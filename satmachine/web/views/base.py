"""What every page gets (`Look`) and gives (`PageView`), and how the words of an address are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, TypeVar

from satmachine.web.access import Owner, Viewer, owns
from satmachine.web.kept import KeptAnswers
from satmachine.web.language import Words
from satmachine.web.settings import Settings

T = TypeVar("T")

MAX_ID = 2**63 - 1
#: No row has it.
_NO_ID = 0
#: Rows on a page for people, and the most that a program gets at once.
PAGE_ROWS, API_ROWS = 50, 1_000


class BadQuery(Exception):
    """Something after the `?` cannot be read; the message says what, in the viewer's language."""


@dataclass(frozen=True, slots=True)
class Look:
    """Somebody looks at an address: `params` come from its path, `query` from after the `?`. `conn` reads
    the books; `now` is Unix seconds."""

    conn: sqlite3.Connection
    settings: Settings
    viewer: Viewer
    words: Words
    params: Mapping[str, Any]
    query: Mapping[str, str]
    now: int
    kept: KeptAnswers

    def shared(self, name: str, lives_s: float, make: Callable[[], T], *more: Hashable) -> T:
        """An answer that everybody with the same scope gets for a while; `more` distinguishes similar ones."""
        return self.kept.get((name, self.scope, *more), lives_s, make)

    @property
    def scope(self) -> str | None:
        """The operator whose records are shown; None: all operators."""
        return self.viewer.operator

    def text(self, name: str, *, known: frozenset[str] | None = None) -> str | None:
        """A word of the query; None if it is absent or empty. Raises BadQuery for one that is not `known`."""
        value = self.query.get(name, "").strip()[:200]
        if value and known is not None and value not in known:
            raise BadQuery(self.words.say("{name} cannot be {value}.", name=name, value=value))
        return value or None

    def number(self, name: str, *, least: int = 1, most: int = MAX_ID) -> int | None:
        """A whole number of the query. Raises BadQuery."""
        value = self.text(name)
        if value is None and name not in self.query:
            return None
        value = value or ""
        if not (value.isascii() and value.isdigit() and len(value) < 20 and least <= int(value) <= most):
            raise BadQuery(self.words.say("{name} is a whole number, not {value}.", name=name, value=value))
        return int(value)

    def before(self, owner_of: Callable[[sqlite3.Connection, int], Owner | None]) -> int | None:
        """The id after which a page continues. An id that the viewer may not see is treated like one that does not
        exist: there is nothing after it. Raises BadQuery."""
        number = self.number("before")
        if number is None:
            return None
        owner = owner_of(self.conn, number)
        return number if owner is not None and owns(self.viewer, owner) else _NO_ID

    def day(self, name: str, *, end: bool = False) -> int | None:
        """The beginning (or, with `end`, the end) of a day of the query, in the viewer's zone. Raises BadQuery."""
        value = self.text(name)
        if value is None:
            return None
        try:
            day = date.fromisoformat(value)
            return self.midnight(day + timedelta(days=1) if end else day)
        except (ValueError, OverflowError):
            raise BadQuery(
                self.words.say("{name} is a day like 2026-11-25, not {value}.", name=name, value=value)
            ) from None

    def midnight(self, day: date) -> int:
        """When a day begins where the viewer is."""
        return int(datetime.combine(day, time(), self.words.tz).timestamp())

    def today(self) -> date:
        return datetime.fromtimestamp(self.now, self.words.tz).date()


@dataclass(frozen=True, slots=True)
class PageView:
    """A page: its template, its title, and what is on it. `data` is what programs get as JSON; `shown` is only for the
    template (pictures)."""

    template: str
    title: str
    data: dict[str, Any]
    shown: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Download:
    """A file to keep, rather than a page."""

    content: str
    media_type: str
    filename: str


class Missing(Exception):
    """There is nothing at this address (or nothing that this viewer may know of)."""
