"""`satmachine payments`: the legs of all sales (SPEC section 5)."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli import operations
from satmachine.cli.common import (
    DEFAULT_LIMIT,
    MAX_ID,
    AsCsv,
    AsJson,
    Before,
    Limit,
    Reason,
    Since,
    Until,
    Yes,
    confirm,
    more_hint,
    open_books,
    reason_of,
)
from satmachine.cli.output import Column, emit_table, format_sats, print_line, printable
from satmachine.errors import Refused
from satmachine.models import LegStatus, LegType
from satmachine.store import legs, reports
from satmachine.store.database import atomic

app = typer.Typer(no_args_is_help=True, help="The payments that sales cause.")
app.add_typer(operations.payments_app)

COLUMNS = (
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
    Column("error", "Error", wide=True, fold=True),
)

_LIST_HELP = """List payments, newest first: what was planned for whom, and what became of it.

Examples:

    satmachine payments list --status failed

    satmachine payments list --machine panajachel-1 --type dca --since 7d --csv

    satmachine payments list --settlement 12 --json
"""


_APPROVE_HELP = """Answer for a payment that is held because the daemon has not ordered it as it stands (`unordered`).

Do this after the machine's wallet key was changed, or after `machines reconcile`; never because a payment waits and
you do not know why. It needs to read the machine's key, and so root, or the daemon's user; nobody else can approve.

Example:

    sudo CREDENTIALS_DIRECTORY=/run/credentials/satmachine.service satmachine payments approve 31 --reason "new key"
"""


@app.command("approve", help=_APPROVE_HELP)
def approve_payment(
    ctx: typer.Context,
    payment_ids: Annotated[list[int], typer.Argument(metavar="ID...", min=1, max=MAX_ID, help="The payments.")],
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Show what each is, ask, seal."""
    from satmachine.seals import Keyring
    from satmachine.settlements.operations import By
    from satmachine.settlements.ordered import approve

    with open_books(ctx, write=True) as books:
        keyring = Keyring()
        for payment_id in payment_ids:
            books.require_row("payment", "dca_payments", payment_id)
            leg, _ = legs.get(books.conn, payment_id)
            machine = books.config.machine(leg.machine_id)
            if machine is None:
                raise Refused(f"machine {leg.machine_id} is no longer in the configuration: put it back first")
            keyring.learn(machine.id, machine.wallet.admin_key.resolve(books.config.environ))
            sale = "no sale" if leg.settlement_id is None else f"sale {leg.settlement_id}"
            print_line(
                f"Payment {payment_id}: {format_sats(leg.amount_sats)} sats from {leg.machine_id} to "
                f"{printable(leg.payee)}, {leg.leg} of {sale}."
            )
        confirm("Pay this? Whoever can write the database may have written it.", yes=yes)
        by = By(books.actor, reason_of(reason), books.now)
        with atomic(books.conn) as conn:
            told = [approve(conn, payment_id, keyring, by) for payment_id in payment_ids]
        for line in told:
            print_line(printable(line))


@app.command("list", help=_LIST_HELP)
def list_payments(
    ctx: typer.Context,
    leg_type: Annotated[LegType | None, typer.Option("--type", help="What the payment is for.")] = None,
    status: Annotated[LegStatus | None, typer.Option(help="How it stands.")] = None,
    machine: Annotated[str | None, typer.Option(metavar="ID", help="Of this machine.")] = None,
    client: Annotated[
        int | None, typer.Option(min=1, max=MAX_ID, metavar="ID", help="To this liquidity provider.")
    ] = None,
    settlement: Annotated[int | None, typer.Option(min=1, max=MAX_ID, metavar="ID", help="Of this sale.")] = None,
    since: Since = None,
    until: Until = None,
    before: Before = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Print a page of legs."""
    with open_books(ctx) as books:
        books.require_machine(machine)
        books.require_row("client", "dca_clients", client)
        books.require_row("settlement", "dca_settlements", settlement)
        books.require_row("payment", "dca_payments", before)
        wanted = reports.Filter(
            machine_id=machine,
            status=status,
            since=books.when(since),
            until=books.when(until, end=True),
            before_id=before,
            limit=limit,
            leg_type=leg_type,
            client_id=client,
            settlement_id=settlement,
        )
        page = reports.payments(books.conn, books.scope, wanted)
    emit_table(
        page.rows,
        COLUMNS,
        json=as_json,
        csv=as_csv,
        title="Payments",
        empty="No such payments.",
        tz=books.tz,
        keys=page.keys,
        more=more_hint(page),
    )
