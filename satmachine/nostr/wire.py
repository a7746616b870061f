"""The websocket to a relay, with a short cut: a whole message is handed over where it arrives (I/O).

The library would take it through a queue and three coroutines, which costs as much as taking the frame apart, for
copies from a second relay too. And copies would be queued before the first of them has been looked at.
"""

from __future__ import annotations

from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

Octets = bytes | bytearray


class straight(connect):  # noqa: N801  used like the library's `connect`
    """Connects to the URL that the operator wrote, and nowhere else.

    The library follows redirects: a relay could have us knock at hosts that only this one reaches, and tell from the
    time it takes what is there.
    """

    def process_redirect(self, exc: Exception) -> Exception | str:
        """What the handshake failed with is raised as it is."""
        return exc


class Wire(ClientConnection):
    """`on_message` gets every text message that came in one frame; it must not raise. Others come by `recv`."""

    on_message: Callable[[Octets], None] | None = None

    def process_event(self, event: Frame | Request | Response) -> None:
        """The library's hook for everything that arrives, in order."""
        if (
            self.on_message is not None
            and isinstance(event, Frame)
            and event.opcode is Opcode.TEXT
            and event.fin
            and isinstance(event.data, Octets)
        ):
            self.on_message(event.data)
        else:
            super().process_event(event)
