"""A copy takes the place of the books. What was there is kept, and nothing is paid before a person reconciles.

The copy may be one that `satmachine backup` made, or any other whole file of satmachine's, like what Litestream
restored: here it learns that it is a copy (store/restored.py), so that its daemon waits.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from satmachine.errors import StoreError
from satmachine.store import restored, standing
from satmachine.store.database import connect, only_daemon, prepare
from satmachine.store.integrity import damage, without_log

_BESIDE = ("-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Restored:
    """What stands there now. `kept` is the folder with what was there before; `copied_at` is in Unix seconds."""

    path: Path
    kept: Path | None
    copied_at: int
    settlements: int
    legs: int


def restore(copy: Path, database: Path, now: datetime) -> Restored:
    """Put a copy in the place of the books; the copy itself stays as it is.

    Raises StoreError (DaemonRunning while a daemon works on them, DatabaseNewer), and then nothing was changed.
    """
    if not copy.is_file():
        raise StoreError(f"{copy}: there is no such file")
    if database.exists() and copy.samefile(database):
        raise StoreError(f"{copy}: these are the books themselves; name a copy of them")
    with only_daemon(database):
        folder = Path(tempfile.mkdtemp(prefix=f".{database.name}.", suffix=".partial", dir=database.parent))
        try:
            fresh, copied_at = _readied(copy, folder / database.name)
            with closing(connect(fresh, read_only=True)) as conn:
                found = standing.read(conn)
            _as_owned_here(fresh, database)
            kept = _set_aside(database, now)
            fresh.replace(database)
        except OSError as error:
            raise StoreError(f"{database}: it was not replaced: {error.strerror or error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{copy}: it is no whole copy of the books; SQLite says: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Restored(database, kept, copied_at, sum(found.settlements.values()), sum(found.legs.values()))


def _readied(copy: Path, fresh: Path) -> tuple[Path, int]:
    """A new file with the copy's content: whole, up to date, alone, and knowing that it is a copy."""
    origin = f"{copy.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(origin, uri=True)) as source, closing(sqlite3.connect(fresh)) as target:
        source.backup(target)
    prepare(fresh, may_create=False)  # refuses what is no database of ours, or of a newer program
    with closing(connect(fresh)) as conn:
        if trouble := damage(conn):
            raise StoreError(f"{copy}: this copy is not whole: {trouble}")
        copied_at = restored.copied_at(conn)
        if copied_at is None:
            copied_at = int(copy.stat().st_mtime)
            restored.flag(conn, copied_at)
        without_log(conn)
    descriptor = os.open(fresh, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return fresh, copied_at


def _as_owned_here(fresh: Path, database: Path) -> None:
    """The owner of the books, or of their folder: the service must be able to write them, whoever restores."""
    model = (database if database.exists() else database.parent).stat()
    fresh.chmod(0o660)
    for file in (fresh, database.with_name(f"{database.name}.lock")):
        if os.geteuid() == 0:
            os.chown(file, model.st_uid, model.st_gid, follow_symlinks=False)


def _set_aside(database: Path, now: datetime) -> Path | None:
    """Keep what is there in a folder of its own. No log of the old file may lie beside the new one."""
    if not database.exists():
        for ending in _BESIDE:
            database.with_name(database.name + ending).unlink(missing_ok=True)
        return None
    folder = database.with_name(f"replaced-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}")
    folder.mkdir(mode=0o770)
    for ending in ("", "-wal"):
        file = database.with_name(database.name + ending)
        if file.exists():
            os.link(file, folder / file.name)
    # Where it can still be done, so that what stands here is whole at every moment, also if the power fails now.
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(database)) as conn:
        without_log(conn)
    for ending in _BESIDE:
        database.with_name(database.name + ending).unlink(missing_ok=True)
    return folder
