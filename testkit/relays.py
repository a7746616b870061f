"""Relays for tests: a real one (nostr-sdk's LocalRelay), scripted ones, and machines that publish.

All on the loopback interface. Times are generous; nothing here asserts how long something takes.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import nostr_sdk
import orjson
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from satmachine.errors import StoreError
from satmachine.nostr.event import SETTLEMENT_KIND, Event, publish, sign
from satmachine.nostr.intake import Received
from satmachine.nostr.keys import public_key_of
from satmachine.nostr.limits import Limits
from satmachine.nostr.pool import RelayPool

PATIENCE_S = 30.0
NOW = 1_790_000_000

#: Limits that let a test see in a second what takes minutes in life.
QUICK = Limits(
    backoff_floor_s=0.05,
    backoff_cap_s=0.2,
    penalty_s=0.1,
    open_timeout_s=2.0,
    close_timeout_s=0.2,
    retry_floor_s=0.01,
    retry_cap_s=0.05,
    fault_burst=50,
    faults_per_s=0.1,
    drain_timeout_s=2.0,
    linger_s=2.0,
)


@dataclass
class Machine:
    """A key pair that publishes."""

    secret: bytes = field(default_factory=lambda: os.urandom(32))

    @property
    def pubkey(self) -> str:
        return public_key_of(self.secret)

    def event(
        self,
        content: str = "{}",
        *,
        kind: int = SETTLEMENT_KIND,
        created_at: int = NOW,
        tags: Sequence[Sequence[str]] = (),
    ) -> Event:
        # Relays refuse an addressable event without its address.
        address = [["d", "test"]] if 30_000 <= kind < 40_000 and not tags else []
        return sign(kind, content, [*tags, *address], created_at, self.secret)

    def foreign_event(self, content: str, kind: int = SETTLEMENT_KIND) -> Event:
        """The same, made by another implementation (rust-nostr)."""
        keys = nostr_sdk.Keys.parse(self.secret.hex())
        builder = nostr_sdk.EventBuilder(nostr_sdk.Kind(kind), content)
        builder = builder.tags([nostr_sdk.Tag.parse(["d", "test"])])
        fields = orjson.loads(builder.finalize(keys).as_json())
        tags = tuple(tuple(tag) for tag in fields.pop("tags"))
        return Event(**fields, tags=tags)


@asynccontextmanager
async def local_relay(port: int = 0, *, nip42: bool = False) -> AsyncIterator[str]:
    """A real relay; yields its URL. It keeps nothing of the ephemeral kinds, as real relays do."""
    builder = nostr_sdk.LocalRelayBuilder().addr("127.0.0.1")
    if port:
        builder = builder.port(port)
    if nip42:
        mode = nostr_sdk.LocalRelayBuilderNip42Mode.READ
        builder = builder.nip42(nostr_sdk.LocalRelayBuilderNip42(mode=mode))
    relay = builder.build()
    await relay.run()
    try:
        yield str(await relay.url()).rstrip("/")
    finally:
        relay.shutdown()


async def publish_to(url: str, *events: Event) -> None:
    """Publish over a websocket of one's own, and see every event accepted."""
    async with connect(url, proxy=None) as socket_:
        for event in events:
            await socket_.send(publish(event))
            while True:
                answer = orjson.loads(await socket_.recv())
                if answer[0] == "OK" and answer[1] == event.id:
                    assert answer[2], answer
                    break


class Talk:
    """A scripted relay's side of one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection

    async def receive(self) -> list[object]:
        message = orjson.loads(await self.connection.recv())
        assert isinstance(message, list)
        return message

    async def receive_req(self) -> tuple[str, list[dict[str, object]]]:
        while True:
            match await self.receive():
                case ["REQ", str(sub_id), *filters]:
                    return sub_id, [wanted for wanted in filters if isinstance(wanted, dict)]

    async def send_raw(self, message: str | bytes) -> None:
        """One text message, even if it is no text."""
        await self.connection.send(message, text=True)
        # send() does not suspend while there is room in the buffers, and we share one event loop.
        await anyio.lowlevel.checkpoint()

    async def send(self, *parts: object) -> None:
        await self.send_raw(orjson.dumps(parts).decode())

    async def send_events(self, sub_id: str, *events: Event) -> None:
        for event in events:
            await self.send("EVENT", sub_id, event.to_dict())

    async def until_closed(self) -> None:
        await self.connection.wait_closed()


Script = Callable[[Talk], Awaitable[None]]


@asynccontextmanager
async def scripted_relay(script: Script, port: int = 0) -> AsyncIterator[str]:
    """A websocket server that behaves as `script` says on every connection; yields its URL."""

    async def handle(connection: ServerConnection) -> None:
        try:
            await script(Talk(connection))
        except ConnectionClosed:
            return

    async with serve(handle, "127.0.0.1", port, compression=None, close_timeout=0.2, max_size=None) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def tcp_server(handle: Callable[[anyio.abc.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """A server below the websocket protocol, for what no library would send; yields its URL."""

    async def guarded(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            try:
                await handle(stream)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
                return

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, guarded)
        yield f"ws://127.0.0.1:{port}"
        tasks.cancel_scope.cancel()


class Collector:
    """A sink that keeps everything, can be told to fail, and can be waited for."""

    def __init__(self, failures: int = 0) -> None:
        self.received: list[Received] = []
        self.failures = failures
        self.calls = 0
        self._changed = anyio.Event()

    async def __call__(self, batch: Sequence[Received]) -> None:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise StoreError("the disk is full")
        self.received.extend(batch)
        self._changed.set()
        self._changed = anyio.Event()

    @property
    def ids(self) -> list[str]:
        return [received.event.id for received in self.received]

    async def wait_for(self, *events: Event) -> None:
        """Until all of them are here."""
        wanted = {event.id for event in events}
        with anyio.fail_after(PATIENCE_S):
            while not wanted <= set(self.ids):
                await self._changed.wait()


async def eventually(condition: Callable[[], bool]) -> None:
    """Until the condition holds."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():
            await anyio.sleep(0.01)


@asynccontextmanager
async def running(pool: RelayPool) -> AsyncIterator[RelayPool]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.run)
        await anyio.lowlevel.checkpoint()
        yield pool
        tasks.cancel_scope.cancel()
