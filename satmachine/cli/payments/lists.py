"""`payments list`: the legs of all sales (SPEC section 5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Asked, listing
from satmachine.cli.kit.options import OfClient, OfMachine, OfSale
from satmachine.cli.kit.values import Column
from satmachine.cli.payments import app
from satmachine.models import Cause, LegStatus, LegType
from satmachine.store import list_queries
from satmachine.store.pages import Page

#: A server that is down may have many LPs.
_LPS_NAMED = 5

_PAYMENTS = (
    Column("id", "Id"),
    Column("planned_at", "Planned"),
    Column("machine_id", "Machine"),
    Column("settlement_id", "Sale"),
    Column("leg", "For"),
    Column("amount_sats", "Sats"),
    Column("fiat_amount_minor", "Fiat", wide=True),
    Column("fee_sats", "Fee", wide=True),
    Column("payee", "Payee", wide=True, fold=True),
    Column("status", "Status"),
    Column("attempts", "Tries", wide=True),
    Column("next_attempt_at", "Next try", wide=True),
    Column("error", "Why", fold=True),
)


@listing(app, "list", _PAYMENTS, title="Payments", empty="No such payments.", span=True, below="payment")
def list_payments(
    books: Books,
    asked: Asked,
    leg_type: Annotated[LegType | None, typer.Option("--type", help="What the payment is for.")] = None,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS",
            help=f"{', '.join(LegStatus)}; or failing: tried without success for [payouts] attention_after_s.",
        ),
    ] = None,
    machine: OfMachine = None,
    client: OfClient = None,
    sale: OfSale = None,
) -> Page:
    """List payments, newest first: what was planned for whom, and what happened to it.

    Examples:

        satmachine payments list --status failing

        satmachine payments list --machine panajachel-1 --type dca --since 7d --csv

        satmachine payments list --settlement 12 --json
    """
    if status not in (None, "failing", *LegStatus):
        raise typer.BadParameter(f"--status {status} does not exist; there are failing, {', '.join(LegStatus)}")
    settlement_id = None if sale is None else sale["id"]
    wanted = asked.filter(
        machine_id=machine,
        status=status,
        leg_type=leg_type,
        client_id=client,
        settlement_id=settlement_id,
        failing_before=books.now - books.limits.attention_after_s,
    )
    page = list_queries.payments(books.conn, books.scope, wanted)
    return replace(page, hints=_hints(page)) if status == "failing" else page


def _hints(page: Page) -> tuple[str, ...]:
    """What to do about payees who cannot be reached: an LP's address is changed here, a partner's in the file."""
    dead = [row for row in page.rows if row["cause"] == Cause.PAYEE_UNREACHABLE]
    lps = sorted({row["client_id"] for row in dead if row["client_id"] is not None})
    hints = [
        f"If the address of LP {one} is dead: `satmachine clients update {one} --lightning-address NAME@HOST`, then "
        f"`satmachine payments repoint --payee client:{one}`"
        for one in lps[:_LPS_NAMED]
    ]
    partners = sorted({str(row["leg"]).removeprefix("split:") for row in dead if row["client_id"] is None})
    hints += [
        f"If the address of {one} is dead: change the file, `satmachine config reload`, then "
        f"`satmachine payments repoint --payee {one}`"
        for one in partners
        if not one.startswith("refund")
    ]
    return tuple(hints)
