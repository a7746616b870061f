"""Opening, migrating and writing: all or nothing, and never a file that is not ours."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from satmachine.errors import DaemonRunning, DatabaseBusy, DatabaseNewer, StoreError
from satmachine.store import database
from satmachine.store.database import (
    SCHEMA_VERSION,
    atomic,
    connect,
    daemon_is_running,
    instance_id,
    only_daemon,
    open_store,
    prepare,
)
from testkit.books import fresh_books


@pytest.fixture
def path(tmp_path: Path) -> Path:
    prepare(tmp_path / "books.db")
    return tmp_path / "books.db"


def test_a_new_file_is_in_wal_mode_and_survives_a_power_cut(path: Path) -> None:
    conn = connect(path)
    assert conn.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert conn.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
    assert conn.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_preparing_again_changes_nothing(path: Path) -> None:
    conn = connect(path)
    name = instance_id(conn)
    prepare(path)
    assert instance_id(conn) == name
    assert [row["version"] for row in conn.execute("SELECT version FROM schema_migrations")] == [SCHEMA_VERSION]


def test_every_table_is_strict() -> None:
    conn = sqlite3.connect(":memory:")
    conn.executescript((Path(__file__).parents[2] / "schema.sql").read_text())
    loose = conn.execute("SELECT name FROM pragma_table_list WHERE type = 'table' AND strict = 0 AND schema = 'main'")
    assert [name for (name,) in loose if not name.startswith("sqlite_")] == []


def test_a_missing_file_says_what_creates_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="satmachine run"):
        connect(tmp_path / "none.db")


def test_a_newer_database_is_refused_untouched(path: Path) -> None:
    conn = connect(path)
    with atomic(conn):
        conn.execute("INSERT INTO schema_migrations VALUES (?, 'later', 0)", (SCHEMA_VERSION + 1,))
    for open_it in (connect, prepare):
        with pytest.raises(DatabaseNewer, match="newer satmachine"):
            open_it(path)


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be read as one" * 50, None])
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.db"
    if content is None:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE t (x)")
        other.close()
    else:
        path.write_bytes(content)
    with pytest.raises(StoreError):
        connect(path)
    with pytest.raises(StoreError):
        prepare(path)


def test_a_block_that_raises_leaves_nothing_behind(path: Path) -> None:
    conn = connect(path)
    with suppress(ZeroDivisionError), atomic(conn):
        conn.execute("INSERT INTO daemon_state VALUES ('a', 'b')")
        raise ZeroDivisionError
    assert conn.execute("SELECT count(*) FROM daemon_state WHERE key = 'a'").fetchone()[0] == 0
    assert not conn.in_transaction


def test_a_held_write_lock_is_reported_in_words(path: Path) -> None:
    holder, waiting = connect(path), connect(path, busy_timeout_s=0)
    with atomic(holder), pytest.raises(DatabaseBusy, match="locked by another program"), atomic(waiting):
        pass


def test_one_daemon_at_a_time(path: Path) -> None:
    assert not daemon_is_running(path)
    with only_daemon(path):
        assert daemon_is_running(path)
        with pytest.raises(DaemonRunning, match="another satmachine daemon"), only_daemon(path):
            pass
    assert not daemon_is_running(path)


async def test_a_cancelled_write_is_whole_or_not_at_all(path: Path) -> None:
    def slow_write(conn: sqlite3.Connection) -> None:
        conn.execute("INSERT INTO daemon_state VALUES ('a', '1')")
        conn.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) FROM n"
        )
        conn.execute("INSERT INTO daemon_state VALUES ('b', '1')")

    async with open_store(path) as store:
        with anyio.move_on_after(0.01):
            await store.write(slow_write)
        found = await store.read(lambda conn: conn.execute("SELECT key FROM daemon_state WHERE key < 'c'").fetchall())
    assert [row["key"] for row in found] == ["a", "b"]


def test_a_migration_and_its_record_are_one_transaction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = (SCHEMA_VERSION + 1, "colours", "CREATE TABLE colours (name TEXT);\nCREATE TABLE audit_log (x TEXT);\n")
    monkeypatch.setattr(database, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(database, "migrations", lambda: [bad])
    with pytest.raises(StoreError, match="audit_log already exists"):
        prepare(path)
    with pytest.raises(StoreError, match="restart the daemon"):
        connect(path)
    monkeypatch.setattr(database, "migrations", lambda: [(*bad[:2], "CREATE TABLE colours (name TEXT);\n")])
    prepare(path)
    names = [row["name"] for row in connect(path).execute("SELECT name FROM schema_migrations ORDER BY version")]
    assert names == ["schema", "colours"]


@pytest.mark.parametrize("table", ["audit_log", "dca_retained", "dca_payments", "dca_settlements", "dca_clients"])
def test_records_are_never_deleted(tmp_path: Path, table: str) -> None:
    with fresh_books(tmp_path) as conn:
        triggers = conn.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?", (table,))
        assert any("BEFORE DELETE" in row["sql"] for row in triggers)


def test_the_audit_log_refuses_changes(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        conn.execute("INSERT INTO audit_log (at, actor, action, subject) VALUES (1, 'a', 'b', 'c')")
        for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                conn.execute(statement)


def made_in_version_1(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database as the first version made it: schema-1.sql is what that version shipped."""
    first = Path(__file__).with_name("schema-1.sql").read_text("utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(database, "SCHEMA_VERSION", 1)
        patch.setattr(database, "schema_text", lambda: first)
        prepare(path)


def what_it_holds(path: Path) -> list[tuple[str, str, str]]:
    """Every table, index, view and trigger with its words; line breaks and comments do not matter."""
    conn = connect(path)
    found = conn.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name").fetchall()
    version = conn.execute("PRAGMA user_version").fetchone()[0]
    conn.close()
    assert version == SCHEMA_VERSION
    return [
        (kind, name, " ".join(re.sub("--.*", "", sql).split()).replace(" ,", ",").replace(" )", ")"))
        for kind, name, sql in found
    ]


def test_a_database_of_the_first_version_becomes_what_a_new_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    made_in_version_1(old, monkeypatch)
    with pytest.raises(StoreError, match="restart the daemon"):
        connect(old)
    prepare(old)
    prepare(new)
    assert what_it_holds(old) == what_it_holds(new)
    found = connect(old).execute("SELECT version, name FROM schema_migrations ORDER BY version").fetchall()
    numbered = [(number, name) for number, name, _ in database.migrations()]
    assert [tuple(row) for row in found] == [(1, "schema"), *numbered]


def test_migrations_are_numbered_without_a_gap_up_to_this_version() -> None:
    assert [number for number, _, _ in database.migrations()] == list(range(2, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("plant", ["a symbolic link", "a hard link", "a pipe", "a folder"])
def test_what_somebody_has_put_in_place_of_the_lock_is_neither_followed_nor_waited_for(path: Path, plant: str) -> None:
    """Members of the group may write the folder. The daemon empties its lock file, and every command opens it."""
    lock, victim = path.with_name(path.name + ".lock"), path.with_name("victim")
    victim.write_text("precious")
    if plant == "a symbolic link":
        lock.symlink_to(victim)
    elif plant == "a hard link":
        lock.hardlink_to(victim)
    elif plant == "a pipe":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(daemon_is_running(path)), daemon=True)
    asking.start()
    asking.join(20)
    assert answers == [False]
    with pytest.raises(StoreError, match=r"satmachine did not make it: rm -r"), only_daemon(path):
        pass
    assert victim.read_text() == "precious"
