"""Cookies, links, tokens and signatures that are forged, old, of others, or used twice: they are like none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import pytest

from satmachine.nostr.event import Event, sign
from satmachine.nostr.keys import public_key_of
from satmachine.store import passes
from satmachine.store.passes import PassKind
from satmachine.web import signin
from satmachine.web.signin import HTTP_AUTH_KIND, IDLE_S
from tests.web.rivals import ANAS_KEY, BEAS_KEY, NOW, Answer, Town, Wire, served
from tests.web.test_signin import header

#: Something of everybody's, something of somebody's, something of nobody.
LOOKED_AT = ["/", "/sales/5", "/clients/1", "/api/v1/dca/machines", "/api/openapi.json", "/live", "/nothing"]
STRANGERS_KEY = bytes(31) + b"\x55"
_IN = "sign-in/link"


def _secret(cookie: str) -> str:
    return cookie.partition("=")[2]


def _forged(good: str, other: str) -> Iterator[str]:
    """What somebody makes of a secret that is nearly the right one."""
    for at in range(1, len(good), 3):
        yield good[:at] + chr(ord(good[at]) ^ 1) + good[at + 1 :]
        if (crossed := good[:at] + other[at:]) not in (good, other):  # two secrets may begin or end alike
            yield crossed
        yield good[:at]
    yield from (good + "A", good + "=", good + "%00", good + " x", good[::-1], good.swapcase(), signin.digest(good))
    yield from ("a" * 20_000, "%s" % (good * 200), f"{good}.{other}", f"{good}|ana", "ana", "null", "' OR ''='", "\x7f")


def test_forged_cookies_and_tokens_are_like_none(town: Town) -> None:
    wire, ana, bea = town.wire(), _secret(town.cookie("ana")), _secret(town.cookie("bea"))
    nothing = {path: wire.ask(path) for path in LOOKED_AT}
    token = town.secret(PassKind.TOKEN, "ana")
    lines = [f"Cookie: satmachine={value}" for value in _forged(ana, bea)]
    lines += [f"Authorization: Bearer {value}" for value in _forged(token, ana)]
    lines += [
        f"Cookie: satmachine={token}",  # a token is no session, and so on
        f"Cookie: satmachine={town.secret(PassKind.LINK, 'ana')}",
        f"Authorization: Bearer {ana}",
        f"Authorization: Basic {ana}",
        f"Authorization: Nostr {ana}",
        f"Authorization: {token}",
        *(f"Cookie: {name}={ana}" for name in ("Satmachine", "__Host-satmachine", "__Secure-satmachine", "session")),
    ]
    believed = [
        (line[:60], path)
        for number, line in enumerate(lines)
        for path in (LOOKED_AT[number % len(LOOKED_AT)], "/api/v1/dca/machines")
        if wire.ask(path, line) != nothing[path]
    ]
    assert believed == []
    assert len(lines) > 100
    assert wire.ask("/sales/5", f"Cookie: satmachine={ana}").status == 200


def test_sessions_and_tokens_that_are_over_are_like_none(town: Town) -> None:
    wire = town.wire()
    nothing = {path: wire.ask(path) for path in LOOKED_AT}
    short, left, ended, idle = (town.cookie("ana", lives_s=s) for s in (100, 3_600, 3_600, 10 * IDLE_S))
    gone = town.cookie("nobody-any-more")
    old = f"Authorization: Bearer {town.secret(PassKind.TOKEN, 'ana', lives_s=100)}"
    assert wire.ask("/sign-out", left, method="POST").status == 303
    with passes.open_passes(town.settings.passes) as conn:
        found = passes.find(conn, PassKind.SESSION, signin.digest(_secret(ended)), NOW)
        assert found is not None
        passes.revoke(conn, NOW, pass_id=found.id)
    try:
        for after_s, over in ((0, (left, ended, gone)), (101, (short, old)), (IDLE_S + 1, (idle,))):
            town.now[0] = NOW + after_s
            nothing = {path: wire.ask(path) for path in LOOKED_AT}
            assert [(line, path) for line in over for path in LOOKED_AT if wire.ask(path, line) != nothing[path]] == []
    finally:
        town.now[0] = NOW


def test_a_link_that_does_not_sign_in_is_like_one_that_never_was(town: Town) -> None:
    wire, never = town.wire(), f"/{_IN}/{signin.new_secret()[0]}"
    methods = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE")
    nothing = {method: wire.ask(never, method=method) for method in methods}
    used, late, taken, gone, good = (
        f"/{_IN}/{town.secret(PassKind.LINK, person, lives_s=lives_s)}"
        for person, lives_s in (("ana", 600), ("ana", 0), ("lp1", 600), ("nobody-any-more", 600), ("ana", 600))
    )
    assert wire.ask(used, method="POST").status == 303
    with passes.open_passes(town.settings.passes) as conn:
        assert passes.revoke(conn, NOW, person="lp1") >= 1
    secret = good.rpartition("/")[2]
    dead = [used, late, taken, gone, f"/{_IN}/{town.secret(PassKind.TOKEN, 'ana')}", f"/{_IN}/{signin.digest(secret)}"]
    dead += [f"/{_IN}/{value}" for value in _forged(secret, signin.new_secret()[0]) if value and " " not in value]
    assert [
        (method, link[:60])
        for link, method in product([link for link in dead if "\x7f" not in link and "%" not in link], methods)
        if wire.ask(link, method=method) != nothing[method]
    ] == []
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"):  # none of them uses it up
        wire.ask(good, method=method)
    assert wire.ask(good, method="POST").status == 303


def _at_once(asks: list[Callable[[], Answer]]) -> list[Answer]:
    """All of them as nearly at the same time as threads can."""
    gate, answers = threading.Barrier(len(asks)), list[Answer]()

    def ask(one: Callable[[], Answer]) -> None:
        gate.wait(20)
        answers.append(one())

    threads = [threading.Thread(target=ask, args=(one,)) for one in asks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


def test_of_many_who_use_a_link_at_once_one_gets_in(town: Town, rival_books: Path) -> None:
    never = town.wire().ask(f"/{_IN}/{signin.new_secret()[0]}", method="POST")
    with served(rival_books, town.settings.passes) as beside:  # another process over the same links
        wires = [one.wire() for one in (town, beside) for _ in range(4)]
        for wire in wires:
            wire.ask("/sign-in")  # connected
        for _ in range(6):
            link = f"/{_IN}/{town.secret(PassKind.LINK, 'ana')}"
            answers = _at_once([partial(wire.ask, link, method="POST") for wire in wires])
            assert sorted(answer.status for answer in answers) == [303] + [404] * 7
            assert all(answer == never for answer in answers if answer.status == 404)


def _signed(
    town: Town, *, key: bytes = ANAS_KEY, kind: int = HTTP_AUTH_KIND, after_s: int = 0, **tags: object
) -> Event:
    named = {"u": f"{town.settings.origin}/sign-in/key", "method": "POST", **tags}
    listed = [[name, value] for name, value in named.items() if value is not None]
    return sign(kind, "", listed, NOW + after_s, key)  # type: ignore[arg-type]


def _ask_in(wire: Wire, event: Event, *more: str, **changes: object) -> Answer:
    line = "Authorization: " + header(event, **changes)["authorization"]
    return wire.ask("/sign-in/key", line, *more, method="POST")


def test_of_many_who_send_a_signature_at_once_one_gets_in(town: Town) -> None:
    wires = [town.wire() for _ in range(6)]
    for n in range(4):
        event = _signed(town, after_s=n)
        answers = _at_once([partial(_ask_in, wire, event) for wire in wires])
        assert sorted(answer.status for answer in answers) == [200] + [401] * 5


def test_a_signature_for_anything_else_signs_nobody_in_and_uses_nothing_up(town: Town) -> None:
    wire, event, origin = town.wire(), _signed(town, after_s=-9), town.settings.origin
    others = [
        *(_signed(town, u=url) for url in (
            origin, f"{origin}/", f"{origin}/sign-in/key/", f"{origin}/sign-in/key?x", f"{origin}/sign-in/key#x",
            f"{origin}//sign-in/key", f"{origin}/sign-in/KEY", f"{origin}/sign-in/link", "/sign-in/key", "", None,
            origin.replace("http:", "https:") + "/sign-in/key", "http://evil.example.org/sign-in/key",
            origin.replace("127.0.0.1", "127.0.0.1@evil.example.org") + "/sign-in/key", f" {origin}/sign-in/key",
        )),
        *(_signed(town, method=method) for method in ("GET", "PUT", "", "POST GET", " POST", None)),
        *(_signed(town, kind=kind) for kind in (0, 1, 22242, 24133, 27234, 27236)),
        *(_signed(town, after_s=s) for s in (-61, 61, -86_400, 86_400, -NOW, 10**9)),
        _signed(town, key=STRANGERS_KEY),
    ]  # fmt: skip
    refused = [_ask_in(wire, other) for other in others]
    bea, twice = _signed(town, key=BEAS_KEY), [["u", f"{origin}/x"], *map(list, event.tags)]
    changed: list[dict[str, object]] = [
        {"pubkey": public_key_of(BEAS_KEY)}, {"pubkey": event.pubkey.upper()}, {"id": event.id.upper()},
        {"id": bea.id}, {"sig": bea.sig}, {"id": bea.id, "sig": bea.sig}, {"sig": event.sig[:-2] + "00"}, {"sig": ""},
        {"created_at": NOW}, {"created_at": float(NOW)}, {"created_at": str(NOW)}, {"created_at": 2**70},
        {"created_at": True}, {"created_at": None}, {"kind": float(HTTP_AUTH_KIND)}, {"kind": str(HTTP_AUTH_KIND)},
        {"content": "x"}, {"tags": twice}, {"tags": twice[::-1]}, {"tags": []}, {"tags": None}, {"tags": [["u"]]},
        {"tags": [[[]]]}, {"tags": "u"}, {"pubkey": None}, {"sig": event.sig + "00"},
    ]  # fmt: skip
    refused += [_ask_in(wire, event, **change) for change in changed]
    whole = header(event)["authorization"]
    for line in (
        whole.replace("Nostr ", "Bearer "),
        whole[:-8],
        whole + "====",
        f"Nostr, {whole}",
        whole[:40],
        "Nostr",
    ):
        refused.append(wire.ask("/sign-in/key", f"Authorization: {line}", method="POST"))
    refused.append(_ask_in(wire, event, "Sec-Fetch-Site: cross-site"))
    refused.append(_ask_in(wire, event, "Origin: http://evil.example.org"))
    assert [one.body for one in refused if one.status not in (400, 401) or "set-cookie" in dict(one.headers)] == []
    assert {one.body for one in refused if one.status == 401 and b'"error"' not in one.body} == set()
    assert len(refused) > 65
    assert _ask_in(wire, event).status == 200
    assert _ask_in(wire, event).status == 401


def test_a_false_signature_does_not_tell_whose_keys_are_known_here(town: Town) -> None:
    wire = town.wire()
    answers = {
        _ask_in(wire, _signed(town, key=STRANGERS_KEY), pubkey=public_key_of(key))
        for key in (ANAS_KEY, BEAS_KEY, bytes(31) + b"\x77")
    }
    assert len(answers) == 1


@pytest.mark.parametrize("path", LOOKED_AT)
def test_a_signature_is_no_way_around_the_sign_in(town: Town, path: str) -> None:
    wire, event = town.wire(), _signed(town, u=town.settings.origin + path, method="GET")
    assert wire.ask(path, "Authorization: " + header(event)["authorization"]) == wire.ask(path)
