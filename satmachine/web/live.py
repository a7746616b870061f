"""Tells browsers that something which they may see has changed (server-sent events); they then load their page again.

As long as somebody listens, one connection checks every two seconds whether anything was written; if so, it takes the
pulse of each scope for which somebody listens. So a hundred viewers cost the books as much as one, and nobody learns
that something happened which they may not see.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256

import anyio
from anyio.to_thread import run_sync

from satmachine.store import pulse as pulses
from satmachine.web.access import Viewer

#: How many may listen at the same time, in all and for each person; others are told to come back.
MAX_LISTENERS, MAX_EACH = 300, 20
#: After this a browser connects again, so a session that has ended does not listen for ever.
LIFE_S = 600
_LOOK_EVERY_S = 2.0
#: A line from time to time, so that proxies do not treat the connection as dead.
_KEEP_ALIVE_S = 20

_CHANGED = "event: changed\ndata: 1\n\n"

#: An operator's id or None, and the LP's person or None.
Scope = tuple[str | None, str | None]


@dataclass
class _Channel:
    """Viewers who may see the same, and the pulse that was last taken."""

    pulse: tuple[object, ...] | None = None
    listeners: int = 0
    changed: anyio.Event = field(default_factory=anyio.Event)


class Live:
    """Who listens, and what was last seen."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._channels: dict[Scope, _Channel] = {}
        self._people: Counter[str] = Counter()

    def admits(self, viewer: Viewer) -> bool:
        """Whether there is room for one more."""
        return self._people.total() < MAX_LISTENERS and self._people[viewer.person] < MAX_EACH

    async def watch(self) -> None:
        """Look for changes until cancelled."""
        conn = await run_sync(self._connect)
        try:
            seen = None
            while True:
                await anyio.sleep(_LOOK_EVERY_S)
                if not self._channels:
                    continue
                version = await run_sync(pulses.version, conn)
                if version != seen:
                    seen = version
                    await self._take_pulses(conn)
        finally:
            conn.close()

    def _pulse(self, scope: Scope) -> tuple[object, ...]:
        with closing(self._connect()) as conn:
            return pulses.of_scope(conn, *scope)

    async def _take_pulses(self, conn: sqlite3.Connection) -> None:
        for scope, channel in list(self._channels.items()):
            pulse = await run_sync(pulses.of_scope, conn, *scope)
            before, channel.pulse = channel.pulse, pulse
            if before is not None and pulse != before:
                told, channel.changed = channel.changed, anyio.Event()
                told.set()

    def seen_by(self, conn: sqlite3.Connection, viewer: Viewer) -> str:
        """The state from which a page was made, so that changes before its browser listens are not missed."""
        return _digest(pulses.of_scope(conn, viewer.operator, viewer.client))

    async def events(self, viewer: Viewer, seen: str) -> AsyncIterator[str]:
        """What one browser is sent: `changed` for each change since its page was made, for at most LIFE_S."""
        scope: Scope = (viewer.operator, viewer.client)
        channel = self._channels.setdefault(scope, _Channel())
        channel.listeners += 1
        self._people[viewer.person] += 1
        try:
            yield "retry: 5000\n\n"
            if channel.pulse is None:
                channel.pulse = await run_sync(self._pulse, scope)
            if seen and seen != _digest(channel.pulse):
                yield _CHANGED
            with anyio.move_on_after(LIFE_S):
                while True:
                    changed = channel.changed
                    with anyio.move_on_after(_KEEP_ALIVE_S):
                        await changed.wait()
                    yield _CHANGED if changed.is_set() else ": still here\n\n"
        finally:
            channel.listeners -= 1
            if not channel.listeners:
                self._channels.pop(scope, None)
            self._people[viewer.person] -= 1
            self._people += Counter()  # without those who have left


def _digest(pulse: tuple[object, ...]) -> str:
    return sha256(repr(pulse).encode()).hexdigest()[:16]
