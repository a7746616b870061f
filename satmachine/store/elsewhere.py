"""Kind 21000 that machines publish to others than this daemon, counted (SPEC section 2)."""

from __future__ import annotations

import sqlite3
from typing import Any


def count(conn: sqlite3.Connection, machine_id: str, *, addressee: str, old_nip44: bool, at: int) -> None:
    """One more of a machine's; `at` is when it came (Unix seconds). A relay that replays it is kept off before this."""
    conn.execute(
        """INSERT INTO dca_transport_events (machine_id, events, old_nip44, first_at, last_at, addressee)
        VALUES (?1, 1, ?2, ?3, ?3, ?4) ON CONFLICT DO UPDATE SET events = events + 1,
        old_nip44 = old_nip44 + excluded.old_nip44, last_at = max(last_at, excluded.last_at),
        addressee = excluded.addressee""",
        (machine_id, int(old_nip44), at, addressee),
    )


def of_machine(conn: sqlite3.Connection, machine_id: str) -> dict[str, Any] | None:
    """What was counted of a machine; None: nothing."""
    row = conn.execute("SELECT * FROM dca_transport_events WHERE machine_id = ?", (machine_id,)).fetchone()
    return None if row is None else dict(row)


def ways_in(conn: sqlite3.Connection) -> list[dict[str, Any]]:
    """Every configured machine: whether it has ever announced a sale, and what it publishes to others instead."""
    found = conn.execute(
        """SELECT m.id AS machine_id, t.events, t.old_nip44, t.last_at, t.addressee,
        EXISTS (SELECT 1 FROM dca_settlements s WHERE s.machine_id = m.id AND s.bitspire_event_id IS NOT NULL)
        AS announces,
        (SELECT count(*) FROM quarantine q WHERE q.machine_id = m.id AND q.status = 'open'
        AND q.reason IN ('old_nip44', 'nip04')) AS unreadable
        FROM dca_machines m LEFT JOIN dca_transport_events t ON t.machine_id = m.id WHERE m.in_config = 1
        ORDER BY m.id"""
    )
    return [dict(row) for row in found]
