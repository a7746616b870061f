"""Connects to the server that a URL names, and to nothing else (I/O)."""

from __future__ import annotations

import ipaddress
import socket
from functools import partial
from typing import TypedDict

import anyio
import anyio.to_thread
from websockets.asyncio.client import connect
from websockets.uri import parse_uri

from satmachine.addresses import is_public


class straight(connect):  # noqa: N801  used like the library's `connect`
    """Connects to the URL that the operator wrote, and nowhere else.

    The library follows redirects: a relay could make us connect to hosts that only this one can reach, and learn from
    the time it takes what is there.
    """

    def process_redirect(self, exc: Exception) -> Exception | str:
        """The error of the handshake is raised as it is."""
        return exc


class Address(TypedDict, total=False):
    """The address to connect to, whatever the name resolves to by then; the certificate is checked for the name."""

    host: str
    port: int


async def public_address(url: str, lookups: anyio.CapacityLimiter, *, timeout_s: float) -> Address:
    """An address of a relay that a stranger has named. OSError: it has none, or one that is not public.

    `lookups`: how many at once; one cannot be cancelled, and a stranger's name server may take minutes.
    """
    uri = parse_uri(url)
    look_up = partial(socket.getaddrinfo, uri.host, uri.port, type=socket.SOCK_STREAM)
    with anyio.fail_after(timeout_s):  # TimeoutError is an OSError
        found = await anyio.to_thread.run_sync(look_up, limiter=lookups, abandon_on_cancel=True)
    addresses = [ipaddress.ip_address(sockaddr[0]) for *_, sockaddr in found]
    for address in addresses:
        if not is_public(address):
            raise OSError(f"{uri.host} leads to the private address {address}")
    return Address(host=str(addresses[0]), port=uri.port)
