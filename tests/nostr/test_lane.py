"""Batches, retries and bounds between the sockets and the sink."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio

from satmachine.nostr.intake import Lane, Received
from testkit.relays import PATIENCE_S, QUICK, Collector, Machine, eventually

MACHINE = Machine()


def received(number: int) -> Received:
    event = MACHINE.event(str(number))
    return Received(event, "ws://test", 0)


def made(
    sink: Callable[[Sequence[Received]], object], *, capacity: int = 100, attempts: int | None = None
) -> tuple[Lane, list[Received]]:
    lost: list[Received] = []
    limits = replace(QUICK, batch_size=3, flush_after_s=0.01)
    return Lane("test", sink, limits, capacity=capacity, attempts=attempts, on_lost=lost.extend), lost  # type: ignore[arg-type]


@asynccontextmanager
async def at_work(lane: Lane) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lane.run)
        yield
        tasks.cancel_scope.cancel()


async def test_events_arrive_in_order_and_in_batches() -> None:
    sink = Collector()
    lane, _ = made(sink)
    items = [received(n) for n in range(7)]
    for item in items:
        lane.put(item)
    async with at_work(lane):
        await eventually(lambda: len(sink.received) == 7)
    assert sink.received == items
    assert sink.calls == 3


async def test_a_lone_event_does_not_wait_for_company() -> None:
    sink = Collector()
    lane, _ = made(sink)
    async with at_work(lane):
        for n in range(3):
            lane.put(received(n))
            await eventually(lambda n=n: len(sink.received) == n + 1)  # type: ignore[misc]


async def test_a_failing_sink_is_tried_again_until_it_works() -> None:
    sink = Collector(failures=8)
    lane, lost = made(sink)
    items = [received(n) for n in range(5)]
    for item in items:
        lane.put(item)
    async with at_work(lane):
        await eventually(lambda: len(sink.received) == 5)
    assert sink.received == items
    assert lost == []


async def test_where_attempts_are_counted_a_batch_is_given_up_and_reported() -> None:
    sink = Collector(failures=2)
    lane, lost = made(sink, attempts=2)
    items = [received(n) for n in range(5)]
    for item in items:
        lane.put(item)
    async with at_work(lane):
        await eventually(lambda: len(sink.received) == 2)
    assert lost == items[:3]
    assert sink.received == items[3:]


async def test_whoever_waits_for_room_gets_it() -> None:
    sink = Collector()
    lane, _ = made(sink, capacity=4)
    for n in range(4):
        lane.put(received(n))
    assert lane.full
    async with at_work(lane):
        with anyio.fail_after(PATIENCE_S):
            await lane.room()
    assert not lane.full


async def test_what_is_left_at_the_end_is_drained() -> None:
    sink = Collector()
    lane, lost = made(sink)
    items = [received(n) for n in range(5)]
    for item in items:
        lane.put(item)
    await lane.drain()
    assert sink.received == items
    assert lost == []


async def test_what_cannot_be_drained_is_reported() -> None:
    lane, lost = made(Collector(failures=1))
    items = [received(n) for n in range(5)]
    for item in items:
        lane.put(item)
    await lane.drain()
    assert lost == items
    assert len(lane) == 0


async def test_authors_take_turns_and_a_flood_of_one_makes_small_batches() -> None:
    """Whoever comes while a batch is stored waits for its end: a flood must not make it long."""
    flood, other = Machine(), Machine()
    sink = Collector()
    limits = replace(QUICK, batch_size=500, batch_per_author=4, flush_after_s=0.01)
    lane = Lane("test", sink, limits, capacity=100, attempts=None, on_lost=lambda _: None)
    for n in range(10):
        lane.put(Received(flood.event(str(n)), "ws://test", 0, 10))
    late = [Received(other.event(str(n)), "ws://test", 0, 10) for n in range(2)]
    for item in late:
        lane.put(item)
    async with at_work(lane):
        await eventually(lambda: len(sink.received) == 12)
    assert [sink.received.index(item) for item in late] == [1, 3]
    assert sink.calls == 3


async def test_no_author_has_more_than_a_quarter_of_the_octets() -> None:
    lane, _ = made(Collector(), capacity=100)
    share = QUICK.queue_bytes // 4
    event = MACHINE.event()
    assert lane.has_share_for(event.pubkey, share)
    lane.put(Received(event, "ws://test", 0, share))
    assert not lane.has_share_for(event.pubkey, 1)
    assert lane.has_share_for(Machine().pubkey, share)
    await lane.drain()
    assert lane.has_share_for(event.pubkey, share)
