"""Telemetry over real relays into SQLite, and that no flood of it delays a sale (SPEC section 7)."""

from __future__ import annotations

import time

import anyio

from satmachine.store.database import prepare
from testkit.machine import publish
from testkit.relays import Talk, scripted_relay
from testkit.system import System
from testkit.watch import SALE, books, started, until_status

BEACON_KIND = 30_078


async def telemetry(system: System) -> list[dict[str, object]]:
    with books(system) as conn:
        return [dict(row) for row in conn.execute("SELECT * FROM dca_telemetry")]


async def test_a_beacon_becomes_the_machines_present_state(system: System) -> None:
    await started(system)
    machine = system.machines[0]
    now = int(time.time())
    rich = {"status": "online", "software_version": "1.2", "cassettes": [{"denomination": 100, "count": 40}]}
    for age_s, content in ((5, rich), (1, {"status": "low_cash"})):
        event = machine.signer.event(content, kind=BEACON_KIND, created_at=now - age_s, tags=[["d", "beacon"]])
        await publish([relay.url for relay in system.relays], event)
    for _ in range(200):
        found = await telemetry(system)
        if found and found[0]["status"] == "low_cash":
            break
        await anyio.sleep(0.05)
    [row] = await telemetry(system)
    assert (row["status"], row["software_version"], row["cash_left_minor"]) == ("low_cash", "1.2", 400_000)


async def test_a_sale_in_the_middle_of_ten_thousand_beacons_does_not_wait_for_them(system: System) -> None:
    """One socket brings 5,000 beacons, the sale, and 5,000 more, as fast as the daemon reads."""
    machine = system.machines[0]
    now = int(time.time())
    beacons = [
        machine.signer.event({"uptime": number}, kind=BEACON_KIND, created_at=now - 10_000 + number, tags=[["d", "b"]])
        for number in range(10_000)
    ]
    texts = [event.as_json() for event in beacons]
    sale = machine.signer.event(await system.customer_pays(machine, SALE)).as_json()

    async def flood(talk: Talk) -> None:
        subscription, _ = await talk.receive_req()
        for event in [*texts[:5_000], sale, *texts[5_000:]]:
            await talk.send_raw(f'["EVENT","{subscription}",{event}]')
        await talk.until_closed()

    system.stop_relays()
    async with scripted_relay(flood) as url:
        system.relays[0].port = int(url.rsplit(":", 1)[1])
        system.write_config()
        prepare(system.database_path)
        system.start_daemon()
        await until_status(system, "processed")
    with books(system) as conn:
        stored = conn.execute("SELECT count(*) FROM dca_telemetry_log").fetchone()[0]
    assert 0 < stored < 10_000  # a machine has a budget; what is beyond it is shed, and counted
