"""What satmachine reads and writes, beside a relay server and a library that others have written."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import anyio
import orjson
import pytest
from websockets.asyncio.client import connect

from satmachine.errors import SatmachineError
from satmachine.nostr import nip44
from satmachine.nostr.event import RELAY_LIST_KIND, publish, sign
from satmachine.nostr.keys import public_key_of
from satmachine.nostr.pool import RelayPool
from testkit.interop import NostrRelay, NostrTools
from testkit.machine import SimulatedMachine
from testkit.relays import QUICK, Collector, Machine, eventually, publish_to, running
from testkit.system import DemoMachine, System
from testkit.watch import LEGS, SALE, add_providers, debits, legs_of, sales, started, until_status
from tests.integration.conftest import BuildSystem

SECRET = b"\x09" * 32


def now() -> int:
    return int(time.time())


async def on_this_relay(build_system: BuildSystem, relay: NostrRelay, **settings: str) -> System:
    system: System = await build_system(lps=("alice", "bruno", "carla"), settings=settings)
    system.stop_relays()
    system.relays = [relay]  # type: ignore[list-item]
    system.write_config()
    return system


def with_key(machine: DemoMachine, secret: bytes) -> DemoMachine:
    import nostr_sdk

    return DemoMachine(machine.id, SimulatedMachine(nostr_sdk.Keys.parse(secret.hex())), machine.wallet)


# --- nostr-relay


async def test_it_says_ok_before_its_subscribers_get_the_event(relay: NostrRelay) -> None:
    """Not every relay does: who waits for OK must not think that the event has been delivered."""
    event = Machine().event("{}", created_at=now())
    async with connect(relay.url, proxy=None) as socket:
        await socket.send(orjson.dumps(["REQ", "s", {"authors": [event.pubkey], "kinds": [21000]}]).decode())
        while orjson.loads(await socket.recv())[0] != "EOSE":
            pass
        await socket.send(publish(event))
        with anyio.fail_after(30):
            told = [orjson.loads(await socket.recv())[0] for _ in range(2)]
    assert told == ["OK", "EVENT"]


async def test_every_event_comes_once_live_and_stored(relay: NostrRelay) -> None:
    machine, sink = Machine(), Collector()
    beacon = machine.event("{}", kind=30078, created_at=now())
    await publish_to(relay.url, beacon)
    pool = RelayPool({relay.url: frozenset({machine.pubkey})}, sink, limits=QUICK, relay_lists=True)
    async with running(pool):
        await sink.wait_for(beacon)
        await eventually(lambda: pool.health()[0].eose)
        live = [machine.event(str(number), created_at=now()) for number in range(50)]
        relays = machine.event("", kind=RELAY_LIST_KIND, created_at=now(), tags=[["r", "wss://own.example"]])
        await publish_to(relay.url, *live, relays, Machine().event("a stranger's", created_at=now()))
        await sink.wait_for(*live, relays)
    assert sorted(sink.ids) == sorted(event.id for event in [beacon, *live, relays])
    assert not pool.health()[0].faults


async def test_a_relay_that_comes_back_is_heard_again(relay: NostrRelay) -> None:
    machine, sink = Machine(), Collector()
    pool = RelayPool({relay.url: frozenset({machine.pubkey})}, sink, limits=QUICK)
    async with running(pool):
        await eventually(lambda: pool.health()[0].eose)
        relay.stop()
        await eventually(lambda: not pool.health()[0].eose)
        async with relay:
            await eventually(lambda: pool.health()[0].eose)
            event = machine.event("{}", created_at=now())
            await publish_to(relay.url, event)
            await sink.wait_for(event)


@pytest.mark.slow
async def test_a_sale_over_this_relay_is_shared_out(build_system: BuildSystem, relay: NostrRelay) -> None:
    system = await started(await on_this_relay(build_system, relay))
    add_providers(system)
    machine = system.machines[0]
    sale = await system.customer_pays(machine, SALE, with_extra=False)
    await system.announce(machine, sale)
    await system.announce(machine, sale)
    await until_status(system, "processed")
    assert {leg.leg: leg.amount_sats for leg in legs_of(system)} == LEGS
    assert set((await debits(system)).values()) == {1}


# --- nostr-tools


@pytest.mark.parametrize("text", ["x", "a sale ☕", "ü" * 5_000, json.dumps(SALE)])
async def test_each_opens_what_the_other_has_encrypted(tools: NostrTools, text: str) -> None:
    ours, theirs = SECRET, b"\x0a" * 32
    key = nip44.conversation_key(ours, public_key_of(theirs))
    payload = nip44.encrypt(text, key, os.urandom(32))
    assert await tools.ask(do="decrypt", secret=theirs.hex(), **{"from": public_key_of(ours)}, payload=payload) == text
    made = await tools.ask(
        do="publish", secret=theirs.hex(), relays=[], kind=1, content=text, tags=[], encrypt_to=public_key_of(ours)
    )
    assert nip44.decrypt(made["content"], key) == text


async def test_what_we_sign_it_verifies_and_an_altered_one_it_does_not(tools: NostrTools) -> None:
    event = sign(1, 'text with "quotes", \n, \x01 and ☕', [["p", "aa" * 32], ["d", ""]], now(), SECRET).to_dict()
    assert await tools.ask(do="verify", event=event) is True
    assert await tools.ask(do="verify", event={**event, "content": "another"}) is False


async def test_what_is_wrong_with_a_payload_it_says(tools: NostrTools) -> None:
    with pytest.raises(SatmachineError, match="payload"):
        await tools.ask(do="decrypt", secret=SECRET.hex(), **{"from": public_key_of(b"\x0a" * 32)}, payload="x")


@pytest.mark.slow
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
async def test_a_sale_that_it_publishes_is_landed_and_paid(
    build_system: BuildSystem, relay: NostrRelay, tools: NostrTools, encrypted: bool
) -> None:
    system = await on_this_relay(
        build_system,
        relay,
        nostr=f'secret_key = "{SECRET.hex()}"',
        machines=f"encrypted = {str(encrypted).lower()}",
    )
    secret = os.urandom(32)
    system.machines = [with_key(system.machines[0], secret)]
    system.write_config()
    await started(system)
    add_providers(system)
    sale = await system.customer_pays(system.machines[0], SALE, with_extra=False)
    told: dict[str, Any] = {"secret": secret.hex(), "relays": [relay.url], "kind": 21000, "content": json.dumps(sale)}
    ours = public_key_of(SECRET)
    tags, to = ([["p", ours]], {"encrypt_to": ours}) if encrypted else ([], {})
    event = await tools.ask(do="publish", tags=tags, **told, **to)
    [settlement] = await until_status(system, "processed")
    assert (settlement.bitspire_event_id, settlement.net_sats) == (event["id"], SALE["net_sats"])
    assert set((await debits(system)).values()) == {1}
    assert len(sales(system)) == 1
