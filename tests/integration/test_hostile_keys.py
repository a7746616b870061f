"""A stolen machine key over real relays: what it signs is charged to the key, not to the relay that keeps it."""

from __future__ import annotations

import json
from dataclasses import replace

import orjson
import pytest
from coincurve import PrivateKey
from websockets.asyncio.client import connect

from satmachine.nostr.event import BEACON_KIND, Event, event_id
from satmachine.nostr.health import RelayHealth, RelayState
from satmachine.nostr.pool import RelayPool
from testkit.relays import (
    NOW,
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

STOLEN, HONEST = Machine(), Machine()
AUTHORS = frozenset({STOLEN.pubkey, HONEST.pubkey})


def signed(tags: list[list[str]], content: str = "{}", *, created_at: int = NOW, kind: int = BEACON_KIND) -> Event:
    """By the stolen key, of any shape."""
    new_id = event_id(STOLEN.pubkey, created_at, kind, tags, content)
    sig = PrivateKey(STOLEN.secret).sign_schnorr(bytes.fromhex(new_id)).hex()
    return Event(new_id, STOLEN.pubkey, created_at, kind, tuple(map(tuple, tags)), content, sig)


async def keep_there(url: str, events: list[Event]) -> None:
    """Have a relay keep them; some it may refuse."""
    async with connect(url, proxy=None, max_size=None) as socket:
        for event in events:
            await socket.send(orjson.dumps(["EVENT", event.to_dict()]).decode())
        for _ in events:
            await socket.recv()


async def test_what_a_stolen_key_keeps_on_an_honest_relay_does_not_cut_the_other_machines_off() -> None:
    """Each of them has a tag of 101 values: no event that we take, but every relay keeps it, and hands it out anew."""
    bad = [signed([["d", str(n)], ["t", *map(str, range(100))]]) for n in range(300)]
    sink = Collector()
    async with local_relay() as url:
        for start in range(0, len(bad), 50):  # it takes no more from one connection
            await keep_there(url, bad[start : start + 50])
        pool = RelayPool({url: AUTHORS}, sink, limits=QUICK)
        async with running(pool):
            await eventually(lambda: pool.health()[0].state is RelayState.SUBSCRIBED)
            (before,) = pool.health()
            assert before.malformed + before.shed == len(bad), "all of them were handed out"
            sales = [HONEST.event(f"sale {n}") for n in range(5)]
            await publish_to(url, *sales)
            await sink.wait_for(*sales)
            (health,) = pool.health()
    assert health.faults == {}
    assert health.since == before.since, "it was never disconnected"


BIG = "x" * (QUICK.max_event_bytes + 1)


@pytest.mark.parametrize(
    "event",
    [
        signed([["d", "x"], ["t"] * 101]),
        signed([["t"]] * 2_001),
        signed([[]]),
        signed([["d", "x"]], created_at=2**60),
        signed([["d", "x"]], kind=70_000),
        signed([["d", "x"]], BIG),
    ],
    ids=["long tag", "many tags", "empty tag", "late", "kind", "big"],
)
async def test_a_malformed_event_of_a_known_author_is_the_author_s_fault(event: Event) -> None:
    health = await after_script([event, event])
    assert (health.malformed, health.duplicates) == (1, 1)
    assert health.faults == {}


@pytest.mark.parametrize("event", [signed([["t"] * 101]), signed([["d", "x"]], BIG)], ids=["long tag", "big"])
async def test_a_malformed_event_that_the_relay_made_up_is_the_relay_s_fault(event: Event) -> None:
    stranger = Machine()
    forged = [event._replace(content=event.content + "y"), event._replace(sig="00" * 64)]
    health = await after_script([*forged, event._replace(pubkey=stranger.pubkey)])
    assert health.malformed == 0
    assert health.faults.total() == 3


async def after_script(events: list[Event]) -> RelayHealth:
    """A relay sends these, then an honest sale; its health once that is here."""
    sink, sale = Collector(), HONEST.event("after all that")

    async def script(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        await talk.send_events(sub_id, *events, sale)
        await talk.send("EOSE", sub_id)
        await talk.until_closed()

    async with scripted_relay(script) as url, running(RelayPool({url: AUTHORS}, sink, limits=QUICK)) as pool:
        await sink.wait_for(sale)
        (health,) = pool.health()
    assert sink.ids == [sale.id]
    return health


async def test_a_relay_is_asked_for_no_more_stored_telemetry_than_an_honest_fleet_has() -> None:
    asked: list[dict[str, object]] = []

    async def script(talk: Talk) -> None:
        _, filters = await talk.receive_req()
        asked.extend(filters)
        await talk.until_closed()

    async with scripted_relay(script) as url, running(RelayPool({url: AUTHORS}, Collector(), limits=QUICK)):
        await eventually(lambda: bool(asked))
    assert [(wanted["kinds"], wanted.get("limit")) for wanted in asked] == [([21000], None), ([30078, 30079], 500)]


async def test_a_flood_of_big_sales_by_a_stolen_key_stays_small_in_memory_and_delays_nobody() -> None:
    """The sink stands still: what piles up is bounded in octets, and the other machine's sale is in the next batch."""
    flood = [STOLEN.event(json.dumps({"n": n, "x": "x" * 100_000})) for n in range(200)]
    sale = HONEST.event("honest")
    stuck = Collector(failures=10_000)
    limits = replace(QUICK, queue_bytes=4_000_000, batch_bytes=1_000_000, retry_floor_s=0.01)
    order: list[str] = []

    async def script(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        await talk.send_events(sub_id, *flood, sale)
        await talk.send("EOSE", sub_id)
        await talk.until_closed()

    async def sink(batch: object) -> None:
        await stuck(batch)  # type: ignore[arg-type]
        order.extend(received.event.id for received in batch)  # type: ignore[attr-defined]

    async with scripted_relay(script) as url:
        pool = RelayPool({url: AUTHORS}, sink, limits=limits)
        async with running(pool):
            await eventually(lambda: pool.health()[0].events + pool.health()[0].shed > len(flood))
            (health,) = pool.health()
            assert health.shed > 180, "the author's share is a quarter of the queue"
            stuck.failures = 0
            await eventually(lambda: sale.id in order)
    # A batch of 1 MB was in flight; the sale is among the first of the next one.
    assert order.index(sale.id) <= 14


async def test_a_stolen_key_that_floods_small_sales_does_not_stop_the_sockets_for_others() -> None:
    flood = [STOLEN.event(str(n)) for n in range(3_000)]
    sales = [HONEST.event(f"honest {n}") for n in range(20)]
    sink = Collector()
    limits = replace(QUICK, settlement_burst=500)

    async def script(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        await talk.send_events(sub_id, *flood, *sales)
        await talk.until_closed()

    async with scripted_relay(script) as url, running(RelayPool({url: AUTHORS}, sink, limits=limits)) as pool:
        await sink.wait_for(*sales)
        (health,) = pool.health()
    assert health.shed >= 2_400
    assert health.faults == {}
