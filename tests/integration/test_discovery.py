"""`discover_relays` with real relays and the daemon: a machine's own list is followed, and only its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import anyio
import pytest

from satmachine.config import load
from satmachine.discovery import Discovery
from satmachine.nostr.connect import public_address
from satmachine.nostr.event import RELAY_LIST_KIND, Fault
from satmachine.nostr.health import RelayState
from satmachine.nostr.pool import RelayPool
from satmachine.ops.doctor import examine
from satmachine.store import registry, relay_list_rows
from satmachine.store.database import open_store
from testkit.config_files import VALID, load_text
from testkit.machine import publish
from testkit.relays import NOW, QUICK, Collector, Machine, Talk, eventually, local_relay, running, scripted_relay
from testkit.system import Relay, System
from testkit.watch import SALE, books, until_status
from tests.integration.conftest import BuildSystem
from tests.integration.test_unannounced import satmachine

DISCOVER = {"nostr": "discover_relays = true\ndiscover_private = true"}


async def test_a_sale_that_is_announced_only_where_the_machine_itself_publishes(build_system: BuildSystem) -> None:
    """It is heard, and shown with where it comes from; its relay's end wakes nobody."""
    own = Relay()
    own_url = (await own.start()).rstrip("/")
    try:
        system = await build_system(settings=DISCOVER, machines=2)
        machine = system.machines[0]
        told = machine.signer.event("", kind=RELAY_LIST_KIND, tags=[["r", own_url], ["r", "ftp://x", "write"]])
        await publish([system.relays[0].url], told)
        system.start_daemon()
        await system.wait_for_log(f"{own_url}: subscribed for 1 machines")
        sale = await system.customer_pays(machine, SALE, with_extra=False)
        await publish([own_url], machine.signer.event(sale))
        [settlement] = await until_status(system, "processed")
        assert (settlement.source, settlement.net_sats) == ("event", SALE["net_sats"])
        shown = satmachine(system, "machines", "show", machine.id)
        assert shown["relays"] == [system.relays[0].url]
        assert shown["own_relays"]["relays"] == [own_url]
        assert shown["own_relays"]["refused"] == {"ftp://x": "that is not the address of a relay"}
        found = await examine(load(system.config_path))
        assert [f.verdict for f in found if f.subject == own_url] == ["ok"]
        assert [f.verdict for f in found if f.check == "relay list"] == ["warning"]
        own.stop()
        named = await until_away(system, own_url)
        assert named == {own_url: 1, system.relays[0].url: 0}
    finally:
        own.stop()


async def until_away(system: System, url: str) -> dict[str, int]:
    """Which relays are a machine's own, once this one is not connected to."""
    with books(system) as conn:
        for _ in range(300):
            rows = conn.execute("SELECT url, state, named FROM relay_health").fetchall()
            if any(row["url"] == url and row["state"] != "subscribed" for row in rows):
                return {row["url"]: row["named"] for row in rows}
            await anyio.sleep(0.1)
    raise AssertionError(system.log_tail())


async def test_a_restarted_daemon_knows_the_list_before_any_relay_tells_it(build_system: BuildSystem) -> None:
    own = Relay()
    own_url = (await own.start()).rstrip("/")
    try:
        system = await build_system(settings=DISCOVER)
        told = system.machines[0].signer.event("", kind=RELAY_LIST_KIND, tags=[["r", own_url, "write"]])
        await publish([system.relays[0].url], told)
        system.start_daemon()
        await system.wait_for_log(f"{own_url}: subscribed for 1 machines")
        await system.stop_daemon()
        system.relays[0].stop()
        system.log_path.unlink()
        system.start_daemon()
        await system.wait_for_log(f"{own_url}: subscribed for 1 machines")
        with books(system) as conn:
            assert relay_list_rows.of_all(conn) == {system.machines[0].id: [own_url]}
    finally:
        own.stop()


async def test_a_list_that_another_has_signed_or_that_nobody_has_is_a_fault_of_the_relay() -> None:
    machine, stranger, sink = Machine(), Machine(), Collector()
    true = machine.event("", kind=RELAY_LIST_KIND, tags=[["r", "wss://own.example"]])
    by_another = stranger.event("", kind=RELAY_LIST_KIND, tags=[["r", "wss://evil.example"]])
    forged = true._replace(tags=(("r", "wss://evil.example"),))
    wrong_signature = true._replace(sig=by_another.sig)

    async def script(talk: Talk) -> None:
        sub_id, filters = await talk.receive_req()
        assert [RELAY_LIST_KIND] in [wanted["kinds"] for wanted in filters]
        await talk.send_events(sub_id, by_another, forged, wrong_signature, true)
        await talk.send("EOSE", sub_id)
        await talk.until_closed()

    async with scripted_relay(script) as url:
        pool = RelayPool({url: frozenset({machine.pubkey})}, sink, limits=QUICK, relay_lists=True)
        async with running(pool):
            await sink.wait_for(true)
            assert sink.ids == [true.id]
            expected = {Fault.UNKNOWN_AUTHOR: 1, Fault.FALSE_ID: 1, Fault.BAD_SIGNATURE: 1}
            assert pool.health()[0].faults == expected


async def test_a_list_that_nobody_has_asked_for_is_a_fault_of_the_relay() -> None:
    machine, sink = Machine(), Collector()
    unasked = machine.event("", kind=RELAY_LIST_KIND, tags=[["r", "wss://own.example"]])
    asked: list[object] = []

    async def script(talk: Talk) -> None:
        sub_id, filters = await talk.receive_req()
        asked.extend(wanted["kinds"] for wanted in filters)
        await talk.send_events(sub_id, unasked)
        await talk.send("EOSE", sub_id)
        await talk.until_closed()

    async with scripted_relay(script) as url:
        pool = RelayPool({url: frozenset({machine.pubkey})}, sink, limits=QUICK)
        async with running(pool):
            await eventually(lambda: pool.health()[0].faults == {Fault.WRONG_KIND: 1})
    assert asked
    assert [RELAY_LIST_KIND] not in asked
    assert sink.ids == []


async def test_a_named_relay_whose_name_leads_to_this_host_is_not_connected_to() -> None:
    machine, sink = Machine(), Collector()
    async with local_relay() as url:
        authors = {url: frozenset({machine.pubkey})}
        pool = RelayPool(authors, sink, limits=QUICK, named=frozenset({url}))
        async with running(pool):
            await eventually(lambda: "private address 127.0.0.1" in pool.health()[0].error)
            assert pool.health()[0].last_connected_at is None
            pool.update(authors)  # now the operator names it
            await eventually(lambda: pool.health()[0].state is RelayState.SUBSCRIBED)


@pytest.mark.parametrize("url", ["wss://localhost:1", "wss://127.1:1", "wss://[::1]:1"])
async def test_every_way_to_write_this_host_is_seen_when_it_is_looked_up(url: str) -> None:
    with pytest.raises(OSError, match="private address"):
        await public_address(url, anyio.CapacityLimiter(1), timeout_s=10)


async def test_a_machine_that_changes_its_list_all_the_time_moves_the_pool_once_in_a_while(tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID.replace("[nostr]\n", "[nostr]\ndiscover_relays = true\n"))
    machine_id = config.machines[0].id
    updates: list[frozenset[str]] = []

    def note(conn: sqlite3.Connection, number: int) -> bool:
        url = f"wss://relay-{number}.example"
        return relay_list_rows.note(
            conn, machine_id, event_id="aa", created_at=NOW + number, received_at=NOW, relays=[url], refused={}
        )

    async with open_store(config.database.path) as store:
        await store.write(registry.mirror, config, NOW)
        discovery = Discovery(store, lambda: config)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(discovery.run, lambda _relays, named: updates.append(named))
            for number in range(200):
                assert await store.write(note, number)
                discovery.changed()
            await eventually(lambda: bool(updates))
            tasks.cancel_scope.cancel()
    assert len(updates) == 1
    assert len(updates[0]) == 1
