"""Signed events of known machines that could not be used: kept with their reason (SPEC section 6.6)."""

from __future__ import annotations

import sqlite3

from satmachine.models import Rejection


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
