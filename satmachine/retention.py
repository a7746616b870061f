"""Delete what is older than `keep_days`, in steps so small that a settlement never waits for one (SPEC section 7).

Messages in quarantine too: strangers cannot write them, but a stolen key can.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import anyio

from satmachine.errors import StoreError
from satmachine.store import quarantine_rows, telemetry_rows
from satmachine.store.database import Store

log = logging.getLogger(__name__)

INTERVAL_S = 3_600.0
DAY_S = 86_400

#: A step that keeps the writer longer than this is followed by smaller ones.
TARGET_STEP_S = 0.02
#: Rows that are deleted, or pages that are given back, in one step.
MIN_STEP, MAX_STEP = 20, 2_000
_MAX_PAGES = 200


async def run(
    store: Store, keep_days: Callable[[], int], keep_quarantine_days: Callable[[], int], now: Callable[[], int]
) -> None:
    """Clean up once an hour, for ever; `now` gives Unix seconds. If the database is busy, it is tried again next
    time."""
    while True:
        try:
            forgotten = await tidy_quarantine(store, now() - keep_quarantine_days() * DAY_S)
            deleted, pages = await tidy(store, now() - keep_days() * DAY_S)
        except StoreError as error:
            log.warning("old telemetry cannot be deleted now; this is tried again in an hour: %s", error)
        else:
            if forgotten:
                log.info("quarantine: %d messages older than quarantine_keep_days deleted", forgotten)
            if deleted:
                log.info("telemetry: %d rows older than keep_days deleted, %d pages given back", deleted, pages)
        await anyio.sleep(INTERVAL_S)


async def tidy(store: Store, before: int) -> tuple[int, int]:
    """Delete what was created before a time, then shrink the file: (rows deleted, pages given back)."""
    deleted = await _in_steps(lambda size: store.write(telemetry_rows.expire_step, before, size), MAX_STEP)
    pages = await _in_steps(lambda size: store.write(telemetry_rows.reclaim_step, size), _MAX_PAGES)
    return deleted, pages


async def tidy_quarantine(store: Store, before: int) -> int:
    """Delete messages received before a time; returns how many."""
    return await _in_steps(lambda size: store.write(quarantine_rows.expire_step, before, size), MAX_STEP)


async def _in_steps(step: Callable[[int], Awaitable[int]], largest: int) -> int:
    """Repeat a step until it has nothing left to do; returns what it did in all. Others get the writer in between."""
    size, done = MIN_STEP, 0
    while True:
        started = time.monotonic()
        count = await step(size)
        took_s = time.monotonic() - started
        if count == 0:
            return done
        done += count
        size = next_size(size, took_s, largest)
        await anyio.sleep(took_s)


def next_size(size: int, took_s: float, largest: int) -> int:
    """Half as much after a step that took too long, twice as much after a quick one."""
    if took_s > TARGET_STEP_S:
        return max(MIN_STEP, size // 2)
    return min(largest, size * 2) if took_s < TARGET_STEP_S / 2 else size
