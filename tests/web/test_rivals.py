"""Everybody asks for everything of everybody else, at every address that there is: it is as if it did not exist."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest

from satmachine.config.model import WebPerson
from satmachine.store.database import connect
from satmachine.web.views.base import Look
from tests.web.rivals import BY_ID, Answer, Record, Town, Wire, records

HTML, JSON = "Accept: text/html", "Accept: application/json"
#: What nobody has, by kind.
MISSING = {"machine": "machine-9999", "statement": "f" * 64}
NO_NUMBER = "987654"
#: What stands in an address for a record: by the word in braces and the part before it.
FILLED = {
    ("machines", "machine"): "machine", ("sales", "id"): "sale", ("settlements", "id"): "sale",
    ("clients", "id"): "position", ("statements", "statement"): "statement",
}  # fmt: skip
#: Words in braces that name no record.
SOMEBODYS = {"id": "1", "machine": "machine-0000", "statement": "f" * 64}
OTHER_WORDS = {"day": "2023-11-20", "month": "2023-11", "secret": "x" * 43, "name": "nothing.css", "rest": "nothing"}
#: (address, what is in its braces: of somebody else, of nobody).
Try = tuple[str, tuple[dict[str, str], dict[str, str]]]
_BRACES = re.compile(r"([^/]+)/\{(\w+)(?::path)?\}|\{(\w+)(?::path)?\}")


@pytest.fixture(scope="module")
def found(town: Town) -> list[Record]:
    with closing(connect(town.settings.books, read_only=True)) as conn:
        return records(conn)


def paths(town: Town) -> list[str]:
    """Every address of the application, as the application itself knows them."""
    return sorted({route.path for route in town.app.routes})  # type: ignore[attr-defined]


def kinds(path: str) -> list[tuple[str, str]]:
    """(what is in braces, the kind of record that it names) of an address."""
    named = []
    for before, word, alone in _BRACES.findall(path.replace("}.", "}/.")):
        if (before, word) in FILLED:
            named.append((word, FILLED[before, word]))
        else:
            assert (word or alone) in OTHER_WORDS, f"{path}: say in FILLED or OTHER_WORDS what this is"
    return named


def fill(path: str, values: dict[str, str]) -> str:
    for word, value in {**OTHER_WORDS, **values}.items():
        path = path.replace(f"{{{word}}}", value).replace(f"{{{word}:path}}", value)
    return path


def addresses(path: str, viewer: WebPerson, found: list[Record]) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """(a record of somebody else, the same address for one that nobody has), for what is in an address's braces. Of a
    position's statement, somebody else's is also asked for below one's own position."""
    named = kinds(path)
    theirs = [one for one in found if not one.is_of(viewer)]
    own = [one.id for one in found if one.kind == "position" and one.is_of(viewer)]
    if len(named) == 2:
        for one in theirs:
            if one.kind == "statement":
                yield {"id": one.position, "statement": one.id}, {"id": NO_NUMBER, "statement": MISSING["statement"]}
                for position in own:
                    yield {"id": position, "statement": one.id}, {"id": position, "statement": MISSING["statement"]}
    elif named:
        word, kind = named[0]
        yield from (({word: one.id}, {word: MISSING.get(kind, NO_NUMBER)}) for one in theirs if one.kind == kind)


def learnt(
    wire: Wire, path: str, pair: tuple[dict[str, str], dict[str, str]], *headers: str, method: str = "GET"
) -> list[object]:
    """What differs between somebody else's record and one that nobody has."""
    theirs, none = pair
    asked, nothing = fill(path, theirs), fill(path, none)
    one, other = (wire.ask(target, *headers, method=method) for target in (asked, nothing))
    alike = one.like(other, *zip(theirs.values(), none.values(), strict=True))
    return [] if alike and one.status != 403 else [(method, asked, headers[-1], one.status, other.status)]


def _tries(town: Town, person: str, found: list[Record], *, each: int) -> list[Try]:
    """Every address with every record of others; of sales only one of `each`."""
    return [
        (path, pair)
        for path in paths(town)
        for pair in addresses(path, BY_ID[person], found)
        if dict(kinds(path)).get("id") != "sale" or int(pair[0]["id"]) % each == 0
    ]


@pytest.mark.parametrize("person", BY_ID)
def test_a_record_of_others_is_answered_like_none(town: Town, found: list[Record], person: str) -> None:
    _ask_for_all(town, person, _tries(town, person, found, each=9))


@pytest.mark.slow
@pytest.mark.parametrize("person", BY_ID)
def test_no_record_of_others_is_left_out(town: Town, found: list[Record], person: str) -> None:
    _ask_for_all(town, person, _tries(town, person, found, each=1))


def _ask_for_all(town: Town, person: str, tries: list[Try]) -> None:
    wire, cookie = town.wire(), town.cookie(person)
    nothing: dict[str, Answer] = {}
    differs: list[object] = []
    for path, (theirs, none) in tries:
        accept = JSON if path.startswith("/api/") else HTML
        missing = fill(path, none)
        if missing not in nothing:
            nothing[missing] = wire.ask(missing, cookie, accept)
            for headers in ((cookie, JSON), (cookie, "Accept-Encoding: gzip"), (cookie, "Accept-Language: es-GT")):
                differs += learnt(wire, path, (theirs, none), *headers)
        answer = wire.ask(fill(path, theirs), cookie, accept)
        if answer.status != 404 or not answer.like(nothing[missing], *zip(theirs.values(), none.values(), strict=True)):
            differs.append((fill(path, theirs), answer.status))
    assert differs == []
    assert {path for path, _ in tries} == {path for path in paths(town) if kinds(path)}, "an address was not tried"


@pytest.mark.parametrize("person", [None, "bea", "lp1", "lp2-at-bea"])
def test_no_method_tells_them_apart(town: Town, found: list[Record], person: str | None) -> None:
    wire, viewer = town.wire(), BY_ID[person or "bea"]
    headers = [town.cookie(person)] if person else ["X-Nobody: 1"]
    firsts = [(path, pair) for path in paths(town) for pair in list(addresses(path, viewer, found))[:1]]
    methods = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get")
    assert [
        one
        for (path, pair), method in product(firsts, methods)
        for one in learnt(wire, path, pair, *headers, method=method)
    ] == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_whoever_is_not_signed_in_learns_not_even_which_addresses_there_are(town: Town, method: str) -> None:
    wire = town.wire()
    behind = [path for path in paths(town) if not path.startswith(("/sign-", "/static", "/health"))]
    for api, accept in product((True, False), (HTML, JSON)):
        answers = {
            path: wire.ask(
                fill(path, {"id": "1", "machine": "machine-0000", "statement": "f" * 64}), accept, method=method
            )
            for path in behind
            if path.startswith("/api/") == api
        }
        answers["nothing"] = wire.ask("/api/nothing" if api else "/nothing", accept, method=method)
        assert len(set(answers.values())) == 1, {path: (one.status, one.headers[:3]) for path, one in answers.items()}


#: Of what follows the question mark: of which kind of record it is the id.
QUERY = {"machine": "machine", "machine_id": "machine", "client_id": "position", "settlement_id": "sale"}
BEFORE = {"/sales": "sale", "/api/v1/dca/settlements": "sale", "/api/v1/dca/payments": "payment"}
BEFORE["/api/v1/dca/deposits"] = "deposit"
#: What names no record.
NO_RECORD = {"status", "since", "until", "limit", "leg_type", "effective", "page", "from", "q"}


def _asked(town: Town, monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """(address, what it reads from behind its question mark), as the pages themselves tell when they are asked."""
    read: set[tuple[str, str]] = set()
    at, text = [""], Look.text

    def noted(look: Look, name: str, **more: Any) -> str | None:
        read.add((at[0], name))
        return text(look, name, **more)

    monkeypatch.setattr(Look, "text", noted)
    wire, own = town.wire(), town.cookie("ana")
    for path in paths(town):
        if path != "/live":
            at[0] = path
            wire.ask(fill(path, SOMEBODYS), own)
            wire.ask(fill(path, SOMEBODYS) + "?before=1&client_id=1&limit=1&from=1", own)
    return read


@pytest.mark.parametrize("person", ["ana", "lp1", "lp2-at-bea"])
def test_what_follows_the_question_mark_tells_nothing_either(
    town: Town, found: list[Record], person: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = _asked(town, monkeypatch)
    assert {name for _, name in read} == {*QUERY, "before", *NO_RECORD}, "say what this is the id of"
    viewer, wire, cookie, differs = BY_ID[person], town.wire(), town.cookie(person), []
    for path, name in sorted(read):
        kind = BEFORE[path] if name == "before" else QUERY.get(name)
        if kind is None or "{" in path:
            continue
        theirs = next(one.id for one in found if one.kind == kind and not one.is_of(viewer))
        own = next((one.id for one in found if one.kind == kind and one.is_of(viewer)), "1")
        none = MISSING.get(kind, NO_NUMBER)
        mine = next(one.id for one in found if one.kind == "position" and one.is_of(viewer))
        more = f"&client_id={mine}" if name != "client_id" and viewer.client else ""
        for form in ("{n}={v}", "{n}={o}&{n}={v}", "{n}={v}&{n}={o}", "{n}[]={v}&{n}={v}%20", "{n}=%00{v}"):
            one, other = (
                wire.ask(f"{path}?{form.format(n=name, v=value, o=own)}{more}", cookie) for value in (theirs, none)
            )
            if not one.like(other, (theirs, none)):
                differs.append((path, form, name, theirs, one.status, other.status))
    assert differs == []


@pytest.mark.parametrize("person", ["ana", "bea"])
def test_a_search_for_what_others_have_finds_what_nobody_has(town: Town, person: str) -> None:
    wire, cookie = town.wire(), town.cookie(person)
    with closing(connect(town.settings.books, read_only=True)) as conn:
        words = _searched(conn, BY_ID[person].operator)
    nothing = wire.ask("/search?q=zzzzz", cookie, JSON)
    answers = {word: wire.ask(f"/search?q={quote(word)}", cookie, JSON) for word in words}
    assert [word for word, answer in answers.items() if not answer.like(nothing, (word, "zzzzz"))] == []
    assert len(words) > 15


def _searched(conn: sqlite3.Connection, operator: str) -> list[str]:
    """What others may have written down of an operator's sales and machines: ids, hashes, keys, names."""
    statements = (
        "SELECT t.payment_hash, t.txid, t.bitspire_event_id, t.settlement_key FROM dca_settlements t",
        "SELECT t.payment_hash FROM dca_payments t",
        "SELECT t.event_id FROM dca_settlement_events t",
        "SELECT t.id, t.npub, t.pubkey, t.name FROM dca_machines t",
    )
    scope = "JOIN dca_machines m ON m.id = {} AND m.operator_id <> ? LIMIT 4"
    found = [
        row
        for statement in statements
        for row in conn.execute(
            f"{statement} {scope.format('t.id' if 'dca_machines' in statement else 't.machine_id')}", (operator,)
        )
    ]
    return [str(word) for row in found for word in row if word]
