"""`settlements list` and `unmatched`."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Asked, listing
from satmachine.cli.kit.options import OfMachine
from satmachine.cli.kit.output import Column
from satmachine.cli.settlements import app
from satmachine.models import SettlementStatus
from satmachine.store import reports
from satmachine.store.pages import Page

_SALES = (
    Column("id", "Id"),
    Column("occurred_at", "Sold"),
    Column("machine_id", "Machine"),
    Column("gross_sats", "Sats"),
    Column("fiat_amount_minor", "Cash"),
    Column("commission_sats", "Commission", wide=True),
    Column("retained_sats", "Retained", wide=True),
    Column("status", "Status"),
    Column("error", "Why", fold=True),
)

_UNMATCHED = (
    Column("settled_at", "Paid"),
    Column("machine_id", "Machine"),
    Column("amount_sats", "Sats"),
    Column("reason", "Why", fold=True),
    Column("memo", "Memo", wide=True, fold=True),
    Column("payment_hash", "Hash", fold=True),
)


@listing(app, "list", _SALES, title="Sales", empty="No such sales.", span=True, below="sale")
def list_sales(
    books: Books,
    asked: Asked,
    machine: OfMachine = None,
    status: Annotated[SettlementStatus | None, typer.Option(help="How it stands.")] = None,
) -> Page:
    """List sales, newest first.

    Examples:

        satmachine settlements list --since today

        satmachine settlements list --machine panajachel-1 --status held

        satmachine settlements list --since 2026-11-01 --until 2026-11-30 --csv
    """
    return reports.settlements(books.conn, books.scope, asked.filter(machine_id=machine, status=status))


@listing(
    app,
    "unmatched",
    _UNMATCHED,
    title="Payments without a sale",
    empty="Every incoming payment belongs to a sale.",
    span=True,
)
def unmatched(books: Books, asked: Asked, machine: OfMachine = None) -> Page:
    """List payments into the machines' wallets that belong to no sale: top-ups, or sales nobody told of.

    `settlements land` makes a sale of one; `settlements dismiss` says that it is none.

    Examples:

        satmachine settlements unmatched

        satmachine settlements unmatched --machine panajachel-1 --since 30d --csv
    """
    return reports.unmatched(books.conn, books.scope, asked.filter(machine_id=machine))
