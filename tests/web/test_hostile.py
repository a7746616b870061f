"""What else strangers try: signatures, caches, news, places to listen. Addresses and forgeries: test_rivals*.py."""

from __future__ import annotations

import os
import threading
from contextlib import closing

from satmachine.store import clients, pulse
from satmachine.store.database import atomic, connect
from satmachine.web.access import Viewer
from satmachine.web.live import MAX_EACH, Live
from satmachine.web.readers import Pool
from tests.cli.books import NOW
from tests.web.conftest import ANAS_KEY, Site
from tests.web.test_signin import header, signed


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
