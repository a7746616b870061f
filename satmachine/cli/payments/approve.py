"""`payments approve`: a person with the machine's key takes responsibility for what the daemon has not ordered."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from satmachine.cli.kit import complete
from satmachine.cli.kit.commands import Act, acting
from satmachine.cli.kit.output import print_json, print_line
from satmachine.cli.kit.values import format_sats
from satmachine.cli.payments import app
from satmachine.plain_text import printable
from satmachine.store import legs


@acting(app, "approve", reason=True)
def approve_payment(
    act: Act,
    payment_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="The payments.", autocompletion=complete.payments)
    ],
) -> None:
    """Take responsibility for a payment that is held because the daemon has not ordered it in this form (`unordered`).

    Do this after the machine's wallet key was changed, or after `machines reconcile`; never because a payment waits and
    you do not know why. It must read the machine's key, so run it as root or as the daemon's user; nobody else can
    approve.

    Example:

        sudo satmachine payments approve 31 --reason "new key"
    """
    from satmachine.seals import Keyring
    from satmachine.settlements.pay.seal_check import approve

    keyring = Keyring()
    ids = [act.books.payment(text) for text in payment_ids]
    told = [_learn(act, payment_id, keyring) for payment_id in ids]
    act.preview({"payments": ids}, lambda: print_line("\n".join(told)))
    act.ask(f"pay {', '.join(map(str, ids))} (whoever can write the database may have written it)")
    by = act.by
    words = act.write(lambda conn: [approve(conn, payment_id, keyring, by) for payment_id in ids])
    if act.as_json:
        print_json([{"payment_id": one, "result": said} for one, said in zip(ids, words, strict=True)])
        return
    for line in words:
        print_line(printable(line))


def _learn(act: Act, payment_id: int, keyring: Any) -> str:
    """Read the key of the machine that pays; returns what it would pay, in a sentence. Raises Refused, ConfigError."""
    leg, _ = legs.get(act.conn, payment_id)
    machine = act.books.config.required_machine(leg.machine_id)
    keyring.learn(machine.id, machine.wallet.admin_key.resolve(act.books.config.environ))
    sale = "no sale" if leg.settlement_id is None else f"sale {leg.settlement_id}"
    sats = format_sats(leg.amount_sats)
    return f"Payment {payment_id}: {sats} sats from {leg.machine_id} to {printable(leg.payee)}, {leg.leg} of {sale}."
