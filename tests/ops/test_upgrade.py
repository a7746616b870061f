"""Books of an older version: copied before they are migrated, while systemd is asked for patience."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from satmachine.errors import StoreError
from satmachine.ops import upgrade as module
from satmachine.ops.sdnotify import Notifier
from satmachine.ops.upgrade import upgrade_of
from satmachine.store import database
from satmachine.store.database import SCHEMA_VERSION, connect, prepare
from testkit.books import fresh_books
from tests.ops.notify_socket import NotifySocket


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Books that this program takes for those of the version before it."""
    with fresh_books(tmp_path):
        pass
    later = (
        SCHEMA_VERSION + 1,
        "later",
        "CREATE TABLE later (x);\nINSERT INTO later WITH RECURSIVE n(i) AS (SELECT 1 "
        "UNION ALL SELECT i + 1 FROM n WHERE i < 400000) SELECT i FROM n;",
    )
    monkeypatch.setattr(database, "migrations", lambda: [later])
    monkeypatch.setattr(database, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(database, "_STEPS", 1000)
    monkeypatch.setattr(module, "_EVERY_S", 0.0)
    return tmp_path / "satmachine.db"


def notifier(line: NotifySocket) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": str(line.path)})


def version(path: Path) -> int:
    conn = sqlite3.connect(path)
    try:
        return int(conn.execute("PRAGMA user_version").fetchone()[0])
    finally:
        conn.close()


def test_the_books_are_kept_as_they_were_and_systemd_is_asked_for_time(old: Path, tmp_path: Path) -> None:
    line = NotifySocket(tmp_path / "notify")
    try:
        prepare(old, upgrade=upgrade_of(old, notifier(line)))
        told = line.receive()
    finally:
        line.close()
    kept = old.with_name(f"satmachine-before-upgrade-of-version-{SCHEMA_VERSION}.db")
    assert (version(kept), version(old)) == (SCHEMA_VERSION, SCHEMA_VERSION + 1)
    assert told.count("EXTEND_TIMEOUT_USEC=300000000") > 3
    assert f"STATUS=Bringing the books up to date, from version {SCHEMA_VERSION} to" in "\n".join(told)
    connect(old).close()


def test_no_copy_no_migration(old: Path) -> None:
    old.with_name(f"satmachine-before-upgrade-of-version-{SCHEMA_VERSION}.db").symlink_to("nowhere")
    with pytest.raises(StoreError, match="no backup was made"):
        prepare(old, upgrade=upgrade_of(old, Notifier({})))
    assert version(old) == SCHEMA_VERSION


def test_books_of_this_version_are_not_copied(tmp_path: Path) -> None:
    with fresh_books(tmp_path):
        pass
    prepare(tmp_path / "satmachine.db", upgrade=upgrade_of(tmp_path / "satmachine.db", Notifier({})))
    assert not list(tmp_path.glob("*before-upgrade*"))
