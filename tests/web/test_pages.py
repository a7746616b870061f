"""What is on the pages, as HTML and as JSON."""

from __future__ import annotations

import logging
import re
from contextlib import closing

import pytest

from satmachine.models.cash_values import EntryKind, NoteLine
from satmachine.reports.signed import Verified, verify_file
from satmachine.store import cash_rows, wallet_rows
from satmachine.store.cash_rows import Draft
from satmachine.store.database import atomic, connect
from satmachine.web.places import PAGES, PROGRAMS
from testkit.config_files import npub
from tests.cli.books import NOW, PROCESSED, digest
from tests.web.conftest import Site

JSON = {"accept": "application/json"}


def _address(path: str) -> str:
    path = path.replace("{machine}", "panajachel-1").replace("{id}", "1")
    return path.replace("{day}", "2026-11-22").replace("{month}", "2026-11")


#: Pages without what is there to be kept as a file.
SHOWN = [_address(place.path) for place in PAGES if "statement" not in place.path]


@pytest.mark.parametrize("path", SHOWN)
def test_every_page_is_html_and_json_under_the_same_address(site: Site, path: str) -> None:
    site.sign_in("ana")
    page = site.client.get(path, headers={"accept": "text/html"})
    assert page.status_code == 200
    assert page.text.startswith("<!doctype html>")
    assert isinstance(site.client.get(path, headers=JSON).json(), dict)


@pytest.mark.parametrize("path", SHOWN)
def test_nothing_on_a_page_is_of_another_host_or_runs_within_it(site: Site, path: str) -> None:
    site.sign_in("ana")
    answer = site.client.get(path, headers={"accept": "text/html"})
    loaded = re.findall(r"""(?:src|href|action)=["']([^"']+)""", answer.text)
    assert all(address.startswith(("/", "?", "#")) for address in loaded)
    assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son\w+=", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["strict-transport-security"].startswith("max-age=")


def test_the_way_of_every_sat_adds_up(site: Site) -> None:
    site.sign_in("ana")
    found = site.client.get(f"/sales/{PROCESSED}", headers=JSON).json()
    sale = found["settlement"]
    paid = sum(leg["amount_sats"] for leg in found["legs"] if leg["status"] != "voided")
    assert paid + sum(row["amount_sats"] for row in found["retained"]) == sale["gross_sats"]
    assert found["conserves"] is True
    page = site.client.get(f"/sales/{PROCESSED}")
    assert '<svg class="flow"' in page.text


def test_what_needs_a_person_is_what_status_says(site: Site) -> None:
    site.sign_in("ana")
    needs = site.client.get("/", headers=JSON).json()["needs"]
    assert any("does not run" in item["cause"] for item in needs)
    assert all(item["command"] for item in needs)


def test_text_of_strangers_stays_text(site: Site) -> None:
    with connect(site.settings.books) as conn, atomic(conn):
        conn.execute("UPDATE dca_machines SET name = '<script>alert(1)</script>' WHERE id = 'panajachel-1'")
        conn.execute("UPDATE dca_settlements SET error = '\"><img src=x onerror=alert(1)>' WHERE id = 1")
    site.sign_in("ana")
    for path in ("/machines", "/machines/panajachel-1", "/sales/1", "/search?q=<script>"):
        text = site.client.get(path).text
        assert "<script>alert" not in text
        assert "<img" not in text


def test_a_page_speaks_the_viewers_language_and_zone(site: Site) -> None:
    site.sign_in("maria")
    page = site.client.get("/")
    assert '<html lang="es">' in page.text
    assert "Sus posiciones" in page.text
    site.sign_in("boss")
    assert "America/Guatemala" in site.client.get("/").text
    assert "Resumen" in site.client.get("/", headers={"accept-language": "fr, es;q=0.8"}).text


@pytest.mark.parametrize(
    "query", ["status=nonsense", "since=yesterday", "before=-1", "before=x", "until=2026-99-99", "machine=nowhere"]
)
def test_a_query_that_cannot_be_read_is_told_in_words(site: Site, query: str) -> None:
    site.sign_in("ana")
    answer = site.client.get(f"/sales?{query}", headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_nothing_can_be_changed(site: Site) -> None:
    site.sign_in("ana")
    for place in (*PAGES, *PROGRAMS):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert site.client.request(method, _address(place.path)).status_code in (404, 405)


def test_the_log_names_who_saw_what_and_no_secret(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    link = site.link("ana")
    with caplog.at_level(logging.INFO, "satmachine.web.access"):
        site.client.post(link)
        site.client.get("/sales/1")
    assert link.rpartition("/")[2] not in caplog.text
    assert "ana '/sales/1' GET 200" in caplog.text


def test_the_description_for_programs_names_every_address(site: Site) -> None:
    site.sign_in("ana")
    document = site.client.get("/api/openapi.json").json()
    assert set(document["paths"]) == {place.path for place in PROGRAMS}
    for path, found in document["paths"].items():
        answer = site.client.get(_address(path))
        assert answer.status_code == 200
        kind = found["get"]["responses"]["200"]["content"]["application/json"]["schema"]["type"]
        assert isinstance(answer.json(), {"array": list, "object": dict}[kind]), path


def test_health_tells_only_whether_the_books_can_be_read(site: Site) -> None:
    assert site.client.get("/health").text == "ok\n"


def test_an_expired_signature_table_and_old_passes_do_not_grow(site: Site) -> None:
    for _ in range(3):
        site.link("ana", lives_s=1)
    site.clock.now += 40 * 86_400
    site.link("ana")
    from satmachine.store import passes

    with passes.open_passes(site.settings.passes) as conn:
        assert conn.execute("SELECT count(*) FROM passes").fetchone()[0] == 1


def test_a_statement_is_downloaded_as_it_was_signed(site: Site) -> None:
    site.sign_in("maria")
    position = site.client.get("/clients/1", headers=JSON).json()
    assert [one["id"] for one in position["signed"]] == [site.statement]
    for kind in ("html", "json"):
        answer = site.client.get(f"/clients/1/statements/{site.statement}.{kind}")
        assert answer.headers["content-disposition"].startswith("attachment")
        found = verify_file(answer.content)
        assert isinstance(found, Verified), found
        assert (found.npub, found.document["person"]) == (position["signed"][0]["signer"], "maria")
    assert site.client.get("/clients/1/statement.csv").text.startswith("at,kind,")
    assert site.status(f"/clients/1/statements/{'0' * 64}.json") == 404


def test_where_nothing_is_signed_the_page_says_how_to_have_it_signed(site: Site) -> None:
    with connect(site.settings.books) as conn, atomic(conn):
        conn.execute("DELETE FROM dca_statements")
    site.sign_in("ana")
    assert "satmachine clients statement 1 --signed" in site.client.get("/clients/1").text


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("1", "settlements", [PROCESSED]),
        (digest(PROCESSED), "settlements", [PROCESSED]),
        (digest(201), "settlements", [PROCESSED]),
        (digest(101), "settlements", [PROCESSED]),
        ("tx-2", "settlements", [2]),
        (npub(1), "machines", ["panajachel-1"]),
        ("PANA", "machines", ["panajachel-1"]),
        ("MAR", "clients", [1]),
        (digest(999), "settlements", []),
        ("%", "machines", []),
    ],
    ids=["id", "payment hash", "a leg's hash", "event", "txid", "npub", "name", "label", "unknown", "no pattern"],
)
def test_search_finds_what_somebody_has_in_hand(site: Site, text: str, kind: str, found: list[object]) -> None:
    site.sign_in("ana")
    answer = site.client.get("/search", params={"q": text}, headers=JSON).json()
    assert [row["id"] for row in answer[kind]] == found


def test_a_machines_page_and_the_fleet_tell_its_cash_and_how_long_it_lasts(site: Site) -> None:
    lines = (NoteLine(1, 10_000, 50, 500_000),)
    with connect(site.settings.books) as conn, atomic(conn):
        cash_rows.insert(conn, Draft("panajachel-1", EntryKind.COUNT, NOW, "GTQ", lines), actor="ana", now=NOW)
    site.sign_in("ana")
    row = site.client.get("/machines", headers=JSON).json()["machines"]
    shown = next(one for one in row if one["id"] == "panajachel-1")
    told = site.client.get("/machines/panajachel-1", headers=JSON).json()["cash"]
    # 5,000.00 were counted; two sales of 2,014.27 are proven since.
    assert (shown["cash"], told["cash"], told["source"]) == ("971.46", "971.46", "book")
    assert told["sure"] in ("none", "poor")


@pytest.mark.parametrize("path", ["/months/0001-01", "/months/9999-12", "/machines/panajachel-1/days/0001-01-01",
                                  "/machines/panajachel-1/days/9999-12-31"])  # fmt: skip
def test_at_the_ends_of_the_calendar_there_is_no_page(site: Site, path: str) -> None:
    site.sign_in("ana")
    assert site.status(path) == 404


def test_a_machine_on_the_list_of_what_needs_somebody_is_not_well(site: Site) -> None:
    with closing(connect(site.settings.books)) as conn, atomic(conn):
        wallet_rows.note_answer(conn, "flores-1", wallet_id="w3", balance_sats=5, version="1.6.2", now=NOW)
    site.sign_in("flor")
    seen = {path: site.client.get(path, headers=JSON).json() for path in ("/", "/machines", "/machines/flores-1")}
    its = [item for item in seen["/"]["needs"] if item["cause"].startswith("flores-1")]
    assert seen["/machines/flores-1"]["needs"] == its != []
    assert (seen["/"]["well"], seen["/"]["machines"]) == (0, 1)
    rows = [*seen["/machines"]["machines"], seen["/machines/flores-1"]["machine"]]
    rows += site.client.get("/api/v1/dca/machines", headers=JSON).json()
    assert [row["well"] for row in rows] == [False] * 3
    for path in ("/machines", "/machines/flores-1"):
        page = site.client.get(path, headers={"accept": "text/html"}).text
        assert ("needs you</span>" in page, "active</span>" in page) == (True, False), path


def test_no_page_leads_into_the_future(site: Site) -> None:
    site.sign_in("ana")
    for path, after in (
        ("/machines/panajachel-1/days/2026-11-22", None),
        ("/machines/panajachel-1/days/2026-11-21", "2026-11-22"),
        ("/months/2026-11", None),
        ("/months/2026-10", "2026-11"),
    ):
        assert site.client.get(path, headers=JSON).json()["after"] == after
        assert ('rel="next"' in site.client.get(path, headers={"accept": "text/html"}).text) == (after is not None)


def test_the_arithmetic_calls_payees_by_their_names(site: Site) -> None:
    site.sign_in("ana")
    page = site.client.get(f"/sales/{PROCESSED}", headers={"accept": "text/html"}).text
    names = re.findall(r'<th scope="row">(.*?)</th>', page)
    assert {"owner", "platform"} <= set(names)
    assert not [name for name in names if name.startswith(("split:", "dca:")) or name == "super"]


def test_one_of_something_is_said_as_one(site: Site) -> None:
    site.sign_in("flor")
    page = site.client.get("/machines/flores-1/days/2026-11-22", headers={"accept": "text/html"}).text
    assert re.findall(r'class="top"[^>]*>(.*?)<', page) == ["1 sale"]
    assert "Sales, GTQ" not in page, "there is only one currency"


def test_the_curve_of_a_young_position_says_the_time_of_day(site: Site) -> None:
    with closing(connect(site.settings.books)) as conn, atomic(conn):
        conn.execute(
            "INSERT INTO dca_deposits (client_id, machine_id, amount_minor, currency, status, recorded_by, "
            "recorded_at, decided_by, decided_at, effective_at) "
            "VALUES (1, 'panajachel-1', 5000, 'GTQ', 'confirmed', 'a', ?1, 'a', ?1, ?1)",
            (NOW - 3_600,),
        )
    site.sign_in("ana")
    page = site.client.get("/clients/1", headers={"accept": "text/html"}).text
    assert re.findall(r'class="tick"[^>]*>(.*?)<', page) == ["09:06", "09:18", "09:30", "09:42", "09:54"]
