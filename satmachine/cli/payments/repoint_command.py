"""`payments repoint`: send open payments to the payee that the file, or the LP's row, names now."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from satmachine.cli.kit import complete
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Act, Done, acting
from satmachine.cli.kit.output import emit_table
from satmachine.cli.kit.values import Column
from satmachine.cli.payments import app
from satmachine.errors import Refused
from satmachine.orders import Repoint
from satmachine.store import legs

_MOVES = (
    Column("payment_id", "Payment"),
    Column("machine_id", "Machine"),
    Column("settlement_id", "Sale"),
    Column("leg", "For"),
    Column("amount_sats", "Sats"),
    Column("from", "From"),
    Column("to", "To"),
    Column("why", "Why not", fold=True),
)


@acting(app, "repoint", reason=True)
def repoint(
    act: Act,
    payment: Annotated[
        int | None,
        typer.Argument(metavar="[ID]", help="The payment; or use --payee.", autocompletion=complete.payments),
    ] = None,
    payee: Annotated[
        str | None,
        typer.Option(metavar="WHO", help="All open payments to super, LABEL[@MACHINE] or client:ID."),
    ] = None,
) -> Done:
    """Send open payments to the payee that the configuration (or the LP's entry) names now, instead of the one for whom
    they were planned.

    Refused while an invoice of the former payee could still be paid; decide about those with `payments resolve`.

    Examples:

        satmachine payments repoint 31 --reason "new wallet" --dry-run

        satmachine payments repoint --payee technician@panajachel-1 --reason "the technician has changed" --yes

        satmachine payments repoint --payee client:3 --reason "new address"
    """
    if (payment is None) == (payee is None):
        raise typer.BadParameter("name one payment, or all of one payee with --payee")
    rows = _moves(act.books, [payment] if payment is not None else _open_payments_to(act.books, payee or ""))
    moving = [row["payment_id"] for row in rows if row["to"] is not None]
    act.preview({"payments": rows}, lambda: emit_table(rows, _MOVES, empty="No open payments."))
    if not moving and not act.dry_run:
        raise Refused("; ".join(str(row["why"]) for row in rows) or f"there are no open payments to {payee}")
    act.ask(f"send {len(moving)} payment(s) there")
    answer = act.order(Repoint(tuple(moving), act.reason))
    return Done({"payments": rows}, answer)


def _open_payments_to(books: Books, payee: str) -> list[int]:
    """All open payments to super, a partner's LABEL or LABEL@MACHINE, or client:ID, in scope. Raises BadParameter,
    NotFound."""
    if payee == "super":
        return legs.open_of_payee(books.conn, leg="super", operator=books.scope)
    if payee.startswith("client:") and payee != "client:":
        client_id = books.client(payee.removeprefix("client:"))
        return legs.open_of_payee(books.conn, client_id=client_id, operator=books.scope)
    label, at, machine_id = payee.removeprefix("split:").partition("@")
    if not label or ":" in label or (at and not machine_id):
        raise typer.BadParameter("--payee must be super, a partner's LABEL or LABEL@MACHINE, or client:ID")
    machine = books.machine(machine_id) if machine_id else None
    return legs.open_of_payee(books.conn, leg=f"split:{label}", machine_id=machine, operator=books.scope)


def _moves(books: Books, payment_ids: list[int]) -> list[dict[str, Any]]:
    """Where each payment would go; if it stays, `to` is None and `why` says why."""
    from satmachine.settlements.correct.repoint import is_there, target_of

    rows = []
    for payment_id in payment_ids:
        leg, _ = legs.get(books.conn, payment_id)
        row = {"payment_id": leg.id, "machine_id": leg.machine_id, "settlement_id": leg.settlement_id, "leg": leg.leg}
        row |= {"amount_sats": leg.amount_sats, "from": leg.payee, "to": None, "why": ""}
        try:
            target = target_of(books.conn, leg, books.config)
        except Refused as why:
            row["why"] = str(why)
        else:
            there = is_there(leg, target)
            row |= {"why": f"payment {leg.id} already goes there"} if there else {"to": target.payee}
        rows.append(row)
    return rows
