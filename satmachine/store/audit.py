"""The audit log: who changed what, when and why (SPEC section 9). Rows are only ever added."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows of the log: `action` may be a beginning ("settlement."), times are `since` <= at < `until`."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    machine_id: str | None = None
    since: int | None = None
    until: int | None = None
    before_id: int | None = None
    limit: int = 50


#: The columns of a row, in order; for CSV without rows too.
COLUMNS = ("id", "at", "actor", "action", "subject", "machine_id", "reason", "before", "after")


def find(conn: sqlite3.Connection, scope: str | None, wanted: Wanted) -> tuple[list[dict[str, Any]], bool]:
    """Rows, newest first, and whether there are more. An operator's scope has only what concerns its machines."""
    found = conn.execute(
        "SELECT * FROM audit_log WHERE "
        "(?1 IS NULL OR machine_id IN (SELECT id FROM dca_machines WHERE operator_id = ?1)) "
        "AND (?2 IS NULL OR actor = ?2) AND (?3 IS NULL OR action = ?3 OR action LIKE ?3 || '.%') "
        "AND (?4 IS NULL OR subject = ?4) AND (?5 IS NULL OR machine_id = ?5) AND (?6 IS NULL OR at >= ?6) "
        "AND (?7 IS NULL OR at < ?7) AND (?8 IS NULL OR id < ?8) ORDER BY id DESC LIMIT ?9",
        (
            scope,
            wanted.actor,
            wanted.action,
            wanted.subject,
            wanted.machine_id,
            wanted.since,
            wanted.until,
            wanted.before_id,
            wanted.limit + 1,
        ),
    ).fetchall()
    return [dict(row) for row in found[: wanted.limit]], len(found) > wanted.limit


def machine_of(conn: sqlite3.Connection, row_id: int) -> str | None:
    """Whose machine's row it is; None where there is none, or it concerns no machine."""
    row = conn.execute("SELECT machine_id FROM audit_log WHERE id = ?", (row_id,)).fetchone()
    return None if row is None else row["machine_id"]
