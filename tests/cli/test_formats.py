"""Every list as table, JSON and CSV; every record as screen and JSON."""

from __future__ import annotations

import csv
import io
import re

import pytest

from tests.cli.books import ERRORED, HELD, PROCESSED, Cli, columns_of, digest

LISTS = [
    ("settlements list", "dca_settlements", 5, "errored"),
    ("settlements unmatched", "dca_unmatched_payments", 2, "Payments without a sale"),
    ("payments list", "dca_payments", 4, "split:owner"),
    ("quarantine list", "quarantine", 2, "bad_json"),
    ("machines list", None, 3, "panajachel-1"),
    ("splits show", None, 2, "technician"),
    ("splits show --effective", None, 8, "platform"),
]
SHOWS = ["settlements show 1", "quarantine show 1", "machines show panajachel-1"]


@pytest.mark.parametrize(("command", "table", "rows", "text"), LISTS)
def test_a_list_is_a_table_for_people(command: str, table: str | None, rows: int, text: str, cli: Cli) -> None:
    for columns in (80, 160):
        result = cli(*command.split(), columns=columns)
        assert result.exit_code == 0, result.output
        assert text in re.sub(r"\s+", " ", result.stdout)
        assert max(len(line) for line in result.stdout.splitlines()) <= columns
        assert result.stderr == ""


@pytest.mark.parametrize(("command", "table", "rows", "text"), LISTS)
def test_a_list_is_an_array_of_the_tables_columns(
    command: str, table: str | None, rows: int, text: str, cli: Cli
) -> None:
    found = cli.json(*command.split())
    assert len(found) == rows
    assert not any(key.endswith("_minor") for key in found[0])
    if table is not None:
        assert list(found[0]) == [name.removesuffix("_minor") for name in columns_of(cli, table)]


@pytest.mark.parametrize(("command", "table", "rows", "text"), LISTS)
def test_csv_has_the_keys_of_json(command: str, table: str | None, rows: int, text: str, cli: Cli) -> None:
    found = cli.json(*command.split())
    result = cli(*command.split(), "--csv")
    lines = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(lines) == rows
    assert list(lines[0]) == list(found[0])


@pytest.mark.parametrize("command", ["settlements list", "settlements unmatched", "payments list", "quarantine list"])
def test_an_empty_list_says_so_and_keeps_its_shape(
    command: str, empty: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tests.cli.books import full_books

    result = empty(*command.split())
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1
    assert empty.json(*command.split()) == []
    full = full_books(tmp_path_factory.mktemp("full"))
    header = empty(*command.split(), "--csv").stdout
    assert header == full(*command.split(), "--csv").stdout.splitlines()[0] + "\n"


@pytest.mark.parametrize("command", SHOWS)
def test_a_record_is_a_screen_or_an_object(command: str, cli: Cli) -> None:
    result = cli(*command.split(), columns=80)
    assert result.exit_code == 0, result.output
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert isinstance(cli.json(*command.split()), dict)


def test_json_has_major_units_utc_times_and_parsed_json(cli: Cli) -> None:
    [sale] = [row for row in cli.json("--tz", "America/Guatemala", "settlements", "list") if row["id"] == PROCESSED]
    assert sale["fiat_amount"] == "2014.27"
    assert sale["occurred_at"] == "2026-11-22T10:01:00Z"
    assert sale["exchange_rate"] == "128.5"
    assert sale["super_fee_pct"] == "0.30"
    assert sale["bills"] == [{"denomination": 100, "count": 20}]
    assert sale["discount_pct"] is None
    assert sale["used_fallback_split"] == 0


def test_people_see_times_in_their_zone(cli: Cli) -> None:
    shown = cli("--tz", "America/Guatemala", "settlements", "list").stdout
    assert "2026-11-22 04:01" in shown
    assert "(CST)" in shown


def test_people_see_thin_separators_and_currencies(cli: Cli) -> None:
    shown = cli("settlements", "list").stdout
    assert "266\u202f800" in shown
    assert "2\u202f014.27 GTQ" in shown


def test_show_json_has_the_promised_shape(cli: Cli) -> None:
    sale = cli.json("settlements", "show", str(PROCESSED))
    assert {"settlement", "legs", "notes"} <= set(sale)
    assert sale["notes"] == ""
    assert [leg["leg_type"] for leg in sale["legs"]] == ["super_fee", "operator_split"]
    wanted = {"leg_type", "label", "client_id", "amount_sats", "status", "payment_hash", "error"}
    assert wanted <= set(sale["legs"][0])
    assert sale["retained"][0]["reason"] == "no_lp_balance"
    assert "balance" in sale["retained"][0]["reason_in_words"]
    assert sale["events"][0]["event_id"] == digest(101)


@pytest.mark.parametrize("reference", ["1", digest(1), digest(101), "tx-1", digest(201)])
def test_a_sale_is_found_by_everything_that_names_it(reference: str, cli: Cli) -> None:
    assert cli.json("settlements", "show", reference)["settlement"]["id"] == PROCESSED


def test_a_held_sale_says_why_and_what_helps(cli: Cli) -> None:
    shown = cli("settlements", "show", str(HELD)).stdout
    assert "held: the machine's daily limit is reached" in shown
    assert f"satmachine settlements release {HELD}" in shown


def test_an_errored_sale_says_which_payment_failed(cli: Cli) -> None:
    shown = cli("settlements", "show", str(ERRORED)).stdout
    assert "no route to tech@example.org" in shown
    assert f"satmachine settlements retry {ERRORED}" in shown


def test_machines_json_has_live_state(cli: Cli) -> None:
    machine = next(row for row in cli.json("machines", "list") if row["id"] == "panajachel-1")
    assert (machine["balance_sats"], machine["reachable"], machine["open_settlements"]) == (1_250_000, 1, 3)
    assert machine["last_sale_at"] == "2026-11-22T10:04:00Z"
    assert machine["last_event_at"] == "2026-11-22T10:00:01Z"
    assert machine["payouts_since"] == "2026-11-22T00:00:00Z"


def test_a_machine_is_shown_with_relays_splits_and_providers(cli: Cli) -> None:
    machine = cli.json("machines", "show", "panajachel-1")
    assert machine["relays"] == ["wss://relay.one.example", "wss://relay.two.example"]
    assert [split["label"] for split in machine["splits"]] == ["owner", "technician"]
    assert machine["clients"] == {"active": 1}
    assert machine["telemetry"] is None


def test_effective_splits_are_parts_of_the_whole_commission(cli: Cli) -> None:
    rows = cli.json("splits", "show", "--effective", "--machine", "panajachel-1")
    assert [(row["label"], row["commission_pct"]) for row in rows] == [
        ("platform", "0.30"),
        ("owner", "0.49"),
        ("technician", "0.21"),
    ]


def test_a_machine_without_splits_says_where_the_sats_stay(cli: Cli) -> None:
    rows = cli.json("splits", "show", "--effective", "--machine", "flores-1")
    assert [(row["label"], row["ruleset_source"]) for row in rows] == [("platform", None), (None, "none")]
    assert "stays in the wallet" in cli("splits", "show", "--effective", "--machine", "flores-1").stdout


def test_what_machines_write_cannot_steer_the_terminal(cli: Cli) -> None:
    for command in (["quarantine", "list"], ["quarantine", "show", "1"]):
        shown = cli(*command).stdout
        assert "\x1b[31m" not in shown
        assert "[red]" in shown
