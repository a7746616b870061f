"""The worked examples of docs/liquidity-providers.md: their tables are read from the page and recomputed."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from satmachine.clients.shares import Distribution, PlannedShare, explain_distribution
from satmachine.models import Settlement
from satmachine.money import fiat_to_minor, minor_to_fiat
from satmachine.store import clients
from satmachine.store.database import atomic
from tests.clients.sales import add_client, deposit, plan_sale

PAGE = Path(__file__).parents[2] / "docs" / "liquidity-providers.md"

Row = dict[str, str]


@dataclass(frozen=True)
class Example:
    name: str
    providers: list[Row]
    sales: list[Row]
    result: list[Row]


def read_examples() -> list[Example]:
    """Every section "### Example: .." with its three tables: providers, sales, result."""
    sections = re.split(r"^### Example: ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return [Example(text.partition("\n")[0], *read_tables(text)) for text in sections]


def read_tables(text: str) -> list[list[Row]]:
    found = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(found) == 3, "an example has the tables: providers, sales, result"
    tables = []
    for table in found:
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        tables.append([dict(zip(lines[0], line, strict=True)) for line in lines[2:]])
    return tables


def play(books: sqlite3.Connection, example: Example) -> list[Row]:
    """What satmachine makes of the example: deposits in, sales planned one after the other."""
    for row in example.providers:
        limit_minor = fiat_to_minor(Decimal(row["daily limit"]), "GTQ") if row["daily limit"] else None
        client_id = add_client(books, row["client"], limit_minor=limit_minor)
        deposit(books, client_id, fiat_to_minor(Decimal(row["deposit"]), "GTQ"), at=seconds(row["confirmed"]))
        if row["status"] == "paused":
            with atomic(books):
                clients.update(books, clients.get(books, client_id), {"status": "paused"}, actor="test", now=2)
    result: list[Row] = []
    for row in example.sales:
        sale = plan_sale(
            books,
            int(row["sale"]),
            net_sats=number(row["net sats"]),
            rate=Decimal(row["sats per GTQ"]),
            occurred_at=seconds(row["time"]),
        )
        result += shown(row["sale"], explained(books, sale))
    return result


def explained(books: sqlite3.Connection, sale: Settlement) -> Distribution:
    found = books.execute("SELECT * FROM dca_payments WHERE settlement_id = ? AND leg_type = 'dca'", (sale.id,))
    planned = [PlannedShare.of(dict(row)) for row in found]
    return explain_distribution(sale.net_sats, sale.exchange_rate, sale.currency, planned)


def shown(sale: str, distribution: Distribution) -> list[Row]:
    assert distribution.as_recorded
    rows = [
        {
            "sale": sale,
            "client": share.label,
            "weight": fiat(share.weight_minor),
            "cap": fiat(share.cap_minor),
            "exact share": f"{share.exact_sats:f}",
            "sats": f"{share.amount_sats:,}",
            "GTQ": fiat(share.fiat_amount_minor),
            "": "capped" if share.capped else "remainder sat" if share.remainder_sat else "",
        }
        for share in distribution.shares
    ]
    if distribution.orphan_sats:
        orphan = dict.fromkeys(("weight", "cap", "exact share", "GTQ"), "")
        rows.append({"sale": sale, "client": "*orphan*", "sats": f"{distribution.orphan_sats:,}"} | orphan)
        rows[-1][""] = distribution.orphan_reason
    return rows


def seconds(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC).timestamp())


def number(text: str) -> int:
    return int(text.replace(",", ""))


def fiat(amount_minor: int) -> str:
    return f"{minor_to_fiat(amount_minor, 'GTQ'):f}"


def test_the_page_has_the_examples_that_were_promised() -> None:
    assert [example.name for example in read_examples()] == [
        "three LPs and a sale of 800 GTQ",
        "a sale larger than all balances",
        "a deposit confirmed after the sale",
        "a fixed-mode LP that reaches the limit",
        "a paused LP",
        "rate 0",
        "a sale that is entered late",
    ]


@pytest.mark.parametrize("example", read_examples(), ids=lambda example: example.name)
def test_worked_example(books: sqlite3.Connection, example: Example) -> None:
    assert play(books, example) == example.result


@pytest.mark.parametrize("example", read_examples(), ids=lambda example: example.name)
def test_every_sat_of_the_example_is_somewhere(example: Example) -> None:
    for sale in example.sales:
        mine = [row for row in example.result if row["sale"] == sale["sale"]]
        assert sum(number(row["sats"]) for row in mine) == number(sale["net sats"])
