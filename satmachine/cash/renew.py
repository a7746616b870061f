"""The daemon's task that keeps every machine's forecast up to date in the database, for alarms, metrics, `status`, SQL.

A few machines at a time, on a thread and a connection of its own: ten thousand machines are spread over the hour, and
the payer never waits. It touches no money.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import anyio
import anyio.to_thread

from satmachine.cash import outlook
from satmachine.errors import StoreError
from satmachine.store import cash_rows
from satmachine.store.database import Store, connect, snapshot

log = logging.getLogger(__name__)

#: A forecast is computed again after this time.
RENEW_AFTER_S = 3_600
#: How many machines are computed at a time, and how long to wait before the next ones, or if none is due.
_BATCH = 20
_PAUSE_S, _IDLE_S = 2.0, 30.0


async def run(store: Store, now: Callable[[], int]) -> None:
    """Renew what is due, for ever; `now` gives Unix seconds. If the database is busy, it is tried again."""
    while True:
        done = 0
        try:
            done = await renew_due(store, now())
        except StoreError as error:
            log.warning("forecasts cannot be renewed now; they are tried again: %s", error)
        await anyio.sleep(_PAUSE_S if done else _IDLE_S)


async def renew_due(store: Store, now: int) -> int:
    """Compute some of the forecasts that are due and store them; returns how many."""
    rows = await anyio.to_thread.run_sync(_worked_out, store, now)
    if rows:
        await store.write(_save, rows)
    return len(rows)


def _worked_out(store: Store, now: int) -> list[Mapping[str, object]]:
    with closing(connect(store.path, read_only=True)) as conn, snapshot(conn):
        due = cash_rows.forecasts_due(conn, now - RENEW_AFTER_S, _BATCH)
        rows = [outlook.row(conn, machine_id, now) for machine_id in due]
        return [row for row in rows if row is not None]


def _save(conn: sqlite3.Connection, rows: Sequence[Mapping[str, object]]) -> None:
    for row in rows:
        cash_rows.save_forecast(conn, row)
