"""Tells browsers that something which they may see has changed (server-sent events); they then load their page anew.

One connection looks every two seconds, for as long as somebody listens, whether anybody has written; if so, it takes
the pulse of each scope that is listened for. So a hundred viewers cost the books what one does, and nobody learns when
something happens that is not theirs.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

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
                unknown = any(channel.pulse is None for channel in self._channels.values())
                if version != seen or unknown:
                    seen = version
                    await self._take_pulses(conn)
        finally:
            conn.close()

    async def _take_pulses(self, conn: sqlite3.Connection) -> None:
        for scope, channel in list(self._channels.items()):
            pulse = await run_sync(pulses.of_scope, conn, *scope)
            before, channel.pulse = channel.pulse, pulse
            if before is not None and pulse != before:
                told, channel.changed = channel.changed, anyio.Event()
                told.set()

    async def events(self, viewer: Viewer) -> AsyncIterator[str]:
        """What one browser is sent: `changed` for each change, for at most LIFE_S."""
        scope: Scope = (viewer.operator, viewer.client)
        channel = self._channels.setdefault(scope, _Channel())
        channel.listeners += 1
        self._people[viewer.person] += 1
        try:
            yield "retry: 5000\n\n"
            with anyio.move_on_after(LIFE_S):
                while True:
                    changed = channel.changed
                    with anyio.move_on_after(_KEEP_ALIVE_S):
                        await changed.wait()
                    yield "event: changed\ndata: 1\n\n" if changed.is_set() else ": still here\n\n"
        finally:
            channel.listeners -= 1
            if not channel.listeners:
                self._channels.pop(scope, None)
            self._people[viewer.person] -= 1
            self._people += Counter()  # without those who have left
