"""What a person says about a payment, beside what the wallets show. For both `resolve` verbs."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli.kit.commands import Act
from satmachine.cli.kit.values import format_sats
from satmachine.orders import DeclarePaid, DeclareUnpaid
from satmachine.store import legs

Paid = Annotated[bool, typer.Option("--paid", help="The payee has the sats, or gets them by hand.")]
Unpaid = Annotated[bool, typer.Option("--unpaid", help="The invoice is dead; make a new one.")]


def resolve(act: Act, payment_id: int, *, paid: bool, unpaid: bool) -> str:
    """Show the evidence, ask what no option says, and give the order. Returns the answer, in a sentence."""
    if (paid and unpaid) or (act.yes and not paid and not unpaid):
        raise typer.BadParameter("choose one of --paid and --unpaid")
    if not paid and not unpaid:
        _show_evidence(act, payment_id)
        paid = typer.confirm("Does the payee have the sats, or get them by hand?", err=True)
    act.ask(f"declare payment {payment_id} {'paid' if paid else 'unpaid'}")
    return act.order((DeclarePaid if paid else DeclareUnpaid)(payment_id, act.reason))


def _show_evidence(act: Act, payment_id: int) -> None:
    leg, _ = legs.get(act.conn, payment_id)
    told = f"{leg.leg}: {format_sats(leg.amount_sats)} sats to {leg.payee}, {leg.status}. {leg.error or ''}"
    typer.echo(told, err=True)
    for side, shown in legs.evidence(act.conn, payment_id).items():
        typer.echo(f"{side}: {shown or 'nothing'}", err=True)
