"""Tells browsers that the books have changed (server-sent events); they then ask for their page again.

One connection looks every two seconds, for as long as somebody listens, whether anybody has written. So a hundred
viewers cost the books what one does, and nothing that only some may see is ever in what is sent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable

import anyio
from anyio.to_thread import run_sync

from satmachine.store import page_queries

#: How many may listen at once; more are told to come back.
MAX_LISTENERS = 300
#: A browser connects again after this; so a session that has ended does not listen for ever.
LIFE_S = 600
_LOOK_EVERY_S = 2.0
#: A line now and then, so that proxies do not take the connection for dead.
_KEEP_ALIVE_S = 20


class Live:
    """Who listens, and the version of the books that was last seen."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._changed = anyio.Event()
        self._listeners = 0

    @property
    def is_full(self) -> bool:
        return self._listeners >= MAX_LISTENERS

    async def watch(self) -> None:
        """Look for changes until cancelled."""
        conn = await run_sync(self._connect)
        try:
            seen = await run_sync(page_queries.version, conn)
            while True:
                await anyio.sleep(_LOOK_EVERY_S)
                if self._listeners == 0:
                    continue
                now = await run_sync(page_queries.version, conn)
                if now != seen:
                    seen = now
                    before, self._changed = self._changed, anyio.Event()
                    before.set()
        finally:
            conn.close()

    async def events(self) -> AsyncIterator[str]:
        """What one browser is sent: `changed` for each change, for at most LIFE_S."""
        self._listeners += 1
        try:
            yield "retry: 5000\n\n"
            with anyio.move_on_after(LIFE_S):
                while True:
                    changed = self._changed
                    with anyio.move_on_after(_KEEP_ALIVE_S):
                        await changed.wait()
                    yield "event: changed\ndata: 1\n\n" if changed.is_set() else ": still here\n\n"
        finally:
            self._listeners -= 1
