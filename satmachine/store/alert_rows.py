"""Alarms and their messages: what the operator was told, and what must still be sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

#: Delivered messages are kept this long, for the question "was I told?".
KEEP_S = 90 * 86_400


def known(conn: sqlite3.Connection) -> list[dict[str, Any]]:
    """Every alarm that has a row."""
    return [dict(row) for row in conn.execute("SELECT * FROM alerts ORDER BY subject, condition")]


def write(
    conn: sqlite3.Connection,
    changes: Iterable[tuple[str, str, bool, int | None, int, str]],
    news: Iterable[tuple[str, str, bool, str]],
    channels: Sequence[str],
    now: int,
) -> None:
    """Store the state of alarms, and what must be sent about them, in one transaction: no change is sent twice.

    A change is (subject, condition, raised, since, changed_at, detail), news are (subject, condition, raised, detail).
    """
    conn.executemany(
        """INSERT INTO alerts (subject, condition, raised, since, changed_at, detail) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (subject, condition) DO UPDATE SET raised = excluded.raised, since = excluded.since,
        changed_at = excluded.changed_at, detail = excluded.detail""",
        changes,
    )
    conn.executemany(
        """INSERT INTO alert_messages (created_at, channel, subject, condition, raised, detail)
        VALUES (?, ?, ?, ?, ?, ?)""",
        [(now, channel, *one) for one in news for channel in channels],
    )
    conn.execute("DELETE FROM alert_messages WHERE done_at < ?", (now - KEEP_S,))


def due(conn: sqlite3.Connection, now: int, limit: int = 20) -> list[dict[str, Any]]:
    """Messages to be delivered now, the oldest first."""
    found = conn.execute(
        """SELECT id, created_at, channel, subject, condition, raised, detail, attempts FROM alert_messages
        WHERE done_at IS NULL AND next_attempt_at <= ? ORDER BY id LIMIT ?""",
        (now, limit),
    )
    return [{**dict(row), "raised": bool(row["raised"])} for row in found]


def delivered(conn: sqlite3.Connection, message_id: int, now: int) -> None:
    """It has arrived."""
    conn.execute("UPDATE alert_messages SET done_at = ?, error = NULL WHERE id = ?", (now, message_id))


def postpone(conn: sqlite3.Connection, message_id: int, *, error: str, until: int | None, now: int) -> None:
    """It has not arrived; `until` None: it is given up."""
    conn.execute(
        """UPDATE alert_messages SET attempts = attempts + 1, error = ?, next_attempt_at = coalesce(?, 0),
        done_at = CASE WHEN ? IS NULL THEN ? END WHERE id = ?""",
        (error, until, until, now, message_id),
    )
