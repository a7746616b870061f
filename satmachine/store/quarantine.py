"""Signed events of known machines that could not be used: kept with their reason (SPEC section 6.6)."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from satmachine.errors import NotFound
from satmachine.models import Rejection
from satmachine.store import rows


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A kept event, as much of it as a retry needs."""

    id: int
    event_id: str
    raw: str
    relay_url: str
    received_at: int


def add(
    conn: sqlite3.Connection,
    *,
    event_id: str,
    machine_id: str,
    kind: int,
    rejection: Rejection,
    created_at: int,
    received_at: int,
    relay_url: str,
    raw: str,
    settlement_id: int | None = None,
) -> None:
    """Keep one event; a second time it is already there."""
    conn.execute(
        "INSERT INTO quarantine (event_id, machine_id, kind, reason, detail, created_at, received_at, relay_url, "
        "raw, settlement_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event_id) DO NOTHING",
        (
            event_id,
            machine_id,
            kind,
            rejection.reason,
            rejection.detail,
            created_at,
            received_at,
            relay_url,
            raw,
            settlement_id,
        ),
    )


def is_open(conn: sqlite3.Connection, event_id: str) -> bool:
    """Whether this event waits in quarantine."""
    row = conn.execute("SELECT status FROM quarantine WHERE event_id = ?", (event_id,)).fetchone()
    return row is not None and row["status"] == "open"


def mark_landed(conn: sqlite3.Connection, event_id: str, settlement_id: int, now: int) -> None:
    """A retried event found its settlement after all."""
    conn.execute(
        "UPDATE quarantine SET status = 'landed', settlement_id = ?, retried_at = ? WHERE event_id = ?",
        (settlement_id, now, event_id),
    )


def get(conn: sqlite3.Connection, quarantine_id: int) -> Quarantined:
    """One kept event. Raises NotFound."""
    row = conn.execute("SELECT * FROM quarantine WHERE id = ?", (quarantine_id,)).fetchone()
    if row is None:
        raise NotFound(f"quarantine {quarantine_id}: not found")
    return rows.load(Quarantined, row)


def note_retry(conn: sqlite3.Connection, quarantine_id: int, rejection: Rejection, now: int) -> None:
    """A retry came to nothing; the reason may be another one now."""
    conn.execute(
        "UPDATE quarantine SET reason = ?, detail = ?, retried_at = ? WHERE id = ? AND status = 'open'",
        (rejection.reason, rejection.detail, now, quarantine_id),
    )
