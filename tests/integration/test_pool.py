"""The pool against real relays (nostr-sdk's LocalRelay): every event once, whatever happens to the relays."""

from __future__ import annotations

from dataclasses import replace

import anyio

from satmachine.nostr.event import Event
from satmachine.nostr.health import RelayState
from satmachine.nostr.limits import Limits
from satmachine.nostr.pool import RelayPool
from testkit.ports import free_port
from testkit.relays import (
    NOW,
    PATIENCE_S,
    QUICK,
    Collector,
    Machine,
    Talk,
    eventually,
    local_relay,
    publish_to,
    running,
    scripted_relay,
)


def pool_of(
    sink: Collector, *urls: str, machines: tuple[Machine, ...], limits: Limits = QUICK, secret: bytes | None = None
) -> RelayPool:
    authors = frozenset(machine.pubkey for machine in machines)
    return RelayPool(dict.fromkeys(urls, authors), sink, limits=limits, secret_key=secret)


async def subscribed(pool: RelayPool) -> None:
    await eventually(lambda: all(health.state is RelayState.SUBSCRIBED for health in pool.health()))


async def test_live_events_of_another_implementation_arrive() -> None:
    machine, sink = Machine(), Collector()
    async with local_relay() as url, running(pool_of(sink, url, machines=(machine,))) as pool:
        await subscribed(pool)
        events = [machine.foreign_event("sale ☕\n\x01"), machine.foreign_event("beacon", kind=30078)]
        await publish_to(url, *events)
        await sink.wait_for(*events)
        assert {received.event.id: received.event for received in sink.received} == {e.id: e for e in events}
        assert all(received.relay_url == url for received in sink.received)


async def test_stored_telemetry_arrives_and_strangers_do_not() -> None:
    machine, stranger, sink = Machine(), Machine(), Collector()
    async with local_relay() as url:
        beacon = machine.event("{}", kind=30078)
        await publish_to(url, beacon, stranger.event(kind=30078), machine.event(kind=1))
        async with running(pool_of(sink, url, machines=(machine,))) as pool:
            await sink.wait_for(beacon)
            await subscribed(pool)
    assert sink.ids == [beacon.id]


async def test_three_relays_that_deliver_the_same_ten_times_count_once() -> None:
    machine, sink = Machine(), Collector()
    events = [machine.event(str(number)) for number in range(20)]

    async def repeat(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        for _ in range(10):
            await talk.send_events(sub_id, *events)
        await talk.send("EOSE", sub_id)
        await talk.until_closed()

    async with (
        scripted_relay(repeat) as one,
        scripted_relay(repeat) as two,
        scripted_relay(repeat) as three,
        running(pool_of(sink, one, two, three, machines=(machine,))) as pool,
    ):
        await subscribed(pool)
        await sink.wait_for(*events)
        assert sum(health.duplicates for health in pool.health()) == 3 * 10 * 20 - 20
    assert sorted(sink.ids) == sorted(event.id for event in events)


async def test_a_relay_that_is_down_at_the_start_and_restarts_is_found_again() -> None:
    machine, sink, port = Machine(), Collector(), free_port()
    first, second = machine.event("1", kind=30078), machine.event("2", kind=30078, created_at=NOW + 1)
    async with running(pool_of(sink, f"ws://127.0.0.1:{port}", machines=(machine,))) as pool:
        await eventually(lambda: pool.health()[0].state is RelayState.BACKING_OFF)
        assert "cannot connect" in pool.health()[0].error
        for event in (first, second):

            async def serve_once(talk: Talk, event: Event = event) -> None:
                sub_id, _ = await talk.receive_req()
                await talk.send_events(sub_id, event)
                await talk.send("EOSE", sub_id)
                await talk.until_closed()

            async with scripted_relay(serve_once, port):
                await sink.wait_for(event)
            await eventually(lambda: pool.health()[0].state is RelayState.BACKING_OFF)
    assert sink.ids == [first.id, second.id]


async def test_a_dead_relay_does_not_delay_the_others() -> None:
    machine, sink = Machine(), Collector()
    async with (
        local_relay() as url,
        running(pool_of(sink, f"ws://127.0.0.1:{free_port()}", url, machines=(machine,))) as pool,
    ):
        await eventually(lambda: pool.health()[1].state is RelayState.SUBSCRIBED)
        event = machine.event()
        await publish_to(url, event)
        await sink.wait_for(event)


async def test_authentication_opens_a_relay_that_asks_for_it() -> None:
    machine, sink = Machine(), Collector()
    async with (
        local_relay(nip42=True) as url,
        running(pool_of(sink, url, machines=(machine,), secret=Machine().secret)) as pool,
    ):
        await subscribed(pool)
        event = machine.event()
        await publish_to(url, event)
        await sink.wait_for(event)


async def test_without_a_key_the_health_says_what_is_missing() -> None:
    async with local_relay(nip42=True) as url, running(pool_of(Collector(), url, machines=(Machine(),))) as pool:
        await eventually(lambda: "auth" in pool.health()[0].error)
        assert pool.health()[0].state is RelayState.CONNECTED
        assert not pool.health()[0].eose


async def test_many_machines_are_subscribed_on_a_real_relay() -> None:
    machine, sink = Machine(), Collector()
    known = [machine.pubkey]
    authors = frozenset(known) | frozenset(f"{number:064x}" for number in range(3_000))
    async with local_relay() as url, running(RelayPool({url: authors}, sink, limits=QUICK)) as pool:
        await subscribed(pool)
        event = machine.event()
        await publish_to(url, event)
        await sink.wait_for(event)


async def test_a_reload_adds_and_removes_machines_and_relays_without_missing_an_event() -> None:
    old, staying, new, sink = Machine(), Machine(), Machine(), Collector()
    published: list[Event] = []
    async with (
        local_relay() as one,
        local_relay() as two,
        running(pool_of(sink, one, machines=(old, staying))) as pool,
    ):
        await subscribed(pool)

        async def sell() -> None:
            for number in range(60):
                event = staying.event(str(number))
                await publish_to(one, event)
                await publish_to(two, event)
                published.append(event)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sell)
            await eventually(lambda: len(published) > 10)
            wanted = frozenset({staying.pubkey, new.pubkey})
            pool.update({one: wanted})
            await eventually(lambda: len(published) > 20)
            pool.update({two: wanted})
        await subscribed(pool)
        assert [health.url for health in pool.health()] == [two]
        gone, fresh = old.event(), new.event()
        await publish_to(two, gone, fresh)
        await sink.wait_for(fresh, *published)
    assert len(sink.ids) == len(set(sink.ids)) == 61
    assert gone.id not in sink.ids


async def test_what_the_store_refuses_is_kept_and_delivered_once() -> None:
    machine, sink = Machine(), Collector(failures=3)
    async with (
        local_relay() as one,
        local_relay() as two,
        running(pool_of(sink, one, two, machines=(machine,))) as pool,
    ):
        await subscribed(pool)
        events = [machine.event(str(number)) for number in range(5)]
        await publish_to(one, *events)
        await publish_to(two, *events)
        await sink.wait_for(*events)
    assert sorted(sink.ids) == sorted(event.id for event in events)


async def test_telemetry_that_was_given_up_is_taken_when_it_comes_again() -> None:
    machine, sink = Machine(), Collector(failures=2)
    limits = replace(QUICK, telemetry_attempts=2)
    beacon = machine.event("{}", kind=30078)

    async def repeat(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        await talk.send_events(sub_id, beacon)
        await eventually(lambda: sink.failures == 0)
        for _ in range(100):
            await talk.send_events(sub_id, beacon)
            await anyio.sleep(0.01)

    async with scripted_relay(repeat) as url, running(pool_of(sink, url, machines=(machine,), limits=limits)):
        await sink.wait_for(beacon)
    assert sink.ids == [beacon.id]


async def test_what_is_in_memory_when_the_daemon_stops_is_stored() -> None:
    machine, sink = Machine(), Collector()
    limits = replace(QUICK, flush_after_s=PATIENCE_S)
    async with local_relay() as url, running(pool_of(sink, url, machines=(machine,), limits=limits)) as pool:
        await subscribed(pool)
        event = machine.event()
        await publish_to(url, event)
        await eventually(lambda: pool.health()[0].events == 1)
        assert sink.ids == []
    assert sink.ids == [event.id]


async def test_a_settlement_behind_ten_thousand_beacons_is_delivered_though_telemetry_is_stuck() -> None:
    machine, noisy = Machine(), Machine()
    beacon = noisy.event(kind=30078)
    sale = machine.event("sale")
    sink = Collector()

    async def flood(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        for number in range(10_000):
            # The same text under false ids costs a parse and a hash each; a few true ones fill the queue.
            await talk.send("EVENT", sub_id, {**beacon.to_dict(), "id": f"{number:064x}"})
            if number < 300:
                await talk.send_events(sub_id, noisy.event(str(number), kind=30078))
        await talk.send_events(sub_id, sale)
        await talk.until_closed()

    async def stuck(batch: object) -> None:
        assert isinstance(batch, list)
        if batch[0].event.kind == 30078:
            await anyio.sleep_forever()
        await sink(batch)

    limits = replace(QUICK, telemetry_queue=100, fault_burst=20_000)
    authors = frozenset({machine.pubkey, noisy.pubkey})
    async with scripted_relay(flood) as url, running(RelayPool({url: authors}, stuck, limits=limits)) as pool:
        await sink.wait_for(sale)
        assert pool.health()[0].shed > 0


async def test_sockets_wait_when_settlements_cannot_be_stored_and_none_is_lost() -> None:
    machine, sink = Machine(), Collector(failures=20)
    limits = replace(QUICK, settlement_queue=10, batch_size=5)
    events = [machine.event(str(number)) for number in range(200)]

    async def burst(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        await talk.send_events(sub_id, *events)
        await talk.until_closed()

    async with scripted_relay(burst) as url, running(pool_of(sink, url, machines=(machine,), limits=limits)):
        await sink.wait_for(*events)
    assert sink.ids == [event.id for event in events]


async def test_a_relay_that_delivers_nothing_while_others_do_is_called_quiet() -> None:
    machine, sink = Machine(), Collector()
    limits = replace(QUICK, quiet_events=3, quiet_after_s=0)
    async with (
        local_relay() as loud,
        local_relay() as silent,
        running(pool_of(sink, loud, silent, machines=(machine,), limits=limits)) as pool,
    ):
        await subscribed(pool)
        events = [machine.event(str(number)) for number in range(3)]
        await publish_to(loud, *events)
        await sink.wait_for(*events)
        await eventually(lambda: [health.quiet for health in pool.health()] == [False, True])
        await publish_to(silent, machine.event("4"))
        await eventually(lambda: not pool.health()[1].quiet)
