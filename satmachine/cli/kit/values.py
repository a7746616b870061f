"""How one value is shown to a person: sats, fiat, percent, times, and text of strangers; in a column of a table."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from satmachine.money import minor_to_fiat
from satmachine.plain_text import THIN, printable

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]


_TIMES = frozenset({"at", "since", "swept_until", "known_until"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table for people. Its look follows from its key, unless `show` gives another.

    `wide`: left out if the terminal has no room, so never for what decides. `fold`: wrapped if it is long.
    """

    key: str
    title: str
    wide: bool = False
    fold: bool = False
    show: Callable[[Row], str] | None = None


#: Sats and fiat in a sentence: 266800 sats, 5240.00 GTQ.
_AMOUNT = re.compile(r"(?<![\d.:-])\d{4,15}(?=(?: sats|\.\d{2,3} (?:[A-Z]{3}|of))\b)")


def is_terminal() -> bool:
    """Whether a person reads what is printed; $TTY_COMPATIBLE=1 says so if it cannot be detected."""
    return sys.stdout.isatty() or os.environ.get("TTY_COMPATIBLE") == "1"


def format_sats(amount_sats: int) -> str:
    """266800 -> 266 800, with narrow no-break spaces; behind a pipe only the digits. Both are accepted as input."""
    return f"{amount_sats:,}".replace(",", THIN if is_terminal() else "")


def format_fiat(amount_minor: int, currency: str) -> str:
    """1234567, GTQ -> 12 345.67 GTQ, grouped in the same way."""
    return f"{minor_to_fiat(amount_minor, currency):,f} {currency}".replace(",", THIN if is_terminal() else "")


def format_pct(pct: str) -> str:
    """A fraction 0..1 as people say it: 0.30 -> 30 %."""
    return f"{Decimal(pct).scaleb(2).normalize():f}{THIN if is_terminal() else ' '}%"


def iso(at: int) -> str:
    """Unix seconds as 2026-11-22T10:00:00Z."""
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def format_time(at: int, tz: tzinfo = UTC, *, seconds: bool = False) -> str:
    """Unix seconds as people read them in their time zone: 2026-11-22 04:00; with `seconds`, and behind a pipe, with
    the zone."""
    moment = datetime.fromtimestamp(at, tz)
    if not is_terminal():
        return moment.isoformat().replace("+00:00", "Z")
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}" if seconds else f"{moment:%Y-%m-%d %H:%M}"


def format_age(seconds: int) -> str:
    """A duration as people say it: 45 s, 12 min, 3 h, 5 d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{max(seconds, 0)} s"


def make_console() -> Console:
    """The terminal of a person; nothing in a text is treated as markup."""
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
    """A sentence whose amounts are grouped like all others."""
    return _AMOUNT.sub(lambda found: format_sats(int(found[0])), text)


def is_time(key: str) -> bool:
    """Whether values under this key are moments, in Unix seconds."""
    return key.endswith(("_at", "_since")) or key in _TIMES
