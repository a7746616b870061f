"""`satmachine quarantine`: signed messages from machines that could not be used (SPEC section 6.6)."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import typer

from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Act, Asked, Done, acting, listing, reading
from satmachine.cli.kit.options import AsJson, Message, OfMachine
from satmachine.cli.kit.output import emit_record, print_line
from satmachine.cli.kit.values import Column
from satmachine.errors import Refused
from satmachine.orders import RetryQuarantined
from satmachine.store import list_queries, quarantine_rows
from satmachine.store.pages import Page

app = typer.Typer(no_args_is_help=True, help="Messages from machines that could not be used.")

_MESSAGES = (
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
    Column("dismissed_at", "Dismissed"),
    Column("dismissed_why", "Because"),
    Column("relay_url", "Relay"),
    Column("kind", "Kind"),
    Column("event_id", "Event"),
)


@listing(app, "list", _MESSAGES, title="Quarantine", empty="Nothing in quarantine.", span=True, below="message")
def list_quarantine(
    books: Books,
    asked: Asked,
    machine: OfMachine = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were used later, or dismissed.")] = False,
) -> Page:
    """List messages that machines have signed and that could not be used, newest first, with the reason.

    Examples:

        satmachine quarantine list

        satmachine quarantine list --machine panajachel-1 --all --json
    """
    wanted = asked.filter(machine_id=machine, status=None if everything else "open")
    page = list_queries.quarantine(books.conn, books.scope, wanted)
    beyond = quarantine_rows.overflow(books.conn, books.scope, machine)
    hint = f"{beyond} more arrived than are kept; a key that signs so many may be stolen (docs/security.md)."
    return replace(page, hints=(hint,) if beyond else ())


@reading(app, "show")
def show(books: Books, message: Message, as_json: AsJson = False) -> None:
    """Show one message: what is wrong with it, and its text as it arrived.

    Examples:

        satmachine quarantine show 3

        satmachine quarantine show 3 --json
    """
    row = _find(books, message)
    emit_record(row, _FIELDS, json=as_json, title=f"Message {message} in quarantine", tz=books.tz)
    if not as_json:
        print_line("As it arrived" if row["whole"] else "How it began (too long to be kept)", style="bold")
        print_line(row["raw"])
        if row["status"] == "open" and row["dismissed_at"] is None:
            print_line(
                f"`satmachine quarantine retry {message}` reads it again, once the cause is gone; "
                f"`satmachine quarantine dismiss {message}` says that it is of no use."
            )


@acting(app, "retry", asks=False)
def retry(act: Act, message: Message) -> Done:
    """Let the daemon read a message again, after the cause was corrected.

    Examples:

        satmachine quarantine retry 3

        satmachine quarantine retry 3 --json
    """
    row = _find(act.books, message)
    if row["status"] == "landed":
        raise Refused(f"message {message} was used later: it belongs to sale {row['settlement_id']}")
    act.ask(f"read message {message} again")
    answer, intent = act.order_and_intent(RetryQuarantined(message))
    return Done(asdict(intent), answer)


@acting(app, "dismiss", reason=True)
def dismiss(act: Act, message: Message) -> Done:
    """Say that a message is of no use: it is kept, but `status` no longer shows it.

    Example:

        satmachine quarantine dismiss 3 --reason "a test of the machine's maker" --yes
    """
    row = _find(act.books, message)
    act.ask(f"dismiss message {message} of {row['machine_id']}: {row['detail']}")
    act.write(quarantine_rows.dismiss, message, reason=act.reason, actor=act.books.actor, now=act.books.now)
    return Done(_find(act.books, message), f"Message {message} is dismissed.")


def _find(books: Books, message_id: int) -> list_queries.Record:
    row = list_queries.quarantined(books.conn, message_id)
    assert row is not None  # it was just looked up
    return row
