"""The main job, end to end on real parts: a sale over real relays, shared out by a real LNbits, each sat once."""

from __future__ import annotations

import json
import time

import anyio
import pytest

from testkit.machine import SimulatedMachine, publish
from testkit.system import System
from testkit.watch import (
    LEGS,
    SALE,
    add_providers,
    balances,
    debits,
    legs_of,
    quarantined,
    sales,
    started,
    until_quarantined,
    until_status,
)
from tests.integration.conftest import BuildSystem


async def test_a_sale_is_shared_out_to_the_last_sat(system: System) -> None:
    await started(system)
    add_providers(system)
    sale = await system.customer_pays(system.machines[0], SALE)
    await system.announce(system.machines[0], sale)
    [settlement] = await until_status(system, "processed")
    assert (settlement.gross_sats, settlement.net_sats, settlement.commission_sats) == (266_800, 258_835, 7_965)
    assert {leg.leg: leg.amount_sats for leg in legs_of(system)} == LEGS
    assert {leg.status for leg in legs_of(system)} == {"completed"}
    assert await balances(system) == {
        "machine-1": 0,
        "super": 2_390,
        "owner": 3_902,
        "technician": 1_673,
        "alice": 129_418,
        "bruno": 77_650,
        "carla": 51_767,
    }
    assert await system.stop_daemon() == 0


async def test_three_relays_ten_times_each_and_announced_anew_pay_each_leg_once(build_system: BuildSystem) -> None:
    system = await build_system(relays=3, lps=("alice", "bruno", "carla"))
    await started(system)
    add_providers(system)
    machine = system.machines[0]
    sale = await system.customer_pays(machine, SALE)
    event = machine.signer.event(sale)
    for _ in range(10):
        await publish([relay.url for relay in system.relays], event)
    await until_status(system, "processed")
    await system.announce(machine, {**sale, "note": "announced again under a new id"})
    await anyio.sleep(1)
    [settlement] = sales(system)
    assert {leg.leg: leg.amount_sats for leg in legs_of(system, settlement.id)} == LEGS
    made = await debits(system)
    assert len(made) == len(LEGS)
    assert set(made.values()) == {1}
    assert quarantined(system) == []


async def test_without_net_and_fee_the_split_is_derived_and_a_warning_names_the_upstream_issue(system: System) -> None:
    await started(system)
    add_providers(system)
    bare = {"gross_sats": 266_800, "exchange_rate": 143.797, "txid": "bare"}
    sale = await system.customer_pays(system.machines[0], bare, with_extra=False)
    await system.announce(system.machines[0], sale)
    [settlement] = await until_status(system, "processed")
    assert settlement.used_fallback_split
    assert (settlement.net_sats, settlement.commission_sats) == (254_095, 12_705)
    assert "lamassu-next#44" in system.log_path.read_text()


async def test_a_different_story_about_a_paid_sale_is_a_conflict_for_the_operator(system: System) -> None:
    await started(system)
    add_providers(system)
    machine = system.machines[0]
    sale = await system.customer_pays(machine, SALE)
    await system.announce(machine, sale)
    await until_status(system, "processed")
    await system.announce(machine, {**sale, "net_sats": 200_000, "fee_sats": 66_800})
    [(reason, detail)] = await until_quarantined(system, 1)
    assert reason == "conflict"
    assert "sale 1" in detail
    assert len(await debits(system)) == len(LEGS)


async def test_what_strangers_and_broken_machines_send_pays_nothing(system: System) -> None:
    await started(system)
    add_providers(system)
    machine, now = system.machines[0], int(time.time())
    urls = [relay.url for relay in system.relays]
    unpaid = {**SALE, "payment_hash": "ab" * 32}
    stranger = SimulatedMachine.new().event(unpaid)
    signed = [
        machine.signer.event("this is no JSON"),
        machine.signer.event({**unpaid, "gross_sats": 1}),
        machine.signer.event({**unpaid, "currency": "XXX"}),
        machine.signer.event(unpaid, created_at=now + 86_400),
        machine.signer.event(unpaid, created_at=now - 30 * 86_400),
    ]
    for event in (stranger, *signed):
        await publish(urls, event)
    found = await until_quarantined(system, len(signed))
    assert sorted(reason for reason, _ in found) == ["amounts", "bad_json", "currency", "future", "too_old"]
    assert all(len(detail) > 20 for _, detail in found)
    assert sales(system) == []
    assert await debits(system) == {}


async def test_another_transport_s_event_is_ignored_not_quarantined(system: System) -> None:
    await started(system)
    machine = system.machines[0]
    other = SimulatedMachine.new().keys.public_key().to_hex()
    urls = [relay.url for relay in system.relays]
    await publish(urls, machine.signer.event("an LNbits call", tags=[["p", other]]))
    await publish(urls, machine.signer.event("not JSON"))
    assert len(await until_quarantined(system, 1)) == 1


async def test_an_announced_sale_that_nobody_paid_waits_and_pays_nothing(system: System) -> None:
    await started(system)
    add_providers(system)
    await system.announce(system.machines[0], {**SALE, "payment_hash": "cd" * 32})
    await until_status(system, "pending")
    await anyio.sleep(1)
    [settlement] = sales(system)
    assert settlement.proof == "waiting"
    assert "waiting for the customer's payment" in str(settlement.error)
    assert await debits(system) == {}


async def test_the_daemon_starts_without_relay_and_works_when_it_comes_back(system: System) -> None:
    system.stop_relays()
    system.start_daemon()
    await system.wait_for_log("satmachine runs")
    await system.relays[0].start()
    await system.wait_for_log("subscribed for", timeout_s=60)
    add_providers(system)
    sale = await system.customer_pays(system.machines[0], SALE)
    await system.announce(system.machines[0], sale)
    await until_status(system, "processed")


async def test_a_second_daemon_on_the_same_database_refuses(system: System) -> None:
    await started(system)
    first, system.daemon = system.daemon, None
    try:
        system.start_daemon()
        assert system.daemon is not None
        assert await anyio.to_thread.run_sync(system.daemon.wait, 30) == 1
        assert "another satmachine daemon" in system.log_path.read_text()
    finally:
        system.kill_daemon()
        system.daemon = first


@pytest.mark.parametrize("key", ["payment_hash"])
async def test_a_sale_without_its_hash_is_found_by_its_txid(system: System, key: str) -> None:
    await started(system)
    add_providers(system)
    sale = await system.customer_pays(system.machines[0], SALE)
    await system.announce(system.machines[0], {name: value for name, value in sale.items() if name != key})
    [settlement] = await until_status(system, "processed")
    assert settlement.payment_hash == sale["payment_hash"]


async def test_every_payment_can_be_found_in_lnbits_by_its_tag_and_read_by_a_person(system: System) -> None:
    from satmachine.identity import is_mark
    from satmachine.models import Answer
    from satmachine.wallet.lnbits import Lnbits

    await started(system)
    add_providers(system)
    machine = system.machines[0]
    await system.announce(machine, await system.customer_pays(machine, SALE))
    await until_status(system, "processed")
    async with Lnbits(system.lnbits.url, instance_id="test") as lnbits:
        rows = await lnbits.payments(machine.wallet.admin_key, tag=f"satmachine:{machine.signer.npub}")
    marks = [row for row in rows if is_mark(row.leg_key)]
    rows = [row for row in rows if row not in marks]
    assert len(rows) == len(LEGS)
    # One names the sale's invoices, one says that the wallet's payments are sealed.
    assert [(mark.incoming, mark.status, mark.amount_sats) for mark in marks] == [(True, Answer.PENDING, 1)] * 2
    assert all("do not pay" in mark.memo for mark in marks)
    assert any("super fee of sale 1" in row.memo for row in rows)
    assert all(json.loads(json.dumps(row.extra, default=str))["machine"] == machine.id for row in rows)
