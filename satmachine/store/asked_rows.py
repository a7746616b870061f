"""Payees elsewhere whose servers are being asked right now, so that a death of the daemon is not repeated at once
(`asked.py`)."""

from __future__ import annotations

import sqlite3

#: How long a payee waits after the first death, in seconds; four times as long after each further one, at most an hour.
#: With the unit's five starts in ten minutes, no payee can use them up.
FIRST_WAIT_S = 10
LONGEST_WAIT_S = 3_600


def begin(conn: sqlite3.Connection, payee_digest: str, now: int) -> None:
    """Committed before the first octet is sent."""
    conn.execute(
        """INSERT INTO dca_asked_payees (payee_digest, asked_at) VALUES (?1, ?2)
        ON CONFLICT (payee_digest) DO UPDATE SET asked_at = ?2""",
        (payee_digest, now),
    )


def end(conn: sqlite3.Connection, payee_digest: str) -> None:
    """The daemon is still alive: whatever was answered, it was harmless."""
    conn.execute("DELETE FROM dca_asked_payees WHERE payee_digest = ?", (payee_digest,))


def left_behind(conn: sqlite3.Connection, now: int) -> dict[str, int]:
    """At the daemon's start: {digest: until when it waits} of those that were being asked when one died."""
    for row in conn.execute("SELECT payee_digest, deaths FROM dca_asked_payees WHERE asked_at IS NOT NULL").fetchall():
        deaths = row["deaths"] + 1
        conn.execute(
            "UPDATE dca_asked_payees SET asked_at = NULL, deaths = ?, waits_until = ? WHERE payee_digest = ?",
            (deaths, now + _wait_s(deaths), row["payee_digest"]),
        )
    found = conn.execute("SELECT payee_digest, waits_until FROM dca_asked_payees")
    return {row["payee_digest"]: row["waits_until"] for row in found}


def _wait_s(deaths: int) -> int:
    return int(min(LONGEST_WAIT_S, FIRST_WAIT_S * 4 ** min(deaths - 1, 10)))
