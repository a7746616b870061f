"""A bounded queue of verified events and the task that empties it into the sink, batch by batch (I/O).

There is one lane for settlements and one for telemetry, so that neither waits for the other.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import anyio

from satmachine.errors import StoreError
from satmachine.nostr.event import Event
from satmachine.nostr.limits import Limits

log = logging.getLogger(__name__)


class Received(NamedTuple):
    """A verified event. `received_at` is Unix seconds."""

    event: Event
    relay_url: str
    received_at: int

    @property
    def raw(self) -> str:
        """The event's JSON text, written anew from exactly the values that were verified."""
        return self.event.to_json()


Sink = Callable[[Sequence[Received]], Awaitable[None]]


class Lane:
    """Flushes when a batch is full or its first event is `flush_after_s` old.

    The sink returning means: durable. While it raises StoreError the batch stays here and is tried again,
    `attempts` times (None: for ever); then `on_lost` is told what was given up.
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
        self._items: list[Received] = []
        self._in_flight: list[Received] = []
        self._filled = anyio.Event()
        self._batch_full = anyio.Event()
        self._emptied = anyio.Event()

    @property
    def full(self) -> bool:
        return len(self._items) >= self._capacity

    def put(self, item: Received) -> None:
        """Never waits: who may wait asks `full` first, and awaits `room`."""
        self._items.append(item)
        size = len(self._items)
        if size == 1:
            self._filled.set()
        if size == self._limits.batch_size:
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
        """Deliver what is left, once, when nothing is put any more. The caller bounds the time."""
        try:
            while self._in_flight or self._items:
                if not self._in_flight:
                    self._take_batch()
                await self._sink(self._in_flight)
                self._in_flight = []
        except StoreError as error:
            log.critical("%s: %d events could not be stored before the end: %s", self._name, len(self), error)
        finally:
            self._on_lost([*self._in_flight, *self._items])
            self._in_flight, self._items = [], []

    def __len__(self) -> int:
        return len(self._in_flight) + len(self._items)

    def _take_batch(self) -> None:
        size = self._limits.batch_size
        self._in_flight = self._items[:size]
        del self._items[:size]
        if not self._items:
            self._filled = anyio.Event()
        if len(self._items) < size:
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
