"""`deposits add`, `edit`, `confirm`, `reject`, `delete`, `reverse` and `withdraw`."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli.deposits import app
from satmachine.cli.deposits.lists import FIELDS
from satmachine.cli.kit import numbers
from satmachine.cli.kit.commands import Act, Done, acting, row_of, usage
from satmachine.cli.kit.options import Client, Deposit
from satmachine.cli.kit.values import format_fiat
from satmachine.models import Deposit as DepositRow
from satmachine.store import clients, deposits

Amount = Annotated[str, typer.Argument(help="In the machine's currency, like 1000 or 12.50.")]
At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="TIME", help="When the cash came: it counts from this time on, before any sale since."
    ),
]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="What the books should say about it.")]


@acting(app, "add", asks=False)
def add(act: Act, client: Client, amount: Amount, note: Note = None, at: At = None) -> Done:
    """Record cash that an LP brought. It counts once it is confirmed.

    Examples:

        satmachine deposits add 3 1000 --note "20 notes of 50, handed over at the market"

        satmachine deposits add maria 1000 --at 2026-11-20T10:00 --note "entered again after the restore"
    """
    books, whose = act.books, clients.get(act.conn, client)
    amount_minor = usage(lambda: numbers.fiat(amount, whose.currency))
    act.ask(f"record a deposit of {format_fiat(amount_minor, whose.currency)} by {whose.label}")
    deposit_id = act.write(
        deposits.add,
        client_id=client,
        amount_minor=amount_minor,
        notes=note or "",
        effective_at=books.when(at),
        actor=books.actor,
        now=books.now,
    )
    return _now(act, deposit_id, f"It counts once it is confirmed: `satmachine deposits confirm {deposit_id}`")


@acting(app, "edit", asks=False)
def edit(
    act: Act,
    deposit: Deposit,
    amount: Annotated[str | None, typer.Option(help="The right amount.")] = None,
    note: Note = None,
    at: At = None,
) -> Done:
    """Correct a deposit while it is pending.

    Examples:

        satmachine deposits edit 12 --amount 950
    """
    if amount is None and note is None and at is None:
        raise typer.BadParameter("say what to change: --amount, --note or --at")
    books, row = act.books, deposits.get(act.conn, deposit)
    amount_minor = None if amount is None else usage(lambda: numbers.fiat(amount, row.currency))
    act.ask(f"change {_told(row)}")
    act.write(
        deposits.edit,
        deposit,
        amount_minor=amount_minor,
        notes=note,
        effective_at=books.when(at),
        actor=books.actor,
        now=books.now,
    )
    return _now(act, deposit)


@acting(app, "confirm")
def confirm(act: Act, deposit: Deposit) -> Done:
    """Confirm that the cash is in the machine. From now on (or from its --at) it takes part in sales; this is final.

    A confirmed deposit cannot be edited; `deposits reverse` takes back what is not spent.

    Examples:

        satmachine deposits confirm 12

        satmachine deposits confirm 12 --yes
    """
    act.ask(f"confirm {_told(deposits.get(act.conn, deposit))}: the cash is counted and in the machine")
    act.write(deposits.confirm, deposit, actor=act.books.actor, now=act.books.now)
    return _now(act, deposit)


@acting(app, "reject", reason="")
def reject(
    act: Act,
    deposit: Deposit,
) -> Done:
    """Reject a pending deposit: it stays on record and never counts.

    Examples:

        satmachine deposits reject 12 --reason "counted 900, not 1000" --yes
    """
    act.ask(f"reject {_told(deposits.get(act.conn, deposit))}")
    act.write(deposits.reject, deposit, actor=act.books.actor, now=act.books.now, reason=act.reason_given)
    return _now(act, deposit)


@acting(app, "delete")
def delete(act: Act, deposit: Deposit) -> Done:
    """Delete a pending deposit that was recorded by mistake; the audit log remembers it.

    Examples:

        satmachine deposits delete 12 --yes
    """
    act.ask(f"delete {_told(deposits.get(act.conn, deposit))}")
    act.write(deposits.delete, deposit, actor=act.books.actor, now=act.books.now)
    return Done({"id": deposit, "deleted": True}, f"Deposit {deposit} is deleted.")


@acting(app, "reverse", reason=True)
def reverse(act: Act, deposit: Deposit) -> Done:
    """Take back a deposit that was confirmed by mistake, if the LP has that much available: a negative row that counts
    from now on. If it is partly spent, take back the part that was too much with `deposits withdraw`.

    Examples:

        satmachine deposits reverse 12 --reason "entered twice" --dry-run

        satmachine deposits reverse 12 --reason "it was 900, not 1000" --yes
    """
    act.ask(f"reverse {_told(deposits.get(act.conn, deposit))}")
    taken = act.write(deposits.reverse, deposit, reason=act.reason, actor=act.books.actor, now=act.books.now)
    return _now(act, taken.id)


@acting(app, "withdraw")
def withdraw(
    act: Act,
    client: Client,
    amount: Amount,
    note: Note = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="When it was taken, if you enter it later, before any sale since."),
    ] = None,
) -> Done:
    """Record cash that an LP takes home, out of what is available: a negative row that counts from now on.

    After a restore or lost books, enter what was taken home with --at, before you reconcile the machine.

    Examples:

        satmachine deposits withdraw 3 500 --note "handed over at the market" --dry-run

        satmachine deposits withdraw maria 500 --yes

        satmachine deposits withdraw maria 500 --at 2026-11-20T10:00 --note "entered again after the restore"
    """
    whose = clients.get(act.conn, client)
    amount_minor = usage(lambda: numbers.fiat(amount, whose.currency))
    act.ask(f"record a withdrawal of {format_fiat(amount_minor, whose.currency)} by {whose.label}")
    taken = act.write(
        deposits.withdraw,
        client,
        amount_minor,
        notes=note or "",
        effective_at=act.books.when(at),
        actor=act.books.actor,
        now=act.books.now,
    )
    return _now(act, taken.id)


def _told(row: DepositRow) -> str:
    amount = format_fiat(row.amount_minor, row.currency)
    return f"deposit {row.id} of {row.label} at {row.machine_id}, {amount}"


def _now(act: Act, deposit_id: int, words: str = "") -> Done:
    return Done(row_of(deposits.get(act.conn, deposit_id)), words, FIELDS, f"Deposit {deposit_id}")
