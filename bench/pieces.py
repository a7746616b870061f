"""Where the time of one event goes: each step of the way alone, over real frames."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from bench.clients import BATCH_SIZE, Rows
from bench.report import Figure, Section
from satmachine.nostr.event import (
    AuthorKeys,
    Event,
    EventMessage,
    event_id,
    parse_event,
    parse_message,
    scan_event_id,
    verify,
)
from satmachine.nostr.intake import Intake, Lane, Received
from satmachine.nostr.limits import Limits

ROUNDS = 5


def run(events: Path) -> Section:
    """Each step's best of some rounds, in microseconds per event, and its share of the whole."""
    lines = events.read_bytes().splitlines()
    frames = [b'["EVENT","s1",' + line + b"]" for line in lines]
    raw = [json.loads(line) for line in lines]
    told = [event for one in raw if isinstance(event := parse_event(one), Event)]
    keyring = AuthorKeys()
    for event in told:
        keyring.key_of(event.pubkey)
    steps: list[tuple[str, Callable[[], object]]] = [
        ("receive: websockets takes the frame apart", lambda: _receive(frames)),
        ("is it known? the id is scanned in the raw frame", lambda: [scan_event_id(frame) for frame in frames]),
        ("parse: orjson, shape, types", lambda: [_parse(frame) for frame in frames]),
        ("serialise and hash: is the id true?", lambda: [_hash(event) for event in told]),
        ("verify the signature (coincurve)", lambda: all(_is_true(event, keyring) for event in told)),
        ("database: rows in batches, synced", lambda: _store(told)),
    ]
    taken = {name: _best(step) / len(lines) * 1e6 for name, step in steps}
    # What is left of the whole way through the intake, shape and signature taken off.
    rest_s = _best(lambda: _take_all(raw)) - _best(lambda: [parse_event(one) for one in raw])
    rest_s -= _best(lambda: [verify(event, keyring) for event in told])
    taken["author, kind, budget, queue"] = max(0.0, rest_s) / len(lines) * 1e6
    whole = sum(taken.values())
    figures = [Figure(name, f"{us:.1f} us", f"{us / whole:.0%}") for name, us in taken.items()]
    figures.append(Figure("all of it, one after the other", f"{whole:.1f} us", "100%"))
    return Section(
        "Ingest: where the time goes",
        f"Microseconds an event ({len(lines):,} of them, each step alone, the best of {ROUNDS} rounds) and the share "
        "of the whole. The database's part runs on a thread of its own, beside the others.",
        figures,
    )


def _receive(frames: Sequence[bytes]) -> int:
    """The sans-I/O half of websockets, which its asyncio client is made of, fed as a socket would."""
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1/"), state=State.OPEN, max_size=2**20)
    octets = b"".join(Frame(Opcode.TEXT, frame).serialize(mask=False) for frame in frames)
    count = 0
    for at in range(0, len(octets), 2**18):
        protocol.receive_data(octets[at : at + 2**18])
        count += len(protocol.events_received())
    return count


def _parse(frame: bytes) -> object:
    message = parse_message(frame)
    assert isinstance(message, EventMessage)
    return parse_event(message.raw_event)


def _hash(event: Event) -> str:
    return event_id(event.pubkey, event.created_at, event.kind, event.tags, event.content)


def _is_true(event: Event, keyring: AuthorKeys) -> bool:
    key = keyring.key_of(event.pubkey)
    return key is not None and key.verify(bytes.fromhex(event.sig), bytes.fromhex(event.id))


def _take_all(raw: Sequence[object]) -> None:
    async def nothing(_: Sequence[Received]) -> None: ...

    async def take_all() -> None:
        limits = Limits()
        lanes = [
            Lane(name, nothing, limits, capacity=2 * len(raw), attempts=None, on_lost=lambda _: None)
            for name in ("settlements", "telemetry")
        ]
        intake = Intake(lanes[0], lanes[1], limits, time.time)
        authors = frozenset(event.pubkey for one in raw if isinstance(event := parse_event(one), Event))
        for one in raw:
            assert isinstance(intake.take(one, authors, "ws://127.0.0.1"), Event)

    asyncio.run(take_all())


def _store(told: Sequence[Event]) -> None:
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as folder:
        rows = Rows(Path(folder) / "rows.db")
        for first in range(0, len(told), BATCH_SIZE):
            batch = told[first : first + BATCH_SIZE]
            rows.add([(e.id, e.pubkey, e.created_at, e.kind, e.to_json()) for e in batch])


def _best(step: Callable[[], object]) -> float:
    """Seconds of the quickest of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started)
    return min(taken)
