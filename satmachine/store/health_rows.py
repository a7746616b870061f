"""What the daemon last saw of its relays, for `status`, and for where a new subscription continues."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from satmachine.store import attention


@dataclass(frozen=True, slots=True)
class RelayRecord:
    """One relay connection; see the columns of `relay_health`."""

    url: str
    state: str
    state_since: int
    latency_ms: int | None
    last_event_at: int | None
    last_created_at: int | None
    events: int
    duplicates: int
    faults: Mapping[str, int]
    quiet: bool
    error: str | None
    named: bool = False


def record_relays(conn: sqlite3.Connection, records: Iterable[RelayRecord], now: int) -> None:
    """Replace what was known; relays that are no longer configured disappear."""
    kept = []
    for record in records:
        kept.append(record.url)
        conn.execute(
            """INSERT INTO relay_health (url, state, state_since, latency_ms, last_event_at, last_created_at, events,
            duplicates, faults, quiet, error, named, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (url) DO UPDATE SET state = excluded.state, state_since = excluded.state_since,
            latency_ms = excluded.latency_ms, last_event_at = coalesce(excluded.last_event_at, last_event_at),
            last_created_at = max(coalesce(excluded.last_created_at, 0), coalesce(last_created_at, 0)),
            events = excluded.events, duplicates = excluded.duplicates, faults = excluded.faults,
            quiet = excluded.quiet, error = excluded.error, named = excluded.named, updated_at = excluded.updated_at""",
            (
                record.url,
                record.state,
                record.state_since,
                record.latency_ms,
                record.last_event_at,
                record.last_created_at,
                record.events,
                record.duplicates,
                json.dumps(record.faults),
                int(record.quiet),
                record.error,
                int(record.named),
                now,
            ),
        )
    attention.alive(conn, now)
    conn.execute("DELETE FROM relay_health WHERE url NOT IN (SELECT value FROM json_each(?))", (json.dumps(kept),))


def resume_points(conn: sqlite3.Connection) -> dict[str, int]:
    """The newest settlement's `created_at` known from each relay."""
    found = conn.execute("SELECT url, last_created_at FROM relay_health WHERE last_created_at > 0")
    return {str(row["url"]): int(row["last_created_at"]) for row in found}
