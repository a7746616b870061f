"""`clients statement`: deposits and purchases with the running balance."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any

import typer

from satmachine.cli.clients import app
from satmachine.cli.kit import complete
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import ON_A_SCREEN, reading
from satmachine.cli.kit.options import AsCsv, AsJson, Limit, Person, Since, Until
from satmachine.cli.kit.output import emit_record, emit_table, print_json, to_json
from satmachine.cli.kit.values import Column, format_fiat, is_terminal
from satmachine.clients.statement import Statement, make_statement
from satmachine.errors import NotFound
from satmachine.models import Client
from satmachine.store import balances, clients

_LINE_COLUMNS = (
    Column("at", "Time"),
    Column("kind", "What"),
    Column("fiat_amount_minor", "Amount"),
    Column("amount_sats", "Sats"),
    Column("exchange_rate", "Rate", wide=True),
    Column("machine_id", "Machine", wide=True),
    Column("settlement_id", "Sale", wide=True),
    Column("status", "Status"),
    Column("balance_minor", "Balance"),
)
_LINE_KEYS = (
    *("client_id", "label", "machine_id", "at", "kind", "id", "settlement_id", "fiat_amount_minor", "currency"),
    *("amount_sats", "fee_sats", "exchange_rate", "status", "balance_minor", "notes"),
)


@reading(app, "statement")
def statement(
    books: Books,
    client: Annotated[
        int | None,
        typer.Argument(metavar="[CLIENT]", help="By id, label or label@machine.", autocompletion=complete.clients),
    ] = None,
    person: Person = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    html: Annotated[bool, typer.Option("--html", help="A page to read or print, signed by the daemon.")] = False,
    signed: Annotated[bool, typer.Option("--signed", help="A signed document, for programs.")] = False,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="With --html: without a signature.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show an LP's deposits and purchases with the balance after each, average cost and totals.

    If there are more lines than --limit, people see the latest; the totals are those of the whole period.
    You can give others what --html and --signed print: `satmachine verify FILE` proves that it was not altered.

    Examples:

        satmachine clients statement maria --since 2026-11-01 --until 2026-11-30

        satmachine clients statement 3 --html > maria.html

        satmachine clients statement --person maria --csv
    """
    if (client is None) == (person is None):
        raise typer.BadParameter("name one LP, or a --person")
    if html or signed:
        from satmachine.cli.clients.signed_statement import print_statement

        if client is None or html + signed + as_json + as_csv > 1:
            raise typer.BadParameter("choose one of --html, --signed, --json and --csv, and one LP")
        print_statement(books, client, since, until, html=html, unsigned=unsigned)
        return
    if client is not None:
        found = [clients.get(books.conn, client)]
    else:
        found = clients.find(books.conn, person=person, removed=True, operator=books.scope)
    if not found:
        raise NotFound(f"there is no LP of the person {person}")
    since_at, until_at = books.when(since), books.when(until, end=True)
    made = [(c, make_statement(balances.movements(books.conn, c.id), since=since_at, until=until_at)) for c in found]
    if as_json:
        documents = [_statement_json(one, entry, since_at, until_at) for one, entry in made]
        print_json(documents if client is None else documents[0])
    elif as_csv:
        rows = [row for one, entry in made for row in _line_rows(one, entry)]
        emit_table(rows, _LINE_COLUMNS, csv=True, keys=_LINE_KEYS)
    else:
        shown = limit or (ON_A_SCREEN if is_terminal() else len(max((e.lines for _, e in made), key=len)) or 1)
        for one, entry in made:
            _show_statement(books, one, entry, shown)


def _line_rows(client: Client, made: Statement) -> list[dict[str, Any]]:
    rows = []
    for line in made.lines:
        movement = line.movement
        values = {
            "client_id": client.id,
            "label": client.label,
            "machine_id": client.machine_id,
            "at": movement.at,
            "kind": movement.kind,
            "id": movement.id,
            "settlement_id": movement.settlement_id,
            "fiat_amount_minor": movement.amount_minor,
            "currency": client.currency,
            "amount_sats": movement.sats,
            "fee_sats": movement.fee_sats,
            "exchange_rate": None if movement.exchange_rate is None else f"{movement.exchange_rate:f}",
            "status": movement.status,
            "balance_minor": line.balance_minor,
            "notes": movement.notes,
        }
        rows.append({key: values[key] for key in _LINE_KEYS})
    return rows


def _totals_row(client: Client, made: Statement) -> dict[str, Any]:
    return {
        "currency": client.currency,
        "opening_minor": made.opening_minor,
        **asdict(made.totals),
        "closing_minor": made.closing_minor,
    }


def _statement_json(client: Client, made: Statement, since: int | None, until: int | None) -> dict[str, Any]:
    head = {"client_id": client.id, "label": client.label, "person": client.person, "machine_id": client.machine_id}
    return {
        **to_json(head | {"since_at": since, "until_at": until}),
        **to_json(_totals_row(client, made)),
        "lines": [to_json(row) for row in _line_rows(client, made)],
    }


def _show_statement(books: Books, client: Client, made: Statement, limit: int) -> None:
    title = f"Statement of {client.person}: LP {client.id}, {client.label} at {client.machine_id}"
    empty = f"{title}\nNothing happened in this period."
    latest = replace(made, lines=made.lines[-limit:])
    if hidden := len(made.lines) - len(latest.lines):
        title += f" (the latest lines; {hidden} came before, show them with --limit)"
    emit_table(_line_rows(client, latest), _LINE_COLUMNS, tz=books.tz, title=title, empty=empty)
    fields = (
        Column("opening_minor", "Balance before"),
        Column("deposited_minor", "Deposited"),
        Column("bought_minor", "Spent"),
        Column("bought_sats", "Sats bought"),
        Column("fee_sats", "Routing fees"),
        Column(
            "average_cost_minor",
            "Average cost",
            show=lambda row: (
                ""
                if row["average_cost_minor"] is None
                else f"{format_fiat(row['average_cost_minor'], row['currency'])} per bitcoin"
            ),
        ),
        Column("reserved_minor", "On its way"),
        Column("closing_minor", "Balance after"),
    )
    emit_record(_totals_row(client, made), fields, tz=books.tz)
