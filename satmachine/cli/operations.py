"""`settlements land/retry/hold/release/resolve`, `payments retry/repoint/resolve/cancel`,
`payouts pause/resume`: the ways out.

What stops, redirects or vouches for a payment is an order that the daemon carries out; the others are one transaction
with its audit row (settlements/operations.py). None of them pays.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine.cli.common import (
    MAX_ID,
    AsJson,
    Books,
    DryRun,
    Reason,
    Yes,
    answer_of,
    confirm,
    open_books,
    reason_of,
    request,
)
from satmachine.cli.output import Column, emit_table, format_sats, print_json, to_json
from satmachine.cli.settlements import Reference, find_settlement
from satmachine.errors import NotFound, Refused
from satmachine.models import LegStatus
from satmachine.orders import CancelPayout, DeclarePaid, DeclareUnpaid, Order, Repoint
from satmachine.store import legs, wallets
from satmachine.store.database import atomic

if TYPE_CHECKING:
    from satmachine.config import Machine
    from satmachine.settlements.operations import By

#: For the nouns: `settlements` and `payments` add one each; `payouts` is a noun of its own.
settlements_app = typer.Typer()
payments_app = typer.Typer()
payouts_app = typer.Typer(help="Stop and resume payouts.", no_args_is_help=True)

Paid = Annotated[bool, typer.Option("--paid", help="The payee has the sats, or gets them by hand.")]
Unpaid = Annotated[bool, typer.Option("--unpaid", help="The invoice is dead; make a new one.")]

_RETRY_HELP = """Try failed payments now, and look again at held ones. Nothing is ever paid twice by this.

Use it when the cause is gone: a key was replaced, a payee's server is back, LNbits was repaired.

Examples:

    satmachine settlements retry 12

    satmachine settlements retry --all
"""

_RETRY_PAYMENT_HELP = """Try one payment now, or look again at a held one; payouts of a balance too.

Example:

    satmachine payments retry 31 --reason "her Lightning address works again"
"""

_CANCEL_HELP = """Give up a payout of a balance that is proven unpaid. The balance is the LP's again.

Example:

    satmachine payments cancel 31 --reason "the address was mistyped" --yes
"""

_RESOLVE_PAYMENT_HELP = """Decide about one payment, after looking at both wallets and asking the payee.

As `settlements resolve`, by the payment's number: payouts of a balance have no sale.

Examples:

    satmachine payments resolve 31 --paid --reason "she has the sats"

    satmachine payments resolve 31 --unpaid --reason "her wallet was deleted before it was credited"
"""

_REPOINT_HELP = """Send open payments to whom the file, or the client's row, names now, instead of whom it named then.

Refused while an invoice of the former payee could still be paid; `payments resolve` decides about those.

Examples:

    satmachine payments repoint 31 --reason "new wallet" --dry-run

    satmachine payments repoint --payee technician@panajachel-1 --reason "the technician has changed" --yes

    satmachine payments repoint --payee client:3 --reason "new address"
"""

_REPOINT_COLUMNS = (
    Column("payment_id", "Payment"),
    Column("machine_id", "Machine"),
    Column("settlement_id", "Sale"),
    Column("leg", "For"),
    Column("amount_sats", "Sats"),
    Column("from", "From"),
    Column("to", "To"),
    Column("why", "Why not", fold=True),
)

_HOLD_HELP = """Stop a sale: nothing more of it is sent until it is released. What is on its way is not called back.

Examples:

    satmachine settlements hold 12 --reason "the customer complains" --yes

    satmachine settlements hold 12 --reason "wrong rate" --dry-run
"""

_RELEASE_HELP = """Let a held sale go on. A limit that held it is overridden for this sale; proofs are asked for again.

Examples:

    satmachine settlements release 12 --reason "big sale, checked with the machine"

    satmachine settlements release 12 --reason "LPs are registered again" --yes
"""

_RESOLVE_HELP = """Decide about one payment, after looking at both wallets (`settlements show` has the evidence).

For a held one, and for one whose payee's wallet cannot be asked any more. --paid: the sats have left the machine's
wallet and the payee has them, or gets them by hand. --unpaid: the invoice is dead, make a new one; refused while the
machine's wallet shows a payment of it.

Examples:

    satmachine settlements resolve 12 --leg dca:maria --paid --reason "credited her in LNbits by hand"

    satmachine settlements resolve 12 --leg super --unpaid --reason "LNbits was restored from yesterday's backup"
"""

_LAND_HELP = """Make a sale of a payment that no event told of, split by the machine's fallback commission.

`settlements unmatched` lists them. Without a rate the LPs' part stays in the wallet, for `settlements redistribute`.

Examples:

    satmachine settlements land 5f3c... --machine panajachel-1 --rate 143.797 --fiat 1800 --dry-run

    satmachine settlements land 5f3c... --machine panajachel-1 --reason "event lost, see the machine's log" --yes
"""

_PAUSE_HELP = """The red button: nothing is sent until `payouts resume`. What is on its way is not called back.

Examples:

    satmachine payouts pause --reason "LNbits is being moved"

    satmachine payouts pause --machine panajachel-1 --reason "keys are being replaced" --yes
"""

_RESUME_HELP = """Go on paying where it was paused.

Examples:

    satmachine payouts resume --reason "LNbits has moved"

    satmachine payouts resume --machine panajachel-1 --reason "new keys work"
"""


@settlements_app.command("retry", help=_RETRY_HELP)
def retry(
    ctx: typer.Context,
    reference: Annotated[str | None, typer.Argument(metavar="[ID]", help="The settlement; or --all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every sale that has something to try.")] = False,
    reason: Reason = "tried again",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Try one sale, or all that have trouble."""
    from satmachine.settlements import operations

    if (reference is None) is not everything:
        raise typer.BadParameter("name one settlement, or --all")
    with open_books(ctx, write=True) as books:
        wanted = operations.retryable(books.conn, books.scope)
        if reference is not None:
            wanted = [int(find_settlement(books, reference)["id"])]
        counts = {}
        if not dry_run:
            with atomic(books.conn) as conn:
                counts = {one: operations.retry(conn, one, _by(books, reason)) for one in wanted}
    tried = [one for one in wanted if dry_run or counts[one]]
    if as_json:
        print_json([{"settlement_id": one, "tried": counts.get(one)} for one in tried])
    elif not tried:
        typer.echo("There is nothing to try.")
    else:
        verb = "would be tried" if dry_run else "will be tried within seconds"
        typer.echo(f"{len(tried)} settlement(s) {verb}: {', '.join(map(str, tried))}")


PaymentId = Annotated[int, typer.Argument(metavar="ID", min=1, max=MAX_ID, help="The payment; see `payments list`.")]


@payments_app.command("retry", help=_RETRY_PAYMENT_HELP)
def retry_payment(ctx: typer.Context, payment_id: PaymentId, reason: Reason = "tried again") -> None:
    """Try one leg."""
    from satmachine.settlements import operations

    with open_books(ctx, write=True) as books:
        books.require_row("payment", "dca_payments", payment_id)
        with atomic(books.conn) as conn:
            operations.retry_payment(conn, payment_id, _by(books, reason))
    typer.echo(f"Payment {payment_id} will be tried within seconds.")


@payments_app.command("cancel", help=_CANCEL_HELP)
def cancel_payout(ctx: typer.Context, payment_id: PaymentId, reason: Reason = "", yes: Yes = False) -> None:
    """Ask, order, say."""
    with open_books(ctx, write=True) as books:
        books.require_row("payment", "dca_payments", payment_id)
        confirm(f"Give up payment {payment_id}?", yes=yes)
        _order(books, CancelPayout(payment_id, reason_of(reason)))


@payments_app.command("resolve", help=_RESOLVE_PAYMENT_HELP)
def resolve_payment(
    ctx: typer.Context,
    payment_id: PaymentId,
    paid: Paid = False,
    unpaid: Unpaid = False,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Ask, order, say."""
    with open_books(ctx, write=True) as books:
        books.require_row("payment", "dca_payments", payment_id)
        paid = _is_paid(books, payment_id, paid=paid, unpaid=unpaid, yes=yes)
        confirm(f"Declare payment {payment_id} {'paid' if paid else 'unpaid'}?", yes=yes)
        _order(books, _declared(payment_id, reason, paid=paid))


@payments_app.command("repoint", help=_REPOINT_HELP)
def repoint(
    ctx: typer.Context,
    payment_id: Annotated[
        int | None, typer.Argument(metavar="[ID]", min=1, max=MAX_ID, help="The payment; or --payee.")
    ] = None,
    payee: Annotated[
        str | None,
        typer.Option(metavar="WHO", help="All open payments to super, LABEL[@MACHINE] or client:ID."),
    ] = None,
    reason: Reason = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Show from whom to whom, ask, order."""
    if (payment_id is None) == (payee is None):
        raise typer.BadParameter("name one payment, or all of a payee with --payee")
    reason = reason_of(reason)
    with open_books(ctx, write=True) as books:
        books.require_row("payment", "dca_payments", payment_id)
        rows = _moves(books, [payment_id] if payment_id is not None else _open_payments_to(books, payee or ""))
        moving = [row["payment_id"] for row in rows if row["to"] is not None]
        if dry_run or not (as_json or yes):
            emit_table(rows, _REPOINT_COLUMNS, json=as_json, empty="No open payments.")
        if dry_run:
            return
        if not moving:
            raise Refused("; ".join(str(row["why"]) for row in rows) or f"there are no open payments to {payee}")
        confirm(f"Send {len(moving)} payment(s) there?", yes=yes)
        _order(books, Repoint(tuple(moving), reason))


@settlements_app.command("hold", help=_HOLD_HELP)
def hold(
    ctx: typer.Context,
    reference: Reference,
    reason: Reason = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Ask, hold, show."""
    from satmachine.settlements import operations

    with open_books(ctx, write=True) as books:
        row = find_settlement(books, reference)
        if dry_run:
            typer.echo(f"Settlement {row['id']} is {row['status']} and would be held.")
            return
        confirm(f"Hold settlement {row['id']} ({format_sats(row['gross_sats'])} sats, {row['status']})?", yes=yes)
        with atomic(books.conn) as conn:
            operations.hold(conn, row["id"], _by(books, reason))
        _show_settlement(books, row["id"], as_json, "is held: nothing more of it is sent")


@settlements_app.command("release", help=_RELEASE_HELP)
def release(
    ctx: typer.Context,
    reference: Reference,
    reason: Reason = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Ask, release, show."""
    from satmachine.settlements import operations

    with open_books(ctx, write=True) as books:
        row = find_settlement(books, reference)
        if dry_run:
            typer.echo(f"Settlement {row['id']} is {row['status']} ({row['hold_reason']}): {row['error']}")
            return
        confirm(f"Release settlement {row['id']}, held because: {row['error'] or row['hold_reason']}?", yes=yes)
        with atomic(books.conn) as conn:
            operations.release(conn, row["id"], _by(books, reason))
        _show_settlement(books, row["id"], as_json, "goes on")


@settlements_app.command("resolve", help=_RESOLVE_HELP)
def resolve(
    ctx: typer.Context,
    reference: Reference,
    leg: Annotated[str, typer.Option("--leg", metavar="LEG", help="Which payment: super, split:owner, dca:maria.")],
    paid: Paid = False,
    unpaid: Unpaid = False,
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Ask, order, show."""
    with open_books(ctx, write=True) as books:
        settlement_id = int(find_settlement(books, reference)["id"])
        payment_id = _open_leg(books, settlement_id, leg)
        paid = _is_paid(books, payment_id, paid=paid, unpaid=unpaid, yes=yes)
        confirm(f"Declare leg {leg} of settlement {settlement_id} {'paid' if paid else 'unpaid'}?", yes=yes)
        _order(books, _declared(payment_id, reason, paid=paid), quiet=as_json)
        if as_json:
            print_json(to_json(find_settlement(books, str(settlement_id))))


@settlements_app.command("land", help=_LAND_HELP)
def land(
    ctx: typer.Context,
    payment_hash: Annotated[str, typer.Argument(metavar="PAYMENT_HASH", help="Of the customer's payment.")],
    machine: Annotated[str, typer.Option("--machine", metavar="ID", help="The machine it was made at.")],
    rate: Annotated[str | None, typer.Option(metavar="SATS", help="Sats per major unit of fiat.")] = None,
    fiat: Annotated[str | None, typer.Option(metavar="AMOUNT", help="The cash that was handed out.")] = None,
    another_sale: Annotated[
        bool, typer.Option("--another-sale", help="It is not the sale that was paid on the machine's word.")
    ] = False,
    reason: Reason = "landed by hand",
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Show the split, ask, land."""
    from satmachine.money import fiat_to_minor
    from satmachine.settlements import operations

    with open_books(ctx, write=True) as books:
        found = _configured(books, machine)
        if not books.config.payouts.require_payment_proof:
            raise Refused(
                "require_payment_proof is false: sales are landed from events only, so that none is paid twice"
            )
        payment = wallets.unmatched(books.conn, found.id, payment_hash)
        if payment is None:
            raise NotFound(f"there is no unmatched payment {payment_hash} at {machine}; see `settlements unmatched`")
        fiat_minor = None if fiat is None else fiat_to_minor(_decimal(fiat, "--fiat"), found.currency)
        question = f"a sale of {format_sats(payment.amount_sats)} sats at {machine}, by fallback commission"
        if dry_run:
            typer.echo(f"Would land {question} {found.fallback_commission_pct:f}.")
            return
        confirm(f"Land {question} {found.fallback_commission_pct:f}?", yes=yes)
        with atomic(books.conn) as conn:
            landing = operations.land(
                conn,
                found,
                payment_hash,
                _by(books, reason),
                exchange_rate=Decimal(0) if rate is None else _decimal(rate, "--rate"),
                fiat_amount_minor=fiat_minor,
                another_sale=another_sale,
            )
        _show_settlement(books, landing.settlement_id, as_json, "is landed; the daemon proves and pays it")


@payouts_app.command("pause", help=_PAUSE_HELP)
def pause(
    ctx: typer.Context,
    reason: Reason = "",
    machine: Annotated[str | None, typer.Option("--machine", metavar="ID", help="Only this machine.")] = None,
    yes: Yes = False,
) -> None:
    """Ask, pause."""
    from satmachine.settlements import operations

    with open_books(ctx, write=True) as books:
        _require_scope(books, machine)
        confirm(f"Stop all payouts of {machine or 'ALL machines'}?", yes=yes)
        with atomic(books.conn) as conn:
            operations.pause(conn, machine, _by(books, reason))
    typer.echo(f"Payouts of {machine or 'all machines'} are paused; `satmachine payouts resume` goes on.")


@payouts_app.command("resume", help=_RESUME_HELP)
def resume(
    ctx: typer.Context,
    reason: Reason = "",
    machine: Annotated[str | None, typer.Option("--machine", metavar="ID", help="Only this machine.")] = None,
) -> None:
    """Go on."""
    from satmachine.settlements import operations

    with open_books(ctx, write=True) as books:
        _require_scope(books, machine)
        with atomic(books.conn) as conn:
            operations.resume(conn, machine, _by(books, reason))
    typer.echo(f"Payouts of {machine or 'all machines'} go on.")


# --- helpers


def _by(books: Books, reason: str) -> By:
    from satmachine.settlements.operations import By

    return By(books.actor, reason_of(reason), books.now)


def _order(books: Books, order: Order, *, quiet: bool = False) -> None:
    """Have it done by the daemon, and tell what came of it."""
    answer = answer_of(books, request(books, order))
    typer.echo(answer[0].upper() + answer[1:], err=quiet)


def _is_paid(books: Books, payment_id: int, *, paid: bool, unpaid: bool, yes: bool) -> bool:
    """What a person says of a payment; asked, beside the evidence, where neither option says it."""
    if (paid and unpaid) or (yes and not paid and not unpaid):
        raise typer.BadParameter("choose one of --paid and --unpaid")
    if paid or unpaid:
        return paid
    leg, _ = legs.get(books.conn, payment_id)
    typer.echo(
        f"{leg.leg}: {format_sats(leg.amount_sats)} sats to {leg.payee}, {leg.status}. {leg.error or ''}", err=True
    )
    for side, shown in legs.evidence(books.conn, payment_id).items():
        typer.echo(f"{side}: {shown or 'nothing'}", err=True)
    return typer.confirm("Does the payee have the sats, or get them by hand?", err=True)


def _declared(payment_id: int, reason: str, *, paid: bool) -> DeclarePaid | DeclareUnpaid:
    return DeclarePaid(payment_id, reason_of(reason)) if paid else DeclareUnpaid(payment_id, reason_of(reason))


def _open_leg(books: Books, settlement_id: int, name: str) -> int:
    """The payment of this name that is not final; of several revisions the latest."""
    found = [leg for leg in legs.of_settlement(books.conn, settlement_id) if leg.leg == name]
    unfinished = [leg for leg in found if leg.status == LegStatus.HELD or leg.status in legs.OPEN]
    if not unfinished:
        raise NotFound(
            f"settlement {settlement_id} has no unfinished payment {name}; `settlements show {settlement_id}` lists it"
        )
    return unfinished[-1].id


def _open_payments_to(books: Books, payee: str) -> list[int]:
    """All open payments to super, a partner's LABEL or LABEL@MACHINE, or client:ID, in scope. Raises BadParameter,
    NotFound."""
    client_id = payee.removeprefix("client:")
    if payee == "super":
        return legs.open_of_payee(books.conn, leg="super", operator=books.scope)
    if client_id != payee and client_id.isdecimal() and int(client_id) <= MAX_ID:
        books.require_row("client", "dca_clients", int(client_id))
        return legs.open_of_payee(books.conn, client_id=int(client_id), operator=books.scope)
    label, at, machine_id = payee.removeprefix("split:").partition("@")
    if not label or ":" in label or (at and not machine_id):
        raise typer.BadParameter("--payee is super, LABEL or LABEL@MACHINE of a partner, or client:ID")
    machine = books.require_machine(machine_id or None)
    return legs.open_of_payee(books.conn, leg=f"split:{label}", machine_id=machine, operator=books.scope)


def _moves(books: Books, payment_ids: list[int]) -> list[dict[str, Any]]:
    """Where each payment would go; `to` is None, and `why` says why, where it stays."""
    from satmachine.settlements.repointing import is_there, target_of

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
            row |= {"why": f"payment {leg.id} goes there already"} if there else {"to": target.payee}
        rows.append(row)
    return rows


def _configured(books: Books, machine_id: str) -> Machine:
    books.require_machine(machine_id)
    machine = books.config.machine(machine_id)
    if machine is None:
        raise Refused(f"machine {machine_id} is no longer in the configuration")
    return machine


def _require_scope(books: Books, machine_id: str | None) -> None:
    """One operator's person must not stop another's machines."""
    books.require_machine(machine_id)
    if machine_id is None and books.scope is not None:
        raise typer.BadParameter("--operator is set: name one of its machines with --machine")


def _decimal(text: str, option: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise typer.BadParameter(f"{option} {text!r} is no number") from None
    if not number.is_finite() or number < 0:
        raise typer.BadParameter(f"{option} {text!r} must be 0 or more")
    return number


def _show_settlement(books: Books, settlement_id: int | None, as_json: bool, what: str) -> None:
    row = find_settlement(books, str(settlement_id))
    if as_json:
        print_json(to_json(row))
    else:
        typer.echo(f"Settlement {row['id']} of {row['machine_id']} {what} (now {row['status']}).")
