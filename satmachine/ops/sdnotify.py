"""Messages to systemd (sd_notify(3)): datagrams to $NOTIFY_SOCKET, and a watchdog that is fed only by real progress.

Without systemd nothing is sent, and nothing else is different.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Mapping

import anyio

from satmachine.errors import StoreError
from satmachine.store.database import Store

log = logging.getLogger(__name__)

#: How often progress is checked if no watchdog asks for it.
PERIOD_S = 15.0
#: The watchdog is fed this many times in an interval, so that one late turn raises no alarm.
FEEDS_PER_INTERVAL = 4


class Notifier:
    """The daemon's connection to systemd. `environ` is what systemd has set for this process."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        #: A leading @ stands for a zero byte: the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._status = ""
        self.watchdog_s = _watchdog_s(environ)

    def ready(self) -> None:
        """The daemon works; also ends a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The daemon was told to stop."""
        self._send("STOPPING=1")

    def extend(self, timeout_s: float) -> None:
        """What must be done before READY continues: systemd waits for it this much longer (TimeoutStartSec)."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(timeout_s * 1e6)}")

    def status(self, sentence: str) -> None:
        """The state, for `systemctl status`; the same text is not sent again."""
        if sentence != self._status:
            self._status = sentence
            self._send(f"STATUS={' '.join(sentence.split())}")

    def feed_watchdog(self) -> None:
        """Everything works: restart the interval after which systemd kills this process."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)
                line.sendto(text.encode(), self._address)
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", text.partition("\n")[0], error)


class Pulse:
    """Checks whether the daemon makes progress: the event loop turns, and the database answers on both connections.

    `on_beat` is called while it does. A database that answers "busy" or "disk full" is alive: a restart would not
    help, and the problem is reported elsewhere. One that does not answer at all, or a loop that hangs, ends the beats.
    """

    def __init__(self, store: Store, period_s: float, on_beat: Callable[[], None]) -> None:
        self._store = store
        self._period_s = period_s
        self._on_beat = on_beat
        self._reads = 0

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._knock_at_reader)
            tasks.start_soon(self._knock_at_writer)
            seen = (0, -1)
            while True:
                await anyio.sleep(self._period_s)
                found = (self._reads, self._store.writes_ended)
                if found[0] != seen[0] and found[1] != seen[1]:
                    seen = found
                    self._on_beat()

    async def _knock_at_reader(self) -> None:
        while True:
            try:
                await self._store.read(_nothing)
            except StoreError as error:
                log.warning("the database cannot be read: %s", error)
            self._reads += 1
            await anyio.sleep(self._period_s / 2)

    async def _knock_at_writer(self) -> None:
        """A transaction that changes nothing; if others also wait for the writer, their turns count too."""
        while True:
            try:
                await self._store.write(_nothing)
            except StoreError as error:
                log.warning("the database cannot be written: %s", error)
            await anyio.sleep(self._period_s / 2)


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """The interval that systemd has set for this very process; None without a watchdog."""
    interval, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not interval.isdigit() or int(interval) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(interval) / 1e6


def _nothing(conn: sqlite3.Connection) -> None:
    """An empty transaction still needs the connection, its thread and the lock."""
