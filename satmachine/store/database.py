"""Opening, migrating and writing the SQLite file (SPEC section 11).

Every statement of SQL lives in this package, in plain functions that take a `sqlite3.Connection`. `atomic()` is the
only way to write: BEGIN IMMEDIATE, then all or nothing. The daemon calls those functions through `Store`, which runs
each one *whole* on aiosqlite's thread: a transaction is one hand-over, and cancelling the caller can never cut it in
half. The CLI calls the same functions directly on `connect()`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import sqlite3
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from satmachine.errors import DaemonRunning, DatabaseBusy, DatabaseNewer, StoreError
from satmachine.failpoints import max_pages

if TYPE_CHECKING:
    import aiosqlite

    from satmachine.seals import Keyring

P = ParamSpec("P")
T = TypeVar("T")

#: "SATM": tells a satmachine database from any other SQLite file.
APPLICATION_ID = 0x5341544D

#: The version that schema.sql describes. What each has changed is a file store/migrations/NNNN_name.sql.
SCHEMA_VERSION = 19

_SCHEMA = "schema.sql"

#: During a migration, `goes_on` is called every so many steps of SQLite's machine: some hundredths of a second.
_STEPS = 1_000_000


class Connection(sqlite3.Connection):
    """A connection to the books. With a keyring, what is planned through it is sealed (seals.py): the daemon's, and
    that of a person who may read the machine's key."""

    keyring: Keyring | None = None


def connect(path: Path, *, busy_timeout_s: int = 30, read_only: bool = False) -> sqlite3.Connection:
    """Open an existing, migrated database. Rows come as `sqlite3.Row`.

    Raises StoreError if the file is missing, unreadable or not a satmachine database, and DatabaseNewer.
    """
    if not path.exists():
        raise StoreError(f"{path}: there is no database yet; `satmachine run` creates it")
    conn = _open(path, busy_timeout_s=busy_timeout_s, read_only=read_only)
    try:
        version = _checked_version(conn, path)
        if version < SCHEMA_VERSION:
            raise StoreError(
                f"{path}: the database has version {version}, this satmachine needs {SCHEMA_VERSION}; "
                "restart the daemon to upgrade it"
            )
    except BaseException:
        conn.close()
        raise
    return conn


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Who is told about a migration: `begins` gets the version that the file has, before anything is changed; `goes_on`
    is called again and again while it lasts. If `begins` raises, the file stays as it is."""

    begins: Callable[[int], None] = lambda _version: None
    goes_on: Callable[[], None] = lambda: None


def prepare(path: Path, *, busy_timeout_s: int = 30, may_create: bool = True, upgrade: Upgrade | None = None) -> None:
    """Create the database or bring it up to date, each migration and its record in one transaction.

    Raises DatabaseNewer for a file of a later version, StoreError for one that cannot be used.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # SQLite itself would let every user of the host read it, and no group write to it, whatever the umask.
        path.touch(mode=0o660)
    conn = _open(path, busy_timeout_s=busy_timeout_s)
    try:
        version = _checked_version(conn, path, allow_empty=may_create)
        pending = list(_pending_migrations(version))
        if upgrade is not None and version and pending:
            upgrade.begins(version)
            conn.set_progress_handler(upgrade.goes_on, _STEPS)
        for number, name, script in pending:
            _apply(conn, number, name, script)
    finally:
        conn.close()


@contextmanager
def atomic(conn: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One write transaction: committed when the block ends, rolled back when it raises.

    Raises DatabaseBusy if another process keeps the write lock, StoreError if the disk refuses.
    """
    with _as_store_errors():
        conn.execute("BEGIN IMMEDIATE")
    try:
        yield conn
        with _as_store_errors():
            conn.execute("COMMIT")
    except BaseException:
        if conn.in_transaction:
            conn.execute("ROLLBACK")
        raise


@contextmanager
def rehearsed(conn: sqlite3.Connection) -> Iterator[None]:
    """A write transaction that is always rolled back at the end: to see what it would do."""
    with _as_store_errors():
        conn.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        conn.execute("ROLLBACK")


@contextmanager
def tried(conn: sqlite3.Connection) -> Iterator[None]:
    """The same within a transaction: what the block writes is rolled back, the rest of the transaction continues."""
    conn.execute("SAVEPOINT tried")
    try:
        yield
    finally:
        conn.execute("ROLLBACK TO tried")
        conn.execute("RELEASE tried")


@contextmanager
def snapshot(conn: sqlite3.Connection) -> Iterator[None]:
    """Everything that the block reads is of one moment."""
    conn.execute("BEGIN")
    try:
        yield
    finally:
        conn.execute("ROLLBACK")


class Store:
    """The daemon's two connections: one that writes, one that reads (each on a thread of its own)."""

    def __init__(
        self, path: Path, writer: aiosqlite.Connection, reader: aiosqlite.Connection, keyring: Keyring
    ) -> None:
        self.path = path
        #: What is planned through this store is sealed with it.
        self.keyring = keyring
        self._writer = writer
        self._reader = reader
        #: How many transactions have ended, with or without success: the watchdog's sign of life.
        self.writes_ended = 0

    async def write(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(connection, ...)` as one transaction; when this returns, its work is on the disk.

        Raises what `atomic` raises and what `fn` raises; then nothing was written.
        """

        def transaction(conn: sqlite3.Connection) -> T:
            with atomic(conn), _as_store_errors():
                return fn(conn, *args, **kwargs)

        try:
            return await _run(self._writer, transaction)
        finally:
            self.writes_ended += 1

    async def read(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(connection, ...)` on one consistent snapshot."""

        def at_one_moment(conn: sqlite3.Connection) -> T:
            with _as_store_errors(), snapshot(conn):
                return fn(conn, *args, **kwargs)

        return await _run(self._reader, at_one_moment)


@asynccontextmanager
async def open_store(
    path: Path, *, busy_timeout_s: int = 30, keyring: Keyring | None = None, upgrade: Upgrade | None = None
) -> AsyncIterator[Store]:
    """Create or upgrade the database, then hold it open until the block ends. `keyring`: what it seals with."""
    import aiosqlite

    from satmachine.seals import Keyring

    ring = Keyring() if keyring is None else keyring
    prepare(path, busy_timeout_s=busy_timeout_s, upgrade=upgrade)

    def opened(*, read_only: bool) -> sqlite3.Connection:
        conn = _open(path, busy_timeout_s=busy_timeout_s, read_only=read_only)
        conn.keyring = ring
        return conn

    async with (
        aiosqlite.Connection(lambda: opened(read_only=False), 64) as writer,
        aiosqlite.Connection(lambda: opened(read_only=True), 64) as reader,
    ):
        yield Store(path, writer, reader, ring)


@contextmanager
def only_daemon(path: Path) -> Iterator[None]:
    """Hold the lock that keeps a second payer off this database. Raises DaemonRunning if it is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _lock_file(path, os.O_RDWR | os.O_CREAT) as handle:
        if handle is None:
            lock = _lock_of(path)
            raise StoreError(
                f"{lock}: this is not a plain file, or has two names, so satmachine did not make it: rm -r "
                f"{shlex.quote(str(lock))}"
            )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DaemonRunning(
                f"{path}: another satmachine daemon{_owner(handle)} works on this database. Two would pay twice; "
                "stop that one first, or give this one a database of its own"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield


def daemon_is_running(path: Path) -> bool:
    """Whether a daemon holds this database's lock right now."""
    with _lock_file(path, os.O_RDONLY) as handle:
        if handle is None:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def daemon_pid(path: Path) -> int | None:
    """The process that holds this database's lock right now; None without one."""
    if not daemon_is_running(path):
        return None
    with _lock_file(path, os.O_RDONLY) as handle:
        text = "" if handle is None else os.pread(handle, 20, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() else None


def instance_id(conn: sqlite3.Connection) -> str:
    """This database's own random name; every payment carries it, so that another payer is noticed."""
    row = conn.execute("SELECT value FROM daemon_state WHERE key = 'instance_id'").fetchone()
    return str(row["value"])


async def _run(connection: aiosqlite.Connection, fn: Callable[[sqlite3.Connection], T]) -> T:
    """Run a whole function on the connection's thread, to its end even if the caller is cancelled.

    aiosqlite has no public call for this; all its public calls use its `_execute`.
    """
    import anyio

    with anyio.CancelScope(shield=True):
        result: T = await connection._execute(fn, connection._conn)  # type: ignore[no-untyped-call]
    return result


def _open(path: Path, *, busy_timeout_s: int, read_only: bool = False) -> Connection:
    with _as_store_errors(path):
        target = f"{path.absolute().as_uri()}?mode=ro" if read_only else str(path)
        conn = sqlite3.connect(
            target,
            timeout=busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            uri=read_only,
            factory=Connection,
        )
        conn.row_factory = sqlite3.Row
        conn.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            if conn.execute("PRAGMA page_count").fetchone()[0] == 0:
                # Must be set before the first table: old telemetry's pages are given back to the disk.
                conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
            conn.execute("PRAGMA journal_mode = WAL")
            # FULL: a committed intent to pay survives a power cut.
            conn.execute("PRAGMA synchronous = FULL")
            if (pages := max_pages()) is not None:
                conn.execute(f"PRAGMA max_page_count = {pages}")
    return conn


def _checked_version(conn: sqlite3.Connection, path: Path, *, allow_empty: bool = False) -> int:
    with _as_store_errors(path):
        application_id = conn.execute("PRAGMA application_id").fetchone()[0]
        empty = conn.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if empty and allow_empty:
        return 0
    if application_id != APPLICATION_ID:
        raise StoreError(f"{path}: this is not a satmachine database; name another file under [database] path")
    with _as_store_errors(path):
        version = int(conn.execute("SELECT max(version) FROM schema_migrations").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise DatabaseNewer(
            f"{path}: written by a newer satmachine (database version {version}, this program knows "
            f"{SCHEMA_VERSION}). Nothing was changed; install the newer program again"
        )
    return version


def _pending_migrations(version: int) -> Iterator[tuple[int, str, str]]:
    if version == 0:
        yield SCHEMA_VERSION, "schema", schema_text()
        return
    for number, name, script in migrations():
        if number > version:
            yield number, name, script


def migrations() -> list[tuple[int, str, str]]:
    """Every numbered migration that ships: (version, name, SQL), in order."""
    from importlib import resources

    folder = resources.files("satmachine.store") / "migrations"
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name[5:].removesuffix(".sql"), (folder / name).read_text("utf-8")) for name in found]


def _apply(conn: sqlite3.Connection, number: int, name: str, script: str) -> None:
    with atomic(conn), _as_store_errors():
        if _has_been_applied(conn, number):  # by another process, since it was checked
            return
        for statement in _statements(script):
            conn.execute(statement)
        conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        conn.execute(f"PRAGMA user_version = {number}")
        now = int(time.time())
        conn.execute("INSERT INTO schema_migrations VALUES (?, ?, ?)", (number, name, now))
        conn.execute(
            "INSERT INTO daemon_state VALUES ('instance_id', ?) ON CONFLICT DO NOTHING", (os.urandom(8).hex(),)
        )


def _has_been_applied(conn: sqlite3.Connection, number: int) -> bool:
    if conn.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        return False
    return conn.execute("SELECT 1 FROM schema_migrations WHERE version = ?", (number,)).fetchone() is not None


def _statements(script: str) -> Iterator[str]:
    """Split SQL text into statements (`executescript` would commit by itself)."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip() and not all(line.startswith("--") for line in pending.split("\n") if line.strip()):
        raise StoreError(f"unfinished SQL statement: {pending.strip()[:80]}")


def schema_text() -> str:
    """schema.sql, as it ships."""
    from importlib import resources

    shipped = resources.files("satmachine") / _SCHEMA
    if shipped.is_file():
        return shipped.read_text("utf-8")
    return (Path(__file__).parents[2] / _SCHEMA).read_text("utf-8")


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


@contextmanager
def _lock_file(path: Path, flags: int) -> Iterator[int | None]:
    """The lock file, open; None if there is none, or something else in its place. Others may be able to write the
    folder: with a link another file would be emptied, a pipe would make us wait."""
    try:
        handle = os.open(_lock_of(path), flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        yield None
        return
    try:
        found = os.fstat(handle)
        yield handle if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else None
    finally:
        os.close(handle)


def _owner(handle: int) -> str:
    pid = os.pread(handle, 20, 0).decode(errors="replace").strip()
    return f" (process {pid})" if pid.isdigit() else ""


@contextmanager
def _as_store_errors(path: Path | None = None) -> Iterator[None]:
    """Say what SQLite's operational errors mean. Integrity errors pass through: they are bugs, or the caller expects
    them."""
    where = f"{path}: " if path else ""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise DatabaseBusy(f"{where}the database is locked by another program; it is tried again") from error
        raise StoreError(f"{where}SQLite says: {error}") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise
        raise StoreError(f"{where}SQLite says: {error}") from error
