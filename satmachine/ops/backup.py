"""A consistent copy of the books while the daemon writes: verified, and in place whole or not at all.

`place` decides what a copy is called, `make_backup` makes it, `thin_out` removes old ones, and `keep_before_upgrade` is
the copy that the daemon makes of its own before a migration, so that there is a way back.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from satmachine.errors import StoreError
from satmachine.store import restored, standing
from satmachine.store.database import connect
from satmachine.store.integrity import damage, without_log

_STAMP = "%Y%m%dT%H%M%SZ"
_DATABASE_ENDINGS = {".db", ".sqlite", ".sqlite3"}
_EACH_DAYS = 2
_DAILY_DAYS = 90


@dataclass(frozen=True, slots=True)
class Backup:
    """What was made. `settlements` and `legs` let a person see that it is the right one."""

    path: Path
    size_bytes: int
    settlements: int
    legs: int


def place(target: Path, now: datetime, *, as_folder: bool = False) -> Path:
    """The file to make. A name that ends like a database (`.db`, `.sqlite`) is the file's; everything else is a folder,
    made where it is missing, and the file in it is named by the time. `as_folder`: a slash stood at the end.

    Raises StoreError where a folder cannot be made, or a file has its name.
    """
    if not target.is_dir():
        if target.suffix in _DATABASE_ENDINGS and not as_folder:
            return target
        if target.exists():
            raise StoreError(f"{target}: there is a file of that name; name a folder, or a new file that ends in .db")
        try:
            target.mkdir(mode=0o770, parents=True)
        except OSError as error:
            raise StoreError(f"{target}: the folder cannot be made: {error.strerror}; no backup was made") from error
    return target / f"satmachine-{now.astimezone(UTC):{_STAMP}}.db"


def thin_out(folder: Path, now: datetime) -> list[Path]:
    """Remove old copies from a folder, and return them: kept are all of the last two days, the last one of each day for
    90 days, and the last one of each month for ever. Only files named as `place` names them are looked at."""
    copies = {path: made for path in folder.iterdir() if (made := _made_at(path)) is not None}
    kept: dict[str, Path] = {}
    for path, made in sorted(copies.items(), key=lambda item: item[1]):
        age_days = (now - made).total_seconds() / 86_400
        if age_days > _EACH_DAYS:
            kept[f"{made:%Y-%m-%d}" if age_days <= _DAILY_DAYS else f"{made:%Y-%m}"] = path
        else:
            kept[path.name] = path
    superfluous = sorted(copies.keys() - set(kept.values()))
    for path in superfluous:
        path.unlink(missing_ok=True)
    return superfluous


def _made_at(path: Path) -> datetime | None:
    """When a copy was made, by its name; None for any other file."""
    try:
        made = datetime.strptime(path.name, f"satmachine-{_STAMP}.db").replace(tzinfo=UTC)
    except ValueError:
        return None
    return made if path.is_file() and not path.is_symlink() else None


def keep_before_upgrade(database: Path, version: int, progress: Callable[[], None]) -> Path | None:
    """Copy books of an older version beside themselves before they are migrated; None where that was done before.

    `progress` is called again and again while it lasts. Raises StoreError; then nothing is to be migrated.
    """
    target = database.with_name(f"{database.stem}-before-upgrade-of-version-{version}.db")
    if target.exists():
        return None
    with _as_store_errors(target), _private_folder(target) as folder:
        partial = _created(folder / target.name)
        with closing(_plain(database)) as source, closing(_plain(partial)) as copy:
            source.backup(copy, pages=2_000, progress=lambda *_: progress())
            without_log(copy)
            restored.flag(copy, int(time.time()))
        _sync(partial)
        os.link(partial, target)
        _sync(target.parent)
    return target


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
        found = standing.read(conn)
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
