"""Read-only connections to the books, which threads borrow: there are never more than threads at work."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Pool:
    """Connections that are opened when one is missing, and kept for the next. `connect` must give such as may go from
    thread to thread, one at a time."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own for a while. Raises what `connect` raises; after an error it is not used again."""
        with self._lock:
            conn = self._idle.pop() if self._idle else None
        if conn is None:
            conn = self._connect()
        try:
            yield conn
        except sqlite3.Error:
            conn.close()
            raise
        except BaseException:
            self._give_back(conn)
            raise
        self._give_back(conn)

    def close(self) -> None:
        """Close those that nobody uses."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _give_back(self, conn: sqlite3.Connection) -> None:
        with self._lock:
            self._idle.append(conn)
