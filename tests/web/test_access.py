"""Who may see what: the rule, and the rule on every address that there is."""

from __future__ import annotations

import sqlite3

import pytest

from satmachine.store.database import connect
from satmachine.web.access import Owner, Viewer, Who, admits, owns
from satmachine.web.places import PAGES, PROGRAMS, Place
from tests.web.conftest import Site

BOSS = Viewer("boss", "Boss", None)
ANA = Viewer("ana", "Ana", "atitlan")
FLOR = Viewer("flor", "Flor", "flores")
MARIA = Viewer("maria", "Maria", "atitlan", "maria")
OTHER = Viewer("other", "Another Maria", "flores", "maria")

MACHINE, POSITION = Owner("atitlan"), Owner("atitlan", "maria")


@pytest.mark.parametrize(
    ("viewer", "machine", "position"),
    [(BOSS, True, True), (ANA, True, True), (FLOR, False, False), (MARIA, False, True), (OTHER, False, False)],
)
def test_a_record_is_seen_by_its_operator_and_its_lp_alone(viewer: Viewer, machine: bool, position: bool) -> None:
    assert owns(viewer, MACHINE) is machine
    assert owns(viewer, POSITION) is position


@pytest.mark.parametrize(
    ("who", "seen_by"),
    [
        (Who.ANYBODY, {None, ANA, MARIA}),
        (Who.SIGNED_IN, {ANA, MARIA}),
        (Who.OPERATOR, {ANA}),
        (Who.PROVIDER, {MARIA}),
    ],
)
def test_an_address_is_there_for_whom_it_is_meant(who: Who, seen_by: set[Viewer | None]) -> None:
    assert {viewer for viewer in (None, ANA, MARIA) if admits(viewer, who)} == seen_by


def _filled(place: Place, conn: sqlite3.Connection, operator: str) -> str:
    """The address of a record of an operator."""
    machine = conn.execute("SELECT id FROM dca_machines WHERE operator_id = ? ORDER BY id", (operator,)).fetchone()[0]
    table = "dca_settlements" if "sales" in place.path or "settlements" in place.path else "dca_clients"
    row = conn.execute(
        f"SELECT t.id FROM {table} t JOIN dca_machines m ON m.id = t.machine_id WHERE m.operator_id = ? ORDER BY t.id",
        (operator,),
    ).fetchone()
    signed = conn.execute("SELECT id FROM dca_statements WHERE client_id = ?", (row[0] if row else 999,)).fetchone()
    path = (
        place.path.replace("{statement}", signed[0] if signed else "0" * 64)
        .replace("{machine}", machine)
        .replace("{day}", "2026-11-22")
        .replace("{month}", "2026-11")
    )
    return path.replace("{id}", str(row[0] if row else 999))


#: Addresses with a record in them, and whether an LP may see that record if it is hers.
RECORDS = [place for place in (*PAGES, *PROGRAMS) if place.owner_of is not None]


@pytest.mark.parametrize("place", RECORDS, ids=lambda place: place.path)
def test_a_record_is_404_for_everybody_else(site: Site, place: Place) -> None:
    with connect(site.settings.books, read_only=True) as conn:
        path = _filled(place, conn, "atitlan")
    seen = {}
    for person in ("ana", "boss", "flor", "maria", "other"):
        site.sign_in(person)
        seen[person] = site.status(path)
    hers = 200 if "clients" in place.path else 404
    assert seen == {"ana": 200, "boss": 200, "flor": 404, "maria": hers, "other": 404}


@pytest.mark.parametrize(
    "place", [place for place in (*PAGES, *PROGRAMS) if place.owner_of is None], ids=lambda p: p.path
)
def test_an_lp_sees_no_page_of_operators(site: Site, place: Place) -> None:
    site.sign_in("maria")
    path = place.path.replace("{month}", "2026-11")
    allowed = place.who is Who.SIGNED_IN
    assert site.status(path) in ((200, 400) if allowed else (404,))


@pytest.mark.parametrize(
    "path", [place.path for place in (*PAGES, *PROGRAMS)] + ["/nothing", "/sales/1", "/api/x", "/live"]
)
def test_without_a_session_every_address_answers_alike(site: Site, path: str) -> None:
    answer = site.client.get(path, headers={"accept": "text/html"})
    if path.startswith("/api/"):
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    else:
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


def test_lists_hold_only_what_is_in_scope(site: Site) -> None:
    site.sign_in("flor")
    machines = site.client.get("/api/v1/dca/machines").json()
    assert {row["operator_id"] for row in machines} == {"flores"}
    sales = site.client.get("/api/v1/dca/settlements").json()
    assert {row["machine_id"] for row in sales} == {"flores-1"}
    assert site.status("/sales?machine=panajachel-1") == 400
    assert site.status("/api/v1/dca/settlements?machine_id=panajachel-1") == 404
    found = site.client.get("/search?q=panajachel", headers={"accept": "application/json"}).json()
    assert (found["machines"], found["clients"], found["settlements"]) == ([], [], [])


def test_an_lps_program_sees_her_own_positions_alone(site: Site) -> None:
    token = {"authorization": f"Bearer {site.token('maria')}"}
    rows = site.client.get("/api/v1/dca/balances", headers=token).json()
    assert {row["person"] for row in rows} == {"maria"}
    assert site.client.get("/api/v1/dca/payments", headers=token).status_code == 400
    mine = rows[0]["client_id"]
    assert site.client.get(f"/api/v1/dca/payments?client_id={mine}", headers=token).status_code == 200
    assert site.client.get("/api/v1/dca/payments?client_id=9999", headers=token).status_code == 404
    other = {"authorization": f"Bearer {site.token('other')}"}
    assert site.client.get(f"/api/v1/dca/deposits?client_id={mine}", headers=other).status_code == 404
    assert site.client.get("/api/v1/dca/machines", headers=token).status_code == 404


def test_no_page_tells_where_a_key_lies_and_none_tells_an_lp_how_others_are_paid(site: Site) -> None:
    with connect(site.settings.books, read_only=True) as conn:
        addresses = [_filled(place, conn, "atitlan") for place in (*PAGES, *PROGRAMS)]
    for person, hidden in (("boss", ("WALLET_1", "/keys/")), ("maria", ("WALLET_1", "/keys/", "example.org"))):
        site.sign_in(person)
        for address in addresses:
            text = site.client.get(address).text
            assert not [word for word in hidden if word in text], address
