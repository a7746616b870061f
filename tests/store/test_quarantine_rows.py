"""What a stolen key can write into the quarantine is bounded, and what is old goes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from satmachine import retention
from satmachine.errors import Refused
from satmachine.models import Rejection
from satmachine.store import quarantine_rows
from satmachine.store.database import atomic, open_store
from testkit.books import MACHINE, NOW, fresh_books


def keep(
    conn: sqlite3.Connection,
    number: int,
    *,
    reason: str = "bad_json",
    raw: str = "{}",
    machine_id: str = MACHINE,
    at: int = NOW,
) -> None:
    with atomic(conn):
        quarantine_rows.add(
            conn,
            event_id=f"{number:064x}",
            machine_id=machine_id,
            kind=21000,
            rejection=Rejection(reason, "why"),
            created_at=at,
            received_at=at,
            relay_url="wss://relay.example",
            raw=raw,
        )


def count(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT count(*) FROM quarantine").fetchone()[0])


def test_of_a_machine_and_a_reason_only_so_many_are_kept_and_the_rest_is_counted(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        for number in range(quarantine_rows.MAX_OPEN + 7):
            keep(conn, number)
        assert count(conn) == quarantine_rows.MAX_OPEN
        assert quarantine_rows.overflow(conn, None) == quarantine_rows.overflow(conn, "atitlan", MACHINE) == 7
        assert quarantine_rows.overflow(conn, "other") == quarantine_rows.overflow(conn, None, "machine-2") == 0
        keep(conn, 1_001, reason="conflict")
        keep(conn, 1_002, machine_id="machine-2")
        assert count(conn) == quarantine_rows.MAX_OPEN + 2, "other reasons and other machines have room of their own"


def test_what_was_used_after_all_makes_room(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        for number in range(quarantine_rows.MAX_OPEN):
            keep(conn, number)
        conn.execute("UPDATE quarantine SET status = 'landed' WHERE id = 1")
        keep(conn, 1_000)
        assert count(conn) == quarantine_rows.MAX_OPEN + 1


def test_of_a_long_message_a_beginning_is_kept_and_it_cannot_be_taken_up_again(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        keep(conn, 1, raw="x" * quarantine_rows.MAX_RAW_CHARS)
        keep(conn, 2, raw="x" * (quarantine_rows.MAX_RAW_CHARS + 1))
        assert len(quarantine_rows.get(conn, 1).raw) == quarantine_rows.MAX_RAW_CHARS
        assert conn.execute("SELECT length(raw) FROM quarantine WHERE id = 2").fetchone()[0] == 4_096
        with pytest.raises(Refused, match="too long to be kept in full"):
            quarantine_rows.get(conn, 2)


async def test_what_is_older_than_quarantine_keep_days_is_forgotten(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        for number in range(quarantine_rows.MAX_OPEN + 1):
            keep(conn, number, at=NOW - 100)
        keep(conn, 1_000, at=NOW, reason="conflict")
        path = Path(conn.execute("PRAGMA database_list").fetchone()["file"])
        async with open_store(path) as store:
            forgotten = await retention.tidy_quarantine(store, NOW)
        assert forgotten == quarantine_rows.MAX_OPEN + 1
        assert [row["reason"] for row in conn.execute("SELECT reason FROM quarantine")] == ["conflict"]
        assert quarantine_rows.overflow(conn, None) == 0
