"""What needs a person, as the pages show it: the list of `attention`, like `satmachine status`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from satmachine.attention.items import Item, Thresholds
from satmachine.attention.look import Viewpoint, look
from satmachine.ops.service import starts
from satmachine.store.database import daemon_is_running
from satmachine.web.language import Words


def needs(conn: sqlite3.Connection, scope: str | None, now: int, books: Path, limits: Thresholds) -> Sequence[Item]:
    """The list, the most serious first."""
    runs = daemon_is_running(books)
    view = Viewpoint(limits, now, scope, listening_s=86_400 if runs else 0, starts=starts(books))
    return look(conn, view, daemon_runs=runs).items


def told_of(item: Item, words: Words) -> dict[str, Any]:
    """What is wrong in the viewer's language, since when, and the command that helps."""
    return {
        "condition": item.condition,
        "cause": words.tell(item.cause),
        "command": item.command,
        "since_at": item.shown_since,
        "settlement_id": item.settlement_id,
    }
