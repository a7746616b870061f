"""`deposits list` and `show`."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli.deposits import app
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Asked, listing, reading, row_of
from satmachine.cli.kit.options import AsJson, Deposit, OfClient, OfMachine
from satmachine.cli.kit.output import emit_record
from satmachine.cli.kit.values import Column
from satmachine.models import Deposit as DepositRow
from satmachine.store import deposits
from satmachine.store.pages import Page

_DEPOSITS = (
    Column("id", "Id"),
    Column("recorded_at", "Recorded"),
    Column("machine_id", "Machine", wide=True),
    Column("label", "LP"),
    Column("amount_minor", "Amount"),
    Column("kind", "Kind", wide=True),
    Column("status", "Status"),
    Column("effective_at", "Counts from", wide=True),
    Column("recorded_by", "By", wide=True),
    Column("decided_at", "Decided", wide=True),
    Column("notes", "Note", fold=True),
)
FIELDS = (
    Column("status", "Status"),
    Column("kind", "Kind"),
    Column("amount_minor", "Amount"),
    Column("effective_at", "Counts from"),
    Column("reverses", "Reverses"),
    Column("cash_id", "Loaded with"),
    Column("client_id", "LP's id"),
    Column("label", "LP"),
    Column("machine_id", "Machine"),
    Column("recorded_at", "Recorded"),
    Column("recorded_by", "By"),
    Column("decided_at", "Decided"),
    Column("decided_by", "By"),
    Column("notes", "Note"),
)


@listing(app, "list", _DEPOSITS, title="Deposits", empty="No deposits.", span=True, below="deposit")
def list_deposits(
    books: Books,
    asked: Asked,
    client: OfClient = None,
    machine: OfMachine = None,
    status: Annotated[str | None, typer.Option(help="pending, confirmed or rejected.")] = None,
) -> Page:
    """List deposits, the latest first.

    Examples:

        satmachine deposits list --status pending

        satmachine deposits list --machine panajachel-1 --since 2026-11-01 --csv
    """
    if status not in (None, "pending", "confirmed", "rejected"):
        raise typer.BadParameter("--status must be pending, confirmed or rejected")
    found = deposits.find(
        books.conn,
        client_id=client,
        machine=machine,
        status=status,
        since=asked.since,
        until=asked.until,
        operator=books.scope,
        before_id=asked.before,
        limit=asked.limit + 1,
    )
    keys = tuple(name for name in DepositRow.__dataclass_fields__ if name != "operator_id")
    return Page([row_of(one) for one in found[: asked.limit]], keys, len(found) > asked.limit)


@reading(app, "show")
def show(books: Books, deposit: Deposit, as_json: AsJson = False) -> None:
    """Show one deposit.

    Examples:

        satmachine deposits show 12
    """
    row = row_of(deposits.get(books.conn, deposit))
    emit_record(row, FIELDS, json=as_json, title=f"Deposit {deposit}", tz=books.tz)
