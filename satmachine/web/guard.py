"""Around every answer: headers that keep browsers from doing more than they are asked, and the access log.

Nothing is ever loaded from another host, no script or style is inside a page, nobody may put a page into a frame, and
caches keep nothing that belongs to a person. The log says who saw what, and never the secret in an address.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger("satmachine.web.access")

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_A_YEAR_S = 31_536_000
_SECRET_PATH = "/sign-in/link/"  # noqa: S105 - the beginning of an address


class Guard:
    """ASGI middleware; `secure`: browsers connect by TLS. `clock` gives Unix seconds."""

    def __init__(self, app: ASGIApp, *, secure: bool, clock: Callable[[], float]) -> None:
        self._app = app
        self._secure = secure
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = self._clock(), 500

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(MutableHeaders(scope=message))
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        finally:
            self._write_log(scope, status, self._clock() - began)

    def _add_headers(self, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            headers[name] = value
        headers.setdefault("Cache-Control", "no-store")
        if self._secure:
            headers["Strict-Transport-Security"] = f"max-age={_A_YEAR_S}"

    def _write_log(self, scope: Scope, status: int, took_s: float) -> None:
        path = str(scope["path"])
        if path.startswith(_SECRET_PATH):
            path = _SECRET_PATH + "..."
        person = scope.get("state", {}).get("person", "-")
        peer = (scope.get("client") or ("local",))[0]
        _LOG.info("%s %s %r %s %d %.0f ms", peer, person, path[:200], scope["method"], status, took_s * 1000)
