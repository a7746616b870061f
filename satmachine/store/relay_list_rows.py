"""The newest list of its own relays that each machine has published (NIP-65), as it was read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any


def note(
    conn: sqlite3.Connection,
    machine_id: str,
    *,
    event_id: str,
    created_at: int,
    received_at: int,
    relays: Sequence[str],
    refused: Mapping[str, str],
) -> bool:
    """Store it if it is newer than what is known (if equal, the lower id, as for every replaceable event); the same one
    is read again. Returns whether other relays count from now on."""
    before = conn.execute("SELECT relays FROM dca_relay_lists WHERE machine_id = ?", (machine_id,)).fetchone()
    told = json.dumps(relays)
    done = conn.execute(
        """INSERT INTO dca_relay_lists (machine_id, event_id, created_at, received_at, relays, refused)
        VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (machine_id) DO UPDATE SET event_id = excluded.event_id,
        created_at = excluded.created_at, received_at = excluded.received_at, relays = excluded.relays,
        refused = excluded.refused
        WHERE excluded.created_at > created_at
        OR (excluded.created_at = created_at AND excluded.event_id <= event_id)""",
        (machine_id, event_id, created_at, received_at, told, json.dumps(refused)),
    )
    return done.rowcount > 0 and (before is None or before["relays"] != told)


def of_all(conn: sqlite3.Connection) -> dict[str, list[str]]:
    """The relays that each machine names."""
    found = conn.execute("SELECT machine_id, relays FROM dca_relay_lists")
    return {row["machine_id"]: json.loads(row["relays"]) for row in found}


def of_machine(conn: sqlite3.Connection, machine_id: str) -> dict[str, Any] | None:
    """A machine's list; None: it has published none, or nobody listened for it."""
    row = conn.execute("SELECT * FROM dca_relay_lists WHERE machine_id = ?", (machine_id,)).fetchone()
    return None if row is None else {**row, "relays": json.loads(row["relays"]), "refused": json.loads(row["refused"])}
