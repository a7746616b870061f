"""A consistent copy of the books while the daemon writes: verified, and in place whole or not at all."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from satmachine.errors import StoreError
from satmachine.ops.host_check import check_integrity
from satmachine.store import standing
from satmachine.store.database import connect


@dataclass(frozen=True, slots=True)
class Backup:
    """What was made. `settlements` and `legs` let a person see that it is the right one."""

    path: Path
    size_bytes: int
    settlements: int
    legs: int


def make_backup(database: Path, target: Path) -> Backup:
    """Copy the books as they are at one moment; the daemon is not kept from writing.

    The copy is one file without a write-ahead log. It is read again and proven before it gets its name. Raises
    StoreError; then there is no new file, and an existing one was not touched.
    """
    if target.exists():
        raise StoreError(f"{target}: there is such a file already, and backups are never overwritten; name another one")
    partial = target.with_name(f".{target.name}.partial")
    with _no_leftover(partial), _as_store_errors(target):
        partial.touch(mode=0o600)
        with closing(connect(database, read_only=True)) as source, closing(_plain(partial)) as copy:
            # All pages in one step: one snapshot, however much is written meanwhile.
            source.backup(copy, pages=-1)
            copy.execute("PRAGMA journal_mode = DELETE")
        made = _verified(partial, target)
        _sync(partial)
        # A link fails where somebody made the target meanwhile; a rename would replace it.
        os.link(partial, target)
        _sync(target.parent)
    return made


def _verified(partial: Path, target: Path) -> Backup:
    with closing(connect(partial, read_only=True)) as conn:
        trouble = check_integrity(conn)
        if trouble:
            raise StoreError(f"{target}: the copy is not whole and was thrown away: {trouble}")
        found = standing.look(conn)
    return Backup(target, partial.stat().st_size, sum(found.settlements.values()), sum(found.legs.values()))


def _plain(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


@contextmanager
def _no_leftover(partial: Path) -> Iterator[None]:
    try:
        yield
    finally:
        for ending in ("", "-wal", "-shm", "-journal"):
            partial.with_name(partial.name + ending).unlink(missing_ok=True)


@contextmanager
def _as_store_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{target}: no backup was made: {error.strerror or error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{target}: no backup was made; SQLite says: {error}") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
