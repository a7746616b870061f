"""The pages over books with two operators and an LP, and people who look at them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from satmachine.attention.items import Thresholds
from satmachine.config.model import Web, WebPerson
from satmachine.nostr.keys import hex_to_npub, public_key_of
from satmachine.orders import SignStatement
from satmachine.reports.make import sign_statement
from satmachine.store import passes
from satmachine.store.database import atomic, connect
from satmachine.store.passes import PassKind
from satmachine.web import signin
from satmachine.web.app import make_app
from satmachine.web.settings import Settings
from satmachine.web.tries import Limiter
from tests.cli.books import NOW, full_books
from tests.web import rivals

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it recommends another HTTP client than the one that everything here uses
    from starlette.testclient import TestClient

#: The secret key of Ana's npub.
ANAS_KEY = bytes(31) + b"\x07"
ORIGIN = "https://books.example.org"
#: An LP of the operator atitlan (tests/cli/books.py), and somebody of another operator who bears the same name.
PEOPLE = (
    WebPerson(id="ana", name="Ana", operator="atitlan", npub=hex_to_npub(public_key_of(ANAS_KEY))),
    WebPerson(id="flor", name="Flor", operator="flores"),
    WebPerson(id="maria", name="Maria", operator="atitlan", client="maria", language="es"),
    WebPerson(id="other", name="Another Maria", operator="flores", client="maria"),
    WebPerson(id="boss", name="Boss", operator="*", tz="America/Guatemala"),
)


class Clock:
    """Unix seconds that go only as they are told to."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """The pages, and what lies behind them."""

    client: TestClient
    settings: Settings
    clock: Clock
    #: The id of a signed statement of Maria's position 1.
    statement: str

    def link(self, person: str, *, lives_s: int = 3600) -> str:
        """The path of a new link."""
        secret, kept = signin.new_secret()
        with passes.open_passes(self.settings.passes) as conn:
            passes.add(conn, PassKind.LINK, person, kept, now=int(self.clock()), lives_s=lives_s)
        return f"/sign-in/link/{secret}"

    def token(self, person: str, *, lives_s: int = 3600) -> str:
        secret, kept = signin.new_secret()
        with passes.open_passes(self.settings.passes) as conn:
            passes.add(conn, PassKind.TOKEN, person, kept, now=int(self.clock()), lives_s=lives_s)
        return secret

    def sign_in(self, person: str) -> None:
        """As a browser: nobody was signed in before."""
        self.client.cookies.clear()
        assert self.client.post(self.link(person)).status_code == 303

    def status(self, path: str) -> int:
        return int(self.client.get(path).status_code)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    books = full_books(tmp_path)
    settings = Settings(
        books=books.database, passes=tmp_path / "web.db", web=Web(people=PEOPLE, public_url=ORIGIN), limits=Thresholds()
    )
    with closing(connect(books.database)) as conn, atomic(conn):
        signed, _ = sign_statement(conn, SignStatement(1), secret=ANAS_KEY, actor="ana", now=NOW)
    clock = Clock()
    app = make_app(settings, clock=clock)
    with TestClient(app, base_url=ORIGIN, follow_redirects=False) as client:
        yield Site(client, settings, clock, signed.id)


@pytest.fixture(scope="session")
def rival_books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The books of tests/web/rivals.py. Whoever changes them takes a copy."""
    path = tmp_path_factory.mktemp("rivals") / "books.db"
    rivals.build(path)
    return path


@pytest.fixture(scope="module")
def town(rival_books: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rivals.Town]:
    """The pages over them, as they are served in life; anybody may try as often as they like."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Limiter, "admits", lambda *_: True)
        with rivals.served(rival_books, tmp_path_factory.mktemp("passes") / "web.db") as served:
            yield served
