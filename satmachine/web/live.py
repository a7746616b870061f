"""Tells browsers that something which they may see has changed (server-sent events); they then load their page anew.

One connection looks every two seconds, for as long as somebody listens, whether anybody has written; if so, it takes
the pulse of each scope that is listened for. So a hundred viewers cost the books what one does, and nobody learns when
something happens that is not theirs.
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

#: How many may listen at once, in all and by person; more are told to come back.
MAX_LISTENERS, MAX_EACH = 300, 20
#: A browser connects again after this; so a session that has ended does not listen for ever.
LIFE_S = 600
_LOOK_EVERY_S = 2.0
#: A line now and then, so that proxies do not take the connection for dead.
_KEEP_ALIVE_S = 20

_CHANGED = "event: changed\ndata: 1\n\n"

#: An operator's id or None, and the LP's person or None.
Scope = tuple[str | None, str | None]


@dataclass
class _Channel:
    """Who may see the same, and the pulse that was last taken."""

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
        """What a page says it was made from, so that what changes before its browser listens is not missed."""
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
