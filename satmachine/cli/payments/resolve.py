"""`payments retry`, `resolve` and `cancel`: one payment, by its number; payouts of a balance have no sale."""

from __future__ import annotations

from satmachine.cli.kit.commands import Act, Done, acting
from satmachine.cli.kit.options import Payment
from satmachine.cli.payments import app
from satmachine.cli.payments.evidence import Paid, Unpaid, resolve
from satmachine.orders import CancelPayout
from satmachine.store import list_queries


@acting(app, "retry", reason="tried again", asks=False)
def retry(
    act: Act,
    payment: Payment,
) -> Done:
    """Try one payment now, or look again at a held one; payouts of a balance too.

    Example:

        satmachine payments retry 31 --reason "her Lightning address works again"
    """
    from satmachine.settlements.correct import retries

    act.ask(f"try payment {payment} now")
    act.write(retries.retry_payment, payment, act.by)
    return _now(act, payment, f"Payment {payment} will be tried within seconds.")


@acting(app, "cancel", reason=True)
def cancel(act: Act, payment: Payment) -> Done:
    """Give up a payout of a balance that is proven unpaid. The LP has the balance again.

    Example:

        satmachine payments cancel 31 --reason "the address was mistyped" --yes
    """
    act.ask(f"give up payment {payment}")
    return _now(act, payment, act.order(CancelPayout(payment, act.reason)))


@acting(app, "resolve", reason=True)
def resolve_payment(act: Act, payment: Payment, paid: Paid = False, unpaid: Unpaid = False) -> Done:
    """Decide about one payment, after looking at both wallets and asking the payee.

    As `settlements resolve`, by the payment's number: payouts of a balance have no sale.

    Examples:

        satmachine payments resolve 31 --paid --reason "she has the sats"

        satmachine payments resolve 31 --unpaid --reason "her wallet was deleted before it was credited"
    """
    return _now(act, payment, resolve(act, payment, paid=paid, unpaid=unpaid))


def _now(act: Act, payment_id: int, words: str) -> Done:
    return Done(list_queries.payment(act.conn, payment_id), words)
