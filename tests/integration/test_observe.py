"""`satmachine observe` beside real relays and a real LNbits: it tells what came, and changes nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping

import anyio
import pytest

from satmachine.config import load
from satmachine.observe.listening import Listening
from testkit.machine import publish
from testkit.relays import Talk, scripted_relay
from testkit.system import System
from testkit.watch import SALE
from tests.cli.test_shapes import SCHEMA, breaks
from tests.integration.conftest import BuildSystem
from tests.integration.test_unannounced import announced, pays, speak_to_lnbits, tell_rate  # noqa: F401


async def observed(system: System, *words: str, meanwhile: object) -> Mapping[str, list[dict[str, object]]]:
    """What the command prints, while `meanwhile` happens."""
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-m", "satmachine", "--config", str(system.config_path), "observe", "--json", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "SATMACHINE_OPERATOR": ""},
    )
    try:
        assert process.stderr is not None
        assert (await anyio.to_thread.run_sync(process.stderr.readline)).startswith("Watching")
        await meanwhile()  # type: ignore[operator]
        told, complaint = await anyio.to_thread.run_sync(process.communicate)
    finally:
        process.kill()
    assert process.returncode == 0, complaint
    found: Mapping[str, list[dict[str, object]]] = json.loads(told)
    return found


async def test_what_a_mixed_fleet_sends_and_what_fits_it(build_system: BuildSystem) -> None:
    system = await build_system(machines=3)
    silent, transport, announcing = system.machines
    urls = [relay.url for relay in system.relays]
    for number in range(3):
        await pays(system, 30_000 + number, silent)
    await anyio.sleep(1.1)  # what is paid within the second in which it begins to watch counts as seen by it
    beacon = announcing.signer.event({"exchange_rate": 140, "currency": "GTQ"}, kind=30078, tags=[["d", "status"]])
    await publish(urls, beacon)

    async def fleet() -> None:
        # Ephemeral events reach only who listens by then: they are told until they must have been heard.
        for number in range(4):
            await speak_to_lnbits(urls, transport)
            await announced(system, announcing, f"a-{number}", 32_000 + number)
            await anyio.sleep(1.0)

    found = await observed(system, "--minutes", "0.25", meanwhile=fleet)
    assert [*breaks(found, SCHEMA["properties"]["observe"])] == []
    assert [(row["url"], row["state"]) for row in found["relays"]] == [(urls[0], "heard")]
    sales = {row["machine_id"]: row for row in found["sales"]}
    assert sales[silent.id]["before"] == 3
    told = sales[announcing.id]
    assert int(str(told["both"])) >= 1
    assert (told["only_told"], int(str(told["both"])) + int(str(told["silent"]))) == (0, 4)
    sent = {(row["machine_id"], row["what"]): row for row in found["sent"]}
    assert sent[announcing.id, 'kind 30078, d "status"']["keys"] == ["currency", "exchange_rate"]
    assert sent[transport.id, "kind 21000 to 6d6d6d6d.."]["tags"] == ["n", "p"]
    settings = {(row["machine_id"], row["line"]) for row in found["settings"]}
    assert (silent.id, 'unannounced = { sales = "share", memo = "^Sale  at machine-" }') in settings
    assert not system.database_path.exists()


async def test_it_changes_nothing_in_the_books_or_wallets_of_a_running_daemon(system: System) -> None:
    system.start_daemon()
    await system.wait_for_log("satmachine runs")
    machine = system.machines[0]
    payment_hash = await pays(system)
    config = load(system.config_path)
    seen = await Listening(config, config.machines, None, time.time).run(seconds=1, past_s=3_600)
    assert [one.payment_hash for one in seen.machines[0].before + seen.machines[0].payments] == [payment_hash]  # type: ignore[operator]
    with sqlite3.connect(system.database_path) as conn:
        assert conn.execute("SELECT count(*) FROM dca_settlements").fetchone() == (0,)
    conn.close()
    assert machine.id == seen.machines[0].machine.id


async def test_a_hostile_relay_ends_nothing_and_a_forged_event_is_a_fault(system: System) -> None:
    machine = system.machines[0]
    true = json.loads(machine.signer.event(SALE).as_json())
    forged = {**true, "content": json.dumps({**SALE, "gross_sats": 1})}

    async def script(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        for frame in ("{", "[]", '["EVENT"]', '["EVENT","observe",5]', "\x00"):
            await talk.send_raw(frame)
        await talk.send("EVENT", sub_id, forged)
        await talk.send("EVENT", sub_id, true)
        await talk.send("EVENT", sub_id, true)
        await talk.send("EOSE", sub_id)
        await talk.until_closed()

    async with scripted_relay(script) as url:
        text = system.config_path.read_text().replace(system.relays[0].url, url)
        system.config_path.write_text(text)
        config = load(system.config_path)
        seen = await Listening(config, config.machines, None, time.time).run(seconds=2, past_s=0)
    [relay] = seen.relays
    assert (relay.reached, relay.events, relay.faults >= 4) == (True, 2, True)
    assert [event.id for event in seen.machines[0].events] == [true["id"]]


@pytest.mark.parametrize("words", [["--machine", "nobody"], ["--minutes", "-1"], ["--minutes", "soon"]])
def test_wrong_words_are_told(tmp_path: object, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "satmachine", "--config", "config.example.toml", "observe", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in (1, 2, 3)
    assert "Traceback" not in done.stderr
