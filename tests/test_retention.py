"""Retention at work: small steps, for as long as there is something to do."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from satmachine import retention
from satmachine.errors import DatabaseBusy
from satmachine.retention import MAX_STEP, MIN_STEP, TARGET_STEP_S, next_size
from satmachine.store import telemetry_rows
from satmachine.store.database import Store, atomic, open_store
from tests.telemetry.made import MACHINE, NOW, database, record

DAY_S = 86_400


@pytest.mark.parametrize(
    ("size", "took_s", "then"),
    [
        (100, TARGET_STEP_S * 2, 50),
        (100, TARGET_STEP_S * 0.7, 100),
        (100, 0, 200),
        (MIN_STEP, 9, MIN_STEP),
        (MAX_STEP, 0, MAX_STEP),
    ],
)
def test_steps_shrink_when_they_take_too_long(size: int, took_s: float, then: int) -> None:
    assert next_size(size, took_s, MAX_STEP) == then


@pytest.fixture
def path(tmp_path: Path) -> Path:
    conn = database(tmp_path)
    with atomic(conn):
        telemetry_rows.store_batch(conn, [record({"note": "x" * 2000}, NOW - n * DAY_S) for n in range(300)])
    conn.close()
    return tmp_path / "satmachine.db"


async def beacons_left(store: Store) -> int:
    rows = await store.read(telemetry_rows.history, MACHINE, since=0, until=NOW + 1, limit=1000)
    return len(rows)


async def test_only_keep_days_are_left_and_the_file_shrinks(path: Path) -> None:
    async with open_store(path) as store:
        deleted, pages = await retention.tidy(store, NOW - 9 * DAY_S)
        assert (deleted, await beacons_left(store)) == (290, 10)
        assert pages > 0


async def test_it_goes_on_while_the_database_is_busy(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A changed keep_days counts from the next hour on."""
    days = [300, 100]
    async with open_store(path) as store:

        def keep_days() -> int:
            if not days:
                raise DatabaseBusy("locked")
            return days.pop()

        with pytest.MonkeyPatch.context() as patch, anyio.move_on_after(1):
            patch.setattr(retention, "INTERVAL_S", 0.01)
            await retention.run(store, keep_days, lambda: 90, lambda: NOW)
        assert await beacons_left(store) == 101
    assert "tried again in an hour" in caplog.text
