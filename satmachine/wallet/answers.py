"""The body of an HTTP answer from a server that may be hostile: plain, and no longer than we are ready to keep.

A compressed answer decides how much memory we need: 265 bytes of gzip, packed three times, become a gigabyte, and the
HTTP library unpacks a whole chunk before anybody can count it. So we ask for plain text, refuse everything else unread,
and count the octets that really arrived.
"""

from __future__ import annotations

from typing import Final

import httpx

#: For every request to a server that we do not run.
PLAIN: Final = {"Accept-Encoding": "identity"}


class UnwelcomeBody(ValueError):
    """The body was not read to its end; the text completes "the server answered .."."""


class TooLong(UnwelcomeBody):
    """It has more octets than we are ready to keep."""


async def read_plain(response: httpx.Response, max_bytes: int) -> bytes:
    """The octets of a streamed answer. Raises UnwelcomeBody if they are encoded, or more than `max_bytes`."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise UnwelcomeBody("in a compressed form that was not asked for")
    if response.is_stream_consumed:  # it did not come from a network
        if len(response.content) > max_bytes:
            raise TooLong(f"more than {max_bytes} bytes")
        return response.content
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > max_bytes:
            raise TooLong(f"more than {max_bytes} bytes")
    return bytes(content)


async def get_plain(http: httpx.AsyncClient, url: str, max_bytes: int, *, accept: str = "*/*") -> bytes:
    """What is at `url`, whatever the status. Raises UnwelcomeBody, and what httpx raises."""
    async with http.stream("GET", url, headers={**PLAIN, "Accept": accept}) as response:
        return await read_plain(response, max_bytes)
