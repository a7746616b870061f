"""What needs a person, as the pages tell it: the list of `attention`, like `satmachine status`."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from satmachine.attention.items import Limits
from satmachine.attention.look import View, look
from satmachine.store.database import daemon_is_running


def needs(conn: sqlite3.Connection, scope: str | None, now: int, books: Path, limits: Limits) -> list[dict[str, Any]]:
    """Each with what is wrong, since when, and the command that helps; the gravest first."""
    runs = daemon_is_running(books)
    found = look(conn, View(limits, now, scope, listening_s=86_400 if runs else 0), daemon_runs=runs)
    return [
        {
            "condition": item.condition,
            "cause": item.cause,
            "command": item.command,
            "since_at": item.since,
            "settlement_id": item.settlement_id,
        }
        for item in found.items
    ]
