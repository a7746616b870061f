"""Signed events of known machines that could not be used: kept with their reason (SPEC section 6.6).

A stolen key can sign as many as it likes, so what is kept is limited: a number for each machine and reason, each with a
part of its text, for a time. The rest is counted in `quarantine_overflow`.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from satmachine.errors import NotFound, Refused
from satmachine.models import Rejection
from satmachine.store import as_models as rows
from satmachine.store import audit_log as audit

#: Open messages of one machine for one reason. It is more than a machine sells in a month, so no true one is left out.
MAX_OPEN = 200
#: A message that can be read again is kept in full; of a longer one, only the beginning.
MAX_RAW_CHARS = 32_768
_CUT_CHARS = 4_096


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A kept event, as much of it as a retry needs."""

    id: int
    event_id: str
    raw: str
    relay_url: str
    received_at: int
    whole: bool


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
    """Keep one event, or count it if there are too many; a second time it is already there."""
    if _is_full(conn, machine_id, rejection.reason):
        _count_overflow(conn, machine_id, rejection.reason, received_at)
        return
    whole = len(raw) <= MAX_RAW_CHARS
    conn.execute(
        """INSERT INTO quarantine (event_id, machine_id, kind, reason, detail, created_at, received_at, relay_url,
        raw, settlement_id, whole) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event_id) DO NOTHING""",
        (
            event_id,
            machine_id,
            kind,
            rejection.reason,
            rejection.detail,
            created_at,
            received_at,
            relay_url,
            raw if whole else raw[:_CUT_CHARS],
            settlement_id,
            int(whole),
        ),
    )


def expire_step(conn: sqlite3.Connection, before: int, limit: int) -> int:
    """Delete up to `limit` messages received before a time (Unix seconds), whatever happened to them; returns how
    many."""
    found = "SELECT id FROM quarantine WHERE received_at < ? ORDER BY received_at LIMIT ?"
    gone = conn.execute(f"DELETE FROM quarantine WHERE id IN ({found})", (before, limit)).rowcount  # noqa: S608
    return gone + conn.execute("DELETE FROM quarantine_overflow WHERE last_at < ?", (before,)).rowcount


def overflow(conn: sqlite3.Connection, scope: str | None, machine_id: str | None = None) -> int:
    """How many more messages there were than are kept, of one operator's machines and of one machine (None: all)."""
    row = conn.execute(
        """SELECT coalesce(sum(o.events), 0) FROM quarantine_overflow o JOIN dca_machines m ON m.id = o.machine_id
        WHERE (?1 IS NULL OR m.operator_id = ?1) AND (?2 IS NULL OR m.id = ?2)""",
        (scope, machine_id),
    ).fetchone()
    return int(row[0])


def is_open(conn: sqlite3.Connection, event_id: str) -> bool:
    """Whether this event waits in quarantine."""
    row = conn.execute("SELECT status FROM quarantine WHERE event_id = ?", (event_id,)).fetchone()
    return row is not None and row["status"] == "open"


def mark_landed(conn: sqlite3.Connection, event_id: str, settlement_id: int, now: int) -> None:
    """A retried event was used after all."""
    conn.execute(
        "UPDATE quarantine SET status = 'landed', settlement_id = ?, retried_at = ? WHERE event_id = ?",
        (settlement_id, now, event_id),
    )


def get(conn: sqlite3.Connection, quarantine_id: int) -> Quarantined:
    """One kept event, to be read again. Raises NotFound, and Refused if only its beginning was kept."""
    row = conn.execute("SELECT * FROM quarantine WHERE id = ?", (quarantine_id,)).fetchone()
    if row is None:
        raise NotFound(f"quarantine {quarantine_id}: not found")
    if not row["whole"]:
        raise Refused(
            f"quarantine {quarantine_id}: it was too long to be kept in full, so it cannot be read again. If its "
            "sale is real, the wallet has the payment: `satmachine settlements unmatched` lists it"
        )
    return rows.load(Quarantined, row)


def note_retry(conn: sqlite3.Connection, quarantine_id: int, rejection: Rejection, now: int) -> None:
    """A retry did not help; the reason may be another one now."""
    conn.execute(
        "UPDATE quarantine SET reason = ?, detail = ?, retried_at = ? WHERE id = ? AND status = 'open'",
        (rejection.reason, rejection.detail, now, quarantine_id),
    )


def _is_full(conn: sqlite3.Connection, machine_id: str, reason: str) -> bool:
    row = conn.execute(
        """SELECT count(*) FROM (SELECT 1 FROM quarantine INDEXED BY quarantine_reason
        WHERE machine_id = ? AND reason = ? AND status = 'open' LIMIT ?)""",
        (machine_id, reason, MAX_OPEN),
    ).fetchone()
    return int(row[0]) >= MAX_OPEN


def _count_overflow(conn: sqlite3.Connection, machine_id: str, reason: str, now: int) -> None:
    conn.execute(
        """INSERT INTO quarantine_overflow VALUES (?1, ?2, 1, ?3, ?3)
        ON CONFLICT (machine_id, reason) DO UPDATE SET events = events + 1, last_at = max(last_at, ?3)""",
        (machine_id, reason, now),
    )


def dismiss(conn: sqlite3.Connection, quarantine_id: int, *, reason: str, actor: str, now: int) -> None:
    """A person has judged it: it no longer needs anybody, and stays on record. Raises Refused if it was used."""
    row = conn.execute(
        """UPDATE quarantine SET dismissed_at = ?, dismissed_why = ? WHERE id = ? AND status = 'open'
        AND dismissed_at IS NULL RETURNING machine_id""",
        (now, reason, quarantine_id),
    ).fetchone()
    if row is None:
        raise Refused(f"message {quarantine_id} needs nobody: it was already used or dismissed")
    audit.record(
        conn,
        now=now,
        actor=actor,
        action="quarantine.dismiss",
        subject=f"message {quarantine_id}",
        machine_id=row["machine_id"],
        reason=reason,
    )
