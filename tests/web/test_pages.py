"""What is on the pages, as HTML and as JSON."""

from __future__ import annotations

import logging
import re

import pytest

from satmachine.store.database import atomic, connect
from satmachine.web.places import PAGES, PROGRAMS
from tests.cli.books import PROCESSED
from tests.web.conftest import Site

JSON = {"accept": "application/json"}


def _address(path: str) -> str:
    path = path.replace("{machine}", "panajachel-1").replace("{id}", "1")
    return path.replace("{day}", "2026-11-22").replace("{month}", "2026-11")


@pytest.mark.parametrize("path", [_address(place.path) for place in PAGES])
def test_every_page_is_html_and_json_under_the_same_address(site: Site, path: str) -> None:
    site.sign_in("ana")
    page = site.client.get(path, headers={"accept": "text/html"})
    assert page.status_code == 200
    if path.endswith(".csv"):
        assert page.text.startswith("at,kind,")
        return
    assert page.text.startswith("<!doctype html>")
    assert isinstance(site.client.get(path, headers=JSON).json(), dict)


@pytest.mark.parametrize("path", [_address(place.path) for place in PAGES if not place.path.endswith(".csv")])
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
