"""The mirror of the configuration: what it writes, and what it leaves alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from satmachine.store import registry
from satmachine.store.database import atomic, connect, prepare
from testkit.config_files import SECOND, VALID, changed, load_text, npub

BOTH = VALID + SECOND
SWAPPED = BOTH.replace(npub(1), "KEY").replace(npub(2), npub(1)).replace("KEY", npub(2))


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    prepare(tmp_path / "satmachine.db")
    conn = connect(tmp_path / "satmachine.db")
    yield conn
    conn.close()


def mirror(conn: sqlite3.Connection, folder: Path, text: str, now: int) -> dict[str, sqlite3.Row]:
    """The machines' rows afterwards."""
    with atomic(conn):
        registry.mirror(conn, load_text(folder, text), now)
    return {row["id"]: row for row in conn.execute("SELECT * FROM dca_machines")}


def test_every_load_is_noted_and_changes_are_taken_over(conn: sqlite3.Connection, tmp_path: Path) -> None:
    mirror(conn, tmp_path, BOTH, 1)
    rows = mirror(conn, tmp_path, changed("Panajachel market", "Panajachel", BOTH), 2)
    assert {name: (row["name"], row["in_config"], row["loaded_at"]) for name, row in rows.items()} == {
        "panajachel-1": ("Panajachel", 1, 2),
        "solola-1": ("Solola", 1, 2),
    }
    assert [row["machine_id"] for row in conn.execute("SELECT * FROM dca_wallets ORDER BY 1")] == [*rows]


def test_a_machine_that_is_dropped_stays_and_may_come_back(conn: sqlite3.Connection, tmp_path: Path) -> None:
    mirror(conn, tmp_path, BOTH, 1)
    rows = mirror(conn, tmp_path, VALID, 2)
    assert (rows["solola-1"]["in_config"], rows["solola-1"]["loaded_at"]) == (0, 1)
    rows = mirror(conn, tmp_path, BOTH, 3)
    assert (rows["solola-1"]["in_config"], rows["solola-1"]["loaded_at"]) == (1, 3)


def test_two_machines_may_exchange_their_keys(conn: sqlite3.Connection, tmp_path: Path) -> None:
    before = mirror(conn, tmp_path, BOTH, 1)
    after = mirror(conn, tmp_path, SWAPPED, 2)
    assert after["panajachel-1"]["pubkey"] == before["solola-1"]["pubkey"]
    assert after["solola-1"]["pubkey"] == before["panajachel-1"]["pubkey"]


def test_a_dropped_machine_s_key_may_go_to_another(conn: sqlite3.Connection, tmp_path: Path) -> None:
    mirror(conn, tmp_path, BOTH, 1)
    rows = mirror(conn, tmp_path, VALID.replace(npub(1), npub(2)), 2)
    assert rows["panajachel-1"]["pubkey"] == rows["solola-1"]["pubkey"]


def test_rules_are_replaced_as_a_whole(conn: sqlite3.Connection, tmp_path: Path) -> None:
    splits = "SELECT label, pct FROM dca_commission_splits ORDER BY position"
    mirror(conn, tmp_path, VALID, 1)
    assert [tuple(row) for row in conn.execute(splits)] == [("owner", "0.7"), ("technician", "0.3")]
    mirror(conn, tmp_path, VALID.replace("pct = 0.7", "pct = 0.6").replace("pct = 0.3\n", "pct = 0.4\n"), 2)
    assert [tuple(row) for row in conn.execute(splits)] == [("owner", "0.6"), ("technician", "0.4")]
