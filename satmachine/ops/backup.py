"""A consistent copy of the books while the daemon writes: verified, and in place whole or not at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from satmachine.errors import StoreError
from satmachine.store import restored, standing
from satmachine.store.database import connect
from satmachine.store.integrity import damage, without_log


@dataclass(frozen=True, slots=True)
class Backup:
    """What was made. `settlements` and `legs` let a person see that it is the right one."""

    path: Path
    size_bytes: int
    settlements: int
    legs: int


def make_backup(database: Path, target: Path) -> Backup:
    """Copy the books as they are at one moment; the daemon is not kept from writing.

    The copy is one file without a write-ahead log, and knows that it is a copy. It is read again and proven before it
    gets its name. Raises StoreError; then there is no new file, and an existing one was not touched.
    """
    if target.exists():
        raise StoreError(f"{target}: there is such a file already, and backups are never overwritten; name another one")
    with _as_store_errors(target), _private_folder(target) as folder:
        partial = _created(folder / target.name)
        with closing(connect(database, read_only=True)) as source, closing(_plain(partial)) as copy:
            # All pages in one step: one snapshot, however much is written meanwhile.
            source.backup(copy, pages=-1)
            without_log(copy)
            # In the copy alone: a daemon that opens it pays nothing before a person has reconciled.
            restored.flag(copy, int(time.time()))
        made = _verified(partial, target)
        _sync(partial)
        # A link fails where somebody made the target meanwhile; a rename would replace it.
        os.link(partial, target)
        _sync(target.parent)
    return made


def _verified(partial: Path, target: Path) -> Backup:
    with closing(connect(partial, read_only=True)) as conn:
        trouble = damage(conn)
        if trouble:
            raise StoreError(f"{target}: the copy is not whole and was thrown away: {trouble}")
        found = standing.look(conn)
    return Backup(target, partial.stat().st_size, sum(found.settlements.values()), sum(found.legs.values()))


def _plain(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


@contextmanager
def _private_folder(target: Path) -> Iterator[Path]:
    """A new folder beside the target that only we may enter: others may write there, and plant links under any name."""
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _created(path: Path) -> Path:
    """A new, empty file of our own and for us alone, whatever the folder and the umask say."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    return path


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
