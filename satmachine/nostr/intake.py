"""What happens to every event that any relay sends: up a ladder from raw JSON into a lane, and in batches out of it.

Cheapest first: id seen; shape; author and kind; budget; id right; signature. Only what its author really signed is
recorded as seen; otherwise a forgery could keep the true event out.

Whose fault is it? What a known author has signed is the author's fault, whatever its shape: the relay only keeps it,
and is not disconnected for it; otherwise one stolen key would cut off all machines. Everything else is the relay's
fault.

There is one lane for settlements and one for telemetry, so that neither waits for the other. Within a lane authors take
turns, so that a flood from one does not delay another, and each has at most a quarter of the octets. A task empties it
into the sink (I/O).
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

import anyio

from satmachine.errors import StoreError
from satmachine.nostr.event import (
    RELAY_LIST_KIND,
    SETTLEMENT_KIND,
    TELEMETRY_KINDS,
    AuthorKeys,
    Event,
    Fault,
    Octets,
    parse_event,
    scan_event_id,
    signer_of,
    verify,
)
from satmachine.nostr.limits import Limits
from satmachine.pace import BucketPerAuthor, TokenBucket

log = logging.getLogger(__name__)

_EVENT_OVERHEAD_BYTES = 1_024
_VALUE_OVERHEAD_BYTES = 56


class Received(NamedTuple):
    """A verified event. `received_at` is Unix seconds, `weight` roughly the octets that it needs in memory."""

    event: Event
    relay_url: str
    received_at: int
    weight: int = 0

    @property
    def raw(self) -> str:
        """The event's JSON text, written again from exactly the values that were verified."""
        return self.event.to_json()


Sink = Callable[[Sequence[Received]], Awaitable[None]]


class Dropped(StrEnum):
    """Why an event that may be perfectly good is dropped."""

    DUPLICATE = "duplicate"
    SHED = "shed"  # more than its author's budget, or for telemetry the queue, allows
    MALFORMED = "malformed"  # its author signed it, but nobody could use it


class SeenIds:
    """The ids of events that were accepted lately: a cache, in bounded memory. What decides is the UNIQUE index of the
    database: forgetting an id costs a verification and a look there, never a second payment.

    Two generations of a set: when the young one is full it becomes the old one, and the old one is dropped. So at least
    the last `per_generation` ids are known, and at most twice as many are kept; as 32 octets, because text would need
    nearly twice the memory.
    """

    def __init__(self, per_generation: int) -> None:
        self._per_generation = per_generation
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, event_id: bytes) -> bool:
        return event_id in self._young or event_id in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def add(self, event_id: bytes) -> None:
        self._young.add(event_id)
        if len(self._young) >= self._per_generation:
            self._old = self._young
            self._young = set()

    def forget(self, event_ids: Iterable[bytes]) -> None:
        """Take ids out again, so that the events are accepted when they arrive once more."""
        for event_id in event_ids:
            self._young.discard(event_id)
            self._old.discard(event_id)


class _Budgets:
    """One author's share, in events and in octets."""

    def __init__(self, burst: float, per_s: float, burst_bytes: float, bytes_per_s: float) -> None:
        self._events = BucketPerAuthor(burst, per_s)
        self._bytes = BucketPerAuthor(burst_bytes, bytes_per_s)

    def of(self, author: str, now: float) -> tuple[TokenBucket, TokenBucket]:
        return self._events.of(author, now), self._bytes.of(author, now)


class Intake:
    """Shared by all relays of a pool. `clock` gives Unix seconds. `relay_lists` are accepted like telemetry, if at
    all."""

    def __init__(
        self,
        settlements: Lane,
        telemetry: Lane,
        limits: Limits,
        clock: Callable[[], float],
        *,
        relay_lists: bool = False,
    ) -> None:
        self._side_kinds = TELEMETRY_KINDS | {RELAY_LIST_KIND} if relay_lists else TELEMETRY_KINDS
        self.seen = SeenIds(limits.seen_ids)
        self._settlements = settlements
        self._telemetry = telemetry
        self._clock = clock
        self._keyring = AuthorKeys()
        self._budgets = _Budgets(
            limits.telemetry_burst,
            limits.telemetry_per_s,
            limits.telemetry_burst_bytes,
            limits.telemetry_bytes_per_s,
        )
        self._sales_budgets = _Budgets(
            limits.settlement_burst,
            limits.settlements_per_s,
            limits.settlement_burst_bytes,
            limits.settlement_bytes_per_s,
        )

    @property
    def must_wait(self) -> bool:
        """When the queue of settlements is full, the sockets wait (`room`); a single author cannot fill it."""
        return self._settlements.full

    async def room(self) -> None:
        await self._settlements.room()

    def is_duplicate(self, frame: Octets) -> bool:
        """Before parsing, from the raw frame; `scan_event_id` says for what this must not be used."""
        event_id = scan_event_id(frame)
        return event_id is not None and event_id in self.seen

    def take(
        self, raw_event: object, authors: frozenset[str], relay_url: str, size: int = 0
    ) -> Event | Dropped | Fault:
        """The event, if it was accepted; `authors` are those for whom this relay was asked, `size` is that of the
        frame."""
        event = parse_event(raw_event)
        if isinstance(event, Fault):
            return self.blame(raw_event, authors, size, event)
        event_id = bytes.fromhex(event.id)
        if event_id in self.seen:
            return Dropped.DUPLICATE
        if event.pubkey not in authors:
            return Fault.UNKNOWN_AUTHOR
        if event.kind == SETTLEMENT_KIND:
            return self._take_within(self._sales_budgets, event, self._settlements, relay_url, size)
        if event.kind in self._side_kinds:
            if self._telemetry.full:
                return Dropped.SHED
            return self._take_within(self._budgets, event, self._telemetry, relay_url, size)
        return Fault.WRONG_KIND

    def blame(self, raw_event: object, authors: frozenset[str], size: int, fault: Fault) -> Dropped | Fault:
        """If a known author signed what cannot be used, it is the author's fault; otherwise it is the relay's
        `fault`."""
        author = raw_event.get("pubkey") if isinstance(raw_event, dict) else None
        if not isinstance(author, str) or author not in authors:
            return fault
        now = self._clock()
        events, octets = self._budgets.of(author, now)
        if not (events.allows(now) and octets.allows(now, size)):
            return Dropped.SHED
        signed = signer_of(raw_event, self._keyring)
        if signed is None:
            return fault
        events.charge()
        octets.charge(size)
        # It will never be different: the next copy is dropped unread.
        self.seen.add(bytes.fromhex(signed[0]))
        return Dropped.MALFORMED

    def _take_within(
        self, budgets: _Budgets, event: Event, lane: Lane, relay_url: str, size: int
    ) -> Event | Dropped | Fault:
        now = self._clock()
        events, octets = budgets.of(event.pubkey, now)
        weight = weight_of(event, size)
        if not (events.allows(now) and octets.allows(now, weight) and lane.has_share_for(event.pubkey, weight)):
            return Dropped.SHED
        fault = verify(event, self._keyring)
        if fault is not None:
            return fault
        # Only what the author signed is charged to it: a relay cannot use up a machine's budget with forgeries.
        events.charge()
        octets.charge(weight)
        self.seen.add(bytes.fromhex(event.id))
        lane.put(Received(event, relay_url, int(now), weight))
        return event


class Lane:
    """Flushes when a batch is full or its first event is `flush_after_s` old.

    When the sink returns, the batch is durable. While it raises StoreError, the batch stays here and is tried again,
    `attempts` times (None: for ever); then `on_lost` gets what was given up.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        limits: Limits,
        *,
        capacity: int,
        attempts: int | None,
        on_lost: Callable[[Sequence[Received]], None],
    ) -> None:
        self._name = name
        self._sink = sink
        self._limits = limits
        self._capacity = capacity
        self._attempts = attempts
        self._on_lost = on_lost
        self._queues: dict[str, deque[Received]] = {}  # by author, whose turn it is first
        self._count = 0
        self._weight = 0
        self._weights: dict[str, int] = {}
        self._in_flight: list[Received] = []
        self._filled = anyio.Event()
        self._batch_full = anyio.Event()
        self._emptied = anyio.Event()

    @property
    def full(self) -> bool:
        return self._count >= self._capacity or self._weight >= self._limits.queue_bytes

    def has_share_for(self, author: str, weight: int) -> bool:
        """Whether an author may put this much more: nobody gets more than a quarter."""
        return self._weights.get(author, 0) + weight <= self._limits.queue_bytes // 4

    def put(self, item: Received) -> None:
        """Never waits: a caller that may wait asks `full` first, and awaits `room`."""
        author = item.event.pubkey
        queue = self._queues.get(author)
        if queue is None:
            queue = self._queues[author] = deque()
        queue.append(item)
        self._weights[author] = self._weights.get(author, 0) + item.weight
        self._weight += item.weight
        self._count += 1
        self._filled.set()
        if self._has_batch:
            self._batch_full.set()

    async def room(self) -> None:
        while self.full:
            await self._emptied.wait()

    async def run(self) -> None:
        while True:
            await self._filled.wait()
            with anyio.move_on_after(self._limits.flush_after_s):
                await self._batch_full.wait()
            self._take_batch()
            await self._deliver()

    async def drain(self) -> None:
        """Deliver what is left, once, when nothing more is put in. The caller limits the time."""
        try:
            while self._in_flight or self._count:
                if not self._in_flight:
                    self._take_batch()
                await self._sink(self._in_flight)
                self._in_flight = []
        except StoreError as error:
            log.critical("%s: %d events could not be stored before the end: %s", self._name, len(self), error)
        finally:
            self._on_lost([*self._in_flight, *(item for queue in self._queues.values() for item in queue)])
            self._in_flight = []
            self._queues, self._weights, self._count, self._weight = {}, {}, 0, 0

    def __len__(self) -> int:
        return len(self._in_flight) + self._count

    @property
    def _has_batch(self) -> bool:
        return self._count >= self._limits.batch_size or self._weight >= self._limits.batch_bytes

    def _take_batch(self) -> None:
        """One event of each author in turn, until the batch is full."""
        batch: list[Received] = []
        weight = 0
        taken: Counter[str] = Counter()
        while self._queues and len(batch) < self._limits.batch_size and weight < self._limits.batch_bytes:
            author = next(iter(self._queues))
            if taken[author] == self._limits.batch_per_author:  # and so has everybody else who still waits
                break
            taken[author] += 1
            queue = self._queues.pop(author)
            item = queue.popleft()
            batch.append(item)
            weight += item.weight
            if queue:
                self._queues[author] = queue
                self._weights[author] -= item.weight
            else:
                del self._weights[author]
        self._in_flight = batch
        self._count -= len(batch)
        self._weight -= weight
        if not self._count:
            self._filled = anyio.Event()
        if not self._has_batch:
            self._batch_full = anyio.Event()
        self._emptied.set()
        self._emptied = anyio.Event()

    async def _deliver(self) -> None:
        delay_s = self._limits.retry_floor_s
        failures = 0
        while True:
            try:
                await self._sink(self._in_flight)
            except StoreError as error:
                failures += 1
                if failures == self._attempts:
                    self._give_up(error)
                    return
                if failures == 1:
                    log.warning("%s: cannot store %d events; trying again: %s", self._name, len(self), error)
                await anyio.sleep(delay_s)
                delay_s = min(self._limits.retry_cap_s, 2 * delay_s)
            else:
                if failures:
                    log.warning("%s: stored again after %d failures", self._name, failures)
                self._in_flight = []
                return

    def _give_up(self, error: StoreError) -> None:
        log.error("%s: %d events given up: %s", self._name, len(self._in_flight), error)
        self._on_lost(self._in_flight)
        self._in_flight = []


def weight_of(event: Event, size: int) -> int:
    """Roughly what an event from a frame of `size` octets needs in memory: many short tags need far more than their
    size."""
    return size + _EVENT_OVERHEAD_BYTES + sum(_VALUE_OVERHEAD_BYTES * (1 + len(tag)) for tag in event.tags)
