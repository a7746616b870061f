"""Exports: other programs accept them, add up to the same, and importing twice changes nothing."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections import Counter
from datetime import UTC
from decimal import Decimal
from pathlib import Path

import pytest
from beancount import loader
from beancount.core import data, realization

from satmachine.ledger.entries import Balances, balances, nonzero
from satmachine.ledger.postings import SAT, entry_of
from satmachine.models.facts import Paid
from satmachine.money import fiat_to_minor
from satmachine.reports.export import CSV_COLUMNS, FORMATS, Known, known_in
from tests.cli.books import Cli
from tests.reports.conftest import cli_of
from tests.reports.test_periods import close
from tests.reports.year import DAY_S, MACHINES, START, Year, new_year, random_events


def exported(cli: Cli, form: str, *arguments: str) -> str:
    result = cli("export", "ledger", "--format", form, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def everything(year: Year) -> Balances:
    return balances(year.conn, 2**60)


def test_beancount_accepts_a_year_and_its_balances_are_ours(year: Year, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "books.beancount"
    path.write_text(exported(cli, "beancount"), "utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "beancount.scripts.check", str(path)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    entries, errors, _ = loader.load_file(str(path))
    assert errors == []
    found: Balances = Counter()
    for account in realization.iter_children(realization.realize(entries)):
        for position in account.balance:
            amount, unit = position.units.number, position.units.currency
            found[account.account, unit] += int(amount) if unit == SAT else fiat_to_minor(amount, unit)
    assert nonzero(found) == everything(year)
    assert len([one for one in entries if isinstance(one, data.Transaction)]) > 100


@pytest.mark.skipif(shutil.which("hledger") is None, reason="hledger is not installed")
def test_hledger_accepts_a_year_and_its_balances_are_ours(year: Year, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "books.journal"
    path.write_text(exported(cli, "hledger"), "utf-8")
    run = ["hledger", "-f", str(path)]
    checked = subprocess.run([*run, "check", "-s"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    told = subprocess.run(
        [*run, "balance", "--flat", "--no-total", "-O", "csv", "--layout=bare"],
        capture_output=True,
        text=True,
        check=True,
    )
    found: Balances = Counter()
    for name, unit, amount in list(csv.reader(told.stdout.splitlines()))[1:]:
        if unit:
            number = Decimal(amount)
            found[name, unit] += int(number) if unit == SAT else fiat_to_minor(number, unit)
    assert nonzero(found) == everything(year)


def test_a_csv_adds_up_to_the_same(year: Year, cli: Cli) -> None:
    found: Balances = Counter()
    rows = list(csv.DictReader(exported(cli, "csv").splitlines()))
    for row in rows:
        number = Decimal(row["amount"])
        found[row["account"], row["unit"]] += int(number) if row["unit"] == SAT else fiat_to_minor(number, row["unit"])
    assert nonzero(found) == everything(year)
    assert {row["fiat_value"] != "" for row in rows if row["kind"] == "purchase" and row["unit"] == SAT} == {True}


@pytest.mark.parametrize("form", ["beancount", "hledger", "csv"])
def test_importing_twice_changes_nothing(fresh: Year, tmp_path: Path, form: str) -> None:
    cli, path = cli_of(fresh), tmp_path / "books"
    path.write_text(exported(cli, form), "utf-8")
    assert exported(cli, form, "--known", str(path)).strip() == ""
    random_events(fresh, 6)
    path.write_text(path.read_text("utf-8") + exported(cli, form, "--known", str(path)), "utf-8")
    assert sorted(path.read_text("utf-8").splitlines()) == sorted(exported(cli, form).splitlines())
    assert exported(cli, form, "--known", str(path)).strip() == ""


def test_beancount_accepts_a_sale_found_later_that_is_older_than_what_was_exported(tmp_path: Path) -> None:
    """The file goes on behind what it has; nothing was closed in between."""
    year = new_year(tmp_path)
    cli, path = cli_of(year), tmp_path / "books.beancount"
    year.now += 20 * DAY_S
    year.pay(year.sale(MACHINES[0]))
    path.write_text(exported(cli, "beancount"), "utf-8")
    year.now += DAY_S
    for machine in MACHINES:
        year.pay(year.sale(machine, occurred_at=year.now - 10 * DAY_S))
    path.write_text(path.read_text("utf-8") + exported(cli, "beancount", "--known", str(path)), "utf-8")
    _, errors, _ = loader.load_file(str(path))
    assert errors == []
    year.conn.close()


STRANGE = [
    *('=HYPERLINK("x")', "@SUM(1)", "-2+3", 'a"b;c|d\\', "line\nbreak\n2026-01-01 open Assets:X", "\u202eدينار"),
    *("9" * 200, ""),
]


@pytest.mark.parametrize("form", ["beancount", "hledger", "csv"])
def test_a_name_that_is_no_word_of_ours_breaks_no_format(tmp_path: Path, form: str) -> None:
    facts = [
        Paid(n, n, f"leg:sm1:{who}:{n}", "m-1", "GTQ", "7.5", 1, who, "operator_split", who, 90, 1, 91, 0)
        for n, who in enumerate(STRANGE)
    ]
    found = [entry_of(fact) for fact in facts]
    splits = {posting.account for entry in found for posting in entry.postings if ":Splits:" in posting.account}
    assert len(splits) == len(STRANGE)
    text = "\n".join(FORMATS[form](found, UTC, Known())) + "\n"
    path = tmp_path / "books"
    path.write_text(text, "utf-8")
    if form == "beancount":
        entries, errors, _ = loader.load_file(str(path))
        assert errors == []
        assert len([one for one in entries if isinstance(one, data.Transaction)]) == len(STRANGE)
    elif form == "hledger" and shutil.which("hledger"):
        told = subprocess.run(["hledger", "-f", str(path), "stats"], capture_output=True, text=True, check=True).stdout
        assert f"Transactions             : {len(STRANGE)} " in told
    elif form == "csv":
        rows = list(csv.reader(text.splitlines()))
        assert {len(row) for row in rows} == {len(CSV_COLUMNS)}
        places = [CSV_COLUMNS.index(name) for name in ("id", "sale", "account", "narration", "kind")]
        assert not [row for row in rows for place in places if row[place][:1] in tuple("=+-@")]
    with path.open() as lines:
        assert "\n".join(FORMATS[form](found, UTC, known_in(lines))).strip() == ""


def test_an_export_of_a_month_begins_with_what_was_before(year: Year, cli: Cli) -> None:
    lines = exported(cli, "csv", "--month", "2026-02").splitlines()
    opening = [row for row in csv.DictReader(lines) if row["kind"] == "opening"]
    assert opening
    assert {row["posted_at"] for row in opening} == {"2026-02-01T00:00:00+00:00"}
    known = dict(balances(year.conn, 1_769_904_000).items())
    for row in opening:
        if row["unit"] == SAT and row["account"] != "Equity:Opening-Balances":
            assert known[row["account"], SAT] == int(row["amount"])


def test_books_that_do_not_add_up_are_exported_only_on_request(fresh: Year) -> None:
    cli = cli_of(fresh)
    fresh.conn.execute("DROP TRIGGER dca_retained_no_delete")
    fresh.conn.execute("DELETE FROM dca_retained WHERE id = 1")
    result = cli("export", "ledger")
    assert result.exit_code == 1
    assert "break(s)" in result.output
    assert cli("export", "ledger", "--anyway").exit_code == 0


def test_a_break_before_a_closed_month_stops_no_export_of_a_later_one_that_has_nothing_of_it(fresh: Year) -> None:
    cli = cli_of(fresh)
    fresh.now = START + 40 * DAY_S
    close(fresh, "2026-01")
    fresh.now += 3600
    late = fresh.sale(MACHINES[0], occurred_at=START + 3 * DAY_S)  # found in February, and a part of that
    for row in fresh.conn.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        fresh.conn.execute(f"DROP TRIGGER {row['name']}")
    fresh.conn.execute("UPDATE dca_settlements SET super_fee_pct = '0.9' WHERE id = 1")
    assert cli("audit", "--offline").exit_code == 1
    assert cli("export", "ledger").exit_code == 1
    assert cli("export", "ledger", "--month", "2026-02").exit_code == 0
    fresh.conn.execute("UPDATE dca_settlements SET super_fee_pct = '0.9' WHERE id = ?", (late,))
    assert cli("export", "ledger", "--month", "2026-02").exit_code == 1
