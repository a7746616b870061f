"""Content encrypted to the daemon (NIP-44 v2) by another implementation, end to end; plain content is refused."""

from __future__ import annotations

import json

import anyio
import nostr_sdk
import pytest

from testkit.machine import publish
from testkit.system import DemoMachine, System
from testkit.watch import SALE, add_providers, books, quarantined, sales, started, until_quarantined, until_status
from tests.integration.conftest import BuildSystem


@pytest.fixture
def daemon_keys() -> nostr_sdk.Keys:
    return nostr_sdk.Keys.generate()


@pytest.fixture
async def encrypted_system(build_system: BuildSystem, daemon_keys: nostr_sdk.Keys) -> System:
    """A system whose one machine must encrypt."""
    secret = daemon_keys.secret_key().to_hex()
    settings = {"nostr": f'secret_key = "{secret}"', "machines": "encrypted = true"}
    return await build_system(lps=("alice", "bruno", "carla"), settings=settings)


async def send(
    system: System, machine: DemoMachine, content: object, to: nostr_sdk.Keys, *, kind: int = 21000, seal: bool = True
) -> None:
    """Publish content, encrypted by nostr-sdk unless `seal` is off; the p tag names the daemon."""
    text = json.dumps(content)
    if seal:
        sender, reader = machine.signer.keys.secret_key(), to.public_key()
        text = nostr_sdk.nip44_encrypt(sender, reader, text, nostr_sdk.Nip44Version.V2)
    event = machine.signer.event(text, kind=kind, tags=[["p", to.public_key().to_hex()], ["d", "state"]])
    await publish([relay.url for relay in system.relays], event)


async def test_an_encrypted_sale_and_beacon_are_read_and_paid(
    encrypted_system: System, daemon_keys: nostr_sdk.Keys
) -> None:
    system = encrypted_system
    await started(system)
    add_providers(system)
    [machine] = system.machines
    await send(system, machine, {"name": "in secret"}, daemon_keys, kind=30078)
    await send(system, machine, await system.customer_pays(machine, SALE), daemon_keys)
    await until_status(system, "processed")
    assert await beacon_name(system) == "in secret"
    assert quarantined(system) == []


async def test_plain_or_unreadable_content_of_that_machine_is_quarantined_with_the_reason_in_words(
    encrypted_system: System, daemon_keys: nostr_sdk.Keys
) -> None:
    system = encrypted_system
    await started(system)
    [machine] = system.machines
    sale = await system.customer_pays(machine, SALE, with_extra=False)
    await send(system, machine, sale, daemon_keys, seal=False)
    stranger = DemoMachine("x", type(machine.signer).new(), machine.wallet)
    sealed_by_another = nostr_sdk.nip44_encrypt(
        stranger.signer.keys.secret_key(), daemon_keys.public_key(), json.dumps(sale), nostr_sdk.Nip44Version.V2
    )
    event = machine.signer.event(sealed_by_another, tags=[["p", daemon_keys.public_key().to_hex()]])
    await publish([relay.url for relay in system.relays], event)
    found = dict(await until_quarantined(system, 2))
    assert "encrypted = true" in found["not_encrypted"]
    assert "plain text" in found["not_encrypted"]
    assert "MAC" in found["not_decrypted"]
    assert sales(system) == []


async def beacon_name(system: System) -> str:
    """The machine's name as its latest beacon says it."""
    for _ in range(100):
        with books(system) as conn:
            row = conn.execute("SELECT name FROM dca_telemetry").fetchone()
        if row is not None:
            return str(row["name"])
        await anyio.sleep(0.1)
    raise AssertionError(system.log_tail())
