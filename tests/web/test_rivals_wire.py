"""Addresses, headers and requests that no browser would send: none tells a record of others from one of nobody."""

from __future__ import annotations

from itertools import product
from urllib.parse import quote

import pytest

from tests.web.rivals import Answer, Town
from tests.web.test_rivals import HTML, JSON, NO_NUMBER

#: Who asks: another operator, another LP of the same operator, nobody.
STRANGERS = ["bea", "lp1", None]
#: (an address with something of Ana and of LP 0, the same with nothing in it).
PAIRS = [
    ("/machines/machine-0000", "/machines/machine-9999"),
    ("/sales/5", f"/sales/{NO_NUMBER}"),
    ("/clients/1", f"/clients/{NO_NUMBER}"),
    ("/clients/1/statement.csv", f"/clients/{NO_NUMBER}/statement.csv"),
    ("/api/v1/dca/settlements/5", f"/api/v1/dca/settlements/{NO_NUMBER}"),
]

#: Other ways to write an address `{a}` of which the last part is `{n}`, and what is before that `{b}`.
PATHS = [
    "/{a}", "/.{a}", "/x/..{a}", "/%2e%2e{a}", "/..%2f..{a}", "/static/..{a}", "/static/%2e%2e{a}", "/sign-in/..{a}",
    "/sign-in/link/..{a}", "/health/..{a}", "/api/v1/dca/../../..{a}", "/static/..;{a}", "{a}/", "{a}//", "{a}/.",
    "{a}/..", "{a};x=1", "{a}%00", "{a}%20", "{a}%0a", "{a}%0d%0aX-A:%20b", "{a}%c0%af", "{a}%ff", "{a}%2f", "{a}.json",
    "{a}#x", "{a}?", "{a}??", "{a}?operator=operator-0&operator=operator-1", "{a}?person=ana&client=person-0",
    "{a}?id={n}&machine={n}&method=GET", "{b}//{n}", "{b}/./{n}", "{b}/%2e/{n}", "{b}%2f{n}", "{b}\\{n}", "{b}/0{n}",
    "{b}/+{n}", "{b}/%2b{n}", "{b}/{n}.0", "{b}/{n}e0", "{b}/0x{n}", "{b}/{n}%7c1", "{b}/{n}'--", "{b}/%201",
    "http://127.0.0.1{a}", "http://evil.example.org{a}", "https://evil.example.org:99{a}", "//evil.example.org{a}",
]  # fmt: skip


@pytest.mark.parametrize("person", STRANGERS)
def test_no_way_to_write_an_address_tells_more(town: Town, person: str | None) -> None:
    wire, headers = town.wire(), [town.cookie(person)] if person else []
    differs = []
    for (address, nothing), form in product(PAIRS[:3], [*PATHS, *map(_spelt, ("upper", "all", "twice", "wide"))]):
        one, other = (wire.ask_anew(_written(form, target), *headers) for target in (address, nothing))
        if one.status not in (303, 307, 400, 401, 404) or not one.like(other, (address, nothing)):
            differs.append((_written(form, address), one.status, other.status))
    assert differs == []


def _spelt(how: str) -> str:
    return f"spelt {how}"


def _written(form: str, address: str) -> bytes:
    if form == "spelt upper":
        return address.upper().encode()
    if form == "spelt wide":  # digits that are digits elsewhere
        return address.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)}).encode()
    if form.startswith("spelt"):
        spelt = "".join(f"%{octet:02x}" for octet in address.encode()[1:])
        return b"/" + (quote(spelt) if form == "spelt twice" else spelt).encode()
    before, _, last = address.rpartition("/")
    return form.format(a=address, b=before, n=last).encode()


#: What proxies and frameworks believe; {a} is an address of others.
BELIEVED = [
    "X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: ana", "X-Forwarded-Host: evil.example.org", "Forwarded: for=ana",
    "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /sales", "Forwarded: host=evil.example.org;proto=https",
    "X-Original-URL: {a}", "X-Rewrite-URL: {a}", "X-Original-URI: {a}", "X-Forwarded-Uri: {a}", "X-Accel-Redirect: {a}",
    "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: HEAD", "X-Method-Override: POST", "X-Forwarded-User: ana",
    "Remote-User: ana", "X-Remote-User: ana", "X-Auth-Request-User: ana", "X-WebAuth-User: ana",
    "X-Operator: operator-0", "X-Real-IP: 127.0.0.1", "True-Client-IP: 127.0.0.1", "Referer: http://127.0.0.1{a}",
    "Origin: null", "Via: 1.1 x", "If-None-Match: *", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT",
    "If-Match: *", "Range: bytes=0-1", "Accept-Charset: utf-7", "Cache-Control: only-if-cached",
    "Expect: 100-continue", "Prefer: return=minimal",
]  # fmt: skip


@pytest.mark.parametrize("person", STRANGERS)
def test_nothing_is_believed_that_a_header_says(town: Town, person: str | None) -> None:
    wire, cookie = town.wire(), [town.cookie(person)] if person else []
    differs = []
    for address, nothing in PAIRS[1::2]:
        plain = wire.ask(nothing, *cookie, HTML)
        for line in BELIEVED:
            said = line.format(a=address)
            if not wire.ask(address, *cookie, HTML, said).like(plain) or not wire.ask(
                nothing, *cookie, HTML, said
            ).like(plain):
                differs.append((address, said))
    own = wire.ask("/", *cookie, HTML)
    differs += [("/", line) for line in BELIEVED if wire.ask("/", *cookie, HTML, line.format(a="/sales/5")) != own]
    assert differs == []
    assert b"evil" not in own.body


#: Whole requests, {a} is the address, {c} a cookie.
REQUESTS = [
    "GET {a} HTTP/1.0\r\n{c}\r\n\r\n",
    "GET {a} HTTP/1.1\r\nHost: a\r\nHost: b\r\n{c}\r\n\r\n",
    "GET {a} HTTP/1.1\r\n{c}\r\n\r\n",
    "GET {a} HTTP/1.1\r\nHost: evil.example.org:8021@127.0.0.1\r\n{c}\r\n\r\n",
    "GET {a} HTTP/1.1\r\nHost: a\r\n{c}\r\n{c}x\r\n\r\n",
    "GET {a} HTTP/1.1\r\nHost: a\r\n{c}; satmachine=x\r\n\r\n",
    "GET {a} HTTP/1.1\r\nHost: a\r\n{c}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "GET {a} HTTP/1.1\r\nHost: a\r\n{c}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    "HTTP2-Settings: AA\r\n\r\n",
    "GET {a} HTTP/1.1\r\nHost: a\r\n{c}\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "POST {a} HTTP/1.1\r\nHost: a\r\n{c}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST {a} HTTP/1.1\r\nHost: a\r\n{c}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "POST {a} HTTP/1.1\r\nHost: a\r\n{c}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    "Content-Length: 11\r\n\r\n_method=GET",
    "CONNECT {a} HTTP/1.1\r\nHost: a\r\n{c}\r\n\r\n",
    "OPTIONS {a} HTTP/1.1\r\nHost: a\r\n{c}\r\nOrigin: http://evil.example.org\r\n"
    "Access-Control-Request-Method: GET\r\n\r\n",
    "GET {a} HTTP/9.9\r\nHost: a\r\n{c}\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("person", STRANGERS)
def test_no_request_is_so_odd_that_it_tells_more(town: Town, person: str | None) -> None:
    cookie = town.cookie(person) if person else "X-Nobody: 1"
    differs: list[tuple[str, int, int]] = []
    for (address, nothing), request in product(PAIRS, REQUESTS):
        one, other = (_sent(town, request.format(a=target, c=cookie)) for target in (address, nothing))
        if one.status not in (303, 400, 401, 403, 404, 426) or not one.like(other):
            differs.append((request.format(a=address, c="-"), one.status, other.status))
        assert "access-control-allow-origin" not in dict(one.headers)
    assert differs == []


def _sent(town: Town, request: str) -> Answer:
    """On a connection of its own: many of these end it."""
    wire = town.wire()
    try:
        return wire.send(request.encode(), request.partition(" ")[0])
    finally:
        wire.close()


def test_a_request_behind_another_one_is_nobodys(town: Town) -> None:
    """What a proxy takes for the text of one request, and we for the next one, has no cookie of its own."""
    inner = "GET /sales/5 HTTP/1.1\r\nHost: a\r\n\r\n"
    wire, cookie = town.wire(), town.cookie("ana")
    first = wire.ask("/nothing", cookie, JSON, method="POST", body=inner.encode())
    second = wire.ask("/sales/5", JSON)
    assert (first.status, second.status) == (404, 401)
