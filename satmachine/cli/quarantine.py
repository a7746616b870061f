"""`satmachine quarantine`: signed messages of machines that could not be used (SPEC section 6.6)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from satmachine.cli.common import (
    DEFAULT_LIMIT,
    MAX_ID,
    AsCsv,
    AsJson,
    Before,
    Books,
    Limit,
    Since,
    Until,
    answer_of,
    more_hint,
    not_found,
    open_books,
    request,
)
from satmachine.cli.output import Column, emit_record, emit_table, print_json, print_line, to_json
from satmachine.errors import Refused
from satmachine.orders import RetryQuarantined
from satmachine.store import quarantine, reports

app = typer.Typer(no_args_is_help=True, help="Messages of machines that could not be used.")

QuarantineId = Annotated[int, typer.Argument(metavar="ID", min=1, max=MAX_ID, help="As `quarantine list` shows it.")]

_COLUMNS = (
    Column("id", "Id"),
    Column("received_at", "Received"),
    Column("machine_id", "Machine"),
    Column("reason", "Reason"),
    Column("detail", "What is wrong", fold=True),
    Column("status", "Status", wide=True),
    Column("settlement_id", "Sale", wide=True),
)

_FIELDS = (
    Column("machine_id", "Machine"),
    Column("status", "Status"),
    Column("reason", "Reason"),
    Column("detail", "What is wrong"),
    Column("settlement_id", "Sale"),
    Column("created_at", "Signed"),
    Column("received_at", "Received"),
    Column("retried_at", "Retried"),
    Column("relay_url", "Relay"),
    Column("kind", "Kind"),
    Column("event_id", "Event"),
)

_LIST_HELP = """List messages that machines have signed and that could not be used, newest first, with the reason.

Examples:

    satmachine quarantine list

    satmachine quarantine list --machine panajachel-1 --all --json
"""

_SHOW_HELP = """Show one message: what is wrong with it, and the message as it came.

Examples:

    satmachine quarantine show 3

    satmachine quarantine show 3 --json
"""

_RETRY_HELP = """Let the daemon read a message again, after what was wrong has been put right.

Examples:

    satmachine quarantine retry 3

    satmachine quarantine retry 3 --json
"""


@app.command("list", help=_LIST_HELP)
def list_quarantine(
    ctx: typer.Context,
    machine: Annotated[str | None, typer.Option(metavar="ID", help="Of this machine.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were used after all.")] = False,
    since: Since = None,
    until: Until = None,
    before: Before = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print a page of messages."""
    with open_books(ctx) as books:
        books.require_machine(machine)
        books.require_row("message in quarantine", "quarantine", before)
        wanted = reports.Filter(
            machine_id=machine,
            status=None if everything else "open",
            since=books.when(since),
            until=books.when(until, end=True),
            before_id=before,
            limit=limit,
        )
        page = reports.quarantine(books.conn, books.scope, wanted)
        beyond = quarantine.overflow(books.conn, books.scope, machine)
    hints = [more_hint(page)]
    if beyond:
        hints.append(f"{beyond} more came than are kept; a key that signs so many may be stolen (docs/security.md).")
    emit_table(
        page.rows,
        _COLUMNS,
        json=as_json,
        csv=as_csv,
        title="Quarantine",
        empty="Nothing in quarantine.",
        tz=books.tz,
        keys=page.keys,
        more="\n".join(hint for hint in hints if hint),
    )


@app.command("show", help=_SHOW_HELP)
def show(ctx: typer.Context, quarantine_id: QuarantineId, as_json: AsJson = False) -> None:
    """Print one message."""
    with open_books(ctx) as books:
        message = _find(books, quarantine_id)
    emit_record(message, _FIELDS, json=as_json, title=f"Message {quarantine_id} in quarantine", tz=books.tz)
    if not as_json:
        print_line("As it came" if message["whole"] else "How it began (too long to be kept)", style="bold")
        print_line(message["raw"])


@app.command("retry", help=_RETRY_HELP)
def retry(ctx: typer.Context, quarantine_id: QuarantineId, as_json: AsJson = False) -> None:
    """Ask the daemon to read a message again."""
    with open_books(ctx, write=True) as books:
        message = _find(books, quarantine_id)
        if message["status"] == "landed":
            raise Refused(
                f"message {quarantine_id} was used after all: it belongs to settlement {message['settlement_id']}"
            )
        intent = request(books, RetryQuarantined(quarantine_id))
        if as_json:
            print_json(to_json(asdict(intent)))
        else:
            typer.echo(answer_of(books, intent))


def _find(books: Books, quarantine_id: int) -> reports.Record:
    message = reports.quarantined(books.conn, quarantine_id)
    if message is None or not books.sees(message["machine_id"]):
        raise not_found("message in quarantine", quarantine_id)
    return message
