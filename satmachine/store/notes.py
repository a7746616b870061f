"""Notes of people on a sale: only ever added, newest first, each with its time and author (SPEC section 9)."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from satmachine.store import audit_log as audit

MAX_CHARS = 2000


def cleaned(text: str) -> str:
    """A note on one line, so that nobody can forge somebody else's line. Raises ValueError if it cannot be one."""
    note = " ".join(text.split())
    if not note:
        raise ValueError("a note must not be empty")
    if len(note) > MAX_CHARS:
        raise ValueError(f"a note can have at most {MAX_CHARS} characters, this one has {len(note)}")
    if not note.isprintable():
        raise ValueError("a note must be plain text, without control characters")
    return note


def add(conn: sqlite3.Connection, settlement_id: int, machine_id: str, *, text: str, author: str, now: int) -> None:
    """Put a `cleaned` note before the others, and into the audit log."""
    line = f"[{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ} {author}] {text}"
    conn.execute(
        "UPDATE dca_settlements SET notes = ?1 || CASE notes WHEN '' THEN '' ELSE char(10) || notes END WHERE id = ?2",
        (line, settlement_id),
    )
    audit.record(
        conn,
        now=now,
        actor=author,
        action="settlement.note",
        subject=f"settlement {settlement_id}",
        machine_id=machine_id,
        after={"note": text},
    )
