"""What needs a person, as the pages tell it: the same list as `satmachine status`."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from satmachine.cli import status


def needs(conn: sqlite3.Connection, scope: str | None, now: int, path: Path) -> list[dict[str, Any]]:
    """Each with what is wrong and the command that helps."""
    return [{"text": text, "command": command} for text, command in status.needs(conn, scope, now, path)]
