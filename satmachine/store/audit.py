"""The audit log: who changed what, when and why (SPEC section 9). Rows are only ever added."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

#: The actor of everything that no person decided.
DAEMON = "daemon"


def record(
    conn: sqlite3.Connection,
    *,
    now: int,
    actor: str,
    action: str,
    subject: str,
    machine_id: str | None = None,
    reason: str = "",
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Add one row; `before` and `after` hold only the columns that changed."""
    conn.execute(
        "INSERT INTO audit_log (at, actor, action, subject, machine_id, reason, before, after) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            now,
            actor,
            action,
            subject,
            machine_id,
            reason,
            None if before is None else json.dumps(before, default=str),
            None if after is None else json.dumps(after, default=str),
        ),
    )
