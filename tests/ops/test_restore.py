"""A copy in the place of the books: proven first, the old ones kept, and nothing is paid before a person reconciles."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from satmachine.cli.main import app
from satmachine.errors import DaemonRunning, DatabaseNewer, StoreError
from satmachine.ops.backup import make_backup
from satmachine.ops.restore import restore
from satmachine.store import restored
from satmachine.store.database import connect, only_daemon
from testkit.books import fresh_books
from tests.ops.test_backup import land

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """Books with two sales, and `copy.db` from when there was one."""
    with fresh_books(tmp_path) as conn:
        land(conn, 1)
        make_backup(tmp_path / "satmachine.db", tmp_path / "copy.db")
        land(conn, 2)
    return tmp_path / "satmachine.db"


def sales(path: Path) -> int:
    conn = connect(path, read_only=True)
    try:
        return int(conn.execute("SELECT count(*) FROM dca_settlements").fetchone()[0])
    finally:
        conn.close()


def test_the_copy_takes_the_place_and_the_old_books_are_kept(books: Path) -> None:
    copied = books.with_name("copy.db").read_bytes()
    done = restore(books.with_name("copy.db"), books, NOW)
    assert (sales(books), done.settlements) == (1, 1)
    assert done.kept == books.with_name("replaced-20261122T100000Z")
    assert sales(done.kept / books.name) == 2
    assert books.stat().st_mode & 0o777 == 0o660
    assert books.with_name("copy.db").read_bytes() == copied
    assert not list(books.parent.glob("*.partial"))


def test_no_log_of_the_old_books_lies_beside_the_new_ones(books: Path) -> None:
    """SQLite would write it into them. Here the old books died with a log, and cannot be read any more."""
    for ending in ("-wal", "-shm"):
        books.with_name(books.name + ending).write_bytes(b"of the old ones")
    books.write_bytes(b"no database at all" * 1000)
    done = restore(books.with_name("copy.db"), books, NOW)
    assert sales(books) == 1
    assert done.kept is not None
    assert (done.kept / "satmachine.db-wal").read_bytes() == b"of the old ones"
    assert (done.kept / "satmachine.db").read_bytes().startswith(b"no database")


def test_it_knows_that_it_is_a_copy_whoever_made_it(books: Path) -> None:
    copy = books.with_name("litestreams.db")
    conn = sqlite3.connect(books.with_name("copy.db"))
    conn.execute("DELETE FROM daemon_state WHERE key = 'copied_at'")
    conn.commit()
    conn.execute("VACUUM INTO ?", (str(copy),))
    conn.close()
    os.utime(copy, (1_700_000_000, 1_700_000_000))
    assert restore(copy, books, NOW).copied_at == 1_700_000_000
    conn = connect(books)
    assert restored.copied_at(conn) == 1_700_000_000
    conn.close()


def test_on_a_new_host_there_is_nothing_to_keep(books: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    done = restore(books.with_name("copy.db"), new / "satmachine.db", NOW)
    assert done.kept is None
    assert sales(new / "satmachine.db") == 1


def nothing(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def another(path: Path) -> None:
    path.unlink()
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE mine (x)")
    conn.commit()
    conn.close()


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


def newer(path: Path) -> None:
    conn = sqlite3.connect(path)
    conn.execute("INSERT INTO schema_migrations VALUES (9999, 'later', 0)")
    conn.commit()
    conn.close()


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (nothing, StoreError, "there is no such file"),
        (empty, StoreError, "not a satmachine database"),
        (another, StoreError, "not a satmachine database"),
        (torn, StoreError, "no whole copy|malformed|damaged"),
        (newer, DatabaseNewer, "written by a newer"),
    ],
)
def test_what_is_no_good_copy_changes_nothing(
    books: Path, spoil: Callable[[Path], None], error: type[Exception], words: str
) -> None:
    spoil(books.with_name("copy.db"))
    with pytest.raises(error, match=words):
        restore(books.with_name("copy.db"), books, NOW)
    assert sales(books) == 2
    assert not [path for path in books.parent.iterdir() if "replaced" in path.name or "partial" in path.name]


def test_not_while_a_daemon_works_on_them(books: Path) -> None:
    with only_daemon(books), pytest.raises(DaemonRunning, match="another satmachine daemon"):
        restore(books.with_name("copy.db"), books, NOW)


def test_not_from_itself(books: Path) -> None:
    with pytest.raises(StoreError, match="the books themselves"):
        restore(books, books, NOW)


def test_the_command_asks_and_says_what_comes_next(books: Path) -> None:
    config = books.with_name("config.toml")
    config.write_text('[database]\npath = "satmachine.db"\n')
    words = ["--config", str(config), "restore", str(books.with_name("copy.db"))]
    refused = CliRunner().invoke(app, words, input="n\n")
    assert refused.exit_code == 1
    assert sales(books) == 2
    done = CliRunner().invoke(app, words, input="y\n")
    assert done.exit_code == 0, done.output
    assert "machines reconcile --all" in done.output
    assert sales(books) == 1
