"""What the running daemon reports about itself: READY and STATUS to systemd, the watchdog, a heartbeat, metrics.

Each `async` method is a task of the daemon's; none of them touches money, and none of them ends by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread
import httpx

from satmachine.attention.items import Attention, headline
from satmachine.config import Config
from satmachine.errors import StoreError
from satmachine.nostr.health import RelayHealth, RelayState
from satmachine.ops.metrics import Exposition
from satmachine.ops.sdnotify import FEEDS_PER_INTERVAL, PERIOD_S, Notifier, Pulse
from satmachine.store import standing
from satmachine.store.database import Store, connect
from satmachine.wallet.transport import PLAIN

log = logging.getLogger(__name__)

#: READY is sent after this time even if no relay could be reached: wallets are searched and sales paid without one.
READY_WITHIN_S = 60.0
STATUS_EVERY_S = 5.0
METRICS_EVERY_S = 15.0
_HEARTBEAT_TIMEOUT_S = 10.0
#: After this time without a beat of the pulse, the heartbeat is no longer sent.
_STALE_AFTER_S = 120.0


class Watch:
    """`relays` shows the relays' health, `latency_s` how long LNbits took for its last answer, `attention` what
    needs a person."""

    def __init__(
        self,
        store: Store,
        config: Callable[[], Config],
        now: Callable[[], int],
        relays: Callable[[], Sequence[RelayHealth]],
        latency_s: Callable[[], float | None],
        attention: Callable[[], Attention],
    ) -> None:
        self._store = store
        self._config = config
        self._now = now
        self._relays = relays
        self._latency_s = latency_s
        self._attention = attention
        self._notifier = Notifier()
        self._ready = False
        self._beat_at = 0.0

    async def tell_systemd(self) -> None:
        """READY after the first subscription, then a sentence about the state."""
        if not self._ready:
            await self._until_subscribed()
            self._ready = True
            await self._tell_status()
            self._notifier.ready()
        while True:
            await anyio.sleep(STATUS_EVERY_S)
            await self._tell_status()

    async def keep_pulse(self) -> None:
        """Feed the watchdog while the event loop and the database make progress."""
        interval_s = self._notifier.watchdog_s
        period_s = PERIOD_S if interval_s is None else interval_s / FEEDS_PER_INTERVAL
        await Pulse(self._store, period_s, self._on_beat).run()

    def reloading(self) -> None:
        """A reload begins. Before READY systemd does not ask for one."""
        if self._ready:
            self._notifier.reloading()

    def reloaded(self) -> None:
        """A reload has ended, with or without success."""
        if self._ready:
            self._notifier.ready()

    def stopping(self) -> None:
        """The daemon was told to stop."""
        self._notifier.stopping()
        self._notifier.status("Stopping: payments under way get a moment.")

    async def keep_metrics(self) -> None:
        """Serve or write metrics if the configuration asks for it."""
        settings = self._config().metrics
        with Exposition(settings.listen) as exposition:
            while True:
                textfile = self._config().metrics.textfile
                if settings.listen or textfile:
                    found = await anyio.to_thread.run_sync(self._look)
                    exposition.show(found, self._relays(), self._latency_s(), self._attention(), self._now())
                    if textfile:
                        await anyio.to_thread.run_sync(exposition.write, textfile)
                await anyio.sleep(METRICS_EVERY_S)

    async def keep_heartbeat(self) -> None:
        """Request the heartbeat URL while everything works; when that ends, whoever serves the URL raises the alarm."""
        async with httpx.AsyncClient(timeout=_HEARTBEAT_TIMEOUT_S) as http:
            while True:
                settings = self._config().metrics
                if settings.heartbeat_url is not None and anyio.current_time() - self._beat_at < _STALE_AFTER_S:
                    await _ask(http, settings.heartbeat_url.resolve(self._config().environ))
                await anyio.sleep(settings.heartbeat_every_s)

    def _on_beat(self) -> None:
        self._beat_at = anyio.current_time()
        self._notifier.feed_watchdog()

    async def _until_subscribed(self) -> None:
        deadline = anyio.current_time() + READY_WITHIN_S
        while anyio.current_time() < deadline:
            relays = self._relays()
            if not relays or any(relay.state is RelayState.SUBSCRIBED for relay in relays):
                return
            await anyio.sleep(0.1)
        log.error("no relay could be reached so far; until then sales are looked for in the machines' wallets")

    async def _tell_status(self) -> None:
        try:
            counts = await self._store.read(standing.open_counts)
        except StoreError as error:
            self._notifier.status(f"The database cannot be read: {error}")
            return
        self._notifier.status(status_sentence(self._relays(), len(self._config().machines), counts, self._attention()))

    def _look(self) -> standing.Standing:
        """On its own connection: counting a million sales must not make the payer wait."""
        conn = connect(self._store.path, read_only=True)
        try:
            return standing.read(conn, self._now())
        finally:
            conn.close()


def status_sentence(relays: Sequence[RelayHealth], machines: int, counts: dict[str, int], attention: Attention) -> str:
    """What `systemctl status` shows, bad news first."""
    heard = sum(relay.state is RelayState.SUBSCRIBED for relay in relays)
    parts = []
    if attention.items:
        parts.append(headline(attention))
    parts.append(f"{counts.get('pending', 0)} under way")
    parts.append(f"{machines} machine(s) on {heard} of {len(relays)} relay(s)")
    return ("No relay is reachable; " if relays and not heard else "") + ", ".join(parts) + "."


async def _ask(http: httpx.AsyncClient, url: str) -> None:
    """The URL is a secret: no message contains it."""
    try:
        # The rest of its answer is not read: it could be a gigabyte.
        async with http.stream("GET", url, headers=PLAIN) as answer:
            answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        log.warning("the heartbeat URL answers with HTTP %d", error.response.status_code)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.warning("the heartbeat URL cannot be reached (%s)", type(error).__name__)
