"""A bounded queue of verified events, and the task that empties it into the sink, batch by batch (I/O).

There is one lane for settlements and one for telemetry, so that neither waits for the other. Within a lane authors take
turns, so that a flood from one does not delay another, and each has at most a quarter of the octets.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import anyio

from satmachine.errors import StoreError
from satmachine.nostr.event import Event
from satmachine.nostr.limits import Limits

log = logging.getLogger(__name__)


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
