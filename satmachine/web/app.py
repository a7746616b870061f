"""The pages: one path for every request, from who asks to what they see (SPEC section 14).

A request goes: who is it (`signin`) -> may they (`access`, by the table in `places`) -> the page -> HTML or JSON.
Whoever is not signed in is sent to the sign-in from every address in the same way; whoever is signed in gets 404 for
what belongs to others and for what does not exist. Books are read on a read-only connection, in a thread; only links
and sessions are ever written.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC as _UTC
from functools import partial
from http import HTTPStatus
from importlib import resources
from typing import Any, TypeVar

import anyio
import orjson
from anyio.to_thread import run_sync
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from satmachine.errors import NotFound, StoreError
from satmachine.store import passes, pulse
from satmachine.store.database import connect
from satmachine.store.passes import PassKind
from satmachine.web import openapi, signin
from satmachine.web.access import Viewer, admits
from satmachine.web.guard import Guard
from satmachine.web.kept import KeptAnswers
from satmachine.web.language import Words, negotiate
from satmachine.web.live import Live
from satmachine.web.places import PAGES, PROGRAMS, Place
from satmachine.web.readers import Pool
from satmachine.web.settings import Settings
from satmachine.web.shape import iso, shaped
from satmachine.web.tries import Limiter
from satmachine.web.views.base import BadQuery, Download, Look, Missing, PageView

_LOG = logging.getLogger("satmachine.web")
_STATIC = {"style.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_THREADS = 4

T = TypeVar("T")


def make_app(settings: Settings, *, clock: Callable[[], float] = time.time) -> Starlette:
    """The whole application. `clock` gives Unix seconds. Raises StoreError if the sessions cannot be stored."""
    desk = Desk(settings, clock)
    elsewhere = Route("/{rest:path}", partial(desk.answer, None))
    elsewhere.methods = None  # all: what nobody can do at an address is answered like an address that is not there
    routes = [Route(place.path, partial(desk.answer, place), methods=["GET"]) for place in (*PAGES, *PROGRAMS)]
    routes += [
        Route("/sign-in", desk.sign_in_page, methods=["GET"]),
        Route("/sign-in/link/{secret}", desk.link_page, methods=["GET"]),
        Route("/sign-in/link/{secret}", desk.use_link, methods=["POST"]),
        Route("/sign-in/key", desk.use_key, methods=["POST"]),
        Route("/sign-out", desk.sign_out, methods=["POST"]),
        Route("/live", desk.live_events, methods=["GET"]),
        Route("/static/{name}", desk.static, methods=["GET"]),
        Route("/api/openapi.json", desk.description, methods=["GET"]),
        Route("/health", desk.health, methods=["GET"]),
        elsewhere,
    ]
    middleware = [Middleware(Guard, secure=settings.is_secure, clock=clock), Middleware(GZipMiddleware)]
    return Starlette(routes=routes, middleware=middleware, lifespan=desk.lifespan)


class Desk:
    """Everything that answers."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._people = settings.people
        self._passes = passes.connect(settings.passes)
        self._passes_lock = threading.Lock()
        self._pool = Pool(self._connect)
        self._threads: anyio.CapacityLimiter | None = None
        self._templates = _templates()
        self._live = Live(self._connect)
        self._kept = KeptAnswers()
        self._tries = Limiter(time.monotonic, burst=10, per_minute=10, all_per_minute=120)
        self._asks = Limiter(time.monotonic, burst=120, per_minute=600, all_per_minute=60_000)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:  # noqa: ARG002
        """Watch the books while the pages are served."""
        self._threads = anyio.CapacityLimiter(_THREADS)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._live.watch)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._pool.close()
            self._passes.close()

    # --- the path of every page

    async def answer(self, place: Place | None, request: Request) -> Response:
        """What somebody sees at an address; `place` None: there is no such address."""
        held = await self._who(request)
        request.state.person = held.viewer.person if held else "-"
        if held is None:
            return self._not_signed_in(request)
        if not self._asks.admits(held.viewer.person):
            return self._refusal(request, held.viewer, HTTPStatus.TOO_MANY_REQUESTS)
        if place is None:
            return self._refusal(request, held.viewer, HTTPStatus.NOT_FOUND)
        try:
            return await run_sync(self._show, place, held.viewer, request, limiter=self._threads)
        except (sqlite3.Error, StoreError) as problem:
            _LOG.error("the books cannot be read: %s", problem)
            return self._refusal(request, held.viewer, HTTPStatus.SERVICE_UNAVAILABLE)

    def _show(self, place: Place, viewer: Viewer, request: Request) -> Response:
        """In a thread: decide, read, draw."""
        with self._pool.borrow() as conn:
            return self._read(conn, place, viewer, request)

    def _read(self, conn: sqlite3.Connection, place: Place, viewer: Viewer, request: Request) -> Response:
        owner = None if place.owner_of is None else place.owner_of(conn, request.path_params)
        if (place.owner_of is not None and owner is None) or not admits(viewer, place.who, owner):
            return self._refusal(request, viewer, HTTPStatus.NOT_FOUND)
        words = self._words(viewer, request)
        request.state.seen = self._live.seen_by(conn, viewer)  # before the page is read, so that nothing is missed
        look = Look(
            conn,
            self._settings,
            viewer,
            words,
            request.path_params,
            request.query_params,
            int(self._clock()),
            self._kept,
        )
        try:
            shown = place.page(look)
        except (Missing, NotFound):
            return self._refusal(request, viewer, HTTPStatus.NOT_FOUND)
        except BadQuery as problem:
            return self._refusal(request, viewer, HTTPStatus.BAD_REQUEST, str(problem))
        if isinstance(shown, Download):
            kept = {"Content-Disposition": f'attachment; filename="{shown.filename}"'}
            return PlainTextResponse(shown.content, media_type=shown.media_type, headers=kept)
        if not isinstance(shown, PageView):
            return _json(shown)
        if _wants_json(request):
            return _json({"title": shown.title, **shown.data})
        return self._html(request, shown, viewer, words)

    def _html(
        self, request: Request, view: PageView, viewer: Viewer | None, words: Words, status: int = 200
    ) -> Response:
        template = self._templates.get_template(view.template)
        text = template.render(
            **view.data,
            **{name: Markup(value) if isinstance(value, str) else value for name, value in view.shown.items()},  # noqa: S704
            title=view.title,
            viewer=viewer,
            words=words,
            _=words.say,
            now=int(self._clock()),
            path=request.url.path,
            seen=getattr(request.state, "seen", ""),
        )
        return Response(text, status, media_type="text/html", headers={"Vary": "Accept, Accept-Language, Cookie"})

    def _refusal(self, request: Request, viewer: Viewer | None, status: HTTPStatus, why: str = "") -> Response:
        """There is nothing here, or too much was asked, or it cannot be read."""
        words = self._words(viewer, request)
        text = why or words.say(_REFUSALS[status])
        if _wants_json(request):
            return JSONResponse({"error": text}, status)
        return self._html(request, PageView("refusal.html", text, {"status": int(status)}), viewer, words, status)

    def _not_signed_in(self, request: Request) -> Response:
        """The same from every address, whether there is something or not."""
        if _wants_json(request) or request.method not in ("GET", "HEAD"):
            text = self._words(None, request).say("Sign in first, or send a valid token.")
            return JSONResponse({"error": text}, HTTPStatus.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
        return RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)

    # --- who it is

    async def _who(self, request: Request) -> signin.Held | None:
        """Whose cookie or token came with the request."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return await self._passes_do(signin.by_secret, self._people, PassKind.TOKEN, token.strip(), self._now())
        secret = request.cookies.get(self._cookie_name)
        if secret is None:
            return None
        return await self._passes_do(signin.by_secret, self._people, PassKind.SESSION, secret, self._now())

    async def sign_in_page(self, request: Request) -> Response:
        """How to come in."""
        words = self._words(None, request)
        return self._html(request, PageView("signin.html", words.say("Sign in"), {"problem": ""}), None, words)

    async def link_page(self, request: Request) -> Response:
        """Where a link leads: a button. So programs that only look at addresses (mail filters, chats) do not use up the
        link."""
        words = self._words(None, request)
        if not self._tries.admits(_peer(request)):
            return self._refusal(request, None, HTTPStatus.TOO_MANY_REQUESTS)
        found = await self._passes_do(passes.find, PassKind.LINK, _digest(request), self._now())
        person = None if found is None else self._people.get(found.person)
        if person is None:
            view = PageView("signin.html", words.say("Sign in"), {"problem": words.say(_DEAD_LINK)})
            return self._html(request, view, None, words, HTTPStatus.NOT_FOUND)
        return self._html(request, PageView("link.html", words.say("Sign in"), {"name": person.name}), None, words)

    async def use_link(self, request: Request) -> Response:
        """Use a link up."""
        words = self._words(None, request)
        if not self._tries.admits(_peer(request)):
            return self._refusal(request, None, HTTPStatus.TOO_MANY_REQUESTS)
        if not self._is_from_here(request):
            return self._refusal(request, None, HTTPStatus.BAD_REQUEST)
        person = await self._passes_do(passes.use_link, _digest(request), self._now())
        if person is None or person not in self._people:
            view = PageView("signin.html", words.say("Sign in"), {"problem": words.say(_DEAD_LINK)})
            return self._html(request, view, None, words, HTTPStatus.NOT_FOUND)
        request.state.person = person
        return await self._let_in(person, RedirectResponse("/", HTTPStatus.SEE_OTHER))

    async def use_key(self, request: Request) -> Response:
        """Sign in with a Nostr key: the browser's extension has signed this request (NIP-98)."""
        if not self._tries.admits(_peer(request)):
            return self._refusal(request, None, HTTPStatus.TOO_MANY_REQUESTS)
        if not self._is_from_here(request):
            return self._refusal(request, None, HTTPStatus.BAD_REQUEST)
        url = f"{self._settings.origin}/sign-in/key"
        found = await self._passes_do(
            signin.by_signature, self._people, request.headers.get("authorization", ""),
            url=url, method="POST", now=self._now(),
        )  # fmt: skip
        if isinstance(found, str):
            return JSONResponse({"error": found}, HTTPStatus.UNAUTHORIZED)
        request.state.person = found.id
        return await self._let_in(found.id, JSONResponse({"signed_in": found.name}))

    async def sign_out(self, request: Request) -> Response:
        """End this session, here and in the books of sessions."""
        held = await self._who(request)
        answer = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
        if held is not None and self._is_from_here(request):
            await self._passes_do(passes.revoke, self._now(), pass_id=held.pass_id)
            answer.delete_cookie(self._cookie_name, secure=self._settings.is_secure, httponly=True, samesite="lax")
        return answer

    async def _let_in(self, person: str, answer: Response) -> Response:
        lives_s = self._settings.web.session_days * 86_400
        secret = await self._passes_do(signin.begin_session, person, now=self._now(), lives_s=lives_s)
        answer.set_cookie(
            self._cookie_name, secret, max_age=lives_s, secure=self._settings.is_secure, httponly=True, samesite="lax"
        )
        return answer

    def _is_from_here(self, request: Request) -> bool:
        """Whether a form was sent from a page of ours: browsers say where a POST comes from."""
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            return site in ("same-origin", "none")
        return request.headers.get("origin") in (None, self._settings.origin)

    @property
    def _cookie_name(self) -> str:
        """The prefix makes browsers refuse a cookie with this name from anybody else (RFC 6265bis)."""
        return "__Host-satmachine" if self._settings.is_secure else "satmachine"

    # --- the rest

    async def live_events(self, request: Request) -> Response:
        """Server-sent events: something has changed."""
        held = await self._who(request)
        if held is None:
            return self._not_signed_in(request)
        request.state.person = held.viewer.person
        if not self._live.admits(held.viewer):
            return PlainTextResponse("", HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "60"})
        return StreamingResponse(
            self._live.events(held.viewer, request.query_params.get("seen", "")),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    async def static(self, request: Request) -> Response:
        """Style, script and icon, from the package."""
        name = request.path_params["name"]
        if name not in _STATIC:
            return await self.answer(None, request)
        content = (resources.files("satmachine.web") / "static" / name).read_bytes()
        return Response(content, media_type=_STATIC[name], headers={"Cache-Control": "public, max-age=3600"})

    async def description(self, request: Request) -> Response:
        """What programs can ask, in OpenAPI's words."""
        held = await self._who(request)
        return self._not_signed_in(request) if held is None else _json(openapi.document(self._settings.origin))

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        """Whether the books can be read, for whatever monitors the process. Says nothing else."""
        try:
            await run_sync(self._is_readable, limiter=self._threads)
        except (sqlite3.Error, StoreError):
            return PlainTextResponse("the books cannot be read\n", HTTPStatus.SERVICE_UNAVAILABLE)
        return PlainTextResponse("ok\n")

    def _now(self) -> int:
        return int(self._clock())

    def _words(self, viewer: Viewer | None, request: Request) -> Words:
        chosen = viewer.language if viewer else None
        language, region = negotiate(chosen, request.headers.get("accept-language", ""))
        return Words(language, viewer.tz if viewer else _UTC, region)

    def _is_readable(self) -> None:
        with self._pool.borrow() as conn:
            pulse.version(conn)

    def _connect(self) -> sqlite3.Connection:
        return connect(self._settings.books, busy_timeout_s=self._settings.busy_timeout_s, read_only=True)

    async def _passes_do(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Something with the database of links and sessions, in a thread, one at a time."""

        def locked() -> T:
            with self._passes_lock:
                return work(self._passes, *args, **kwargs)

        return await run_sync(locked, limiter=self._threads)


_REFUSALS = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address.",
    HTTPStatus.BAD_REQUEST: "This cannot be read.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The books cannot be read now: try again in a minute.",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many at once: wait a minute, then try again.",
}
_DEAD_LINK = "This link was already used, has expired or was withdrawn. Ask for another one."


def _digest(request: Request) -> str:
    return signin.digest(str(request.path_params["secret"])[:200])


def _peer(request: Request) -> str:
    return request.client.host if request.client else "local"


def _wants_json(request: Request) -> bool:
    if request.url.path.startswith("/api/"):
        return True
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


def _json(value: Any) -> Response:
    return Response(orjson.dumps(shaped(value), default=str), media_type="application/json")


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("satmachine.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["iso"] = iso
    environment.globals["meter"] = _meter
    return environment


def _meter(percent: int | None, label: str) -> Markup:
    from satmachine.web.charts import meter

    return Markup(meter(percent, label))  # noqa: S704 - made here, and its text is escaped
