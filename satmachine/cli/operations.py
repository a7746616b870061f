"""`settlements land/retry/hold/release/resolve`, `machines reconcile`, `payouts pause/resume`: the ways out.

Each is one transaction with its audit row (settlements/operations.py); none of them pays. The daemon goes on with what
they let go within seconds.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from satmachine.cli.common import MAX_ID, AsJson, Books, DryRun, Yes, confirm, open_books
from satmachine.cli.output import format_sats, print_json, to_json
from satmachine.cli.settlements import Reference, find_settlement
from satmachine.errors import NotFound, Refused
from satmachine.store import wallets
from satmachine.store.database import atomic

if TYPE_CHECKING:
    from satmachine.config import Machine
    from satmachine.settlements.operations import By

#: For the nouns: `settlements`, `machines` and `payments` add one each; `payouts` is a noun of its own.
settlements_app = typer.Typer()
machines_app = typer.Typer()
payments_app = typer.Typer()
payouts_app = typer.Typer(help="Stop and resume payouts.", no_args_is_help=True)

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit log.")]

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

_CANCEL_HELP = """Give up a payout of a balance of which nothing was ever sent. The balance is the LP's again.

Example:

    satmachine payments cancel 31 --reason "the address was mistyped" --yes
"""

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

_RESOLVE_HELP = """Decide about one held payment, after looking at both wallets (`settlements show` has the evidence).

--paid: the sats have left the machine's wallet and the payee has them, or gets them by hand. --unpaid: the invoice is
dead, make a new one; while the machine's wallet shows a payment for it, it is held again instead.

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

_RECONCILE_HELP = """Leave safe mode: you have looked at the payments in the wallet that the books do not know.

They stay on record: a sale that is landed later takes them over instead of paying again.

Examples:

    satmachine machines reconcile panajachel-1

    satmachine machines reconcile panajachel-1 --accept --reason "database restored, LPs registered again"
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
def cancel_payout(ctx: typer.Context, payment_id: PaymentId, reason: Reason, yes: Yes = False) -> None:
    """Ask, void, say."""
    from satmachine.settlements import operations

    with open_books(ctx, write=True) as books:
        books.require_row("payment", "dca_payments", payment_id)
        confirm(f"Give up payment {payment_id}?", yes=yes)
        with atomic(books.conn) as conn:
            operations.cancel_payout(conn, payment_id, _by(books, reason))
    typer.echo(f"Payment {payment_id} is given up; the balance is the LP's again.")


@settlements_app.command("hold", help=_HOLD_HELP)
def hold(
    ctx: typer.Context,
    reference: Reference,
    reason: Reason,
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
    reason: Reason,
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
    reason: Reason,
    paid: Annotated[bool, typer.Option("--paid", help="The payee has the sats, or gets them by hand.")] = False,
    unpaid: Annotated[bool, typer.Option("--unpaid", help="The invoice is dead; make a new one.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Ask, decide, show."""
    from satmachine.settlements import operations

    if paid is unpaid:
        raise typer.BadParameter("choose one of --paid and --unpaid")
    with open_books(ctx, write=True) as books:
        settlement_id = find_settlement(books, reference)["id"]
        confirm(f"Declare leg {leg} of settlement {settlement_id} {'paid' if paid else 'unpaid'}?", yes=yes)
        decide = operations.declare_paid if paid else operations.declare_unpaid
        with atomic(books.conn) as conn:
            decide(conn, settlement_id, leg, _by(books, reason))
        _show_settlement(books, settlement_id, as_json, f"leg {leg} is {'completed' if paid else 'made anew'}")


@settlements_app.command("land", help=_LAND_HELP)
def land(
    ctx: typer.Context,
    payment_hash: Annotated[str, typer.Argument(metavar="PAYMENT_HASH", help="Of the customer's payment.")],
    machine: Annotated[str, typer.Option("--machine", metavar="ID", help="The machine it was made at.")],
    rate: Annotated[str | None, typer.Option(metavar="SATS", help="Sats per major unit of fiat.")] = None,
    fiat: Annotated[str | None, typer.Option(metavar="AMOUNT", help="The cash that was handed out.")] = None,
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
            )
        _show_settlement(books, landing.settlement_id, as_json, "is landed; the daemon proves and pays it")


@machines_app.command("reconcile", help=_RECONCILE_HELP)
def reconcile(
    ctx: typer.Context,
    machine: Annotated[str, typer.Argument(metavar="MACHINE", help="The machine's id.")],
    accept: Annotated[bool, typer.Option("--accept", help="I have looked at them; leave safe mode.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; needed with --accept.")] = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Show the unknown payments; with --accept, leave safe mode."""
    from satmachine.settlements import operations

    if accept and not reason.strip():
        raise typer.BadParameter("--accept needs --reason")
    with open_books(ctx, write=accept) as books:
        books.require_machine(machine)
        unknown = [row for row in wallets.foreign_of(books.conn, machine, "sm1:") if not row.accepted]
        if as_json:
            print_json([{"leg_key": row.leg_key, "amount_sats": row.amount_sats} for row in unknown])
        else:
            for row in unknown:
                typer.echo(f"{format_sats(row.amount_sats):>12} sats  {row.leg_key}  {row.payment_hash}")
            typer.echo(f"{len(unknown)} payment(s) in the wallet of {machine} that the books do not know.")
        if not accept:
            return
        confirm(f"Accept them and let {machine} pay again?", yes=yes)
        with atomic(books.conn) as conn:
            _, why = operations.accept_foreign(conn, machine, _by(books, reason))
        if why is not None:
            raise Refused(f"{machine} is in safe mode still: {why}")
        if not as_json:
            typer.echo(f"{machine} is out of safe mode.")


@payouts_app.command("pause", help=_PAUSE_HELP)
def pause(
    ctx: typer.Context,
    reason: Reason,
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
    reason: Reason,
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

    if not reason.strip():
        raise typer.BadParameter("--reason is empty")
    return By(books.actor, reason.strip(), books.now)


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
