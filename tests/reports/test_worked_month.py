"""The worked month of docs/accounting.md, played: each figure on the page comes out of the program."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from testkit.config_files import VALID
from tests.cli.books import Cli
from tests.reports.conftest import cli_of
from tests.reports.year import MACHINES, Year, new_year

DOCS = Path(__file__).parents[2] / "docs" / "accounting.md"
PAGE = DOCS.read_text("utf-8").partition("## A worked month")[2].partition("\n## ")[0]
STORY, TABLE, AFTERWARDS, NOTES = re.split(r"\n\n(?=\| entry|Afterwards|- \*\*Retained)", PAGE)
#: 2024-11-04T15:00:00Z: a month that is over wherever this runs.
MONTH, BEGIN = "2024-11", 1_730_732_400
#: As on the page, one partner has the whole of the operator's part.
ONE_OWNER = re.sub(
    r'pct = 0\.7\n(.*\n)\[\[operators\.splits\]\]\nlabel = "technician"\n.*\n.*\n', r"pct = 1\n\1", VALID
)


@dataclass
class Entry:
    """One of the page or of the program: accounts (without the machine) and amounts in sats or quetzales."""

    name: str
    postings: list[tuple[str, Decimal, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Year, Cli]]:
    """Maria brings cash, and a customer sells for most of it."""
    year = new_year(tmp_path_factory.mktemp("month"), ONE_OWNER)
    year.now = BEGIN
    maria = year.add_client(MACHINES[0], "maria")
    year.bring(maria, 200_000)
    year.now += 3600
    figures = {"gross_sats": 266_800, "net_sats": 258_835, "commission_sats": 7_965}
    year.pay(
        year.sale(MACHINES[0], exchange_rate=Decimal("143.797"), fiat_amount_minor=180_000, txid="worked", **figures)
    )
    yield year, cli_of(year)
    year.conn.close()


def on_the_page() -> list[Entry]:
    """The table; "the same four" are those of the entry in which all four stand."""
    found: list[Entry] = []
    for line in TABLE.splitlines()[2:]:
        name, account, sats, cash = (cell.strip() for cell in line.strip("|").split("|"))
        if name:
            found.append(Entry(name))
        [named] = re.findall(r"`(.+)`", account)
        amount, unit = (sats, "SAT") if sats else (cash, "GTQ")
        number = Decimal(amount.replace(",", ""))
        if account.startswith("the same four"):
            signs = {"Assets:Wallet": -1, named: 1, "Liabilities:To-Share": 1, "Income:Sales": -1}
            found[-1].postings += [(one, sign * number, unit) for one, sign in signs.items()]
        else:
            found[-1].postings.append((named, number, unit))
    return found


def of_the_program(cli: Cli) -> list[Entry]:
    found: dict[str, Entry] = {}
    told = cli("export", "ledger", "--format", "csv", "--month", MONTH)
    assert told.exit_code == 0, told.output
    for row in csv.DictReader(told.stdout.splitlines()):
        entry = found.setdefault(row["id"], Entry(row["kind"].replace("-", " ")))
        account = row["account"].replace(":Panajachel-1", "")
        entry.postings.append((account, Decimal(row["amount"]), row["unit"]))
    return list(found.values())


def test_every_posting_of_the_page_is_that_of_the_export(month: tuple[Year, Cli]) -> None:
    page, program = on_the_page(), of_the_program(month[1])
    assert [one.name for one in page] == ["deposit", "sale", "platform fee", "split", "purchase"]
    by_name = {one.name: sorted(one.postings) for one in program}
    assert {one.name: sorted(one.postings) for one in page} == by_name


def test_every_figure_of_the_story_is_one_of_the_program(month: tuple[Year, Cli]) -> None:
    cli = month[1]
    sale = cli.json("settlements", "show", "worked")["settlement"]
    [deposit] = cli.json("deposits", "list")
    [lp] = cli.json("report", "--month", MONTH)["clients"]
    said = [deposit["amount"], *(sale[name] for name in ("gross_sats", "fiat_amount", "exchange_rate"))]
    said += [Decimal(sale["super_fee_pct"]) * 100, sale["commission_sats"], lp["bought_sats"]]
    told = [Decimal(number.replace(",", "")) for number in re.findall(r"\d[\d,.]*\d", STORY)]
    assert told == [Decimal(figure) for figure in said]


def test_afterwards_is_what_the_page_says(month: tuple[Year, Cli]) -> None:
    year, cli = month
    [machine] = cli.json("report", "--month", MONTH)["machines"]
    [balance] = cli.json("clients", "balance")
    assert re.findall(r"(\d+) GTQ", AFTERWARDS) == ["200", "200"]
    assert (machine["closing_sats"], machine["to_share_sats"], year.wallets[MACHINES[0]]) == (0, 0, 0)
    assert (machine["cash_closing"], balance["available"]) == ("200.00", "200.00")


def test_the_month_can_be_closed_and_proven(month: tuple[Year, Cli]) -> None:
    cli = month[1]
    closed = cli("period", "close", MONTH, "--reason", "handed to the accountant", "--dry-run")
    assert closed.exit_code == 0
    assert f"with {len(on_the_page())} entries" in closed.output
    assert cli("audit", "--offline").exit_code == 0


def test_every_name_in_the_notes_is_one_that_the_program_writes(cli: Cli) -> None:
    told = cli("export", "ledger", "--format", "csv")
    rows = list(csv.DictReader(told.stdout.splitlines()))
    parts = {part for row in rows for part in row["account"].split(":")} | {row["kind"] for row in rows}
    accounts = {":".join(row["account"].split(":")[:2]) for row in rows}
    named = set(re.findall(r"`([A-Za-z:-]+)`", NOTES)) - {"happened", "report"}
    assert {"cash-corrected", "cash-begun", "topped-up", "Unused-fee-reserve"} <= named
    assert named <= parts | accounts
