"""`satmachine deposits ...` (SPEC sections 8 and 10): the cash that LPs brought. Thin: parse, call, print."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli.common import (
    DEFAULT_LIMIT,
    AsCsv,
    AsJson,
    Before,
    Books,
    DryRun,
    Limit,
    Since,
    Until,
    Yes,
    confirm,
    more_hint,
    open_books,
)
from satmachine.cli.output import Column, as_row, emit_record, emit_table, format_fiat, print_json
from satmachine.models import Deposit
from satmachine.store import clients, deposits
from satmachine.store.database import atomic
from satmachine.store.pages import Page

app = typer.Typer(
    no_args_is_help=True,
    help="The cash that liquidity providers bring, and take home: pending, then confirmed or rejected.",
)

_COLUMNS = (
    Column("id", "id"),
    Column("recorded_at", "recorded"),
    Column("machine_id", "machine", wide=True),
    Column("label", "client"),
    Column("amount_minor", "amount"),
    Column("kind", "kind", wide=True),
    Column("status", "status"),
    Column("effective_at", "counts from", wide=True),
    Column("recorded_by", "by", wide=True),
    Column("decided_at", "decided", wide=True),
    Column("notes", "note", fold=True),
)
_FIELDS = (
    Column("status", "status"),
    Column("kind", "kind"),
    Column("amount_minor", "amount"),
    Column("effective_at", "counts from"),
    Column("reverses", "reverses"),
    Column("cash_id", "loaded with"),
    Column("client_id", "client id"),
    Column("label", "client"),
    Column("machine_id", "machine"),
    Column("recorded_at", "recorded"),
    Column("recorded_by", "by"),
    Column("decided_at", "decided"),
    Column("decided_by", "by"),
    Column("notes", "note"),
)

DepositId = Annotated[int, typer.Argument(metavar="ID", help="The deposit's id, as `deposits list` shows it.")]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="From when on it counts: when the cash came, before any sale since."),
]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="What the books should say about it.")]


@app.command("add")
def add(
    ctx: typer.Context,
    client_id: Annotated[int, typer.Argument(metavar="CLIENT_ID", help="As `clients list` shows it.")],
    amount: Annotated[str, typer.Argument(help="In the machine's currency, like 1000 or 12.50.")],
    note: Note = None,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Record cash that a client brought. It counts once it is confirmed.

    Examples:

        satmachine deposits add 3 1000 --note "20 notes of 50, handed over at the market"

        satmachine deposits add 3 1000 --at 2026-11-20T10:00 --note "entered again after the restore"
    """
    with open_books(ctx, write=True) as books:
        client = clients.get(books.conn, client_id, operator=books.scope)
        amount_minor = _amount(amount, client.currency)
        with atomic(books.conn) as conn:
            deposit_id = deposits.add(
                conn,
                client_id=client_id,
                amount_minor=amount_minor,
                notes=note or "",
                effective_at=books.when(at),
                actor=books.actor,
                now=books.now,
            )
        _show(books, deposit_id, as_json)


@app.command("reverse")
def reverse(
    ctx: typer.Context,
    deposit_id: DepositId,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; for the audit log.")],
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take back a deposit that was confirmed wrongly, as far as it is not spent: a negative row that counts from now.

    Examples:

        satmachine deposits reverse 12 --reason "entered twice" --dry-run

        satmachine deposits reverse 12 --reason "it was 900, not 1000" --yes
    """
    if not reason.strip():
        raise typer.BadParameter("--reason is empty")
    with open_books(ctx, write=True) as books:
        deposit = deposits.get(books.conn, deposit_id, operator=books.scope)
        question = f"deposit {deposit.id} of {deposit.label}, {format_fiat(deposit.amount_minor, deposit.currency)}"
        if dry_run:
            typer.echo(f"Would reverse {question}.")
            return
        confirm(f"Reverse {question}?", yes=yes)
        with atomic(books.conn) as conn:
            taken = deposits.reverse(conn, deposit_id, reason=reason.strip(), actor=books.actor, now=books.now)
        _show(books, taken.id, as_json)


@app.command("withdraw")
def withdraw(
    ctx: typer.Context,
    client_id: Annotated[int, typer.Argument(metavar="CLIENT_ID", help="As `clients list` shows it.")],
    amount: Annotated[str, typer.Argument(help="In the machine's currency, like 1000 or 12.50.")],
    note: Note = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Record cash that a client takes home, out of what is available: a negative row that counts from now.

    Examples:

        satmachine deposits withdraw 3 500 --note "handed over at the market" --dry-run

        satmachine deposits withdraw 3 500 --yes
    """
    with open_books(ctx, write=True) as books:
        client = clients.get(books.conn, client_id, operator=books.scope)
        amount_minor = _amount(amount, client.currency)
        question = f"a withdrawal of {format_fiat(amount_minor, client.currency)} by {client.label}"
        if dry_run:
            typer.echo(f"Would record {question}.")
            return
        confirm(f"Record {question}?", yes=yes)
        with atomic(books.conn) as conn:
            taken = deposits.withdraw(conn, client_id, amount_minor, notes=note or "", actor=books.actor, now=books.now)
        _show(books, taken.id, as_json)


@app.command("list")
def list_(
    ctx: typer.Context,
    client: Annotated[int | None, typer.Option(metavar="ID", help="Only of this client.")] = None,
    machine: Annotated[str | None, typer.Option(metavar="ID", help="Only at this machine.")] = None,
    status: Annotated[str | None, typer.Option(help="pending, confirmed or rejected.")] = None,
    since: Since = None,
    until: Until = None,
    before: Before = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List deposits, the latest first.

    Examples:

        satmachine deposits list --status pending

        satmachine deposits list --machine panajachel-1 --since 2026-11-01 --csv
    """
    if status not in (None, "pending", "confirmed", "rejected"):
        raise typer.BadParameter("--status must be pending, confirmed or rejected")
    with open_books(ctx) as books:
        if before is not None:
            deposits.get(books.conn, before, operator=books.scope)
        found = deposits.find(
            books.conn,
            client_id=client,
            machine=books.require_machine(machine),
            status=status,
            since=books.when(since),
            until=books.when(until, end=True),
            operator=books.scope,
            before_id=before,
            limit=limit + 1,
        )
    keys = tuple(name for name in Deposit.__dataclass_fields__ if name != "operator_id")
    page = Page([_row(deposit) for deposit in found[:limit]], keys, len(found) > limit)
    emit_table(
        page.rows,
        _COLUMNS,
        json=as_json,
        csv=as_csv,
        tz=books.tz,
        keys=page.keys,
        empty="No deposits.",
        more=more_hint(page),
    )


@app.command("show")
def show(ctx: typer.Context, deposit_id: DepositId, as_json: AsJson = False) -> None:
    """Show one deposit.

    Examples:

        satmachine deposits show 12
    """
    with open_books(ctx) as books:
        _show(books, deposit_id, as_json)


@app.command("edit")
def edit(
    ctx: typer.Context,
    deposit_id: DepositId,
    amount: Annotated[str | None, typer.Option(help="The right amount.")] = None,
    note: Note = None,
    at: At = None,
    as_json: AsJson = False,
) -> None:
    """Correct a deposit while it is pending.

    Examples:

        satmachine deposits edit 12 --amount 950
    """
    if amount is None and note is None and at is None:
        raise typer.BadParameter("say what to change: --amount, --note or --at")
    with open_books(ctx, write=True) as books:
        deposit = deposits.get(books.conn, deposit_id, operator=books.scope)
        amount_minor = None if amount is None else _amount(amount, deposit.currency)
        with atomic(books.conn) as conn:
            deposits.edit(
                conn,
                deposit_id,
                amount_minor=amount_minor,
                notes=note,
                effective_at=books.when(at),
                actor=books.actor,
                now=books.now,
            )
        _show(books, deposit_id, as_json)


@app.command("confirm")
def confirm_(ctx: typer.Context, deposit_id: DepositId, as_json: AsJson = False) -> None:
    """Confirm that the cash is in the machine. It takes part in sales from now on (or from its --at), for good.

    Examples:

        satmachine deposits confirm 12
    """
    with open_books(ctx, write=True) as books:
        deposits.get(books.conn, deposit_id, operator=books.scope)
        with atomic(books.conn) as conn:
            deposits.confirm(conn, deposit_id, actor=books.actor, now=books.now)
        _show(books, deposit_id, as_json)


@app.command("reject")
def reject(
    ctx: typer.Context,
    deposit_id: DepositId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; for the audit log.")] = "",
    as_json: AsJson = False,
) -> None:
    """Reject a pending deposit: it stays on record and never counts.

    Examples:

        satmachine deposits reject 12 --reason "counted 900, not 1000"
    """
    with open_books(ctx, write=True) as books:
        deposits.get(books.conn, deposit_id, operator=books.scope)
        with atomic(books.conn) as conn:
            deposits.reject(conn, deposit_id, actor=books.actor, now=books.now, reason=reason)
        _show(books, deposit_id, as_json)


@app.command("delete")
def delete(ctx: typer.Context, deposit_id: DepositId, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a pending deposit that was recorded by mistake; the audit log remembers it.

    Examples:

        satmachine deposits delete 12 --yes
    """
    with open_books(ctx, write=True) as books:
        deposit = deposits.get(books.conn, deposit_id, operator=books.scope)
        amount = format_fiat(deposit.amount_minor, deposit.currency)
        confirm(f"Delete deposit {deposit.id} of {deposit.label}, {amount}?", yes=yes)
        with atomic(books.conn) as conn:
            deposits.delete(conn, deposit_id, actor=books.actor, now=books.now)
        if as_json:
            print_json({"id": deposit.id, "deleted": True})
        else:
            typer.echo(f"Deposit {deposit.id} is deleted.")


def _amount(text: str, currency: str) -> int:
    from satmachine.clients.terms import parse_fiat

    try:
        return parse_fiat(text, currency)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _row(deposit: Deposit) -> dict[str, object]:
    row = as_row(deposit)
    del row["operator_id"]
    return row


def _show(books: Books, deposit_id: int, as_json: bool) -> None:
    deposit = deposits.get(books.conn, deposit_id, operator=books.scope)
    emit_record(_row(deposit), _FIELDS, json=as_json, title=f"Deposit {deposit.id}", tz=books.tz)
