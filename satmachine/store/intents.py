"""What people ask of the daemon: the CLI writes a row, the daemon carries it out and says what came of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Intent:
    """One request; `result` is a sentence for the person who asked, None while it is open."""

    id: int
    created_at: int
    actor: str
    action: str
    subject: str
    params: Mapping[str, object]
    status: str
    result: str | None
    done_at: int | None


def add(conn: sqlite3.Connection, now: int, actor: str, action: str, subject: str, params: Mapping[str, object]) -> int:
    """Ask for something; returns the request's id."""
    cursor = conn.execute(
        "INSERT INTO intents (created_at, actor, action, subject, params) VALUES (?, ?, ?, ?, ?)",
        (now, actor, action, subject, json.dumps(params)),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def get(conn: sqlite3.Connection, intent_id: int) -> Intent:
    """A request, which must exist."""
    return _intent(conn.execute("SELECT * FROM intents WHERE id = ?", (intent_id,)).fetchone())


def open_intents(conn: sqlite3.Connection) -> list[Intent]:
    """What is still to be carried out, in the order of asking."""
    return [_intent(row) for row in conn.execute("SELECT * FROM intents WHERE status = 'open' ORDER BY id")]


def finish(conn: sqlite3.Connection, intent_id: int, status: Literal["done", "refused"], result: str, now: int) -> None:
    """Say what came of an open request."""
    changed = conn.execute(
        "UPDATE intents SET status = ?, result = ?, done_at = ? WHERE id = ? AND status = 'open'",
        (status, result, now, intent_id),
    ).rowcount
    assert changed == 1, f"request {intent_id} was finished twice"


def _intent(row: sqlite3.Row) -> Intent:
    return Intent(**{**dict(row), "params": json.loads(row["params"])})
