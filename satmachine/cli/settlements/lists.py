"""`settlements list`."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Asked, listing
from satmachine.cli.kit.options import OfMachine
from satmachine.cli.kit.values import Column
from satmachine.cli.settlements import app
from satmachine.models import SettlementStatus
from satmachine.store import list_queries
from satmachine.store.pages import Page

_SALES = (
    Column("id", "Id"),
    Column("occurred_at", "Sold"),
    Column("machine_id", "Machine"),
    Column("gross_sats", "Sats"),
    Column("fiat_amount_minor", "Cash"),
    Column("commission_sats", "Commission", wide=True),
    Column("retained_sats", "Stays in wallet", wide=True),
    Column("status", "Status"),
    Column("error", "Why", fold=True),
)


@listing(app, "list", _SALES, title="Sales", empty="No such sales.", span=True, below="sale")
def list_sales(
    books: Books,
    asked: Asked,
    machine: OfMachine = None,
    status: Annotated[SettlementStatus | None, typer.Option(help="Only sales with this status.")] = None,
) -> Page:
    """List sales, newest first.

    Examples:

        satmachine settlements list --since today

        satmachine settlements list --machine panajachel-1 --status held

        satmachine settlements list --since 2026-11-01 --until 2026-11-30 --csv
    """
    return list_queries.settlements(books.conn, books.scope, asked.filter(machine_id=machine, status=status))
