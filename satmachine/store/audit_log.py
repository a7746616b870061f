"""The audit log: who changed what, when and why (SPEC section 9). Rows are only ever added."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from satmachine.models import By
from satmachine.store.pages import Order, Page, Where, merged, page

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
    """Add one row; `before` and `after` have only the columns that changed."""
    conn.execute(
        """INSERT INTO audit_log (at, actor, action, subject, machine_id, reason, before, after)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
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


def record_by(
    conn: sqlite3.Connection,
    by: By,
    action: str,
    subject: str,
    machine_id: str | None,
    before: Mapping[str, object] | None,
    after: Mapping[str, object] | None,
) -> None:
    """Add a row of what a person did."""
    record(
        conn,
        now=by.now,
        actor=by.actor,
        action=action,
        subject=subject,
        machine_id=machine_id,
        reason=by.reason,
        before=before,
        after=after,
    )


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which rows of the log: `action` may be a beginning ("settlement."), times are `since` <= at < `until`."""

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    machine_id: str | None = None
    since: int | None = None
    until: int | None = None
    before_id: int | None = None
    limit: int = 50


def find(conn: sqlite3.Connection, scope: str | None, wanted: LogFilter) -> Page:
    """Rows, newest first. An operator's scope has only what concerns its machines."""
    order = Order("audit_log", "at", "SELECT * FROM audit_log")
    where = Where()
    where.given("actor = ?", wanted.actor)
    where.given("subject = ?", wanted.subject)
    where.given("machine_id = ?", wanted.machine_id)
    order.span(where, wanted.since, wanted.until)
    order.go_on(conn, where, wanted.before_id)
    if scope is not None:
        # What limits the rows more than the operator does comes first; else each machine has its own place in an index.
        machines = "SELECT id FROM dca_machines WHERE operator_id = ?"
        if wanted == LogFilter(since=wanted.since, until=wanted.until, before_id=wanted.before_id, limit=wanted.limit):
            ids = [str(row["id"]) for row in conn.execute(machines, (scope,))]
            return merged(conn, order, [where.plus("machine_id = ?", machine) for machine in ids], wanted.limit)
        where.add(f"+machine_id IN ({machines})", scope)
    if wanted.action is None:
        return page(conn, order, where, wanted.limit)
    actions = [where.plus("action = ?", action) for action in _actions(conn, wanted.action)]
    return merged(conn, order, actions, wanted.limit)


def _actions(conn: sqlite3.Connection, wanted: str) -> list[str]:
    """The actions of the log that this is the name of, or the beginning of; found by leaps, one for each."""
    found = conn.execute(_ACTIONS, {"first": f"{wanted}.", "end": f"{wanted}/"})  # the character after "." is "/"
    return [wanted, *(str(row["action"]) for row in found)]


_ACTIONS = """
WITH RECURSIVE leap(action) AS (
    SELECT min(action) FROM audit_log WHERE action >= :first AND action < :end
    UNION ALL
    SELECT (SELECT min(action) FROM audit_log WHERE action > leap.action AND action < :end) FROM leap
    WHERE leap.action IS NOT NULL
)
SELECT action FROM leap WHERE action IS NOT NULL
"""


def machine_of(conn: sqlite3.Connection, row_id: int) -> str | None:
    """Whose machine's row it is; None if there is none, or if it concerns no machine."""
    row = conn.execute("SELECT machine_id FROM audit_log WHERE id = ?", (row_id,)).fetchone()
    return None if row is None else row["machine_id"]
