"""`settlements retry`, `hold`, `release`, `resolve` and `land`: the ways out for a sale that waits."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine.cli.kit import complete, numbers
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Act, Done, acting, usage
from satmachine.cli.kit.options import Sale
from satmachine.cli.kit.output import format_sats, print_json
from satmachine.cli.payments.evidence import Paid, Unpaid, resolve
from satmachine.cli.settlements import app
from satmachine.errors import NotFound, Refused
from satmachine.models import LegStatus
from satmachine.store import legs, wallets

if TYPE_CHECKING:
    from satmachine.config import Machine


@acting(app, "retry", reason="tried again", asks=False)
def retry(
    act: Act,
    reference: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The sale; or --all.", autocompletion=complete.sales)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every sale that has something to try.")] = False,
) -> None:
    """Try failed payments now, and look again at held ones. Nothing is ever paid twice by this.

    Use it when the cause is gone: a key was replaced, a payee's server is back, LNbits was repaired.

    Examples:

        satmachine settlements retry 12

        satmachine settlements retry --all
    """
    from satmachine.settlements import operations

    if (reference is None) is not everything:
        raise typer.BadParameter("name one settlement, or --all")
    wanted = operations.retryable(act.conn, act.books.scope)
    if reference is not None:
        wanted = [int(act.books.sale(reference)["id"])]
    if act.dry_run:
        _tell_tried(act, dict.fromkeys(wanted), "would be tried")
        return
    by = act.by
    counts = act.write(lambda conn: {one: operations.retry(conn, one, by) for one in wanted})
    _tell_tried(act, {one: count for one, count in counts.items() if count}, "will be tried within seconds")


@acting(app, "hold", reason=True)
def hold(act: Act, sale: Sale) -> Done:
    """Stop a sale: nothing more of it is sent until it is released. What is on its way is not called back.

    Examples:

        satmachine settlements hold 12 --reason "the customer complains" --yes

        satmachine settlements hold 12 --reason "wrong rate" --dry-run
    """
    from satmachine.settlements import operations

    act.ask(f"hold sale {sale['id']} ({format_sats(sale['gross_sats'])} sats, {sale['status']})")
    act.write(operations.hold, sale["id"], act.by)
    return _now(act.books, sale["id"], "is held: nothing more of it is sent")


@acting(app, "release", reason=True)
def release(act: Act, sale: Sale) -> Done:
    """Let a held sale go on. A limit that held it is overridden for this sale; proofs are asked for again.

    Examples:

        satmachine settlements release 12 --reason "big sale, checked with the machine"

        satmachine settlements release 12 --reason "LPs are registered again" --yes
    """
    from satmachine.settlements import operations

    why = sale["error"] or sale["hold_reason"]
    act.ask(f"release sale {sale['id']}" + (f", held because: {why}" if why else f", which is {sale['status']}"))
    act.write(operations.release, sale["id"], act.by)
    return _now(act.books, sale["id"], "goes on")


@acting(app, "resolve", reason=True)
def resolve_leg(
    act: Act,
    sale: Sale,
    leg: Annotated[str, typer.Option("--leg", metavar="LEG", help="Which payment: super, split:owner, dca:maria.")],
    paid: Paid = False,
    unpaid: Unpaid = False,
) -> Done:
    """Decide about one payment, after looking at both wallets (`settlements show` has the evidence).

    For a held one, and for one whose payee's wallet cannot be asked any more. --paid: the sats have left the machine's
    wallet and the payee has them, or gets them by hand. --unpaid: the invoice is dead, make a new one; refused while
    the machine's wallet shows a payment of it.

    Examples:

        satmachine settlements resolve 12 --leg dca:maria --paid --reason "credited her in LNbits by hand"

        satmachine settlements resolve 12 --leg super --unpaid --reason "LNbits was restored from yesterday's backup"
    """
    answer = resolve(act, _open_leg(act.books, sale["id"], leg), paid=paid, unpaid=unpaid)
    return Done(act.books.sale(str(sale["id"])), answer)


@acting(app, "land", reason="landed by hand")
def land(
    act: Act,
    payment_hash: Annotated[str, typer.Argument(metavar="PAYMENT_HASH", help="Of the customer's payment.")],
    machine: Annotated[
        str, typer.Option("--machine", metavar="ID", help="Where it was made.", autocompletion=complete.machines)
    ],
    rate: Annotated[str | None, typer.Option(metavar="SATS", help="Sats per major unit of fiat.")] = None,
    fiat: Annotated[str | None, typer.Option(metavar="AMOUNT", help="The cash that was handed out.")] = None,
) -> Done:
    """Make a sale of a payment that no event told of, split by the machine's fallback commission.

    `settlements unmatched` lists them. Without a rate the LPs' part stays in the wallet, for
    `settlements redistribute`.

    Examples:

        satmachine settlements land 5f3c... --machine panajachel-1 --rate 143.797 --fiat 1800 --dry-run

        satmachine settlements land 5f3c... --machine panajachel-1 --reason "event lost, see the machine's log" --yes
    """
    from satmachine.settlements import operations

    found = _configured(act.books, machine)
    if not act.books.config.payouts.require_payment_proof:
        raise Refused("require_payment_proof is false: sales are landed from events only, so that none is paid twice")
    payment = wallets.unmatched(act.conn, found.id, payment_hash)
    if payment is None:
        raise NotFound(f"there is no unmatched payment {payment_hash} at {machine}; see `settlements unmatched`")
    fiat_minor = None if fiat is None else usage(lambda: numbers.fiat(fiat, found.currency), "--fiat")
    exchange_rate = Decimal(0) if rate is None else usage(lambda: numbers.rate(rate), "--rate")
    commission = f"fallback commission {found.fallback_commission_pct:f}"
    act.ask(f"land a sale of {format_sats(payment.amount_sats)} sats at {machine}, by {commission}")
    landing = act.write(
        operations.land, found, payment_hash, act.by, exchange_rate=exchange_rate, fiat_amount_minor=fiat_minor
    )
    return _now(act.books, landing.settlement_id, "is landed; the daemon proves and pays it")


def _tell_tried(act: Act, tried: dict[int, Any], verb: str) -> None:
    if act.as_json:
        print_json([{"settlement_id": one, "tried": count} for one, count in tried.items()])
    elif not tried:
        typer.echo("There is nothing to try.")
    else:
        typer.echo(f"{len(tried)} sale(s) {verb}: {', '.join(map(str, tried))}")


def _now(books: Books, settlement_id: int | None, what: str) -> Done:
    row = books.sale(str(settlement_id))
    return Done(row, f"Sale {row['id']} of {row['machine_id']} {what} (now {row['status']}).")


def _open_leg(books: Books, settlement_id: int, name: str) -> int:
    """The payment of this name that is not final; of several revisions the latest."""
    found = [leg for leg in legs.of_settlement(books.conn, settlement_id) if leg.leg == name]
    unfinished = [leg for leg in found if leg.status == LegStatus.HELD or leg.status in legs.OPEN]
    if not unfinished:
        raise NotFound(
            f"settlement {settlement_id} has no unfinished payment {name}; `settlements show {settlement_id}` lists it"
        )
    return unfinished[-1].id


def _configured(books: Books, machine_id: str) -> Machine:
    machine = books.config.machine(machine_id)
    if machine is None:
        raise Refused(f"machine {machine_id} is no longer in the configuration")
    return machine
