"""`settlements retry`, `hold`, `release`, and `resolve`: the ways out for a sale that waits."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from satmachine.attention import words
from satmachine.cli.kit import complete
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Act, Done, acting
from satmachine.cli.kit.options import Sale
from satmachine.cli.kit.output import print_json
from satmachine.cli.kit.values import format_sats
from satmachine.cli.payments.evidence import Paid, Unpaid, resolve
from satmachine.cli.settlements import app
from satmachine.errors import NotFound, Refused
from satmachine.models import LegStatus
from satmachine.store import legs


@acting(app, "retry", reason="tried again", asks=False)
def retry(
    act: Act,
    reference: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The sale; or use --all.", autocompletion=complete.sales)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every sale that has something to try.")] = False,
) -> None:
    """Try failed payments now, and look again at held ones. This never pays anything twice.

    Use it when the cause is gone: a key was replaced, a payee's server is back, LNbits was repaired.

    Examples:

        satmachine settlements retry 12

        satmachine settlements retry --all
    """
    from satmachine.settlements.correct import retries

    if (reference is None) is not everything:
        raise typer.BadParameter("name one sale, or use --all")
    wanted = retries.retryable(act.conn, act.books.scope)
    if reference is not None:
        wanted = [int(act.books.sale(reference)["id"])]
    if act.dry_run:
        _tell_tried(act, dict.fromkeys(wanted), "would be tried")
        return
    by = act.by
    counts = act.write(lambda conn: {one: retries.retry(conn, one, by) for one in wanted})
    _tell_tried(act, {one: count for one, count in counts.items() if count}, "will be tried within seconds")


@acting(app, "hold", reason=True)
def hold(act: Act, sale: Sale) -> Done:
    """Stop a sale: nothing more of it is sent until it is released. What is on its way cannot be stopped.

    Examples:

        satmachine settlements hold 12 --reason "the customer complains" --yes

        satmachine settlements hold 12 --reason "wrong rate" --dry-run
    """
    from satmachine.settlements.correct import stops

    act.ask(f"hold sale {sale['id']} ({format_sats(sale['gross_sats'])} sats, {sale['status']})")
    act.write(stops.hold, sale["id"], act.by)
    return _now(act.books, sale["id"], "is held: nothing more of it is sent")


@acting(app, "release", reason=True)
def release(act: Act, sale: Sale) -> Done:
    """Let a held sale continue. A limit that held it is overridden for this sale; its proof is looked for again.

    Examples:

        satmachine settlements release 12 --reason "big sale, checked with the machine"

        satmachine settlements release 12 --reason "LPs are registered again" --yes
    """
    from satmachine.settlements.correct import stops

    if sale["status"] != "held":
        raise Refused(stops.not_held(sale["id"], sale["status"]))
    act.ask(f"release sale {sale['id']}, held because: {sale['error'] or words.hold(sale['hold_reason'])}")
    act.write(stops.release, sale["id"], act.by, read=(sale["hold_reason"], sale["error"]))
    return _now(act.books, sale["id"], "continues")


@acting(app, "resolve", reason=True)
def resolve_leg(
    act: Act,
    sale: Sale,
    leg: Annotated[str, typer.Option("--leg", metavar="LEG", help="Which payment: super, split:owner, dca:maria.")],
    paid: Paid = False,
    unpaid: Unpaid = False,
) -> Done:
    """Decide about one payment, after looking at both wallets (`settlements show` has the evidence).

    For a held payment, and for one whose payee's wallet cannot be asked any more. --paid: the sats have left the
    machine's wallet, and the payee has them or gets them by hand. --unpaid: the invoice is dead, make a new one;
    refused while the machine's wallet shows a payment of it.

    Examples:

        satmachine settlements resolve 12 --leg dca:maria --paid --reason "credited her in LNbits by hand"

        satmachine settlements resolve 12 --leg super --unpaid --reason "LNbits was restored from yesterday's backup"
    """
    answer = resolve(act, _open_leg(act.books, sale["id"], leg), paid=paid, unpaid=unpaid)
    return Done(act.books.sale(str(sale["id"])), answer)


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
    """The payment of this name that is not final; if there are several revisions, the latest."""
    found = [leg for leg in legs.of_settlement(books.conn, settlement_id) if leg.leg == name]
    unfinished = [leg for leg in found if leg.status == LegStatus.HELD or leg.status in legs.OPEN]
    if not unfinished:
        raise NotFound(
            f"sale {settlement_id} has no unfinished payment {name}; `settlements show {settlement_id}` "
            "lists its payments"
        )
    return unfinished[-1].id
