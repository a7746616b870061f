"""A relay that is never the bottleneck: it sends prepared events to whoever asks, as fast as the socket takes them.

    python -m bench.flood EVENTS --relays 3 [--times 2]

EVENTS has one event (JSON) a line. Every relay sends all of them. Prints a line of JSON with the URLs, and one more
with the time (CLOCK_MONOTONIC, the same for all processes) of the first subscription to them.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode


class Flood:
    """`times`: how often each event is sent to each subscriber."""

    def __init__(self, events: list[bytes], times: int) -> None:
        self._events = events
        self._times = times
        self._kind = json.loads(events[0])["kind"]
        self._started = False

    async def serve_one(self, connection: ServerConnection) -> None:
        try:
            async for text in connection:
                message = json.loads(text)
                if message[0] == "REQ":
                    await connection.send(json.dumps(["EOSE", message[1]]))
                    if any(self._kind in wanted["kinds"] for wanted in message[2:]):
                        await self._send_all(connection, message[1])
        except ConnectionClosed:
            return

    async def _send_all(self, connection: ServerConnection, subscription: str) -> None:
        head = b'["EVENT",' + json.dumps(subscription).encode() + b","
        frames = [Frame(Opcode.TEXT, head + event + b"]").serialize(mask=False) for event in self._events]
        octets = b"".join(frames * self._times)
        if not self._started:
            self._started = True
            print(json.dumps({"started_at": time.monotonic()}), flush=True)
        # Past the library, which would frame each one anew: preparing them is not what is measured.
        connection.transport.write(octets)


async def main(events: list[bytes], relays: int, times: int) -> None:
    flood = Flood(events, times)
    async with AsyncExitStack() as stack:
        urls = []
        for _ in range(relays):
            server = await stack.enter_async_context(serve(flood.serve_one, "127.0.0.1", 0, compression=None))
            urls.append(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
        print(json.dumps({"urls": urls}), flush=True)
        await anyio.sleep(600)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("events", type=Path)
    parser.add_argument("--relays", type=int, default=1)
    parser.add_argument("--times", type=int, default=1)
    args = parser.parse_args()
    anyio.run(main, args.events.read_bytes().splitlines(), args.relays, args.times)
