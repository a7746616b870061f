"""The cash book by its commands, as docs/cash.md tells it."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from satmachine.audit.proof import check_books
from satmachine.cash import outlook
from satmachine.cli.cash_command import app as cash_app
from satmachine.store import clients, telemetry_rows
from satmachine.store.database import atomic, connect
from tests.cli.books import Cli, empty_books
from tests.telemetry.made import record

MACHINE = "panajachel-1"
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = empty_books(tmp_path)
    with connect(made.database) as conn, atomic(conn):
        for machine_id, label in ((MACHINE, "maria"), ("flores-1", "jose")):
            clients.add(
                conn,
                machine_id=machine_id,
                label=label,
                person=label,
                payee_kind="lightning_address",
                payee=f"{label}@example.org",
                actor="test",
                now=1,
            )
    return made


@pytest.fixture
def conn(cli: Cli) -> Iterator[sqlite3.Connection]:
    opened = connect(cli.database)
    yield opened
    opened.close()


def ok(cli: Cli, command: str, *more: str) -> str:
    """Run what must succeed; its screen on one line."""
    result = cli(*command.split(), *more, columns=100)
    assert result.exit_code == 0, result.output
    return re.sub(r"[\s\u202f]+", " ", result.stdout)


def begin(cli: Cli) -> None:
    """Four days ago: 40 x 100 and 12 x 50."""
    first = "--cassette 1 --notes 40 --denomination 100 --cassette 2 --notes 12 --denomination 50"
    ok(cli, f"cash count {MACHINE} {first} --at 4d")


def sell(conn: sqlite3.Connection, number: int, sold_minor: int | None, *, days_ago: int = 1, bills: str = "") -> int:
    with atomic(conn):
        conn.execute(
            "INSERT INTO dca_settlements (payment_hash, machine_id, source, gross_sats, net_sats, commission_sats, "
            "exchange_rate, fiat_amount_minor, currency, bills, proof, occurred_at, landed_at) VALUES "
            "(?1, ?2, 'event', 1000, 950, 50, '9.5', ?3, 'GTQ', nullif(?4, ''), 'proven', "
            "strftime('%s', 'now') - ?5, 1)",
            (f"hash-{number}", MACHINE, sold_minor, bills, days_ago * 86_400),
        )
    row = conn.execute("SELECT max(id) FROM dca_settlements").fetchone()
    return int(row[0])


def cycle(cli: Cli, place: int = 0) -> Any:
    return cli.json("cash", "report", MACHINE)["cycles"][place]


def test_a_whole_cycle(cli: Cli, conn: sqlite3.Connection) -> None:
    begin(cli)
    shown = ok(cli, f"cash load {MACHINE} --cassette 1 --notes 200 --cassette 2 --notes 100 --for 1=20000 --at 3d")
    assert "25 000.00 GTQ" in shown or "25000.00 GTQ" in shown
    assert "satmachine deposits confirm 1" in shown
    ok(cli, "deposits confirm 1 --yes")
    sale = sell(conn, 1, 130_000, bills='[{"denomination": 100, "count": 12}, {"denomination": 50, "count": 2}]')
    assert cycle(cli)["expected"] == "28300.00"
    assert cycle(cli)["expected_notes"] == {"50.00": 110, "100.00": 228}
    shown = ok(cli, f"cash count {MACHINE} --cassette 1 --notes 226 --cassette 2 --notes 110")
    assert "200.00 GTQ are missing" in shown
    assert "-2 x 100" in shown
    closed = cycle(cli, 1)
    assert (closed["state"], closed["difference"], closed["notes_difference"]) == ("short", "-200.00", {"100.00": -2})
    assert closed["findings"][0]["settlement_ids"] == [sale]
    shown = ok(cli, f"cash report {MACHINE}")
    assert f"with sale {sale}; the machine did not notice" in shown
    ok(cli, f"cash book {closed['closed_id']} --yes", "--reason", "found behind the feeder")
    assert cycle(cli, 1)["state"] == "even"
    assert "Every count was as expected, or is booked." in ok(cli, f"cash report {MACHINE}")
    assert check_books(conn) == []


def test_a_mistyped_count_is_corrected_by_a_row_that_names_it(cli: Cli) -> None:
    begin(cli)
    ok(cli, f"cash count {MACHINE} --cassette 1 --notes 4 --cassette 2 --notes 12 --at 2d")
    ok(cli, f"cash count {MACHINE} --cassette 1 --notes 40 --cassette 2 --notes 12 --at 1d")
    shown = ok(cli, f"cash report {MACHINE}")
    assert "Entry 3 shows the opposite: is entry 2, or its time, wrong" in shown
    ok(cli, f"cash count {MACHINE} --cassette 1 --notes 40 --cassette 2 --notes 12 --corrects 2")
    assert [one["state"] for one in cli.json("cash", "report", MACHINE)["cycles"]] == ["open", "even", "even", "start"]
    rows = {row["id"]: row for row in cli.json("cash", "list")}
    assert (rows[4]["corrects"], rows[2]["replaced_by"], rows[4]["at"]) == (2, 4, rows[2]["at"])
    again = cli("cash", "count", MACHINE, "--amount", "5", "--corrects", "2")
    assert again.exit_code == 1
    assert "already corrected, by 4" in again.stderr


def test_an_entry_is_taken_back_and_stays_on_record(cli: Cli) -> None:
    begin(cli)
    ok(cli, f"cash load {MACHINE} --amount 500")
    assert cycle(cli)["expected"] == "5100.00"
    ok(cli, "cash void 2 --yes", "--reason", "at the wrong machine")
    assert cycle(cli)["expected"] == "4600.00"
    assert len(cli.json("cash", "list")) == 3
    refused = cli("cash", "void", "2", "--yes", "--reason", "again")
    assert refused.exit_code == 1


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (f"cash count {MACHINE} --cassette 1 --notes 4", "cassette 2 (50 GTQ) is missing"),
        (f"cash count {MACHINE}", "say how much"),
        (f"cash load {MACHINE} --cassette 3 --notes 5", "which notes are in cassette 3"),
        (f"cash load {MACHINE} --amount 0", "above 0"),
        (f"cash load {MACHINE} --amount 1.001", "decimals"),
        (f"cash load {MACHINE} --amount 100 --at 2099-01-01", "is in the future"),
        (f"cash load {MACHINE} --amount 100 --for 1=200", "but the LPs' deposits are"),
        (f"cash collect {MACHINE} --part --amount 100 --for 1=200", "the LPs' parts are 200.00 GTQ"),
        (f"cash load {MACHINE} --amount 100 --for 2=50", "belongs to flores-1"),
        (f"cash load {MACHINE} --amount 100 --for 1", "like --for 3=1000"),
        (f"cash load {MACHINE} --amount 100 --corrects 1", "correct it with another count"),
        ("cash count nowhere --amount 1", "there is no machine nowhere"),
        ("cash void 99 --reason x --yes", "there is no cash entry 99"),
        ("cash book 1 --reason x --yes", "closed no cycle"),
        ("cash list --kind theft", "'theft' is not one of"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(command: str, says: str, cli: Cli) -> None:
    begin(cli)
    result = cli(*command.split())
    assert result.exit_code in (1, 2)
    assert says in re.sub(r"[\s│]+", " ", result.stderr)
    assert len(cli.json("cash", "list")) == 1


def test_an_empty_machine_is_counted_as_empty(cli: Cli) -> None:
    begin(cli)
    ok(cli, f"cash collect {MACHINE} --cassette 1 --notes 40 --cassette 2 --notes 12 --at 2d")
    assert "As expected: 0.00 GTQ" in ok(cli, f"cash count {MACHINE} --cassette 1 --notes 0 --cassette 2 --notes 0")
    assert "As expected" in ok(cli, f"cash count {MACHINE} --amount 0")


def test_a_part_that_is_taken_out_ends_no_cycle(cli: Cli) -> None:
    begin(cli)
    ok(cli, "deposits add 1 3000")
    ok(cli, "deposits confirm 1 --yes")
    shown = ok(cli, f"cash collect {MACHINE} --part --amount 1000 --for 1=1000")
    [command] = re.findall(r"satmachine (deposits withdraw .*\")", shown)
    assert [(one["state"], one["expected"]) for one in cli.json("cash", "report", MACHINE)["cycles"]] == [
        ("open", "3600.00"),
        ("start", None),
    ]
    ok(cli, command.replace('--note "cash entry 2"', "--yes"))
    assert cli.json("clients", "balance", "1")["available"] == "2000.00"


def test_dry_run_shows_and_writes_nothing(cli: Cli, conn: sqlite3.Connection) -> None:
    begin(cli)
    before = list(conn.iterdump())
    shown = ok(cli, f"cash count {MACHINE} --cassette 1 --notes 39 --cassette 2 --notes 12 --dry-run")
    assert "100.00 GTQ are missing" in shown
    ok(cli, f"cash load {MACHINE} --amount 100 --for 1=50 --dry-run")
    assert list(conn.iterdump()) == before


def test_a_difference_is_booked_in_parts_and_never_beyond(cli: Cli) -> None:
    begin(cli)
    ok(cli, f"cash count {MACHINE} --cassette 1 --notes 37 --cassette 2 --notes 12")
    ok(cli, "cash book 2 --amount -100 --yes", "--reason", "one note, found")
    too_much = cli("cash", "book", "2", "--amount", "-250", "--yes", "--reason", "x")
    wrong_way = cli("cash", "book", "2", "--amount", "150", "--yes", "--reason", "x")
    assert (too_much.exit_code, wrong_way.exit_code) == (1, 1)
    ok(cli, "cash book 2 --yes", "--reason", "the rest is stolen")
    assert cycle(cli, 1)["booked"] == "-300.00"
    nothing = cli("cash", "book", "2", "--yes", "--reason", "x")
    assert "nothing to do" in nothing.stderr
    ok(cli, "cash book 2 --amount 100 --yes", "--reason", "it was not that note")
    assert (cycle(cli, 1)["open"], cycle(cli, 1)["state"]) == ("-100.00", "short")


def test_a_load_with_deposits_is_not_taken_back_behind_their_back(cli: Cli) -> None:
    ok(cli, f"cash load {MACHINE} --amount 100 --for 1=80")
    refused = cli("cash", "void", "1", "--yes", "--reason", "never")
    assert "satmachine deposits delete 1" in refused.stderr
    too_small = cli("cash", "load", MACHINE, "--amount", "50", "--corrects", "1")
    assert "but the LPs' deposits are" in too_small.stderr
    ok(cli, "deposits delete 1 --yes")
    ok(cli, "cash void 1 --yes", "--reason", "never")


def test_a_sale_that_does_not_say_its_cash_makes_the_cycle_unclear(cli: Cli, conn: sqlite3.Connection) -> None:
    begin(cli)
    sale = sell(conn, 1, None)
    shown = ok(cli, f"cash count {MACHINE} --cassette 1 --notes 39 --cassette 2 --notes 12")
    assert f"1 sale(s) do not say how much cash they took ({sale}); by their sats about 100.00 GTQ" in shown
    assert cycle(cli, 1)["state"] == "unclear"


def test_cash_is_laid_beside_what_the_machine_says_and_whose_it_is(cli: Cli, conn: sqlite3.Connection) -> None:
    begin(cli)
    told = {"cassettes": [{"denomination": 100, "count": 41, "capacity": 500}, {"denomination": 50, "count": 12}]}
    with atomic(conn):
        now = int(conn.execute("SELECT strftime('%s', 'now')").fetchone()[0])
        for at in (now - 7_200, now - 60):
            telemetry_rows.store_batch(conn, [record(told, at, machine_id=MACHINE)])
    ok(cli, "deposits add 1 6000")
    ok(cli, "deposits confirm 1 --yes")
    shown = ok(cli, f"cash report {MACHINE}")
    assert "The machine's own count is 100.00 GTQ above this" in shown
    assert "MISSING for the LPs' balances 1400.00 GTQ" in shown.replace("1 400", "1400")
    now_ = cli.json("cash", "report", MACHINE)["now"]
    assert (now_["cash"], now_["told"], now_["own"]) == ("4600.00", "4700.00", "-1400.00")


def test_lists_and_reports_are_csv_and_json_too(cli: Cli) -> None:
    begin(cli)
    for command in ("cash list", "cash report", f"cash report {MACHINE}", "forecast", f"forecast {MACHINE}"):
        rows = list(csv.reader(io.StringIO(cli(*command.split(), "--csv").stdout)))
        assert len({len(row) for row in rows}) == 1, command
        cli.json(*command.split())
    assert cli.json("cash", "list")[0]["notes"][0] == {
        "cassette": 1,
        "denomination": "100.00",
        "notes": 40,
        "amount": "4000.00",
    }


def test_a_list_is_whole_behind_a_pipe(cli: Cli, conn: sqlite3.Connection) -> None:
    begin(cli)
    with atomic(conn):
        for number in range(2, 62):
            conn.execute(
                """INSERT INTO dca_cash
                (id, root_id, machine_id, kind, at, amount_minor, currency, note, actor, recorded_at)
                SELECT ?1, ?1, machine_id, kind, at, amount_minor, currency, '', actor, recorded_at + ?1
                FROM dca_cash WHERE id = 1""",
                (number,),
            )
    assert len(cli.json("cash", "list")) == 61
    assert len(cli.json("cash", "list", "--before", "61")) == 60
    assert "continue with --before 12" in cli("cash", "list", "--limit", "50", "--columns", "id,at").stdout


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_screen_fits(width: int, cli: Cli, conn: sqlite3.Connection) -> None:
    begin(cli)
    for number in range(40):
        sell(conn, number, 10_000 * (1 + number % 3), days_ago=44 - number, bills=json.dumps({"100": 1 + number % 3}))
    ok(cli, f"cash count {MACHINE} --cassette 1 --notes 5 --cassette 2 --notes 12")
    for command in (f"cash report {MACHINE}", "cash report", "cash list", "forecast", f"forecast {MACHINE}", "status"):
        result = cli(*command.split(), columns=width)
        assert result.exit_code == int(command == "status"), result.output  # somebody is needed: a difference


def test_another_operators_cash_does_not_exist(cli: Cli) -> None:
    begin(cli)
    ok(cli, "cash load flores-1 --amount 100")
    for command in (
        "cash report {}",
        "cash count {} --amount 1",
        "cash list --machine {}",
        "forecast {}",
    ):
        answers = [cli("--operator", "flores", *command.format(machine).split()) for machine in (MACHINE, "nowhere-1")]
        assert {one.exit_code for one in answers} == {1}
        assert answers[0].stderr.replace(MACHINE, "X") == answers[1].stderr.replace("nowhere-1", "X")
    for command in ("cash void {} --yes --reason x", "cash book {} --yes --reason x", "cash list --before {}"):
        answers = [cli("--operator", "flores", *command.format(entry).split()) for entry in (1, 99)]
        assert {one.exit_code for one in answers} == {1}
        assert answers[0].stderr.replace(" 1;", " 99;") == answers[1].stderr
    assert [row["id"] for row in cli.json("--operator", "flores", "cash", "list")] == [2]
    assert [row["machine_id"] for row in cli.json("--operator", "flores", "cash", "report")] == ["flores-1"]


def test_every_entry_is_in_the_audit_log_with_who_and_what(cli: Cli) -> None:
    begin(cli)
    ok(cli, f"cash count {MACHINE} --cassette 1 --notes 39 --cassette 2 --notes 12", "--note", "by hand")
    ok(cli, "cash book 2 --yes", "--reason", "gone")
    rows = cli.json("audit", "log")
    assert [(row["action"], row["subject"], row["actor"]) for row in rows[:3]] == [
        ("cash.book", "cash 2", "maria"),
        ("cash.count", "cash 2", "maria"),
        ("cash.count", "cash 1", "maria"),
    ]
    assert rows[1]["after"]["notes"] == ["cassette 1: 39 x 100", "cassette 2: 12 x 50"]


def test_a_cash_command_renews_what_status_shows(cli: Cli, conn: sqlite3.Connection) -> None:
    for number in range(40):
        sell(conn, number, 10_000, days_ago=40 - number)
    ok(cli, f"cash count {MACHINE} --amount 550")
    [row] = [one for one in json.loads(cli("status", "--json").stdout)["machines"] if one["id"] == MACHINE]
    assert row["cash_out_at"] is not None
    [seen] = conn.execute("SELECT * FROM dca_cash_forecasts").fetchall()
    assert seen["cash_minor"] == 55_000
    now = int(conn.execute("SELECT strftime('%s', 'now')").fetchone()[0])
    made = outlook.whole(conn, MACHINE, now, 14)
    assert made is not None
    assert made.run_out.likely_at is not None
    assert 4 * 86_400 < made.run_out.likely_at - now < 7 * 86_400


def test_the_commands_of_the_manual_run_as_they_stand(cli: Cli) -> None:
    """Those of docs/cash.md that are typed one after the other, from the beginning to the next count."""
    blocks = re.findall(r"```console\n(.*?)```", (DOCS / "cash.md").read_text(), re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert len(lines) >= 10
    begin_, load = lines[0], lines[1].replace("--for 3=", "--for 1=")
    for line in (begin_, load, "satmachine deposits confirm 1 --yes", *lines[3:6], lines[6]):
        ok(cli, line.removeprefix("satmachine ").replace('"', ""))
    assert {verb.name for verb in cash_app.registered_commands} == {
        *("load", "collect", "count", "void", "book", "list", "report"),
    }
