"""`satmachine export ledger`: double entry for other programs (SPEC section 13). Thin: parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satmachine.cli.kit.books import Books, open_books
from satmachine.cli.kit.options import Since, Until
from satmachine.cli.progress import is_large, progress, stepwise
from satmachine.cli.spans import Machine, Month, span_of
from satmachine.errors import Refused
from satmachine.store import ledger, period_rows

if TYPE_CHECKING:
    from satmachine.ledger.postings import Entry
    from satmachine.reports.export import Known
    from satmachine.store.ledger import Span

app = typer.Typer(no_args_is_help=True, help="The books for other programs.")

_HELP = """Write the ledger in double entry: sales, payments, deposits, refunds, retained sats and corrections.

Amounts are in sats and in the machines' currencies; the price of sats is each sale's own rate. Every entry carries
an id that is the same in every export. Refused while `satmachine audit --offline` finds a break in what is
exported, or in a closed month.

With --known: only what that file does not have yet, to be appended to it; doing this twice adds nothing.

Examples:

    satmachine export ledger --format beancount > books.beancount

    satmachine export ledger --format beancount --known books.beancount >> books.beancount

    satmachine export ledger --format csv --month 2026-11 > november.csv
"""


@app.callback()
def export() -> None:
    """The books for other programs."""


@app.command("ledger", help=_HELP)
def export_ledger(
    ctx: typer.Context,
    form: Annotated[str, typer.Option("--format", metavar="NAME", help="beancount, hledger or csv.")] = "beancount",
    month: Month = None,
    since: Since = None,
    until: Until = None,
    machine: Machine = None,
    known: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Leave out what is already in this earlier export.")
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Export even if the audit finds a break.")] = False,
) -> None:
    """Read, translate, write line by line."""
    from satmachine.reports.export import FORMATS

    if form not in FORMATS:
        raise typer.BadParameter("--format must be beancount, hledger or csv")
    seen_before = _known(known, form)
    with open_books(ctx) as books:
        span = span_of(books, month, since, until, machine)
        if not anyway:
            _require_whole(books, span.since)
        found, written = _entries(books, span, seen_before), 0
        with progress("Exporting", ledger.count(books.conn, span)) as seen:
            for line in FORMATS[form](_counted(found, seen), books.tz, seen_before):
                written += 1
                sys.stdout.write(line + "\n")
        if written <= 1:  # a comment or the names of columns
            _tell_of_nothing(books, known)


def _counted(entries: Iterator[Entry], seen: Callable[[], object]) -> Iterator[Entry]:
    for entry in entries:
        seen()
        yield entry


def _tell_of_nothing(books: Books, known: Path | None) -> None:
    """On stderr, so that a file stays as it is."""
    from satmachine.ledger.periods import beginning

    begun = beginning(ledger.first_at(books.conn), books.tz)
    new = f"These books have nothing from that time: {begun}." if known is None else f"Nothing is new since {known}."
    typer.echo(new, err=True)


def _entries(books: Books, span: Span, known: Known) -> Iterator[Entry]:
    """The entries of a period, after one entry for everything before it (unless they follow an earlier export)."""
    from satmachine.ledger.entries import balances, entries, steps_before
    from satmachine.reports.export import opening_entry

    if known.ids:
        return entries(books.conn, span)
    steps = steps_before(books.conn, span.since, scope=span.scope, machine_id=span.machine_id)
    with stepwise("Adding up what was before", steps) as seen:
        before = balances(books.conn, span.since, scope=span.scope, machine_id=span.machine_id, seen=seen)
    opening = opening_entry(before, span.since)
    return chain([] if opening is None else [opening], entries(books.conn, span))


def _known(path: Path | None, form: str) -> Known:
    from satmachine.reports.export import Known, known_in

    if path is None:
        return Known()
    try:
        with path.open(encoding="utf-8") as lines:
            found, is_empty = known_in(lines), path.stat().st_size == 0
    except UnicodeError:
        raise typer.BadParameter(f"--known {path} is not text, so it is not an earlier export") from None
    except OSError as error:
        hint = "; for a first export leave out --known" if isinstance(error, FileNotFoundError) else ""
        raise typer.BadParameter(f"--known {path} cannot be read: {error.strerror}{hint}") from None
    if not found.ids and not is_empty:
        raise typer.BadParameter(f"--known {path} contains no entry of an earlier export: is it the right file?")
    if found.form not in ("", form):
        raise typer.BadParameter(
            f"--known {path} is an export with --format {found.form}: name that format, or another file"
        )
    return found


def _require_whole(books: Books, since: int) -> None:
    """What is exported is right: closed months are what they were, and all is that came after those before it."""
    from satmachine.audit.proof import STEPS, check_closed_months, check_rules

    closed = period_rows.last_before(books.conn, since)
    begin = 0 if closed is None else ledger.oldest_posted(books.conn, closed.end_at)
    with stepwise("Checking the books", STEPS, at_once=is_large(books.path)) as seen:
        breaks = check_rules(books.conn, scope=books.scope, since=begin, seen=seen)
        breaks += check_closed_months(books.conn)
    if breaks:
        raise Refused(
            f"the audit finds {len(breaks)} break(s) in the books, the first at {breaks[0].subject}: "
            "`satmachine audit --offline` shows them. To export anyway, add --anyway"
        )
