"""Copies of the books are marked as copies (SPEC section 6.8).

`satmachine backup` writes a flag into the copy, never into the books themselves. A daemon that opens books with the
flag pays nothing, for any machine, before a person has reconciled that machine: what happened since the copy was made
is not in it.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from satmachine.store import audit_log as audit
from satmachine.store import wallet_rows

_KEY = "copied_at"


def flag(copy: sqlite3.Connection, copied_at: int) -> None:
    """Mark a copy as a copy; `copied_at` in Unix seconds."""
    copy.execute(
        "INSERT INTO daemon_state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (_KEY, str(copied_at)),
    )


def copied_at(conn: sqlite3.Connection) -> int | None:
    """When these books were copied, in Unix seconds, if they are a copy that no daemon has opened yet."""
    row = conn.execute("SELECT value FROM daemon_state WHERE key = ?", (_KEY,)).fetchone()
    return None if row is None else int(row["value"])


def take_over(conn: sqlite3.Connection, now: int) -> int | None:
    """If these books are a copy: stop the payouts of every machine until it is reconciled, and remove the flag.

    Call it when a daemon opens the books, in a transaction. Returns when the copy was made; None if it is not a copy.
    """
    row = conn.execute("DELETE FROM daemon_state WHERE key = ? RETURNING value", (_KEY,)).fetchone()
    if row is None:
        return None
    since = int(row["value"])
    made = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M UTC")
    why = f"these books are a copy of {made}; what happened since is not in them"
    # The sweeps that the copy knows were before: only one from now on shows what happened since.
    conn.execute("UPDATE dca_wallets SET reconcile_since = ?, reconcile_why = ?, last_sweep_at = NULL", (now, why))
    machines = [str(wallet["machine_id"]) for wallet in conn.execute("SELECT machine_id FROM dca_wallets")]
    for machine_id in machines:
        wallet_rows.refresh_safe_mode(conn, machine_id)
    audit.record(
        conn,
        now=now,
        actor=audit.DAEMON,
        action="books.restored",
        subject="all machines",
        machine_id=None,
        reason=why,
        after={"copied_at": since, "machines": len(machines)},
    )
    return since
