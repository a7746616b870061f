"""The books in memory, behind the same two calls as `satmachine.store.database.Store`.

A transaction runs inline on one connection, so that nothing comes between its statements, as in life nothing does.
What can come is a crash: before the commit (nothing was written) or after it (all of it was, and nobody was told).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Concatenate, ParamSpec, TypeVar

from satmachine.errors import DatabaseBusy
from satmachine.seals import Keyring
from satmachine.store import database
from satmachine.store.database import Connection, Store, atomic

P = ParamSpec("P")
T = TypeVar("T")


class Killed(BaseException):
    """The daemon's process is gone: whatever of it still runs does nothing more."""


class Books:
    """One database: what a daemon, the command line and a backup see. Survives daemons."""

    def __init__(self, image: bytes | None, instance: str) -> None:
        """`image` None: a new one. `instance` replaces the random name in it unless it is a copy."""
        self.conn = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=Connection)
        self.conn.row_factory = sqlite3.Row
        self.conn.deserialize(_template() if image is None else image)
        self.conn.execute("PRAGMA foreign_keys = ON")
        self.conn.execute("PRAGMA temp_store = MEMORY")
        if image is None:
            self.conn.execute("UPDATE daemon_state SET value = ? WHERE key = 'instance_id'", (instance,))

    def image(self) -> bytes:
        """A consistent copy, as `satmachine backup` makes it."""
        return self.conn.serialize()

    def close(self) -> None:
        self.conn.close()


@cache
def _template() -> bytes:
    """An empty database, made once by the real migrations."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.row_factory = sqlite3.Row
    for number, name, script in database._pending_migrations(0):
        database._apply(conn, number, name, script)
    image = conn.serialize()
    conn.close()
    return image


class SimStore(Store):
    """A daemon's hold on its books. `crash(place)` may kill; `busy_until` makes every write fail until then."""

    def __init__(self, books: Books, rng: Random, crash: Callable[[str], None]) -> None:
        self.path = Path("/books.db")
        self.keyring = Keyring()
        books.conn.keyring = self.keyring
        self.writes_ended = 0
        self.books = books
        self.rng = rng
        self.crash = crash
        self.dead = False
        self.busy_until_s = 0.0
        self.after_write: Callable[[], None] = lambda: None
        self.pause: Callable[[], Awaitable[None]] = _no_pause

    def keep_busy(self, for_s: float) -> None:
        """Another program holds the write lock for so long."""
        self.busy_until_s = asyncio.get_running_loop().time() + for_s

    async def write(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As Store.write."""
        await self._turn()
        if asyncio.get_running_loop().time() < self.busy_until_s:
            await asyncio.sleep(3)
            self._require_alive()
            raise DatabaseBusy("the database is locked by another program; it is tried again")
        try:
            with atomic(self.books.conn) as conn, database._as_store_errors():
                result = fn(conn, *args, **kwargs)
                self.crash("write.before")
        finally:
            self.writes_ended += 1
        self.after_write()
        self.crash("write.after")
        return result

    async def read(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As Store.read."""
        await self._turn()
        # Nothing can come between two statements here: that is a snapshot already.
        with database._as_store_errors():
            return fn(self.books.conn, *args, **kwargs)

    async def _turn(self) -> None:
        """In life another thread does it: whoever is ready may come first."""
        self._require_alive()
        chance = self.rng.random()
        if chance < 0.6:
            await asyncio.sleep(0 if chance < 0.4 else self.rng.random() * 0.01)
        await self.pause()
        self._require_alive()

    def _require_alive(self) -> None:
        if self.dead:
            raise Killed


async def _no_pause() -> None:
    """The daemon is awake."""
