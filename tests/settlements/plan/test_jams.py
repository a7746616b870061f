"""A jam that is known in time: sales wait for `payout_delay_s`, and an error that the machine reports holds them."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from satmachine.models import HoldReason, SettlementStatus
from satmachine.store import settlements
from satmachine.store.database import atomic
from testkit.books import BOUNDS, MACHINE, NOW, landed, plan

WATCHING = replace(BOUNDS, hold_on_error=True)


def beacon(conn: sqlite3.Connection, at: int, status: str | None, error: str | None = None) -> None:
    """A beacon of the machine's, in its history and in its merged state."""
    with atomic(conn):
        conn.execute(
            "INSERT INTO dca_telemetry_log (machine_id, created_at, event_id, d_tag, received_at, status, raw) "
            "VALUES (?, ?, randomblob(32), '', ?, ?, '{}')",
            (MACHINE, at, at, status),
        )
        conn.execute(
            "INSERT OR REPLACE INTO dca_telemetry (machine_id, status, last_error, beacon_at, received_at, raw, "
            "origins, beacon_id) VALUES (?, ?, ?, ?, ?, '{}', json_object('last_error', json_array(?, 'x')), 'bb')",
            (MACHINE, status, error, at, at, at),
        )


@pytest.mark.parametrize(
    ("after_s", "status", "error", "held"),
    [
        (30, "error", None, True),
        (30, "jammed", "note stuck", True),
        (30, "ok", "note stuck in cassette 2", True),
        (30, "online", None, False),
        (-30, "error", "note stuck", False),
    ],
)
def test_an_error_between_sale_and_payout_holds_the_sale(
    books: sqlite3.Connection, after_s: int, status: str, error: str | None, held: bool
) -> None:
    sale = landed(books)
    occurred_at = settlements.get(books, sale).occurred_at
    beacon(books, occurred_at + after_s, status, error)
    found = plan(books, sale, bounds=WATCHING)
    assert (found.hold_reason == HoldReason.MACHINE_ERROR) is held
    assert (found.status is SettlementStatus.HELD) is held


def test_without_hold_on_error_an_error_holds_nothing(books: sqlite3.Connection) -> None:
    sale = landed(books)
    beacon(books, NOW + 10**6, "error")
    assert plan(books, sale).hold_reason is None


def test_a_person_who_has_looked_lets_it_go_on(books: sqlite3.Connection) -> None:
    sale = landed(books)
    beacon(books, NOW + 10**6, "error")
    assert plan(books, sale, bounds=WATCHING).hold_reason == HoldReason.MACHINE_ERROR
    with atomic(books):
        settlements.override_guard(books, sale, HoldReason.MACHINE_ERROR)
        settlements.release(books, sale)
    assert plan(books, sale, bounds=WATCHING).planned_at is not None
