"""A browser on the pages: Chromium of this machine, driven by Playwright; the pages are served as they are in life.

Where there is no Chromium these tests say so and are skipped; `make test-browser` gets one where `apt-get` is.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from satmachine.attention.items import Thresholds
from satmachine.nostr.event import sign
from satmachine.store import passes
from satmachine.store.passes import PassKind
from satmachine.web import signin
from satmachine.web.app import make_app
from satmachine.web.settings import Settings
from testkit.ports import free_port
from tests.browser import town

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make test-browser")

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Where pictures of the pages are put, to be looked at; without it none are made.
SCREENSHOTS = os.environ.get("SATMACHINE_SCREENSHOTS")

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 800}


@dataclass(frozen=True)
class Served:
    """The pages as they run: their address and what is behind them."""

    origin: str
    settings: Settings

    def link(self, person: str) -> str:
        """A new link that signs somebody in."""
        secret, kept = signin.new_secret()
        with passes.open_passes(self.settings.passes) as conn:
            passes.add(conn, PassKind.LINK, person, kept, now=town.NOW, lives_s=3600)
        return f"{self.origin}/sign-in/link/{secret}"

    def session(self, person: str) -> str:
        """What the browser of somebody who is signed in holds."""
        with passes.open_passes(self.settings.passes) as conn:
            return signin.begin_session(conn, person, now=town.NOW, lives_s=3600)


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """On a port of this machine, from a thread, at the time of the books."""
    folder = tmp_path_factory.mktemp("town")
    town.build(folder / "books.db")
    origin = f"http://127.0.0.1:{free_port()}"
    settings = Settings(folder / "books.db", folder / "web.db", town.web(origin), Thresholds())
    app = make_app(settings, clock=lambda: town.NOW)
    port = int(origin.rpartition(":")[2])
    config = uvicorn.Config(app, port=port, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield Served(origin, settings)
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """The browser itself."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium on this machine: make test-browser gets one where apt-get is")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visitor:
    """Somebody at a browser. `trouble`: what the browser complained of (errors, what the policy refused)."""

    page: Any
    served: Served
    trouble: list[str]

    def sign_in(self, person: str) -> None:
        """Open the first page as somebody who is signed in already: trying links is slow by design."""
        self.page.context.add_cookies(
            [{"name": "satmachine", "value": self.served.session(person), "url": self.served.origin}]
        )
        self.go("/")

    def go(self, path: str) -> Any:
        return self.page.goto(self.served.origin + path)

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page, where pictures are wanted."""
        if SCREENSHOTS:
            Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
            safe = re.sub(r"\W+", "-", name).strip("-")
            self.page.screenshot(path=f"{SCREENSHOTS}/{safe}.png", full_page=True)


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(chromium: Any, served: Served) -> Iterator[Visit]:
    """Opens browsers that know nothing of each other: `visit(dark=, phone=, scripts=, key=)`. `key` is that of the
    Nostr extension."""
    opened = []

    def begin(
        *, dark: bool = False, phone: bool = False, scripts: bool = True, key: bytes | None = None, language: str = "en"
    ) -> Visitor:
        context = chromium.new_context(
            viewport=PHONE if phone else DESKTOP,
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            reduced_motion="reduce",
            locale=language,
        )
        opened.append(context)
        page = context.new_page()
        page.clock.set_fixed_time(town.NOW)
        if key is not None:
            _install_extension(context, key)
        visitor = Visitor(page, served, [])
        page.on("pageerror", lambda error: visitor.trouble.append(str(error)))
        page.on("console", lambda said: visitor.trouble.append(said.text) if said.type == "error" else None)
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(served.origin) else visitor.trouble.append(asked.url),
        )
        return visitor

    yield begin
    for context in opened:
        context.close()


def _install_extension(context: Any, key: bytes) -> None:
    """What a NIP-07 extension gives to pages: `window.nostr`, which signs with a real key that the page never sees."""

    def sign_event(event: dict[str, Any]) -> dict[str, Any]:
        return sign(event["kind"], event["content"], event["tags"], event["created_at"], key).to_dict()

    context.expose_function("__sign", sign_event)
    context.add_init_script("window.nostr = {signEvent: (event) => window.__sign(event)};")
