"""The state of everything in numbers: for metrics, alarms and the status sentence. Only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from satmachine.store import business, cash_rows


@dataclass(frozen=True, slots=True)
class WalletStanding:
    """A configured machine's wallet as last seen; `safe_mode` says why nothing is paid from it."""

    machine_id: str
    balance_sats: int | None
    reachable: bool
    checked_at: int | None
    error: str | None
    safe_mode: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """One consistent look at the books. Times are Unix seconds."""

    settlements: Mapping[str, int]  # by status
    legs: Mapping[str, int]  # by status
    quarantined: Mapping[str, int]  # open ones, by reason
    oldest_pending_at: int | None
    wallets: tuple[WalletStanding, ...]
    database_bytes: int
    cash: tuple[Mapping[str, Any], ...] = ()  # rows of dca_cash_forecasts, of active machines
    machines: tuple[Mapping[str, Any], ...] = ()  # how each machine's business goes


_QUARANTINED = """
SELECT reason, count(*) FROM quarantine WHERE status = 'open' AND dismissed_at IS NULL GROUP BY reason
"""


def read(conn: sqlite3.Connection, now: int | None = None) -> Standing:
    """Everything at once. Reads every sale and leg: not for the daemon's own connection. `now` (Unix seconds) None:
    without how the business goes."""
    conn.execute("BEGIN")
    try:
        oldest = conn.execute("SELECT min(landed_at) FROM dca_settlements WHERE status = 'pending'").fetchone()[0]
        return Standing(
            settlements=_counts(conn, "SELECT status, count(*) FROM dca_settlements GROUP BY status"),
            legs=_counts(conn, "SELECT status, count(*) FROM dca_payments GROUP BY status"),
            quarantined=_counts(conn, _QUARANTINED),
            oldest_pending_at=oldest,
            wallets=wallets(conn),
            database_bytes=_scalar(conn, "PRAGMA page_count") * _scalar(conn, "PRAGMA page_size"),
            cash=tuple(cash_rows.forecasts(conn, fresh_since=0)),
            machines=() if now is None else business.machines(conn, now),
        )
    finally:
        conn.execute("ROLLBACK")


def wallets(conn: sqlite3.Connection) -> tuple[WalletStanding, ...]:
    """The wallets of all configured machines."""
    found = conn.execute(
        """SELECT w.machine_id, w.balance_sats, w.reachable, w.checked_at, w.error, w.safe_mode
        FROM dca_wallets w JOIN dca_machines m ON m.id = w.machine_id WHERE m.in_config = 1 ORDER BY m.id"""
    )
    return tuple(WalletStanding(row[0], row[1], bool(row[2]), row[3], row[4], row[5]) for row in found)


def silent_since(conn: sqlite3.Connection, before: int) -> dict[str, int]:
    """When each active machine was last heard, by beacon or sale, if that was before this (Unix seconds); without those
    that never sent anything."""
    found = conn.execute(
        """SELECT m.id, max(coalesce(t.received_at, 0), coalesce((SELECT s.landed_at FROM dca_settlements s
        WHERE s.machine_id = m.id ORDER BY s.occurred_at DESC LIMIT 1), 0)) AS at
        FROM dca_machines m LEFT JOIN dca_telemetry t ON t.machine_id = m.id WHERE m.in_config = 1 AND m.active = 1
        AND coalesce(t.received_at, 0) < ?""",
        (before,),
    )
    return {row["id"]: row["at"] for row in found if 0 < row["at"] < before}


def low_cassettes(conn: sqlite3.Connection, below_percent: int) -> dict[str, list[tuple[int, int, int | None]]]:
    """{machine: [(cassette, notes, percent or None), ..]} as last reported, for active machines: those cassettes that
    are empty, or less full than this."""
    found: dict[str, list[tuple[int, int, int | None]]] = {}
    for row in conn.execute(
        """SELECT c.machine_id, c.cassette, c.notes, c.percent FROM cash_by_cassette c JOIN dca_machines m
        ON m.id = c.machine_id WHERE m.active = 1 AND (c.notes = 0 OR c.percent < ?) ORDER BY 1, 2""",
        (below_percent,),
    ):
        found.setdefault(row["machine_id"], []).append((row["cassette"], row["notes"], row["percent"]))
    return found


def open_counts(conn: sqlite3.Connection) -> dict[str, int]:
    """How many sales are pending, held and errored; along an index, quick at any size."""
    return _counts(
        conn,
        """SELECT status, count(*) FROM dca_settlements WHERE status NOT IN ('processed', 'partial', 'refunded')
        GROUP BY status""",
    )


def _counts(conn: sqlite3.Connection, sql: str) -> dict[str, int]:
    return {str(word): int(number) for word, number in conn.execute(sql)}


def _scalar(conn: sqlite3.Connection, sql: str) -> int:
    return int(conn.execute(sql).fetchone()[0])
