"""A proxy that stands between a client and a real server, and misbehaves on purpose. Knows nothing of satmachine.

    async with FaultProxy(lnbits.url, scripted([Fault.NONE, Fault.RESET_AFTER])) as proxy:
        ... talk to proxy.url; proxy.log says what was done to each request

A plan is a function from a request to a fault: `scripted` plays a list and is then harmless, `seeded` draws by
rates and is repeatable, `matching` restricts another plan to some requests. "After" means that the real server got the
request and did what it asked; only its answer is lost or spoilt.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx


class Fault(StrEnum):
    """What happens to a request and its answer."""

    NONE = "none"
    LATENCY = "latency"  # `latency_s` before it is forwarded
    RESET_BEFORE = "reset before"  # the server never sees it
    RESET_AFTER = "reset after"
    TOO_MANY_REQUESTS = "429"  # the server never sees it; no Retry-After, as LNbits does it
    BAD_GATEWAY_AFTER = "502 after"
    GATEWAY_TIMEOUT_AFTER = "504 after"
    HTML_AFTER = "200 HTML after"  # a login page or a captive portal
    TRUNCATED_JSON = "truncated JSON"  # complete as HTTP, cut as JSON
    SWALLOWED_ROW = "swallowed row"  # the first row of a list is missing, `total` still counts it
    EMPTY_LIST = "empty list"  # a list answer says that there is nothing
    LYING_STATUS = "lying status"  # pending becomes success, success becomes pending
    LYING_AMOUNT = "lying amount"  # every amount is 1000 higher


@dataclass(frozen=True, slots=True)
class Request:
    """What the client sent; `json` is None when there was no JSON body."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as it went; `upstream_status` is None when the server never saw it."""

    request: Request
    fault: Fault
    upstream_status: int | None


Plan = Callable[[Request], Fault]


def scripted(faults: Iterable[Fault]) -> Plan:
    """One fault per request in this order, then none."""
    remaining = iter(tuple(faults))
    return lambda request: next(remaining, Fault.NONE)


def seeded(seed: int, rates: Mapping[Fault, float]) -> Plan:
    """Draws each fault with its probability; the same seed gives the same series."""
    draw = random.Random(seed)

    def plan(request: Request) -> Fault:
        point = draw.random()
        for fault, rate in rates.items():
            if point < rate:
                return fault
            point -= rate
        return Fault.NONE

    return plan


def matching(wanted: Callable[[Request], bool], plan: Plan) -> Plan:
    """`plan` for the wanted requests only."""
    return lambda request: plan(request) if wanted(request) else Fault.NONE


class FaultProxy:
    """Listens on a free loopback port; `plan` can be exchanged at any time."""

    def __init__(self, upstream_url: str, plan: Plan, *, latency_s: float = 0.05) -> None:
        self.plan = plan
        self.latency_s = latency_s
        self.log: list[Entry] = []
        self.url = ""
        self._upstream_url = upstream_url
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._http = httpx.AsyncClient(base_url=upstream_url, timeout=120, trust_env=False)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._connections):
            writer.transport.abort()
        await self._server.wait_closed()
        await self._http.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while (request := await _read_request(reader)) is not None:
                answer = await self._handle(request)
                if answer is None:
                    _reset(writer)
                    return
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, httpx.TransportError):
            _reset(writer)  # the client went away, or the server is down
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _handle(self, request: Request) -> bytes | None:
        """The bytes to answer with; None to reset the connection."""
        fault = self.plan(request)
        if fault is Fault.RESET_BEFORE:
            self.log.append(Entry(request, fault, None))
            return None
        if fault is Fault.TOO_MANY_REQUESTS:
            self.log.append(Entry(request, fault, None))
            return _http_answer(429, b'{"error":"Rate limit exceeded: 200 per 1 minute"}')
        if fault is Fault.LATENCY:
            await asyncio.sleep(self.latency_s)
        real = await self._http.request(
            request.method,
            request.target,
            content=request.body,
            headers={name: request.headers[name] for name in ("x-api-key", "content-type") if name in request.headers},
        )
        self.log.append(Entry(request, fault, real.status_code))
        return _spoil(fault, real)


def _spoil(fault: Fault, real: httpx.Response) -> bytes | None:
    if fault is Fault.RESET_AFTER:
        return None
    if fault is Fault.BAD_GATEWAY_AFTER:
        return _http_answer(502, b"<html><h1>502 Bad Gateway</h1></html>", "text/html")
    if fault is Fault.GATEWAY_TIMEOUT_AFTER:
        return _http_answer(504, b"<html><h1>504 Gateway Time-out</h1></html>", "text/html")
    if fault is Fault.HTML_AFTER:
        return _http_answer(200, b"<!doctype html><title>Please log in</title>", "text/html")
    content = real.content
    if fault is Fault.TRUNCATED_JSON:
        content = content[: len(content) * 2 // 3]
    elif fault in _LIES and real.is_success:
        body = json.loads(content)
        _LIES[fault](body)
        content = json.dumps(body).encode()
    return _http_answer(real.status_code, content, real.headers.get("content-type", "text/plain"))


def _swallow_row(body: dict[str, Any]) -> None:
    del body.get("data", [])[:1]


def _empty_list(body: dict[str, Any]) -> None:
    if "data" in body:
        body.update(data=[], total=0)


def _lie_about_status(body: dict[str, Any]) -> None:
    for row in body.get("data", [body]):
        swapped = {"pending": "success", "success": "pending"}
        if "status" in row:
            row["status"] = swapped.get(row["status"], row["status"])


def _lie_about_amount(body: dict[str, Any]) -> None:
    for row in body.get("data", [body]):
        if "amount" in row:
            row["amount"] += 1000


_LIES: dict[Fault, Callable[[dict[str, Any]], None]] = {
    Fault.SWALLOWED_ROW: _swallow_row,
    Fault.EMPTY_LIST: _empty_list,
    Fault.LYING_STATUS: _lie_about_status,
    Fault.LYING_AMOUNT: _lie_about_amount,
}


def _http_answer(status: int, content: bytes, content_type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} x\r\nContent-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None when the client closed it."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise
    first, *lines = head.split("\r\n")
    method, target, _version = first.split(" ")
    pairs = (line.split(":", 1) for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN, as a crashed peer does."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() != -1:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
