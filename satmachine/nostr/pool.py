"""Many relays, none of which we ever give up on; one stream of verified events, each of them once (I/O).

    relays -> intake (seen? allowed? true?) -> lane of settlements -> sink
                                            -> lane of telemetry   -> sink

An event is *seen* when it is in a lane or durable, so a copy from another relay is dropped. Settlements are dropped
only if they are more than a machine could ever sell (the wallet's sweep finds the true ones); if the sink falls behind,
the sockets wait. Telemetry has its own queue and budgets, and what exceeds them is dropped, so a flood of it delays no
settlement. The sink gets batches of one lane at a time, never mixed, but may be called for both lanes at the same time.

`Relay.run` connects, lets a `Session` do the talking, and when the connection ends, for whatever reason, waits and
starts again; the waits grow until a connection has lasted.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup
from websockets.exceptions import WebSocketException

from satmachine.nostr.connect import Address, public_address, straight
from satmachine.nostr.health import RelayHealth, RelayState, printable
from satmachine.nostr.intake import Intake, Lane, Received, Sink
from satmachine.nostr.limits import Limits
from satmachine.nostr.session import Disconnected, Session, Wire
from satmachine.nostr.subscriptions import Shape, Subscriptions
from satmachine.pace import Backoff

log = logging.getLogger(__name__)
# The library logs every lost connection with a traceback; we say the same in one line.
_wire_log = logging.getLogger(f"{__name__}.wire")
_wire_log.setLevel(logging.CRITICAL)

#: How many names of relays that machines have named are looked up at once.
_LOOKUPS = 4


class RelayPool:
    """`relays` maps each relay's URL to the machines (hex) for which it is asked.

    `sink` is awaited with a batch; its return means that the batch is durable, StoreError that it is not. `since` gives
    the `created_at` of the newest settlement known from a relay, or None. `secret_key` is for NIP-42. `clock` gives
    Unix seconds. `named`: the relays that machines have named, not the operator; unless `allow_private`, they may not
    lead to private addresses. `relay_lists`: machines are asked for theirs (NIP-65).
    """

    def __init__(
        self,
        relays: Mapping[str, frozenset[str]],
        sink: Sink,
        *,
        secret_key: bytes | None = None,
        limits: Limits | None = None,
        since: Callable[[str], int | None] = lambda _url: None,
        clock: Callable[[], float] = time.time,
        named: frozenset[str] = frozenset(),
        allow_private: bool = False,
        relay_lists: bool = False,
    ) -> None:
        self._limits = limits or Limits()
        self._secret_key = secret_key
        self._since = since
        self._clock = clock
        self._sink = sink
        self._named = named
        self._lookups = None if allow_private else anyio.CapacityLimiter(_LOOKUPS)
        self._relay_lists = relay_lists
        self._settlements = Lane(
            "settlements",
            self._deliver,
            self._limits,
            capacity=self._limits.settlement_queue,
            attempts=None,
            on_lost=self._on_lost,
        )
        self._telemetry = Lane(
            "telemetry",
            self._deliver,
            self._limits,
            capacity=self._limits.telemetry_queue,
            attempts=self._limits.telemetry_attempts,
            on_lost=self._on_lost,
        )
        self._intake = Intake(self._settlements, self._telemetry, self._limits, clock, relay_lists=relay_lists)
        self._relays = {url: self._new_relay(url, authors) for url, authors in relays.items()}
        self._scopes: dict[Relay, anyio.CancelScope] = {}
        self._tasks: TaskGroup | None = None

    async def run(self) -> None:
        """Runs until cancelled; then what is still in memory is given to the sink, within `drain_timeout_s`."""
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self._settlements.run)
                tasks.start_soon(self._telemetry.run)
                for relay in self._relays.values():
                    tasks.start_soon(self._run_relay, relay)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + self._limits.drain_timeout_s):
                await self._settlements.drain()
                await self._telemetry.drain()
            raise
        finally:
            self._tasks = None

    def update(self, relays: Mapping[str, frozenset[str]], named: frozenset[str] = frozenset()) -> None:
        """Use a changed configuration (SIGHUP) or relay list, without missing an event from those that stay.

        A relay that is no longer in either is heard until the new ones are subscribed, and `linger_s` longer.
        """
        self._named = named
        dropped = [relay for url, relay in self._relays.items() if url not in relays]
        added = [self._new_relay(url, relays[url]) for url in relays if url not in self._relays]
        for url, authors in relays.items():
            if url in self._relays:
                self._relays[url].set_authors(authors)
                self._relays[url].note_named(url in named)
        for relay in dropped:
            del self._relays[relay.url]
        for relay in added:
            self._relays[relay.url] = relay
        if self._tasks is None:
            return
        for relay in added:
            self._tasks.start_soon(self._run_relay, relay)
        if dropped:
            wanted: frozenset[str] = frozenset().union(*relays.values())
            self._tasks.start_soon(self._retire, dropped, added, wanted)

    def health(self) -> list[RelayHealth]:
        return [relay.health() for relay in self._relays.values()]

    def _new_relay(self, url: str, authors: frozenset[str]) -> Relay:
        return Relay(
            url,
            authors,
            self._intake,
            limits=self._limits,
            clock=self._clock,
            secret_key=self._secret_key,
            since=self._since(url),
            relay_lists=self._relay_lists,
            named=url in self._named,
            lookups=self._lookups,
        )

    async def _run_relay(self, relay: Relay) -> None:
        with anyio.CancelScope() as scope:
            self._scopes[relay] = scope
            try:
                await relay.run()
            finally:
                del self._scopes[relay]

    async def _retire(self, dropped: list[Relay], added: list[Relay], wanted: frozenset[str]) -> None:
        for relay in dropped:
            relay.set_authors(relay.authors & wanted)
        with anyio.move_on_after(self._limits.retire_after_s):
            for relay in added:
                await relay.subscribed.wait()
        # A relay confirms an event before it delivers it: what was published just now is still under way.
        await anyio.sleep(self._limits.linger_s)
        for relay in dropped:
            self._scopes[relay].cancel()

    async def _deliver(self, batch: Sequence[Received]) -> None:
        await self._sink(batch)
        for relay in self._relays.values():
            authors = relay.authors
            relay.note_missed(sum(r.relay_url != relay.url and r.event.pubkey in authors for r in batch))

    def _on_lost(self, batch: Sequence[Received]) -> None:
        """These events are no longer stored or in memory: accept them when they arrive again."""
        self._intake.seen.forget(bytes.fromhex(received.event.id) for received in batch)


class Relay:
    """`authors` are the machines (hex) for which this relay is asked.

    `since` is the `created_at` of the newest settlement that this relay delivered before, `clock` gives Unix seconds,
    `chance` numbers in [0, 1) for the jitter. `relay_lists`: it is asked for those too. `named`: by a machine; then,
    with `lookups` (a limiter for them), it may not lead to a private address.
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
        self.subscribed = anyio.Event()  # set when everything that was asked for is live for the first time
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
        """Ask for these from now on. Nothing from those that stay is missed."""
        if authors == self.authors:
            return
        self.authors = authors
        if self._session is not None:
            self._session.set_authors(authors)

    def note_named(self, named: bool) -> None:
        """Whether a machine has named it, not the operator; counts for the next connection."""
        self._health.named = named

    def health(self) -> RelayHealth:
        """A copy, as of now."""
        return self._health.copy(quiet=self._is_quiet())

    def note_missed(self, count: int) -> None:
        """Others delivered this many events of our authors first."""
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
        # The same trouble again is not news.
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
    """A websocket that is closed at the latest one second after `close_timeout_s`, even when we are cancelled."""
    socket = await straight(
        url,
        **address,
        compression=None,  # decompression costs a seventh of the throughput
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
