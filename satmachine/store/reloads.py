"""The result of the last reload (SIGHUP), for whoever asked for it: `satmachine config reload` waits for it here."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

_KEY = "last_reload"


@dataclass(frozen=True, slots=True)
class Reload:
    """The `number`-th reload of these books, at `at` (Unix seconds); `refused` says why, or nothing."""

    number: int
    at: int
    refused: str


def record(conn: sqlite3.Connection, refused: str, now: int) -> None:
    """Store the result of a reload."""
    value = json.dumps({"number": latest(conn).number + 1, "at": now, "refused": refused})
    conn.execute(
        "INSERT INTO daemon_state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (_KEY, value)
    )


def latest(conn: sqlite3.Connection) -> Reload:
    """The last one; its number is 0 if there was none."""
    row = conn.execute("SELECT value FROM daemon_state WHERE key = ?", (_KEY,)).fetchone()
    return Reload(0, 0, "") if row is None else Reload(**json.loads(row["value"]))
