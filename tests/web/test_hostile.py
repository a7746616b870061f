"""Two operators and their LPs try each other's every address by every trick: nothing is learnt, not that it exists."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from satmachine.store import clients, pulse
from satmachine.store.database import atomic, connect
from satmachine.web.access import Viewer
from satmachine.web.live import MAX_EACH, Live
from satmachine.web.places import PAGES, PROGRAMS
from satmachine.web.readers import Pool
from satmachine.web.tries import Limiter
from testkit.config_files import npub
from tests.cli.books import NOW, digest
from tests.web.conftest import ANAS_KEY, Site
from tests.web.test_signin import header, signed

#: Everybody who is not of the operator atitlan, and an LP of it who may see position 1 alone.
STRANGERS, LP = ("flor", "other"), "maria"
MISSING = "987654"

RECORDS = [place.path for place in (*PAGES, *PROGRAMS) if place.owner_of is not None]


def _records(conn: sqlite3.Connection, operator: str) -> Iterator[str]:
    """Every address with every record of an operator in it."""
    machines = [row[0] for row in conn.execute("SELECT id FROM dca_machines WHERE operator_id = ?", (operator,))]
    for path in RECORDS:
        path = path.replace("{day}", "2026-11-22")
        if "{machine}" in path:
            yield from (path.replace("{machine}", machine) for machine in machines)
            continue
        table = "dca_settlements" if "sales" in path or "settlements" in path else "dca_clients"
        marks = ", ".join("?" * len(machines))
        rows = conn.execute(f"SELECT id FROM {table} WHERE machine_id IN ({marks})", machines).fetchall()
        for row in rows:
            signed = conn.execute("SELECT id FROM dca_statements WHERE client_id = ?", (row[0],)).fetchone()
            yield path.replace("{id}", str(row[0])).replace("{statement}", signed[0] if signed else "0" * 64)


def _missing(path: str) -> str:
    """The same address with a record that nobody has."""
    parts = ["nowhere-9" if part.startswith(("panajachel", "solola", "flores")) else part for part in path.split("/")]
    return "/".join(MISSING if part.isdigit() else part for part in parts)


def test_every_record_of_others_is_answered_like_one_that_does_not_exist(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limiter, "admits", lambda *_: True)  # more is asked here than anybody may
    with connect(site.settings.books, read_only=True) as conn:
        tries = [(who, path) for who in STRANGERS for path in _records(conn, "atitlan")]
        tries += [("ana", path) for path in _records(conn, "flores")]
        tries += [(LP, path) for path in _records(conn, "atitlan") if "/clients/1" not in path]
    asked_as, learnt = None, []
    for who, path in tries:
        if who != asked_as:
            site.sign_in(who)
            asked_as = who
        foreign, missing = site.client.get(path), site.client.get(_missing(path))
        if (foreign.status_code, _headers(foreign)) != (404, _headers(missing)) or foreign.text != missing.text:
            learnt.append((who, path, foreign.status_code))
    assert learnt == []
    assert len(tries) > 50


def _headers(answer: object) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name != "date"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "foreign", "missing"),
    [
        ("/sales?before={}", "1", MISSING),
        ("/api/v1/dca/settlements?before={}", "1", MISSING),
        ("/api/v1/dca/payments?before={}", "1", MISSING),
        ("/api/v1/dca/payments?settlement_id={}", "1", MISSING),
        ("/api/v1/dca/payments?client_id={}", "1", MISSING),
        ("/api/v1/dca/deposits?client_id={}", "1", MISSING),
        ("/api/v1/dca/deposits?before={}", "1", MISSING),
        ("/search?q={}", digest(1), digest(987)),
        ("/search?q={}", "tx-3", "tx-987"),
        ("/search?q={}", "maria", "nobody"),
        ("/search?q={}", npub(1), npub(9)),
    ],
)
def test_what_is_of_others_behind_the_question_mark_is_like_what_does_not_exist(
    site: Site, path: str, foreign: str, missing: str
) -> None:
    site.sign_in("flor")
    wanted = {"accept": "application/json"}
    answers = [site.client.get(path.format(one), headers=wanted) for one in (foreign, missing)]
    assert answers[0].status_code == answers[1].status_code
    assert answers[0].text.replace(foreign, "") == answers[1].text.replace(missing, "")


FORWARDED = {
    "x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1", "x-forwarded-host": "evil.example.org",
    "x-forwarded-proto": "http", "x-original-url": "/sales/1", "x-rewrite-url": "/sales/1", "x-http-method": "GET",
    "x-http-method-override": "GET", "x-forwarded-user": "ana", "remote-user": "ana", "host": "127.0.0.1:8021",
    "forwarded": "for=127.0.0.1;host=evil.example.org",
}  # fmt: skip


def test_headers_that_proxies_believe_change_nothing(site: Site) -> None:
    site.sign_in("flor")
    for name, value in FORWARDED.items():
        answer = site.client.get("/sales/1", headers={name: value})
        assert (answer.status_code, "evil" in answer.text + str(answer.headers)) == (404, False), name
        assert site.client.post("/", headers={name: value}).status_code == 404
    site.client.cookies.clear()
    for name, value in FORWARDED.items():
        answer = site.client.get("/sales/1", headers={name: value, "accept": "text/html"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in"), name


#: Ways to write /sales/1 and /clients/1 of which none may lead there.
TRICKS = [
    "/sales/./1", "/sales//1", "/sales/%31", "/sales/1/", "/sales/1%2f", "/sales/1;a=b", "/sales/1%00", "/sales/+1",
    "/sales/%201", "/sales/1%0a", "/sales/01", "/sales/0x1", "/sales/1.0", "/sales/１", "/sales/١", "/SALES/1",
    "/static/%2e%2e/%2e%2e/sales/1", "/static/..%2fapp.py", "/static/%00", "/%2e%2e/sales/1", "/machines/../sales/1",
    "/clients/1/statement.csv%00", "/clients/1/../1/statement.csv", "/clients/1/statements/../statement.csv",
    "/api/v1/dca/settlements/1?machine_id=flores-1", "/api/v1/dca/../../../sales/1", "/machines/PANAJACHEL-1",
    "/machines/panajachel-1%20", "/machines/panajachel%2d1", "/sales/1?operator=atitlan&person=ana",
]  # fmt: skip


@pytest.mark.parametrize("path", TRICKS)
def test_other_ways_to_write_an_address_lead_nowhere_else(site: Site, path: str) -> None:
    for who in ("flor", "other"):
        site.sign_in(who)
        answer = site.client.get(path)
        assert answer.status_code == 404
        assert "panajachel market" not in answer.text.lower()


def test_other_methods_do_nothing(site: Site) -> None:
    site.sign_in("flor")
    for method in ("HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "GE T"):
        foreign, missing = (site.client.request(method, f"/sales/{number}") for number in ("1", MISSING))
        assert (foreign.status_code, foreign.content) == (missing.status_code, missing.content)
        assert foreign.status_code in (400, 404, 405)


def test_forged_cookies_and_tokens_are_like_none(site: Site) -> None:
    site.sign_in("ana")
    good = site.client.cookies["__Host-satmachine"]
    forged = ["", "ana", good[:-1], good + "A", good.swapcase(), "A" * 43, "a" * 100_000 + "b", "' OR 1=1 --", "null",
              base64.b64encode(json.dumps({"person": "ana"}).encode()).decode()]  # fmt: skip
    site.client.cookies.clear()
    for secret in forged:
        answer = site.client.get("/", headers={"cookie": f"__Host-satmachine={secret}", "accept": "text/html"})
        assert (answer.status_code, answer.headers.get("location")) == (303, "/sign-in"), secret[:50]
        answer = site.client.get("/api/v1/dca/machines", headers={"authorization": f"Bearer {secret}"})
        assert (answer.status_code, answer.json()) == (401, {"error": "Sign in first, or send a token that counts."})
    for name in ("satmachine", "__Secure-satmachine", "__host-satmachine"):
        assert site.client.get("/", headers={"cookie": f"{name}={good}"}).status_code == 303


def test_a_signature_of_one_place_counts_nowhere_else_and_once(site: Site) -> None:
    event = signed(site.clock())
    assert site.client.get("/sales/1", headers=header(event)).status_code == 303
    assert site.client.post("/sign-in/key", headers=header(event)).status_code == 200
    site.client.cookies.clear()
    again = header(event)
    again["authorization"] = again["authorization"].replace("Nostr ", "nostr ")
    assert site.client.post("/sign-in/key", headers=again).status_code == 401
    doubled = signed(site.clock(), key=ANAS_KEY)
    tags = [["u", "https://evil.example.org"], *map(list, doubled.tags)]
    assert site.client.post("/sign-in/key", headers=header(doubled, tags=tags)).status_code == 401


def test_nothing_of_a_person_is_kept_by_caches_and_nothing_compares_versions(site: Site) -> None:
    site.sign_in("ana")
    for path in ("/", "/sales/1", "/clients/1/statement.csv", "/api/v1/dca/machines", "/nothing", "/sales?since=x"):
        known = {"if-none-match": "*", "if-modified-since": "Wed, 01 Jan 2070 00:00:00 GMT"}
        answer = site.client.get(path, headers=known)
        assert answer.headers["cache-control"] == "no-store", path
        assert not {"etag", "last-modified", "access-control-allow-origin"} & set(answer.headers)
        assert answer.status_code != 304


def test_news_comes_only_of_what_one_may_see(site: Site) -> None:
    def pulses() -> dict[str, object]:
        scopes = {"ana": ("atitlan", None), "flor": ("flores", None), "maria": ("atitlan", "maria"),
                  "other": ("flores", "maria"), "boss": (None, None)}  # fmt: skip
        return {who: pulse.of_scope(conn, *scope) for who, scope in scopes.items()}

    with closing(connect(site.settings.books)) as conn:
        changes = (
            ("UPDATE dca_settlements SET status = 'errored' WHERE id = 4", {"ana", "boss"}),
            ("UPDATE dca_wallets SET balance_sats = 9 WHERE machine_id = 'flores-1'", {"flor", "boss"}),
            ("UPDATE dca_clients SET used_minor = used_minor + 1 WHERE id = 1", {"ana", "maria", "boss"}),
            ("UPDATE dca_clients SET used_minor = used_minor + 1 WHERE id = 2", {"flor", "boss"}),
        )
        for statement, told in changes:
            before = pulses()
            with atomic(conn):
                conn.execute(statement)
            after = pulses()
            assert {who for who in after if after[who] != before[who]} == told, statement
        with atomic(conn):
            clients.add(conn, machine_id="flores-1", label="m", person="maria", payee_kind="lightning_address",
                        payee="m@example.org", actor="test", now=NOW)  # fmt: skip
        before = pulses()
        with atomic(conn):
            conn.execute("UPDATE dca_clients SET used_minor = used_minor + 1 WHERE id = 1")
        assert pulses()["other"] == before["other"], "she has the same name, and is somebody else"


async def test_one_person_cannot_take_every_place_of_those_who_listen(site: Site) -> None:
    live = Live(lambda: connect(site.settings.books, read_only=True))
    viewer, another = Viewer("flor", "Flor", "flores"), Viewer("ana", "Ana", "atitlan")
    listening = [live.events(viewer, "") for _ in range(MAX_EACH)]
    for one in listening:
        await anext(one)
    assert (live.admits(viewer), live.admits(another)) == (False, True)
    for one in listening:
        await one.aclose()  # type: ignore[attr-defined]
    assert live.admits(viewer)


def test_threads_that_come_and_go_leave_no_connection_behind(site: Site) -> None:
    pool = Pool(lambda: connect(site.settings.books, read_only=True))

    def look() -> None:
        with pool.borrow() as conn:
            conn.execute("SELECT 1")

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(30):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    after = len(os.listdir("/proc/self/fd")) if before else 0
    assert after - before < 10, "thirty threads, one after another, share one connection"
    pool.close()


async def test_what_changes_before_a_browser_listens_is_told_when_it_does(site: Site) -> None:
    live = Live(lambda: connect(site.settings.books, read_only=True))
    viewer = Viewer("flor", "Flor", "flores")
    with closing(connect(site.settings.books)) as conn:
        seen = live.seen_by(conn, viewer)
        with atomic(conn):
            conn.execute("UPDATE dca_wallets SET balance_sats = 9 WHERE machine_id = 'flores-1'")
        listening = live.events(viewer, seen)
        assert [await anext(listening), await anext(listening)] == ["retry: 5000\n\n", "event: changed\ndata: 1\n\n"]
        await listening.aclose()  # type: ignore[attr-defined]
