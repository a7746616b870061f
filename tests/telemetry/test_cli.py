"""`satmachine telemetry` as a person or a program runs it."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from satmachine.store import telemetry_rows
from satmachine.store.database import atomic, connect
from tests.cli.books import Cli, empty_books
from tests.cli.typed import commands_in
from tests.telemetry.made import RICH, record, snapshot

MACHINE = "panajachel-1"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return empty_books(tmp_path)


def tell(cli: Cli, told: Any, *, age_s: int = 30, machine_id: str = MACHINE) -> None:
    conn = connect(cli.database)
    with atomic(conn):
        telemetry_rows.store_batch(conn, [record(told, int(time.time()) - age_s, machine_id=machine_id)])
    conn.close()


def test_latest_shows_merged_fields_with_fiat_in_major_units(cli: Cli) -> None:
    tell(cli, RICH, age_s=90)
    tell(cli, {"status": "busy"})
    [row] = cli.json("telemetry", "latest")
    assert (row["machine_id"], row["status"], row["cash_left"], row["cash_total"]) == (
        MACHINE,
        "busy",
        "19000.00",
        "19000.00",
    )
    assert row["cassettes"][1] == {"denomination": "50.00", "count": 300, "capacity": 500}
    assert row["extra"] == {"battery": 97.5}
    assert row["beacon_at"].endswith("Z")


def test_latest_of_one_machine_tells_what_could_not_be_used(cli: Cli) -> None:
    tell(cli, {**RICH, "uptime": "long"})
    text = cli("telemetry", "latest", MACHINE).output
    for part in ("Calle Santander", "battery", "97.5", "100.00", "8 %", "uptime is not a number"):
        assert part in text


def test_fleet_has_machines_that_never_spoke(cli: Cli) -> None:
    tell(cli, RICH)
    tell(cli, {"status": "jammed"}, age_s=5000, machine_id="flores-1")
    states = {row["machine_id"]: row["state"] for row in cli.json("telemetry", "fleet")}
    assert states[MACHINE] == "online"
    assert states["flores-1"] == "offline"
    assert "never" in states.values()


@pytest.mark.parametrize("columns", [80, 160])
def test_the_fleet_fits_the_terminal_and_cuts_no_figure(cli: Cli, columns: int) -> None:
    tell(cli, {**RICH, "last_error": "feeder blocked " * 20})
    output = cli("telemetry", "fleet", columns=columns).output
    assert max(cell_len(line) for line in output.splitlines()) <= columns
    assert "19\u202f000.00 GTQ" in output
    assert MACHINE in output


@pytest.mark.parametrize("verb", [["fleet"], ["latest"], ["history", MACHINE], ["snapshots"]])
def test_every_list_is_json_and_csv_too_even_when_empty(cli: Cli, verb: list[str]) -> None:
    assert isinstance(cli.json("telemetry", *verb), list)
    header = cli("telemetry", *verb, "--csv").output.splitlines()[0]
    assert "machine_id" in header


def test_history_shows_the_last_day_unless_asked(cli: Cli) -> None:
    tell(cli, {"cash_total": 5}, age_s=90_000)
    tell(cli, {"cash_total": 4}, age_s=60)
    assert [row["cash_left"] for row in cli.json("telemetry", "history", MACHINE)] == ["4.00"]
    rows = list(csv.DictReader(io.StringIO(cli("telemetry", "history", MACHINE, "--since", "3d", "--csv").output)))
    assert [row["cash_left"] for row in rows] == ["4.00", "5.00"]
    assert "4.00 GTQ to 5.00 GTQ" in cli("telemetry", "history", MACHINE, "--since", "3d").output.replace("\u202f", " ")


def test_the_curve_is_drawn_where_only_the_table_is_cut_off(cli: Cli) -> None:
    tell(cli, {"cash_total": 5}, age_s=900)
    tell(cli, {"status": "x"}, age_s=60)
    assert "5.00 GTQ to 5.00 GTQ" in cli("telemetry", "history", MACHINE, "--limit", "1").output.replace("\u202f", " ")


def test_snapshots_are_shown_as_they_came(cli: Cli) -> None:
    conn = connect(cli.database)
    with atomic(conn):
        telemetry_rows.store_batch(conn, [snapshot(int(time.time()) - 9, MACHINE)])
    conn.close()
    [row] = cli.json("telemetry", "snapshots")
    assert (row["raw"], row["d_tag"]) == ('{"machines": [1]}', "fleet")


def test_another_operators_machine_does_not_exist(cli: Cli) -> None:
    tell(cli, RICH)
    assert cli.json("--operator", "flores", "telemetry", "latest") == []
    for verb in ("latest", "history", "snapshots"):
        foreign = cli("--operator", "flores", "telemetry", verb, MACHINE)
        unknown = cli("--operator", "flores", "telemetry", verb, "nowhere-1")
        assert foreign.exit_code == unknown.exit_code == 1
        assert foreign.output.replace(MACHINE, "nowhere-1") == unknown.output


def test_watch_ends_with_ctrl_c_and_success(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    result = cli("telemetry", "fleet", "--watch", "--every", "7")
    assert (result.exit_code, naps) == (0, [7, 7, 7])


def test_watch_is_for_people(cli: Cli) -> None:
    assert cli("telemetry", "fleet", "--watch", "--json").exit_code == 2


@pytest.mark.parametrize("columns", [80, 160])
def test_machines_show_says_what_the_machine_told(cli: Cli, columns: int) -> None:
    tell(cli, RICH)
    result = cli("machines", "show", MACHINE, columns=columns)
    assert result.exit_code == 0, result.output
    assert "Cash left" in result.stdout
    told = cli.json("machines", "show", MACHINE)["telemetry"]
    assert all("denomination_minor" not in cassette for cassette in told["cassettes"] or [])


def test_latest_says_what_to_do_about_what_the_machine_reports(cli: Cli) -> None:
    tell(cli, {**RICH, "status": "error", "last_error": "jam"})
    shown = cli("telemetry", "latest", MACHINE).output
    sales, silence, load, silence_low = commands_in(" ".join(shown.split()))
    assert sales == f"satmachine settlements list --machine {MACHINE} --since 24h"
    assert silence == f"satmachine alerts silence machine_error:{MACHINE} --for 2d"
    assert load == f"satmachine cash load {MACHINE}"
    for command in (sales, f"{silence} --reason known", f"{silence_low} --reason known"):
        cli(*command.split()[1:])
    assert commands_in(cli("telemetry", "latest", MACHINE).output) == []


def test_latest_of_a_machine_that_works_says_nothing_more(cli: Cli) -> None:
    tell(cli, {"status": "online"})
    assert commands_in(cli("telemetry", "latest", MACHINE).output) == []
