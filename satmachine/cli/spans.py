"""`--month`, or `--since` and `--until`: which period a report, an export or a what-if is about."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli.kit.books import Books
from satmachine.store import ledger
from satmachine.store.ledger import Span

Month = Annotated[
    str | None,
    typer.Option(metavar="YYYY-MM", help="A month in the time zone of --tz, like 2026-11; or use --since and --until."),
]
Machine = Annotated[str | None, typer.Option("--machine", metavar="ID", help="Only this machine.")]


def span_of(books: Books, month: str | None, since: str | None, until: str | None, machine: str | None = None) -> Span:
    """The period that was asked for; without it, from the first fact up to now. Raises BadParameter."""
    from satmachine.ledger.periods import month_span

    books.require_machine(machine)
    if month is None:
        first = ledger.first_at(books.conn)
        since_at = books.when(since)
        until_at = books.when(until, end=True)
        begin = (first if first is not None else books.now) if since_at is None else since_at
        end = books.now + 1 if until_at is None else until_at
    elif since is not None or until is not None:
        raise typer.BadParameter("give --month, or --since and --until")
    else:
        try:
            begin, end = month_span(month, books.tz)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    if begin >= end:
        raise typer.BadParameter("--since is after --until: there is nothing in between")
    return Span(begin, end, books.scope, machine)
