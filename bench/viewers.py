"""People who look at pages: each listens for news (server-sent events) and loads its page anew, as browsers do."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketStream

#: What each looks at, in turn.
_PAGES = ("/", "/machines", "/sales", "/machines/machine-1", "/clients")
#: A browser waits for up to so long before it loads its page, so that not all come at once (page.js).
_SPREAD_S = 1.5


@dataclass
class Crowd:
    """How many listen, and how many pages they have loaded."""

    wanted: int
    listening: int = 0
    loaded: int = 0
    complete: anyio.Event = field(default_factory=anyio.Event)

    def joins(self) -> None:
        """One more listens."""
        self.listening += 1
        if self.listening == self.wanted:
            self.complete.set()


@asynccontextmanager
async def looking(origin: str, sessions: Sequence[str]) -> AsyncIterator[Crowd]:
    """They look for as long as the block runs, which begins when all of them listen."""
    host, _, port = origin.removeprefix("http://").partition(":")
    crowd = Crowd(len(sessions))
    async with anyio.create_task_group() as tasks:
        for number, secret in enumerate(sessions):
            tasks.start_soon(_look, crowd, host, int(port), secret, _PAGES[number % len(_PAGES)])
        with anyio.fail_after(60):
            await crowd.complete.wait()
        yield crowd
        tasks.cancel_scope.cancel()


async def _look(crowd: Crowd, host: str, port: int, secret: str, page: str) -> None:
    chance = random.Random(secret)
    async with await anyio.connect_tcp(host, port) as stream:
        await _ask(stream, host, "/live", secret)
        listening = False
        while True:
            news = await stream.receive()
            if not listening:
                listening = True
                crowd.joins()
            if b"event: changed" in news:
                await anyio.sleep(chance.random() * _SPREAD_S)
                crowd.loaded += await _load(host, port, secret, page)


async def _load(host: str, port: int, secret: str, page: str) -> int:
    async with await anyio.connect_tcp(host, port) as stream:
        await _ask(stream, host, page, secret)
        answer = b"".join([part async for part in stream])
    return int(answer.startswith(b"HTTP/1.1 200"))


async def _ask(stream: SocketStream, host: str, path: str, secret: str) -> None:
    await stream.send(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: satmachine={secret}\r\nAccept: text/html\r\n"
        "Accept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode()
    )
