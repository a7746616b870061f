"""`clients list`, `show` and `balance`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from satmachine.cli.clients import app
from satmachine.cli.kit import complete
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Asked, listing, reading, row_of
from satmachine.cli.kit.options import AsJson, Client, OfMachine, Person
from satmachine.cli.kit.output import as_row, emit_record
from satmachine.cli.kit.values import Column, Row
from satmachine.models import Balance, ClientStatus
from satmachine.models import Client as ClientRow
from satmachine.store import balances, clients
from satmachine.store.clients import describe_payee

_AMOUNTS = (
    Column("confirmed_minor", "Deposited"),
    Column("spent_minor", "Spent"),
    Column("reserved_minor", "Reserved"),
    Column("available_minor", "Available"),
)
_CLIENTS = (
    Column("id", "Id"),
    Column("machine_id", "Machine"),
    Column("label", "LP"),
    Column("person", "Person", wide=True),
    Column("mode", "Mode"),
    Column("status", "Status"),
    Column("available_minor", "Available"),
    Column("payee", "Paid to", wide=True, fold=True),
)


def _paid_to(row: Row) -> str:
    """As payments say it; an LNURL stands there in words already."""
    kind, payee = row["payee_kind"], row["payee"]
    return describe_payee(kind, payee) if kind == "invoice_key_file" else str(payee)


FIELDS = (
    Column("status", "Status"),
    Column("machine_id", "Machine"),
    Column("person", "Person"),
    Column("mode", "Mode"),
    Column("daily_limit_minor", "Daily limit"),
    Column("payee", "Paid to", show=_paid_to),
    Column("autoforward", "Forwarded to"),
    Column("autoforward_key_file", "With key from"),
    *_AMOUNTS,
    Column("created_at", "Added"),
    Column("created_by", "By"),
    Column("removed_at", "Removed"),
)
_BALANCES = (
    Column("client_id", "Id"),
    Column("machine_id", "Machine"),
    Column("label", "LP"),
    Column("person", "Person", wide=True),
    *_AMOUNTS,
)
_KEYS = (*(name for name in ClientRow.__dataclass_fields__ if name != "operator_id"), *(one.key for one in _AMOUNTS))
_BALANCE_KEYS = (*Balance.__dataclass_fields__, "available_minor")


@listing(app, "list", _CLIENTS, title="Liquidity providers", empty="No liquidity providers.", keys=_KEYS)
def list_clients(
    books: Books,
    asked: Asked,  # noqa: ARG001 - the decorator limits it
    machine: OfMachine = None,
    person: Person = None,
    status: Annotated[str | None, typer.Option(help="active, paused or removed.")] = None,
    removed: Annotated[bool, typer.Option("--removed", help="Also those that were removed.")] = False,
) -> list[Row]:
    """List liquidity providers with what they have available.

    Examples:

        satmachine clients list --machine panajachel-1

        satmachine clients list --person maria
    """
    if status not in (None, *ClientStatus):
        raise typer.BadParameter("--status must be active, paused or removed")
    whose: dict[str, Any] = {"machine": machine, "person": person, "operator": books.scope}
    found = clients.find(books.conn, **whose, status=status, removed=removed)
    amounts = {one.client_id: one for one in balances.find(books.conn, **whose, removed=True)}
    return [_row(client, amounts[client.id]) for client in found]


@reading(app, "show")
def show(books: Books, client: Client, as_json: AsJson = False) -> None:
    """Show one liquidity provider.

    Examples:

        satmachine clients show 3

        satmachine clients show maria@panajachel-1
    """
    row = client_row(books, client)
    emit_record(row, FIELDS, json=as_json, title=title_of(row), tz=books.tz)


@listing(
    app, "balance", _BALANCES, title="Balances", empty="No liquidity providers.", keys=_BALANCE_KEYS, single="client"
)
def balance(
    books: Books,
    asked: Asked,  # noqa: ARG001
    client: Annotated[
        int | None,
        typer.Argument(
            metavar="[CLIENT]", help="One LP, by id, label or label@machine.", autocompletion=complete.clients
        ),
    ] = None,
    machine: OfMachine = None,
    person: Person = None,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="As it was at this time: 2026-11-22T10:00, or a date for its end."),
    ] = None,
) -> list[Row]:
    """Show what LPs have in the machines: deposited, spent, reserved by payments under way, available.

    Examples:

        satmachine clients balance maria

        satmachine clients balance --machine panajachel-1 --as-of 2026-11-30
    """
    found = balances.find(
        books.conn,
        client_id=client,
        machine=machine,
        person=person,
        removed=client is not None,
        as_of=_as_of(books, as_of),
        operator=books.scope,
    )
    return [as_row(entry) | {"available_minor": entry.available_minor} for entry in found]


def client_row(books: Books, client_id: int) -> dict[str, Any]:
    """A client with what they have available."""
    return _row(clients.get(books.conn, client_id), balances.of_client(books.conn, client_id))


def title_of(row: Row) -> str:
    """The heading of one client's screen."""
    return f"LP {row['id']}: {row['label']} at {row['machine_id']}"


def _row(client: ClientRow, amounts: Balance) -> dict[str, Any]:
    row = row_of(client)
    if client.payee_kind == "lnurl":  # the code itself may be a key to somebody's account
        row["payee"] = describe_payee(client.payee_kind, client.payee)
    return row | {column.key: getattr(amounts, column.key) for column in _AMOUNTS}


def _as_of(books: Books, text: str | None) -> int | None:
    """The last second that counts: for a date, the last one of that day."""
    start, end = books.when(text), books.when(text, end=True)
    return end if end is None or start == end else end - 1
