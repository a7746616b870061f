"""One relay over a real socket: what is asked, asked again, and how trouble is met."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from satmachine.nostr.event import AUTH_KIND, AuthorKeys, Fault, parse_event, verify
from satmachine.nostr.health import RelayHealth, RelayState
from satmachine.nostr.limits import Limits
from satmachine.nostr.pool import RelayPool
from testkit.relays import NOW, QUICK, Collector, Machine, Script, Talk, eventually, running, scripted_relay

MACHINE = Machine()
AUTHORS = frozenset({MACHINE.pubkey})


@asynccontextmanager
async def one_relay(
    script: Script,
    sink: Collector,
    *,
    limits: Limits = QUICK,
    secret: bytes | None = None,
    since: int | None = None,
    authors: frozenset[str] = AUTHORS,
) -> AsyncIterator[RelayPool]:
    async with scripted_relay(script) as url:
        pool = RelayPool(
            {url: authors}, sink, secret_key=secret, limits=limits, since=lambda _: since, clock=lambda: float(NOW)
        )
        async with running(pool):
            yield pool


def only(pool: RelayPool) -> RelayHealth:
    (health,) = pool.health()
    return health


async def test_since_is_the_newest_settlement_less_an_overlap_and_survives_a_reconnect() -> None:
    asked: list[dict[str, object]] = []
    sink = Collector()
    sale = MACHINE.event("1", created_at=NOW - 100)
    ahead = MACHINE.event("2", created_at=NOW + 10**9)

    async def script(talk: Talk) -> None:
        sub_id, filters = await talk.receive_req()
        asked.append(filters[0])
        await talk.send("EOSE", sub_id)
        await talk.send_events(sub_id, sale if len(asked) == 1 else ahead)
        if len(asked) > 2:
            await talk.until_closed()

    async with one_relay(script, sink, since=NOW - 1_000) as pool:
        await eventually(lambda: len(asked) == 3)
        await eventually(lambda: only(pool).state is RelayState.SUBSCRIBED)
    overlap = QUICK.since_overlap_s
    # A machine whose clock is ahead must not push `since` into the future.
    assert [wanted["since"] for wanted in asked] == [NOW - 1_000 - overlap, NOW - 100 - overlap, NOW - overlap]


async def test_what_a_relay_closes_is_asked_for_in_smaller_pieces() -> None:
    sink = Collector()
    authors = AUTHORS | {f"{number:064x}" for number in range(15)}
    sale = MACHINE.event()

    async def script(talk: Talk) -> None:
        while True:
            sub_id, filters = await talk.receive_req()
            sizes = [len(wanted["authors"]) for wanted in filters if isinstance(wanted["authors"], list)]
            if max(sizes) > 5 or len(filters) > 2:
                await talk.send("CLOSED", sub_id, "error: too many authors or filters")
                continue
            await talk.send("EOSE", sub_id)
            for wanted in filters:
                if MACHINE.pubkey in str(wanted["authors"]) and wanted["kinds"] == [21000]:
                    await talk.send_events(sub_id, sale)

    limits = replace(QUICK, authors_per_filter=16, filters_per_req=2)
    async with one_relay(script, sink, limits=limits, authors=authors) as pool:
        await sink.wait_for(sale)
        await eventually(lambda: only(pool).state is RelayState.SUBSCRIBED)


async def test_auth_required_is_answered_and_the_subscription_opened_again() -> None:
    sink, daemon = Collector(), Machine()
    answers: list[list[object]] = []
    sale = MACHINE.event()

    async def script(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        await talk.send("CLOSED", sub_id, "auth-required: who are you?")
        await talk.send("AUTH", "a challenge")
        answer = await talk.receive()
        answers.append(answer)
        event = parse_event(answer[1])
        assert not isinstance(event, Fault)
        await talk.send("OK", event.id, True, "")
        again, _ = await talk.receive_req()
        assert again == sub_id
        await talk.send_events(again, sale)
        await talk.send("EOSE", again)
        await talk.until_closed()

    async with one_relay(script, sink, secret=daemon.secret) as pool:
        await sink.wait_for(sale)
        await eventually(lambda: only(pool).eose)
        event = parse_event(answers[0][1])
        assert not isinstance(event, Fault)
        assert verify(event, AuthorKeys()) is None
        assert (event.kind, event.pubkey) == (AUTH_KIND, daemon.pubkey)
        assert event.tags == (("relay", only(pool).url), ("challenge", "a challenge"))


async def test_refused_authentication_is_shown_and_tried_again() -> None:
    tries = 0

    async def script(talk: Talk) -> None:
        nonlocal tries
        tries += 1
        await talk.send("AUTH", "a challenge")
        while True:
            match await talk.receive():
                case ["AUTH", {"id": str(event_id)}]:
                    await talk.send("OK", event_id, False, "restricted: not on the list")

    async with one_relay(script, Collector(), secret=Machine().secret) as pool:
        await eventually(lambda: tries >= 3)
        await eventually(lambda: only(pool).state is RelayState.BACKING_OFF)
        assert only(pool).error == "authentication refused: restricted: not on the list"


async def test_a_relay_that_accepts_and_closes_is_backed_off() -> None:
    connections = 0

    async def script(talk: Talk) -> None:
        nonlocal connections
        connections += 1

    limits = replace(QUICK, backoff_floor_s=0.02, backoff_cap_s=1_000.0)
    async with one_relay(script, Collector(), limits=limits) as pool:
        await eventually(lambda: connections >= 4)
        assert only(pool).state is not RelayState.SUBSCRIBED
    # 0.02 + 0.04 + ...: had the backoff started over with each connect, there would be hundreds.
    assert connections < 20


async def test_repeated_failures_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    connections = 0

    async def script(talk: Talk) -> None:
        nonlocal connections
        connections += 1
        await talk.connection.close(1013, "try\nlater\x1b[31m")

    with caplog.at_level("INFO", "satmachine.nostr"):
        async with one_relay(script, Collector()):
            await eventually(lambda: connections >= 6)
    lines = [record.getMessage() for record in caplog.records if "trying again" in record.getMessage()]
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert "\x1b" not in lines[0]


async def test_health_is_a_copy() -> None:
    async def script(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        await talk.send_raw("garbage")
        await talk.send("EOSE", sub_id)
        await talk.until_closed()

    async with one_relay(script, Collector()) as pool:
        await eventually(lambda: only(pool).state is RelayState.SUBSCRIBED)
        health = only(pool)
        assert health.faults == {Fault.NOT_JSON: 1}
        assert health.latency_ms is not None
        assert health.last_connected_at == NOW
        health.faults.clear()
        assert only(pool).faults == {Fault.NOT_JSON: 1}
