"""What lets people onto the pages: one-time links, sessions and tokens, in a database of their own (SPEC section 14).

Only the SHA-256 of a secret is stored: whoever reads this file cannot sign in anywhere. It is separate from the books
because the pages may write here, but not there. All times are Unix seconds.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from satmachine.errors import StoreError
from satmachine.store import as_models as rows

_APPLICATION_ID = 0x736D7762
_VERSION = 1
#: What is over is kept for a while, so that `web list` can show it.
_KEEP_S = 30 * 86_400

_SCHEMA = """
CREATE TABLE IF NOT EXISTS passes (
    id           INTEGER PRIMARY KEY,
    kind         TEXT    NOT NULL CHECK (kind IN ('link', 'session', 'token')),
    person       TEXT    NOT NULL,
    secret_hash  TEXT    NOT NULL UNIQUE CHECK (length(secret_hash) = 64),
    note         TEXT    NOT NULL DEFAULT '',
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    used_at      INTEGER,
    revoked_at   INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS passes_person ON passes (person, kind);
CREATE INDEX IF NOT EXISTS passes_over ON passes (expires_at);
CREATE TABLE IF NOT EXISTS signatures (
    event_id     TEXT    PRIMARY KEY CHECK (length(event_id) = 64),
    expires_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


class PassKind(StrEnum):
    """A link signs in once; a session is what a browser holds; a token is what a program holds."""

    LINK = "link"
    SESSION = "session"
    TOKEN = "token"  # noqa: S105 - a word


@dataclass(frozen=True, slots=True)
class Pass:
    """One of them, without its secret. `used_at`: for a link when it was used up, for the others when it was last
    used."""

    id: int
    kind: PassKind
    person: str
    note: str
    created_at: int
    expires_at: int
    used_at: int | None
    revoked_at: int | None


@contextmanager
def open_passes(path: Path) -> Iterator[sqlite3.Connection]:
    """Open (or make) the database of links and sessions. Raises StoreError if that cannot be done."""
    conn = connect(path)
    try:
        yield conn
    finally:
        conn.close()


def connect(path: Path) -> sqlite3.Connection:
    """A connection that may be used by different threads, one at a time. Raises StoreError."""
    try:
        if not path.exists():
            # Never readable by others, not even for a moment.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660))
        conn = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path}: the links and sessions of the pages cannot be kept there: {error}") from error
    try:
        _prepare(conn, path)
    except BaseException:
        conn.close()
        raise
    return conn


def _prepare(conn: sqlite3.Connection, path: Path) -> None:
    conn.row_factory = sqlite3.Row
    try:
        application = conn.execute("PRAGMA application_id").fetchone()[0]
        if application not in (0, _APPLICATION_ID):
            raise StoreError(f"{path}: this is the database of something else; name another file in [web] database")
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = FULL")
        with _at_once(conn):
            for statement in filter(str.strip, _SCHEMA.split(";")):
                conn.execute(statement)
            conn.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            conn.execute(f"PRAGMA user_version = {_VERSION}")
    except sqlite3.Error as error:
        raise StoreError(f"{path}: SQLite says: {error}") from error


def add(
    conn: sqlite3.Connection, kind: PassKind, person: str, secret_hash: str, *, now: int, lives_s: int, note: str = ""
) -> int:
    """Store a new one; returns its id. What was over long ago is deleted at the same time."""
    with _at_once(conn):
        conn.execute("DELETE FROM passes WHERE expires_at < ?", (now - _KEEP_S,))
        conn.execute("DELETE FROM signatures WHERE expires_at < ?", (now,))
        cursor = conn.execute(
            "INSERT INTO passes (kind, person, secret_hash, note, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
            (kind, person, secret_hash, note, now, now + lives_s),
        )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def find(conn: sqlite3.Connection, kind: PassKind, secret_hash: str, now: int) -> Pass | None:
    """The pass with this secret, if it is still valid; a link only until it was used."""
    row = conn.execute(
        """
        SELECT * FROM passes
        WHERE secret_hash = ? AND kind = ? AND expires_at > ? AND revoked_at IS NULL
          AND (kind <> 'link' OR used_at IS NULL)
        """,
        (secret_hash, kind, now),
    ).fetchone()
    return None if row is None else rows.load(Pass, row)


def use_link(conn: sqlite3.Connection, secret_hash: str, now: int) -> str | None:
    """Use up a link; returns whom it signs in, or None if it is no longer valid. Of two at the same time, one gets
    in."""
    with _at_once(conn):
        found = find(conn, PassKind.LINK, secret_hash, now)
        if found is None:
            return None
        conn.execute("UPDATE passes SET used_at = ? WHERE id = ?", (now, found.id))
        return found.person


def seen(conn: sqlite3.Connection, pass_id: int, now: int) -> None:
    """Note that a session or token was used, at most once a minute."""
    conn.execute(
        "UPDATE passes SET used_at = ?1 WHERE id = ?2 AND (used_at IS NULL OR used_at < ?1 - 60)", (now, pass_id)
    )


def first_use(conn: sqlite3.Connection, event_id: str, expires_at: int) -> bool:
    """Remember a signed sign-in; False if the same was used before."""
    statement = "INSERT INTO signatures VALUES (?, ?) ON CONFLICT DO NOTHING"
    return conn.execute(statement, (event_id, expires_at)).rowcount == 1


def revoke(conn: sqlite3.Connection, now: int, *, pass_id: int | None = None, person: str | None = None) -> int:
    """End one pass, or all of a person; returns how many were valid until now."""
    return conn.execute(
        """UPDATE passes SET revoked_at = ?1 WHERE revoked_at IS NULL AND expires_at > ?1 AND (id = ?2 OR person = ?3)
        AND NOT (kind = 'link' AND used_at IS NOT NULL)""",
        (now, pass_id, person),
    ).rowcount


def listed(conn: sqlite3.Connection, now: int, *, over: bool = False) -> list[Pass]:
    """Those that are valid, newest first; with `over` also those that no longer are."""
    found = conn.execute(
        """
        SELECT * FROM passes
        WHERE ?2 OR (expires_at > ?1 AND revoked_at IS NULL AND NOT (kind = 'link' AND used_at IS NOT NULL))
        ORDER BY id DESC
        """,
        (now, over),
    )
    return [rows.load(Pass, row) for row in found]


@contextmanager
def _at_once(conn: sqlite3.Connection) -> Iterator[None]:
    conn.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        conn.execute("ROLLBACK")
        raise
    conn.execute("COMMIT")
