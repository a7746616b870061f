"""Filters, pages and times of lists."""

from __future__ import annotations

import sqlite3
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import typer

from satmachine.cli.kit.books import parse_when
from satmachine.store import list_queries, settlements
from satmachine.store.database import atomic, connect
from satmachine.store.list_queries import ListFilter
from tests.cli.books import NOW, Cli, claim

DAY = 86_400


def ids(cli: Cli, *arguments: str) -> list[int]:
    return [row["id"] for row in cli.json(*arguments)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("settlements list", [5, 4, 3, 2, 1]),
        ("settlements list --machine panajachel-1", [4, 3, 2, 1]),
        ("settlements list --status held", [2]),
        ("settlements list --status processed", [1]),
        ("settlements list --status refunded", []),
        ("settlements list --since 2026-11-22T10:03", [5, 4, 3]),
        ("settlements list --until 2026-11-22T10:03", [2, 1]),
        ("settlements list --until 2026-11-22", [5, 4, 3, 2, 1]),
        ("settlements list --until 2026-11-21", []),
        ("settlements list --limit 2", [5, 4]),
        ("settlements list --limit 2 --before 4", [3, 2]),
        ("--operator atitlan settlements list --limit 2 --before 4", [3, 2]),
        ("--tz America/Guatemala settlements list --since 2026-11-22T04:03", [5, 4, 3]),
        ("payments list", [4, 3, 2, 1]),
        ("payments list --type super_fee", [3, 1]),
        ("payments list --status failed", [4]),
        ("payments list --status completed --settlement 1", [2, 1]),
        ("payments list --client 1", []),
        ("payments list --limit 1 --before 4", [3]),
        ("quarantine list --machine flores-1", [2]),
        ("quarantine list --all --before 2", [1]),
    ],
)
def test_filters(arguments: str, expected: list[int], cli: Cli) -> None:
    assert ids(cli, *arguments.split()) == expected


def test_a_page_says_that_there_is_more_and_how_to_go_on(cli: Cli) -> None:
    assert "--before 4" in cli("settlements", "list", "--limit", "2").stdout
    assert "more" not in cli("settlements", "list", "--limit", "5").stdout


@pytest.mark.parametrize("scope", [None, "atitlan"])
def test_pages_together_are_the_list(scope: str | None, empty: Cli) -> None:
    conn = connect(empty.database)
    with atomic(conn):
        for number in range(1, 40):
            machine, currency = ("panajachel-1", "GTQ") if number % 2 else ("solola-1", "USD")
            # Several sales at the same moment: the id decides.
            sale = claim(number, machine, currency, occurred_at=NOW + number // 5)
            settlements.insert(conn, sale, event_id=None, now=NOW, proof="waiting")
    seen: list[int] = []
    before = None
    while True:
        page = list_queries.settlements(conn, scope, ListFilter(before_id=before, limit=7))
        seen += [row["id"] for row in page.rows]
        if not page.more:
            break
        before = seen[-1]
    assert seen == list(range(39, 0, -1))
    conn.close()


PLANS = [
    (list_queries.settlements, None, {}),
    (list_queries.settlements, "atitlan", {}),
    (list_queries.settlements, None, {"since": 1, "until": 2}),
    (list_queries.settlements, None, {"machine_id": "panajachel-1", "since": 1}),
    (list_queries.settlements, None, {"status": "held"}),
    (list_queries.settlements, None, {"status": "refunded"}),
    (list_queries.settlements, "atitlan", {"machine_id": "panajachel-1", "since": 1, "before_id": 2}),
    (list_queries.settlements, "atitlan", {"status": "errored"}),
    (list_queries.settlements, "atitlan", {"before_id": 2}),
    (list_queries.payments, None, {}),
    (list_queries.payments, "atitlan", {"leg_type": "dca"}),
    (list_queries.payments, None, {"status": "failed"}),
    (list_queries.payments, None, {"status": "voided"}),
    (list_queries.payments, None, {"leg_type": "refund", "since": 1}),
    (list_queries.payments, "atitlan", {"status": "failed"}),
    (list_queries.payments, None, {"client_id": 1}),
    (list_queries.payments, "atitlan", {"client_id": 1, "before_id": 2}),
    (list_queries.payments, None, {"settlement_id": 1}),
    (list_queries.payments, None, {"before_id": 3}),
]


@pytest.mark.parametrize(("report", "scope", "wanted"), PLANS)
def test_no_list_reads_a_whole_table(report: object, scope: str | None, wanted: dict[str, object], cli: Cli) -> None:
    conn = connect(cli.database)
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    report(conn, scope, ListFilter(**wanted))  # type: ignore[operator, arg-type]
    conn.set_trace_callback(None)
    for statement in statements:
        plan = [row["detail"] for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}")]
        scans = [step for step in plan if step.startswith("SCAN dca_") and " USING " not in step]
        assert scans == [] or "dca_machines" in scans[0], (statement, plan)
        if "ORDER BY +" in statement:
            names = {"status", "client_id", "settlement_id"} & set(wanted)
            index = {"status": "_status", "client_id": "_client", "settlement_id": "autoindex"}
            used = [index[name] for name in names] or ["INTEGER PRIMARY KEY"]
            assert any(used[0] in step for step in plan), (statement, plan)
        else:
            assert not [step for step in plan if "TEMP B-TREE" in step], (statement, plan)
    conn.close()


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        ("2026-11-22T10:00:00Z", False, NOW),
        ("2026-11-22 10:00", False, NOW),
        ("2026-11-22T04:00:00-06:00", False, NOW),
        ("2026-11-22", False, NOW - 10 * 3600),
        ("2026-11-22", True, NOW + 14 * 3600),
        ("today", False, NOW - 10 * 3600),
        ("yesterday", True, NOW - 10 * 3600),
        ("now", False, NOW),
        ("7d", False, NOW - 7 * DAY),
        ("24h", False, NOW - DAY),
        ("90m", False, NOW - 5400),
        ("2W", False, NOW - 14 * DAY),
    ],
)
def test_times_of_people(text: str, end: bool, expected: int) -> None:
    assert parse_when(text, UTC, NOW, end=end) == expected


def test_times_of_people_are_in_their_zone() -> None:
    assert parse_when("today", ZoneInfo("America/Guatemala"), NOW) == NOW - 4 * 3600
    assert parse_when("2026-11-22T10:00:00Z", ZoneInfo("America/Guatemala"), NOW) == NOW


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "7", "7y", "999999999d", "999999w", "0001-01-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_when(text, ZoneInfo("Asia/Tokyo"), NOW)


def test_reads_leave_the_database_alone(cli: Cli) -> None:
    conn = connect(cli.database, read_only=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        conn.execute("DELETE FROM intents")
    conn.close()


def test_unknown_files_are_named(tmp_path: Path) -> None:
    lost = Cli(tmp_path / "none.toml", tmp_path / "none.db")
    result = lost("status")
    assert result.exit_code == 3
    assert "none.toml" in result.stderr


@pytest.mark.parametrize(
    "command", ["machines list", "clients list", "clients balance", "splits show", "telemetry fleet"]
)
def test_a_limit_limits_everybody_and_without_one_programs_get_all(command: str, cli: Cli) -> None:
    def rows(*options: str) -> list[dict[str, object]]:
        return [{**row, "since_sale_s": None} for row in cli.json(*command.split(), *options)]

    everything = rows()
    assert len(everything) > 1
    shown = cli(*command.split(), "--limit", "1").stdout
    assert "more: show them with --limit" in shown
    assert "more: show them" not in cli(*command.split()).stdout
    assert rows("--limit", "1") == everything[:1]


def test_deposits_come_in_pages(cli: Cli) -> None:
    for amount in (100, 200, 300):
        assert cli("deposits", "add", "1", str(amount)).exit_code == 0
    first = cli.json("deposits", "list", "--limit", "2")
    assert [row["amount"] for row in first] == ["300.00", "200.00"]
    rest = cli.json("deposits", "list", "--limit", "2", "--before", str(first[-1]["id"]))
    assert [row["amount"] for row in rest] == ["100.00"]
    assert "continue with --before 2" in cli("deposits", "list", "--limit", "2").stdout
    assert cli("deposits", "list", "--before", "99").exit_code == 1


def test_a_long_statement_shows_its_latest_lines(cli: Cli) -> None:
    for number in (1, 2, 3):
        cli("deposits", "add", "1", str(number * 100))
        assert cli("deposits", "confirm", str(number), "--yes").exit_code == 0
    shown = " ".join(cli("clients", "statement", "1", "--limit", "1").stdout.split())
    assert "2 came before" in shown
    assert "600.00" in shown
    assert len(cli.json("clients", "statement", "1", "--limit", "1")["lines"]) == 3
