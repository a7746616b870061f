"""News comes to those whose it is, and to nobody else; it says nothing, not even to them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from satmachine.store.database import atomic, connect
from tests.web.rivals import ANA, BEA, BY_ID, PEOPLE, Town, copied, records, served, wait_until

_NEWS = b"event: changed\ndata: 1\n\n"


class Listener:
    """A browser that listens; `heard` is everything that it was sent, without the keep-alive lines."""

    def __init__(self, town: Town, cookie: str, seen: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", town.port), timeout=60)
        self._socket.sendall(f"GET /live?seen={seen} HTTP/1.0\r\n{cookie}\r\n\r\n".encode())
        self._octets = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while octets := self._socket.recv(4096):
            self._octets += octets

    @property
    def heard(self) -> bytes:
        return self._octets.partition(b"\r\n\r\n")[2].replace(b": still here\n\n", b"")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._socket.close()


@contextmanager
def _everybody(town: Town) -> Iterator[dict[str, Listener]]:
    listening: dict[str, Listener] = {}
    try:
        for person in BY_ID:
            cookie = town.cookie(person)
            page = town.wire().ask("/", cookie).body
            seen = page.partition(b"/live?seen=")[2].partition(b'"')[0].decode()
            listening[person] = Listener(town, cookie, seen)
        yield listening
    finally:
        for one in listening.values():
            one.close()


def _changes(books: Path) -> Iterator[tuple[str, set[str]]]:
    """(a change, who may see it), one thing of each kind of each operator and each LP."""
    with closing(connect(books, read_only=True)) as conn:
        found = records(conn)
    for operator, who in ((ANA, "ana"), (BEA, "bea")):
        machine = next(one.id for one in found if one.kind == "machine" and one.operator == operator)
        yield f"UPDATE dca_wallets SET balance_sats = balance_sats + 1 WHERE machine_id = '{machine}'", {who}
        yield f"UPDATE dca_telemetry SET last_error = 'x' WHERE machine_id = '{machine}'", {who}
    for one in found:
        if one.kind == "position":
            who_sees = {person.id for person in PEOPLE if one.is_of(person)}
            yield f"UPDATE dca_clients SET used_minor = used_minor + 1 WHERE id = {one.id}", who_sees


def _write(books: Path, statement: str) -> None:
    with closing(connect(books)) as conn, atomic(conn):
        conn.execute(statement)


def test_news_of_others_is_not_told(rival_books: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satmachine.web.live._LOOK_EVERY_S", 0.05)
    books = copied(rival_books, tmp_path / "books.db")
    told = dict.fromkeys(BY_ID, 0)
    with served(books, tmp_path / "web.db") as town, _everybody(town) as listening:
        wait_until(lambda: all(one.heard for one in listening.values()))
        for change, whose in _changes(books):
            _write(books, change)
            for person in whose:
                told[person] += 1
            wait_until(lambda: all(listening[who].heard.count(_NEWS) >= told[who] for who in whose))  # noqa: B023
        _write(
            books, "UPDATE dca_clients SET used_minor = used_minor + 1"
        )  # everybody's: what is late has come by then
        wait_until(lambda: all(one.heard.count(_NEWS) > told[who] for who, one in listening.items()))
        heard = {who: one.heard for who, one in listening.items()}
    assert heard == {who: b"retry: 5000\n\n" + _NEWS * (count + 1) for who, count in told.items()}
    assert min(told.values()) > 0
