"""Statements to hand out: `clients statement --html` and `--signed`. The daemon signs; this asks it, and prints."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import orjson
import typer

from satmachine.cli.kit.books import Books
from satmachine.cli.kit.requests import answer_of, request
from satmachine.errors import Refused
from satmachine.nostr.event import Event, parse_event
from satmachine.ops.service import starts
from satmachine.orders import SignStatement
from satmachine.store import clients, statement_rows
from satmachine.store.database import connect
from satmachine.store.statement_rows import SignedStatement


def print_statement(
    books: Books, client_id: int, since: str | None, until: str | None, *, html: bool, unsigned: bool
) -> None:
    """Print the page, or the signed document. Raises NotFound, Refused."""
    from satmachine.reports.signed import event_file, with_event

    if unsigned and not html:
        raise typer.BadParameter("--unsigned goes only with --html; --json prints a document without a signature")
    clients.get(books.conn, client_id, operator=books.scope)
    order = SignStatement(client_id, books.when(since), books.when(until, end=True), str(books.tz))
    if unsigned:
        typer.echo(_unsigned_page(books, order), nl=False)
        return
    with closing(connect(books.path)) as conn:
        made = _signed(replace(books, conn=conn), order)
    event = parse_event(orjson.loads(made.event))
    assert isinstance(event, Event), "what the daemon has signed is an event"
    typer.echo(with_event(made.html, event) if html else event_file(event), nl=False)


def _signed(books: Books, order: SignStatement) -> SignedStatement:
    """Have the daemon sign it, now."""
    if not books.daemon_runs:
        raise Refused(
            f"the daemon signs statements, but it does not run: start it with `{starts(books.path).start}`. For a page "
            f"without a signature: `satmachine clients statement {order.client_id} --html --unsigned`"
        )
    intent = request(books, order)
    made = statement_rows.newest(books.conn, order.client_id, order.since, order.until, made_since=intent.created_at)
    if intent.status == "open" or made is None:
        raise Refused(f"the statement is not signed yet. {answer_of(books, intent)} Try again in a minute")
    return made


def _unsigned_page(books: Books, order: SignStatement) -> str:
    from satmachine.reports.html import statement_page
    from satmachine.reports.make import document_of

    client = clients.get(books.conn, order.client_id, operator=books.scope)
    document = document_of(books.conn, client, order.since, order.until, made_at=books.now, signer=None)
    return statement_page(document, books.tz)
