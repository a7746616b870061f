"""A relay that we never give up on (I/O: a websocket, the log).

`Relay.run` connects, lets a `Session` do the talking, and when the connection ends for whatever reason waits
and starts again; the waits grow until a connection has lasted.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from websockets.exceptions import WebSocketException

from satmachine.nostr.health import RelayHealth, RelayState, printable
from satmachine.nostr.intake import Intake
from satmachine.nostr.limits import Limits
from satmachine.nostr.pace import Backoff
from satmachine.nostr.session import Disconnected, Session
from satmachine.nostr.subscriptions import Shape, Subscriptions
from satmachine.nostr.wire import Address, Wire, public_address, straight

log = logging.getLogger(__name__)
# The library logs every lost connection with a traceback; we say the same in one line.
_wire_log = logging.getLogger(f"{__name__}.wire")
_wire_log.setLevel(logging.CRITICAL)


class Relay:
    """`authors` are the machines (hex) that this relay is asked for.

    `since` is the `created_at` of the newest settlement that this relay delivered before, `clock` gives Unix
    seconds, `chance` numbers in [0, 1) for the jitter. `relay_lists`: it is asked for those as well. `named`: by
    a machine; with `lookups` (its limiter of them) it may then not lead to a private address.
    """

    def __init__(
        self,
        url: str,
        authors: frozenset[str],
        intake: Intake,
        *,
        limits: Limits,
        clock: Callable[[], float],
        secret_key: bytes | None = None,
        since: int | None = None,
        chance: Callable[[], float] = random.random,
        relay_lists: bool = False,
        named: bool = False,
        lookups: anyio.CapacityLimiter | None = None,
    ) -> None:
        self.url = url
        self._lookups = lookups
        self.authors = authors
        self.subscribed = anyio.Event()  # set when everything asked for was live for the first time
        self._intake = intake
        self._limits = limits
        self._secret_key = secret_key
        self._newest_settlement_at = since
        self._clock = clock
        self._chance = chance
        self._shape = self._default_shape = Shape(
            limits.authors_per_filter,
            limits.filters_per_req,
            stored_telemetry=limits.stored_telemetry,
            relay_lists=relay_lists,
        )
        self._health = RelayHealth(url, named=named)
        self._backoff = Backoff(limits.backoff_floor_s, limits.backoff_cap_s)
        self._last_problem = ""
        self._session: Session | None = None

    def set_authors(self, authors: frozenset[str]) -> None:
        """Ask for these from now on. Nothing of those that stay is missed."""
        if authors == self.authors:
            return
        self.authors = authors
        if self._session is not None:
            self._session.set_authors(authors)

    def note_named(self, named: bool) -> None:
        """Whether a machine has named it and not the operator; counts for the next connection."""
        self._health.named = named

    def health(self) -> RelayHealth:
        """A copy, as of now."""
        return self._health.copy(quiet=self._is_quiet())

    def note_missed(self, count: int) -> None:
        """Others delivered so many events of our authors first."""
        if self._health.state is RelayState.SUBSCRIBED:
            self._health.missed += count

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._health.enter(RelayState.CONNECTING, self._clock())
                await self._back_off(await self._connect_once())
        finally:
            self._health.enter(RelayState.STOPPED, self._clock())

    async def _connect_once(self) -> Disconnected:
        """One connection from its beginning to its end."""
        connected_at = float("inf")
        asked_at = anyio.current_time()
        try:
            async with _connection(self.url, self._limits, await self._address()) as socket:
                connected_at = anyio.current_time()
                self._health.latency_ms = (connected_at - asked_at) * 1000
                ended = await self._talk(socket)
                if socket.latency:  # the library's keepalive pings know better than the opening handshake
                    self._health.latency_ms = socket.latency * 1000
        except (OSError, WebSocketException, UnicodeError) as error:
            ended = Disconnected(printable(f"cannot connect: {error or type(error).__name__}"))
        lasted_s = anyio.current_time() - connected_at
        if lasted_s >= self._limits.healthy_after_s and not ended.flooded:
            self._backoff.reset()
            self._last_problem = ""
        return ended

    async def _address(self) -> Address:
        """Where to connect to; nothing: to what the URL says. Raises OSError."""
        if self._lookups is None or not self._health.named:
            return {}
        return await public_address(self.url, self._lookups, timeout_s=self._limits.open_timeout_s)

    async def _talk(self, socket: Wire) -> Disconnected:
        since = self._newest_settlement_at
        if since is not None:
            since = max(0, min(since, int(self._clock())) - self._limits.since_overlap_s)
        subscriptions = Subscriptions(self._shape, since)
        session = Session(
            socket,
            health=self._health,
            authors=self.authors,
            subscriptions=subscriptions,
            intake=self._intake,
            limits=self._limits,
            secret_key=self._secret_key,
            clock=self._clock,
            subscribed=self.subscribed,
        )
        self._session = session
        try:
            return await session.run()
        finally:
            self._session = None
            # Keep what this relay has taught us, unless it led nowhere.
            self._shape = subscriptions.shape if subscriptions.complete else self._default_shape
            if session.newest_settlement_at is not None:
                self._newest_settlement_at = max(session.newest_settlement_at, self._newest_settlement_at or 0)

    async def _back_off(self, ended: Disconnected) -> None:
        delay_s = self._backoff.next_delay_s(self._chance())
        if ended.flooded:
            delay_s = max(delay_s, self._limits.penalty_s)
        self._health.enter(RelayState.BACKING_OFF, self._clock())
        self._health.error = ended.problem
        # The same trouble again is no news.
        level = logging.DEBUG if ended.problem == self._last_problem else logging.WARNING
        self._last_problem = ended.problem
        log.log(level, "%s: %s; trying again in %.0f s", self.url, ended.problem, delay_s)
        await anyio.sleep(delay_s)

    def _is_quiet(self) -> bool:
        health = self._health
        if health.state is not RelayState.SUBSCRIBED or health.missed < self._limits.quiet_events:
            return False
        last_sign = max(health.last_event_at or 0, health.since or 0)
        return self._clock() - last_sign >= self._limits.quiet_after_s


@asynccontextmanager
async def _connection(url: str, limits: Limits, address: Address) -> AsyncIterator[Wire]:
    """A websocket that is gone a second after `close_timeout_s` at the latest, even when we are cancelled."""
    socket = await straight(
        url,
        **address,
        compression=None,  # inflating costs a seventh of the throughput
        proxy=None,
        open_timeout=limits.open_timeout_s,
        close_timeout=limits.close_timeout_s,
        ping_interval=limits.ping_interval_s,
        ping_timeout=limits.ping_timeout_s,
        max_size=limits.max_message_bytes,
        logger=_wire_log,
        create_connection=Wire,
    )
    assert isinstance(socket, Wire)
    try:
        yield socket
    finally:
        # The library's own time limit does not cover a peer that has stopped reading.
        with anyio.move_on_after(limits.close_timeout_s + 1, shield=True):
            await socket.close()
        socket.transport.abort()
