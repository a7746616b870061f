"""Books for people through a running daemon: it signs statements, and tells LPs by messages, on a real relay.

What it says is read with another implementation (nostr-sdk), as the LPs' own apps read it.
"""

from __future__ import annotations

import json
import socket
import sys

import anyio
import nostr_sdk
import pytest
from websockets.asyncio.client import connect

from satmachine.nostr.keys import hex_to_npub, public_key_of
from testkit.system import Relay, System
from testkit.watch import SALE, add_providers, books, started, until_status
from tests.integration.conftest import BuildSystem

SECRET = bytes([7] * 32)
NPUB = hex_to_npub(public_key_of(SECRET))
ALICE, BRUNO = nostr_sdk.Keys.generate(), nostr_sdk.Keys.generate()
#: 2026-09-01: before the month that a daemon tells of when it starts.
LONG_AGO = 1_788_220_800


async def cli(system: System, *arguments: str, stdin: str = "") -> str:
    """What the program prints, as a process of its own."""
    run = [sys.executable, "-m", "satmachine", "--config", str(system.config_path), *arguments]
    done = await anyio.run_process(run, input=stdin.encode(), check=False)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout.decode()


async def gifts(url: str) -> dict[str, nostr_sdk.Event]:
    """Every gift wrap that the relay has, by its id; each id once."""
    found: dict[str, nostr_sdk.Event] = {}
    async with connect(url) as relay:
        await relay.send(json.dumps(["REQ", "all", {"kinds": [1059]}]))
        async for frame in relay:
            kind, _, *rest = json.loads(frame)
            if kind == "EOSE":
                return found
            assert rest[0]["id"] not in found
            found[rest[0]["id"]] = nostr_sdk.Event.from_json(json.dumps(rest[0]))
    raise AssertionError("the relay closed the connection")


def read(keys: nostr_sdk.Keys, wrapped: dict[str, nostr_sdk.Event]) -> list[str]:
    """What one reader can read of them; it comes from the daemon's key."""
    mine = [one for one in wrapped.values() if keys.public_key().to_hex() in one.as_json()]
    opened = [nostr_sdk.UnwrappedGift.from_gift_wrap(keys, one) for one in mine]
    assert {one.sender().to_hex() for one in opened} <= {public_key_of(SECRET)}
    return sorted(one.rumor().content() for one in opened)


def messages(system: System) -> list[tuple[int, str, str, str | None, int | None, int]]:
    with books(system) as conn:
        found = conn.execute("SELECT client_id, kind, subject, event, taken_at, attempts FROM dca_messages ORDER BY id")
        return [tuple(row) for row in found]


async def until(system: System, what: str, count: int) -> None:
    """Wait for so many messages of which that is true in SQL."""
    for _ in range(600):
        with books(system) as conn:
            if conn.execute(f"SELECT count(*) FROM dca_messages WHERE {what}").fetchone()[0] >= count:
                return
        await anyio.sleep(0.1)
    told = [(kind, taken_at, attempts) for _, kind, _, _, taken_at, attempts in messages(system)]
    raise AssertionError(f"no {count} messages of which {what}: {told}\n{system.log_tail()}")


async def restarted(system: System, *changes: str) -> None:
    """SIGKILL, something changes, and it starts again."""
    system.kill_daemon()
    with books(system) as conn:
        for change in changes:
            conn.execute(change)
    await started(system)


async def test_messages_wait_for_a_relay_are_never_sent_twice_and_statements_are_signed(
    build_system: BuildSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSEC", SECRET.hex())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        theirs = Relay(port=free.getsockname()[1])
    url = f"ws://127.0.0.1:{theirs.port}"
    settings = {"nostr": 'secret_key = { env = "NSEC" }'}
    system = await started(await build_system(lps=("alice", "bruno", "carla"), settings=settings))
    add_providers(system)
    for client, keys in ((1, ALICE), (2, BRUNO)):
        npub = keys.public_key().to_bech32()
        wishes = ("--relay", url, "--receipts", *(("--monthly",) if client == 1 else ()), "--yes")
        await cli(system, "clients", "messages", str(client), "--npub", npub, *wishes)
    await system.announce(system.machines[0], await system.customer_pays(system.machines[0], SALE))
    await until_status(system, "processed")
    await until(system, "attempts > 0", 2)
    assert [(row[0], row[1], row[4]) for row in messages(system)] == [(1, "receipt", None), (2, "receipt", None)]
    sealed = {row[3] for row in messages(system)}

    await restarted(system, f"UPDATE dca_client_messages SET since_at = {LONG_AGO}")
    await until(system, "kind = 'monthly'", 1)
    assert {row[3] for row in messages(system)} >= sealed, "what was sealed once is sent as it is, also after a death"
    await theirs.start()
    try:
        await restarted(system, "UPDATE dca_messages SET next_attempt_at = 0")
        await until(system, "taken_at IS NOT NULL", 3)
        told = await gifts(url)
        of_alice, of_bruno = read(ALICE, told), read(BRUNO, told)
        assert (len(told), len(of_alice), len(of_bruno)) == (3, 2, 1)
        assert "you got 129,418 sats for" in " ".join(of_alice)
        assert "You bought nothing" in " ".join(of_alice), "the month that had ended is told once it is over"
        assert "you got 77,650 sats for" in of_bruno[0]
        for text in (*of_alice, *of_bruno):
            assert not any(word in text.lower() for word in ("carla", "owner", "technician", "2,390", "266,800"))
        assert "bruno" not in " ".join(of_alice).lower()

        # As if it had died between a relay's answer and its own commit.
        await restarted(system, "UPDATE dca_messages SET taken_at = NULL, taken_by = NULL, next_attempt_at = 0")
        await until(system, "taken_at IS NOT NULL", 3)
        again = await gifts(url)
        assert again.keys() == told.keys(), (read(ALICE, again), read(BRUNO, again))
        assert len(messages(system)) == 3
    finally:
        theirs.stop()
    await statements_are_signed(system)


async def statements_are_signed(system: System) -> None:
    document = await cli(system, "clients", "statement", "alice", "--signed")
    page = await cli(system, "clients", "statement", "alice", "--html")
    assert nostr_sdk.Event.from_json(document).verify()
    assert json.loads(json.loads(document)["content"])["bought_sats"] == 129_418
    for content in (document, page):
        told = await cli(system, "verify", "-", "--npub", NPUB, stdin=content)
        assert "the key that you named" in " ".join(told.split())
