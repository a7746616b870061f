"""Two operators with two machines each, and five LPs, one of them at machines of both; the pages over their common
books, served as `satmachine web` does; and a client that sends what no browser would."""

from __future__ import annotations

import http.client
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from bench import books
from satmachine.attention.items import Thresholds
from satmachine.cli.web import serving
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
from testkit.ports import free_port

SIZE = books.Size(machines=4, sales=110, beacons=80, sale_every_s=9_600)
#: The present of these books, in Unix seconds.
NOW = SIZE.end
ANAS_KEY, BEAS_KEY = bytes(31) + b"\x07", bytes(31) + b"\x09"
ANA, BEA = "operator-0", "operator-1"

#: person-2 is an LP of both operators, and so is two people who look.
PEOPLE = (
    WebPerson(id="ana", name="Ana", operator=ANA, npub=hex_to_npub(public_key_of(ANAS_KEY))),
    WebPerson(id="bea", name="Bea", operator=BEA, npub=hex_to_npub(public_key_of(BEAS_KEY))),
    WebPerson(id="lp0", name="LP 0", operator=ANA, client="person-0"),
    WebPerson(id="lp1", name="LP 1", operator=ANA, client="person-1", language="es"),
    WebPerson(id="lp2-at-ana", name="LP 2", operator=ANA, client="person-2"),
    WebPerson(id="lp2-at-bea", name="LP 2", operator=BEA, client="person-2"),
    WebPerson(id="lp3", name="LP 3", operator=BEA, client="person-3", tz="America/Guatemala"),
    WebPerson(id="lp4", name="LP 4", operator=BEA, client="person-4"),
)
BY_ID = {person.id: person for person in PEOPLE}


def build(path: Path) -> None:
    """Make the books; every position has a signed statement."""
    books.build(path, SIZE, lambda _: None)
    with closing(connect(path)) as conn, atomic(conn):
        for machine in range(SIZE.machines):
            conn.execute(
                "UPDATE dca_machines SET operator_id = ? WHERE id = ?",
                (ANA if machine < SIZE.machines // 2 else BEA, books.machine_id(machine)),
            )
        for (position,) in conn.execute("SELECT id FROM dca_clients").fetchall():
            sign_statement(conn, SignStatement(position), secret=ANAS_KEY, actor="ana", now=NOW - 3_600)


@dataclass(frozen=True)
class Record:
    """Something that an address can name: `kind` is the word for it in `FILLED`."""

    kind: str
    id: str
    operator: str
    person: str | None = None
    #: Of a signed statement: the position that it is of.
    position: str = ""

    def is_of(self, viewer: WebPerson) -> bool:
        """Whether it is within what somebody may see; said once more here, so that it can differ from the pages."""
        if viewer.client is None:
            return viewer.operator == self.operator
        return (viewer.operator, viewer.client) == (self.operator, self.person)


def records(conn: sqlite3.Connection) -> list[Record]:
    """All of them. Of a payment or deposit an address has only the number behind the question mark."""
    of_machine = "JOIN dca_machines m ON m.id = t.machine_id"
    statements = {
        "machine": "SELECT id, operator_id, NULL, '' FROM dca_machines",
        "sale": f"SELECT t.id, operator_id, NULL, '' FROM dca_settlements t {of_machine}",
        "position": f"SELECT t.id, operator_id, person, '' FROM dca_clients t {of_machine}",
        "statement": f"SELECT s.id, operator_id, person, t.id FROM dca_statements s "
        f"JOIN dca_clients t ON t.id = s.client_id {of_machine}",
        "payment": "SELECT p.id, operator_id, person, '' FROM dca_payments p "
        "LEFT JOIN dca_clients c ON c.id = p.client_id JOIN dca_machines m ON m.id = p.machine_id",
        "deposit": f"SELECT d.id, operator_id, person, '' FROM dca_deposits d "
        f"JOIN dca_clients t ON t.id = d.client_id {of_machine}",
    }
    return [
        Record(kind, str(row[0]), row[1], row[2], str(row[3]))
        for kind, statement in statements.items()
        for row in conn.execute(statement)
    ]


@dataclass(frozen=True)
class Answer:
    """What came back. `headers` are in their order, without the time."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def like(self, nothing: Answer, *echoed: tuple[str, str]) -> bool:
        """Whether nothing tells it from the answer about what nobody has, except that each repeats what it was asked
        for; `echoed`: what this one was, and what that one was."""
        body, said, length = nothing.body, dict(self.headers), dict(nothing.headers)
        for mine, other in echoed:
            body = body.replace(other.encode(), mine.encode())
        if body and "content-length" in length:
            length["content-length"] = str(int(length["content-length"]) + len(body) - len(nothing.body))
        return (self.status, said, self.body) == (nothing.status, length, body)


class Wire:
    """A connection that is kept, and sends exactly what it is told to."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, target: str | bytes, *headers: str, method: str = "GET", body: bytes = b"") -> Answer:
        """One request; `headers` are whole lines."""
        octets = target if isinstance(target, bytes) else target.encode()
        lines = ["Host: 127.0.0.1", *headers, *([f"Content-Length: {len(body)}"] if body or method == "POST" else [])]
        request = b"%s %s HTTP/1.1\r\n%s\r\n\r\n%s" % (method.encode(), octets, "\r\n".join(lines).encode(), body)
        return self.send(request, method)

    def ask_anew(self, target: str | bytes, *headers: str) -> Answer:
        """On a new connection: what a server says about nonsense depends on what it has heard before."""
        self.close()
        return self.ask(target, *headers)

    def send(self, request: bytes, method: str = "GET") -> Answer:
        """Send octets, read one answer."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        response = http.client.HTTPResponse(self._socket, method=method)
        response.begin()
        body = response.read()
        found = [(name.lower(), value) for name, value in response.getheaders() if name.lower() != "date"]
        if response.will_close or response.getheader("connection") == "close":
            self.close()
        return Answer(response.status, tuple(found), body)

    def close(self) -> None:
        """Begin anew with the next request."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@dataclass
class Town:
    """The pages as they run, at the time of the books."""

    settings: Settings
    app: Starlette
    port: int
    now: list[float] = field(default_factory=lambda: [float(NOW)])
    wires: list[Wire] = field(default_factory=list)

    def wire(self) -> Wire:
        """A new connection; it is closed when the pages are."""
        self.wires.append(Wire(self.port))
        return self.wires[-1]

    def cookie(self, person: str, *, lives_s: int = 3_600) -> str:
        """The header of a browser in which somebody is signed in."""
        with passes.open_passes(self.settings.passes) as conn:
            return f"Cookie: satmachine={signin.begin_session(conn, person, now=int(self.now[0]), lives_s=lives_s)}"

    def secret(self, kind: PassKind, person: str, *, lives_s: int = 3_600) -> str:
        """That of a new link or token."""
        secret, kept = signin.new_secret()
        with passes.open_passes(self.settings.passes) as conn:
            passes.add(conn, kind, person, kept, now=int(self.now[0]), lives_s=lives_s)
        return secret


@contextmanager
def served(books_path: Path, passes_path: Path) -> Iterator[Town]:
    """Serve these books on a port of this machine, from a thread."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    settings = Settings(books_path, passes_path, Web(people=PEOPLE, public_url=origin), Thresholds())
    now = [float(NOW)]
    app = make_app(settings, clock=lambda: now[0])
    with _thread(app, f"127.0.0.1:{port}"):
        town = Town(settings, app, port, now)
        try:
            yield town
        finally:
            for wire in town.wires:
                wire.close()


@contextmanager
def _thread(app: Starlette, address: str) -> Iterator[None]:
    options = {**serving(address), "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", **options))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield
    finally:
        server.should_exit = True
        thread.join(20)


def wait_until(is_so: Callable[[], bool], within_s: float = 30) -> None:
    """Look again and again, but not for ever."""
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.01)


def copied(books_path: Path, to: Path) -> Path:
    """The same books once more, to change them."""
    with closing(connect(books_path)) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(books_path, to)
    return to
