"""`payments approve`: answer for what the daemon has not ordered as it stands."""

from __future__ import annotations

from typing import Annotated

import typer

from satmachine.cli.kit import complete
from satmachine.cli.kit.commands import Act, acting
from satmachine.cli.kit.output import format_sats, print_line, printable
from satmachine.cli.payments import app
from satmachine.errors import Refused
from satmachine.store import legs


@acting(app, "approve", reason=True)
def approve_payment(
    act: Act,
    payments: Annotated[
        list[str], typer.Argument(metavar="ID...", help="The payments.", autocompletion=complete.payments)
    ],
) -> None:
    """Answer for a payment that is held because the daemon has not ordered it as it stands (`unordered`).

    Do this after the machine's wallet key was changed, or after `machines reconcile`; never because a payment waits and
    you do not know why. It needs to read the machine's key, and so root, or the daemon's user; nobody else can approve.

    Examples:

        sudo CREDENTIALS_DIRECTORY=/run/credentials/satmachine.service satmachine payments approve 31 --reason "new key"
    """
    from satmachine.seals import Keyring
    from satmachine.settlements.ordered import approve

    keyring, ids = Keyring(), [act.books.payment(text) for text in payments]
    for payment_id in ids:
        leg, _ = legs.get(act.conn, payment_id)
        machine = act.books.config.machine(leg.machine_id)
        if machine is None:
            raise Refused(f"machine {leg.machine_id} is no longer in the configuration: put it back first")
        keyring.learn(machine.id, machine.wallet.admin_key.resolve(act.books.config.environ))
        sale = "no sale" if leg.settlement_id is None else f"sale {leg.settlement_id}"
        print_line(
            f"Payment {payment_id}: {format_sats(leg.amount_sats)} sats from {leg.machine_id} to "
            f"{printable(leg.payee)}, {leg.leg} of {sale}."
        )
    act.ask("pay this, although whoever can write the database may have written it")
    by = act.by
    for line in act.write(lambda conn: [approve(conn, payment_id, keyring, by) for payment_id in ids]):
        print_line(printable(line))
