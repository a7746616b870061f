"""`satmachine payments`: the legs of all sales (SPEC section 5)."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli import operations
from satmachine.cli.common import (
    DEFAULT_LIMIT,
    MAX_ID,
    AsCsv,
    AsJson,
    Before,
    Limit,
    Since,
    Until,
    more_hint,
    open_books,
)
from satmachine.cli.output import Column, emit_table
from satmachine.models import LegStatus, LegType
from satmachine.store import reports

app = typer.Typer(no_args_is_help=True, help="The payments that sales cause.")
app.add_typer(operations.payments_app)

COLUMNS = (
    Column("id", "Id"),
    Column("planned_at", "Planned"),
    Column("machine_id", "Machine"),
    Column("settlement_id", "Sale"),
    Column("leg", "For"),
    Column("amount_sats", "Sats"),
    Column("fiat_amount_minor", "Fiat", wide=True),
    Column("fee_sats", "Fee", wide=True),
    Column("payee", "Payee", wide=True, fold=True),
    Column("status", "Status"),
    Column("error", "Error", wide=True, fold=True),
)

_LIST_HELP = """List payments, newest first: what was planned for whom, and what became of it.

Examples:

    satmachine payments list --status failed

    satmachine payments list --machine panajachel-1 --type dca --since 7d --csv

    satmachine payments list --settlement 12 --json
"""


@app.command("list", help=_LIST_HELP)
def list_payments(
    ctx: typer.Context,
    leg_type: Annotated[LegType | None, typer.Option("--type", help="What the payment is for.")] = None,
    status: Annotated[LegStatus | None, typer.Option(help="How it stands.")] = None,
    machine: Annotated[str | None, typer.Option(metavar="ID", help="Of this machine.")] = None,
    client: Annotated[
        int | None, typer.Option(min=1, max=MAX_ID, metavar="ID", help="To this liquidity provider.")
    ] = None,
    settlement: Annotated[int | None, typer.Option(min=1, max=MAX_ID, metavar="ID", help="Of this sale.")] = None,
    since: Since = None,
    until: Until = None,
    before: Before = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print a page of legs."""
    with open_books(ctx) as books:
        books.require_machine(machine)
        books.require_row("client", "dca_clients", client)
        books.require_row("settlement", "dca_settlements", settlement)
        books.require_row("payment", "dca_payments", before)
        wanted = reports.Filter(
            machine_id=machine,
            status=status,
            since=books.when(since),
            until=books.when(until, end=True),
            before_id=before,
            limit=limit,
            leg_type=leg_type,
            client_id=client,
            settlement_id=settlement,
        )
        page = reports.payments(books.conn, books.scope, wanted)
    emit_table(
        page.rows,
        COLUMNS,
        json=as_json,
        csv=as_csv,
        title="Payments",
        empty="No such payments.",
        tz=books.tz,
        keys=page.keys,
        more=more_hint(page),
    )
