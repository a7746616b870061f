"""Whether a database file is undamaged, and what makes a copy of it a single file. Says nothing about the books in
it."""

from __future__ import annotations

import sqlite3


def damage(conn: sqlite3.Connection) -> str:
    """What SQLite finds wrong with its file, or nothing. Reads all of it."""
    try:
        found = [str(row[0]) for row in conn.execute("PRAGMA integrity_check(5)")]
        orphans = conn.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.DatabaseError as error:
        return f"SQLite says: {error}"
    if found != ["ok"]:
        return f"the file is damaged: {'; '.join(found)}"
    return "" if orphans is None else f"a row of {orphans[0]} refers to nothing"


def without_log(conn: sqlite3.Connection) -> None:
    """From now on there is no write-ahead log beside this file: it can be moved as it is."""
    conn.execute("PRAGMA journal_mode = DELETE")
