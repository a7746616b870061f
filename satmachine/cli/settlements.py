"""`satmachine settlements`: the sales, and where every sat of them went."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli.common import (
    DEFAULT_LIMIT,
    AsCsv,
    AsJson,
    Before,
    Books,
    Limit,
    Since,
    Until,
    more_hint,
    not_found,
    open_books,
)
from satmachine.cli.output import Column, emit_table, print_json, to_json
from satmachine.cli.settlement_view import print_sale, print_sale_json, read_sale
from satmachine.errors import Refused
from satmachine.models import SettlementStatus
from satmachine.store import notes, reports
from satmachine.store.database import atomic

app = typer.Typer(no_args_is_help=True, help="The sales, and where every sat of them went.")

Reference = Annotated[
    str, typer.Argument(metavar="ID", help="The sale's number; an event id, a payment hash or the txid work too.")
]
OfMachine = Annotated[str | None, typer.Option("--machine", metavar="ID", help="Of this machine.")]

_COLUMNS = (
    Column("id", "Id"),
    Column("occurred_at", "Sold"),
    Column("machine_id", "Machine"),
    Column("gross_sats", "Sats"),
    Column("fiat_amount_minor", "Cash"),
    Column("commission_sats", "Commission", wide=True),
    Column("retained_sats", "Retained", wide=True),
    Column("status", "Status"),
    Column("error", "Why", wide=True, fold=True),
)

_LIST_HELP = """List sales, newest first.

Examples:

    satmachine settlements list --since today

    satmachine settlements list --machine panajachel-1 --status held

    satmachine settlements list --since 2026-11-01 --until 2026-11-30 --limit 10000 --csv
"""

_SHOW_HELP = """Show one sale: its figures, its payments, what stays in the wallet and why, events and notes.

Examples:

    satmachine settlements show 12

    satmachine settlements show 5d2a...e1 --json
"""

_NOTE_HELP = """Add a note to a sale. Notes are kept for ever, newest first, with time and author.

Examples:

    satmachine settlements note 12 "Customer called, jam in cassette 2"

    satmachine --actor maria settlements note 12 "Paid back in cash" --json
"""


@app.command("list", help=_LIST_HELP)
def list_settlements(
    ctx: typer.Context,
    machine: OfMachine = None,
    status: Annotated[SettlementStatus | None, typer.Option(help="How it stands.")] = None,
    since: Since = None,
    until: Until = None,
    before: Before = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print a page of sales."""
    with open_books(ctx) as books:
        books.require_machine(machine)
        books.require_row("settlement", "dca_settlements", before)
        wanted = reports.Filter(
            machine_id=machine,
            status=status,
            since=books.when(since),
            until=books.when(until, end=True),
            before_id=before,
            limit=limit,
        )
        page = reports.settlements(books.conn, books.scope, wanted)
    emit_table(
        page.rows,
        _COLUMNS,
        json=as_json,
        csv=as_csv,
        title="Sales",
        empty="No such sales.",
        tz=books.tz,
        keys=page.keys,
        more=more_hint(page),
    )


@app.command("show", help=_SHOW_HELP)
def show(ctx: typer.Context, reference: Reference, as_json: AsJson = False) -> None:
    """Print one sale."""
    with open_books(ctx) as books:
        sale = read_sale(books.conn, find_settlement(books, reference))
    if as_json:
        print_sale_json(sale)
    else:
        print_sale(sale, books.tz)


@app.command("note", help=_NOTE_HELP)
def note(
    ctx: typer.Context,
    reference: Reference,
    text: Annotated[str, typer.Argument(help=f"The note, at most {notes.MAX_CHARS} characters.")],
    as_json: AsJson = False,
) -> None:
    """Add a note."""
    try:
        text = notes.cleaned(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with open_books(ctx, write=True) as books:
        settlement = find_settlement(books, reference)
        with atomic(books.conn) as conn:
            notes.add(conn, settlement["id"], settlement["machine_id"], text=text, author=books.actor, now=books.now)
        changed = find_settlement(books, str(settlement["id"]))
    if as_json:
        print_json(to_json(changed))
    else:
        typer.echo(f"Noted on sale {changed['id']}.")


def find_settlement(books: Books, reference: str) -> reports.Record:
    """The one sale that a person means. Raises NotFound, or Refused where several fit."""
    found = reports.find_settlements(books.conn, books.scope, reference)
    if not found:
        raise not_found("settlement", reference)
    if len(found) > 1:
        numbers = ", ".join(str(row["id"]) for row in found)
        raise Refused(f"{reference} belongs to several settlements ({numbers}); name one by its number")
    return found[0]
