"""Hostile relays over real sockets, each beside an honest one.

Whatever they do: nothing crashes, no unverified event gets through, and the honest relay is served.
"""

from __future__ import annotations

import itertools
import json
import os
import struct
from dataclasses import replace

import anyio
import anyio.abc
import orjson
import pytest
from websockets.frames import Frame, Opcode

from satmachine.nostr.event import AuthorKeys, Fault, verify
from satmachine.nostr.health import RelayHealth, RelayState
from satmachine.nostr.pool import RelayPool
from testkit.relays import (
    QUICK,
    Collector,
    Machine,
    Script,
    Talk,
    eventually,
    local_relay,
    publish_to,
    running,
    scripted_relay,
    tcp_server,
)

MACHINE, STRANGER = Machine(), Machine()
AUTHORS = frozenset({MACHINE.pubkey})
OLD = MACHINE.event("old")


async def garbage(talk: Talk) -> None:
    for text in itertools.cycle(["", "x", "null", "[]", '["EVENT"]', "[" * 5_000, '["EVENT","s",1e999]', "\0" * 99]):
        await talk.send_raw(text)


async def wrong_types(talk: Talk) -> None:
    sub_id, _ = await talk.receive_req()
    fields = OLD.to_dict()
    values: list[object] = [None, True, -1, 1.5, 2**70, "", "x" * 64, [], {}, [[None]], [[[]]]]
    for name in itertools.cycle(fields):
        for value in values:
            await talk.send_raw(as_message(sub_id, {**fields, name: value}))


def as_message(sub_id: str, fields: dict[str, object]) -> str:
    return json.dumps(["EVENT", sub_id, fields])


async def bad_utf8(talk: Talk) -> None:
    while True:
        await talk.send_raw(b'["NOTICE","\xff\xfe\xc0"]')


async def binary(talk: Talk) -> None:
    while True:
        await talk.connection.send(b"\x00\xff" * 100)
        await anyio.lowlevel.checkpoint()


async def deep(talk: Talk) -> None:
    sub_id, _ = await talk.receive_req()
    while True:
        await talk.send_raw(f'["EVENT","{sub_id}",' + '{"tags":' * 900 + "0" + "}" * 900 + "]")
        await talk.send_raw("[" * 100_000 + "]" * 100_000)


async def huge(talk: Talk) -> None:
    await talk.receive_req()
    await talk.send_raw("x" * 100_000_000)
    await talk.until_closed()


async def big_events(talk: Talk) -> None:
    sub_id, _ = await talk.receive_req()
    event = MACHINE.event("x" * 200_000, kind=30078)
    while True:
        await talk.send_events(sub_id, event)


async def unasked(talk: Talk) -> None:
    while True:
        await talk.send_events("nobody-asked", MACHINE.event("unasked"))
        await talk.send("EOSE", "nobody-asked")
        await talk.send("CLOSED", "nobody-asked", "error: too many filters")


async def forged(talk: Talk) -> None:
    sub_id, _ = await talk.receive_req()
    for number in itertools.count():
        event = MACHINE.event(f"forged {number}")
        await talk.send_events(
            sub_id,
            event._replace(sig="ab" * 64),
            event._replace(content="altered"),
            event._replace(id=OLD.id),
            OLD._replace(content="altered"),
            STRANGER.event()._replace(pubkey=MACHINE.pubkey),
        )


async def replays(talk: Talk) -> None:
    sub_id, _ = await talk.receive_req()
    while True:
        await talk.send_events(sub_id, OLD)


async def strangers(talk: Talk) -> None:
    sub_id, _ = await talk.receive_req()
    for number in itertools.count():
        await talk.send_events(sub_id, STRANGER.event(str(number)), MACHINE.event(str(number), kind=1))


async def chatter(talk: Talk) -> None:
    sub_id, _ = await talk.receive_req()
    while True:
        await talk.send("NOTICE", "too many filters\n" * 50)
        await talk.send("AUTH", "challenge")
        await talk.send("EOSE", sub_id)
        await talk.send("OK", "00" * 32, True, "")


async def closes_everything(talk: Talk) -> None:
    while True:
        sub_id, _ = await talk.receive_req()
        await talk.send("CLOSED", sub_id, "error: too many authors, filters and subscriptions")


async def accept_and_close(talk: Talk) -> None:
    await talk.connection.close()


async def half_a_frame(talk: Talk) -> None:
    await talk.receive_req()
    talk.connection.transport.write(Frame(Opcode.TEXT, b"x" * 1_000).serialize(mask=False)[:500])
    talk.connection.transport.close()


async def slow_trickle(talk: Talk) -> None:
    await talk.receive_req()
    talk.connection.transport.write(b"\x81\x7f" + struct.pack("!Q", 500_000))
    while True:
        talk.connection.transport.write(b"x")
        await anyio.sleep(0.05)


async def protocol_errors(talk: Talk) -> None:
    await talk.receive_req()
    talk.connection.transport.write(b"\xff\xff\xff\xff" * 100)
    await talk.until_closed()


SCRIPTS: list[Script] = [
    garbage, wrong_types, bad_utf8, binary, deep, huge, big_events, unasked, forged, replays, strangers, chatter,
    closes_everything, accept_and_close, half_a_frame, slow_trickle, protocol_errors,
]  # fmt: skip


async def honest_service(hostile_url: str) -> RelayHealth:
    """Serve an honest relay beside a hostile one; the hostile one's health at the end."""
    sink = Collector()
    sales = [MACHINE.event(f"honest {number}") for number in range(10)]
    # Hostile and honest relays share our event loop here: a peer that is sending 100 MB must not look dead to us.
    limits = replace(QUICK, ping_interval_s=0.3, ping_timeout_s=5.0)
    async with local_relay() as honest_url:
        pool = RelayPool(dict.fromkeys((honest_url, hostile_url), AUTHORS), sink, limits=limits)
        async with running(pool):
            await eventually(lambda: pool.health()[0].state is RelayState.SUBSCRIBED)
            await publish_to(honest_url, OLD)
            await sink.wait_for(OLD)
            for sale in sales:
                await publish_to(honest_url, sale)
                await sink.wait_for(sale)
                await anyio.sleep(0.02)
            health = pool.health()[1]
    keyring = AuthorKeys()
    for received in sink.received:
        assert received.event.pubkey in AUTHORS
        assert verify(received.event, keyring) is None
        assert orjson.loads(received.raw)["id"] == received.event.id
    assert sorted(sink.ids) == sorted({OLD.id, *(sale.id for sale in sales)})
    return health


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
async def test_the_honest_relay_is_served_beside(script: Script) -> None:
    async with scripted_relay(script) as hostile_url:
        await honest_service(hostile_url)


async def test_a_relay_that_reads_nothing_is_left_and_does_not_hold_up_the_end() -> None:
    """More is asked of it than the sockets between us hold."""

    async def deaf(talk: Talk) -> None:
        talk.connection.transport.pause_reading()
        await anyio.sleep(6)

    authors = frozenset(os.urandom(32).hex() for _ in range(120_000))
    limits = replace(QUICK, ping_timeout_s=0.5, close_timeout_s=0.3)
    async with scripted_relay(deaf) as url:
        pool = RelayPool({url: authors}, Collector(), limits=limits)
        with anyio.fail_after(30):
            async with running(pool):
                await eventually(lambda: "does not read" in pool.health()[0].error)


async def not_a_websocket(stream: anyio.abc.SocketStream) -> None:
    await stream.receive()
    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


async def silent(stream: anyio.abc.SocketStream) -> None:
    while True:
        await stream.receive()


async def endless_headers(stream: anyio.abc.SocketStream) -> None:
    await stream.send(b"HTTP/1.1 101 Switching Protocols\r\n")
    while True:
        await stream.send(b"X-More: " + b"x" * 1_000 + b"\r\n")


async def trickled_handshake(stream: anyio.abc.SocketStream) -> None:
    for octet in itertools.cycle(b"HTTP/1.1 101 Switching Protocols "):
        await stream.send(bytes([octet]))
        await anyio.sleep(0.05)


@pytest.mark.parametrize(
    "handle", [not_a_websocket, silent, endless_headers, trickled_handshake], ids=lambda handle: handle.__name__
)
async def test_what_is_no_websocket_server_is_backed_off(handle: object) -> None:
    async with tcp_server(handle) as hostile_url:  # type: ignore[arg-type]
        health = await honest_service(hostile_url)
    assert health.events == 0
    assert health.state is not RelayState.SUBSCRIBED


@pytest.mark.parametrize("script", [garbage, forged, strangers, unasked, chatter], ids=lambda script: script.__name__)
async def test_a_flood_of_faults_ends_the_connection(script: Script) -> None:
    async with scripted_relay(script) as url, running(RelayPool({url: AUTHORS}, Collector(), limits=QUICK)) as pool:
        await eventually(lambda: "disconnected" in pool.health()[0].error)


async def test_faults_are_counted_by_kind_and_do_not_end_the_connection() -> None:
    sink, sale = Collector(), MACHINE.event("after all that")

    async def script(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        event = MACHINE.event("x")
        await talk.send_raw("garbage")
        await talk.send_raw(b'["NOTICE","\xff"]')
        await talk.send_raw("[1, 2]")
        await talk.send_raw("x" * (QUICK.max_event_bytes + 1))
        await talk.send("EVENT", sub_id, {})
        await talk.send_events("other", event)
        await talk.send_events(sub_id, STRANGER.event(), MACHINE.event(kind=1))
        await talk.send_events(sub_id, event._replace(content="y"), event._replace(sig="00" * 64))
        await talk.send_events(sub_id, sale)
        await talk.send("EOSE", sub_id)
        await talk.until_closed()

    async with scripted_relay(script) as url, running(RelayPool({url: AUTHORS}, sink, limits=QUICK)) as pool:
        await sink.wait_for(sale)
        (health,) = pool.health()
    assert sink.ids == [sale.id]
    assert health.faults == {
        Fault.NOT_JSON: 2,
        Fault.UNKNOWN_MESSAGE: 1,
        Fault.TOO_BIG: 1,
        Fault.BAD_SHAPE: 1,
        Fault.UNKNOWN_SUBSCRIPTION: 1,
        Fault.UNKNOWN_AUTHOR: 1,
        Fault.WRONG_KIND: 1,
        Fault.FALSE_ID: 1,
        Fault.BAD_SIGNATURE: 1,
    }


async def test_a_new_event_dressed_up_as_an_old_one_still_comes_from_the_honest_relay() -> None:
    sink, sale = Collector(), MACHINE.event("suppressed")

    async def suppress(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        await talk.send_events(sub_id, OLD)
        await eventually(lambda: OLD.id in sink.ids)
        twice = f'{{"id":"{OLD.id}",' + sale.to_json()[1:]
        await talk.send_raw(f'["EVENT","{sub_id}",{twice}]')
        await talk.until_closed()

    async with scripted_relay(suppress) as hostile_url, local_relay() as honest_url:
        pool = RelayPool(dict.fromkeys((hostile_url, honest_url), AUTHORS), sink, limits=QUICK)
        async with running(pool):
            await eventually(lambda: pool.health()[1].state is RelayState.SUBSCRIBED)
            await eventually(lambda: pool.health()[0].duplicates == 1)
            assert sale.id not in sink.ids
            await publish_to(honest_url, sale)
            await sink.wait_for(sale)
    assert sorted(sink.ids) == sorted([OLD.id, sale.id])
