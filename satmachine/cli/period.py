"""`satmachine period ..`: closing months, and proving that a closed one was not altered (SPEC section 13)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from satmachine.cli.kit.books import Books, open_books
from satmachine.cli.kit.options import AsCsv, AsJson, DryRun, Reason, Yes
from satmachine.cli.kit.output import emit_table, print_json, print_line, to_json
from satmachine.cli.kit.requests import confirm, reason_of
from satmachine.cli.kit.values import Column
from satmachine.cli.progress import progress, stepwise
from satmachine.errors import Refused
from satmachine.store import audit_log as audit
from satmachine.store import ledger, ledger_sums, period_rows
from satmachine.store.database import atomic
from satmachine.store.ledger import Span
from satmachine.store.period_rows import Period

app = typer.Typer(no_args_is_help=True, help="Close months, and prove that a closed month was not altered.")

_COLUMNS = (
    Column("name", "Month"),
    Column("entries", "Entries"),
    Column("end_at", "Ended", wide=True),
    Column("closed_at", "Books as of"),
    Column("actor", "By"),
    Column("reason", "Why", fold=True),
    Column("hash", "Hash", wide=True, fold=True),
)

_NONE = "No month has been closed yet."


@app.command("close")
def close(
    ctx: typer.Context,
    month: Annotated[str, typer.Argument(metavar="YYYY-MM", help="A month that is over, in the time zone of --tz.")],
    reason: Reason = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Close a month: its totals and a hash of its entries are stored, chained to the month before.

    What the books learn later (a sale that was entered late, a correction, a deposit with an old date) counts in the
    month that is open then, and names the original. A closed month cannot be opened again, and neither can those before
    it: begin with the first month of the books. If a month is left out, the next one includes it.

    Examples:

        satmachine period close 2026-11 --reason "handed to the accountant" --dry-run

        satmachine --tz America/Guatemala period close 2026-11 --reason "handed to the accountant"
    """
    why = reason_of(reason)
    with open_books(ctx, write=not dry_run) as books:
        if books.scope is not None:
            raise Refused("a month is closed for all operators at once: leave out --operator")
        try:
            made = _made(books, month, why)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if not as_json:
            _tell_of_earlier_months(books, made)
        if not dry_run:
            confirm(f"Close {month} with {made.entries} entries? It cannot be opened again.", yes=yes)
            with atomic(books.conn) as conn:
                period_rows.add(conn, made)
                audit.record(
                    conn,
                    now=books.now,
                    actor=books.actor,
                    action="period.close",
                    subject=f"period {month}",
                    reason=why,
                    after={"entries": made.entries, "hash": made.hash},
                )
    if as_json:
        print_json(to_json(_row(made)) | {"dry_run": dry_run})
        return
    done = "would be closed" if dry_run else "is closed"
    print_line(f"{month} {done} with {made.entries} entries. Write its hash down elsewhere:")
    print_line(made.hash)


def _made(books: Books, month: str, why: str) -> Period:
    """What will be written, with progress bars: what was before is added up, the month is read entry by entry."""
    from satmachine.ledger.periods import make_period, span_to_close, totals_before

    conn, span = books.conn, span_to_close(books.conn, month, books.tz, books.now)
    with stepwise("Adding up what was before", ledger_sums.steps(conn, Span(0, span.since))) as seen:
        begun = totals_before(conn, span, seen)
    with progress(f"Reading {month}", ledger.count(conn, span)) as seen:
        return make_period(conn, month, books.tz, actor=books.actor, reason=why, now=books.now, begun=begun, seen=seen)


def _tell_of_earlier_months(books: Books, made: Period) -> None:
    """The first month that is closed closes those before it too, and proves only their totals."""
    from satmachine.ledger.periods import month_of

    first_at = ledger.first_at(books.conn)
    if made.previous or first_at is None or first_at >= made.start_at:
        return
    first = month_of(first_at, books.tz)
    print_line(
        f"{made.name} is the first month to be closed, but the books begin in {first}. The months before {made.name} "
        f"are closed with it, and only their totals are kept. To prove their entries too, close {first} first."
    )


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the months that are closed.

    Examples:

        satmachine period list
    """
    with open_books(ctx) as books:
        rows = [_row(period) for period in period_rows.all_of(books.conn)]
        keys = [name for name in Period.__dataclass_fields__ if name != "totals"]
        emit_table(rows, _COLUMNS, json=as_json, csv=as_csv, tz=books.tz, keys=keys, empty=_NONE)


@app.command("check")
def check(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Prove that no closed month was altered: every entry of them is read again. Exits with 1 if one was.

    `satmachine audit` also does this.

    Examples:

        satmachine period check
    """
    from satmachine.ledger.periods import altered, broken_links

    with open_books(ctx) as books:
        closed = period_rows.all_of(books.conn)
        with progress("Reading closed months", sum(period.entries for period in closed)) as seen:
            found = [*broken_links(books.conn), *altered(books.conn, seen=seen)]
    if as_json:
        print_json([{"name": period.name, "detail": detail} for period, detail in found])
    for period, detail in found if not as_json else ():
        print_line(f"{period.name}: {detail}.")
    if not as_json and not found:
        told = f"{len(closed)} closed month(s): none was altered."
        print_line(told if closed else _NONE)
    if found:
        raise typer.Exit(1)


def _row(period: Period) -> dict[str, Any]:
    return {name: getattr(period, name) for name in Period.__dataclass_fields__ if name != "totals"}
