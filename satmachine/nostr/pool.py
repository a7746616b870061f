"""Many relays, one stream of verified events, each of them once (I/O).

    relays -> intake (seen? allowed? true?) -> lane of settlements -> sink
                                            -> lane of telemetry   -> sink

An event is *seen* when it is in a lane or durable, so a copy from another relay is dropped. Settlements are dropped
only if they are more than a machine could ever sell (the wallet's sweep finds the true ones); if the sink falls behind,
the sockets wait. Telemetry has its own queue and budgets, and what exceeds them is dropped, so a flood of it delays no
settlement. The sink gets batches of one lane at a time, never mixed, but may be called for both lanes at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import anyio
from anyio.abc import TaskGroup

from satmachine.nostr.health import RelayHealth
from satmachine.nostr.intake import Intake
from satmachine.nostr.lane import Lane, Received, Sink
from satmachine.nostr.limits import Limits
from satmachine.nostr.relay import Relay

__all__ = ["Received", "RelayPool", "Sink"]

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
