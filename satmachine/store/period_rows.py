"""Closed months (SPEC section 13): rows that are only ever added, each chained to the one before."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass

from satmachine.errors import Refused


@dataclass(frozen=True, slots=True)
class Period:
    """A closed month: `start_at` <= posted < `end_at`. `totals` is the balance of every account at its end.

    `hash` is over everything else in it (ledger/periods.py), `previous` the hash of the month before.
    """

    name: str
    start_at: int
    end_at: int
    tz: str
    closed_at: int
    actor: str
    reason: str
    entries: int
    totals: Counter[tuple[str, str]]
    digest: str
    previous: str
    hash: str


def all_of(conn: sqlite3.Connection) -> list[Period]:
    """Every closed month, the oldest first."""
    return [_load(row) for row in conn.execute("SELECT * FROM dca_periods ORDER BY end_at")]


def last_before(conn: sqlite3.Connection, at: int) -> Period | None:
    """The last month that had ended by then and is closed."""
    row = conn.execute("SELECT * FROM dca_periods WHERE end_at <= ? ORDER BY end_at DESC LIMIT 1", (at,)).fetchone()
    return None if row is None else _load(row)


def last(conn: sqlite3.Connection) -> Period | None:
    """The last month that is closed."""
    row = conn.execute("SELECT * FROM dca_periods ORDER BY end_at DESC LIMIT 1").fetchone()
    return None if row is None else _load(row)


def add(conn: sqlite3.Connection, period: Period) -> None:
    """Close a month. Raises Refused if another one was closed in the meantime."""
    before = last(conn)
    if (before.hash if before else "") != period.previous:
        raise Refused("another month was closed in the meantime; look at `satmachine period list`, then try again")
    conn.execute(
        "INSERT INTO dca_periods VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            period.name,
            period.start_at,
            period.end_at,
            period.tz,
            period.closed_at,
            period.actor,
            period.reason,
            period.entries,
            json.dumps(nested(period.totals), sort_keys=True, separators=(",", ":")),
            period.digest,
            period.previous,
            period.hash,
        ),
    )


def nested(totals: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """{account: {unit: balance}}, as it is kept and hashed."""
    found: dict[str, dict[str, int]] = {}
    for (account, unit), amount in sorted(totals.items()):
        if amount:
            found.setdefault(account, {})[unit] = amount
    return found


def _load(row: sqlite3.Row) -> Period:
    stored = json.loads(row["totals"])
    totals = Counter({(account, unit): amount for account, units in stored.items() for unit, amount in units.items()})
    return Period(**{**dict(row), "totals": totals})
