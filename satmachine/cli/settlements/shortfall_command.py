"""`settlements shortfall`: the customer got too little cash, and everything is already paid."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine import orders
from satmachine.cli.kit import complete, numbers
from satmachine.cli.kit.commands import Act, Done, acting, usage
from satmachine.cli.kit.options import Sale
from satmachine.cli.kit.output import emit_table, to_json
from satmachine.cli.kit.values import Column, format_fiat, format_sats, format_time
from satmachine.cli.machines.wallets_command import qr_code
from satmachine.cli.settlements import app
from satmachine.cli.settlements.correct import refund_payee, reserve_sats
from satmachine.errors import NotFound, Refused
from satmachine.store import clients, incoming, shortfalls

if TYPE_CHECKING:
    from satmachine.models import Settlement
    from satmachine.store.shortfalls import ShortfallRow

_WHAT = (Column("what", "What"), Column("is", "Is"))


@acting(app, "shortfall", reason=True)
def shortfall(
    act: Act,
    sale: Sale,
    dispensed: Annotated[
        str | None, typer.Option(metavar="FIAT", help="How much cash the machine really handed out.")
    ] = None,
    refund_to: Annotated[
        str | None,
        typer.Option(
            metavar="INVOICE|ADDRESS", help="Where the customer gets sats back: BOLT 11, or a Lightning address."
        ),
    ] = None,
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="The customer was paid by hand: only the cash is corrected.")
    ] = False,
    client: Annotated[
        int | None,
        typer.Option(
            "--owner",
            metavar="CLIENT",
            help="The LP who gets the cash that stayed in the machine; without it, the operator.",
            autocompletion=complete.clients,
        ),
    ] = None,
    reserve: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="SATS", help="Sats set aside for the routing fees of an invoice; without it 1 %, at least 2."
        ),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back; only while the refund is not paid.")] = False,
) -> Done:
    """Book cash that a customer did not get, of a sale that is already paid out: a jam that was noticed too late.

    Nothing can be taken back from LPs and partners. So you pay the customer's sats with a top-up: the command shows its
    invoice. As soon as it is paid, exactly that amount goes to the customer. The cash that stayed in the machine then
    belongs to the operator, or to the LP whom --owner names (name whoever paid the top-up).

    Without options it shows what is done so far, and the invoice.

    Examples:

        satmachine settlements shortfall 12 --dispensed 900 --refund-to ana@example.org --reason "jam, 9 of 18 notes"

        satmachine settlements shortfall 12 --dispensed 900 --by-hand --owner maria --reason "maria paid the customer"

        satmachine settlements shortfall 12 --undo --reason "the customer had miscounted" --yes
    """
    open_ = shortfalls.latest(act.conn, sale["id"])
    if dispensed is None and not undo:
        if refund_to is not None or by_hand:
            raise typer.BadParameter("say how much cash the machine handed out: --dispensed FIAT")
        if open_ is None:
            raise NotFound(
                f"sale {sale['id']} has no shortfall; book one with --dispensed FIAT and --refund-to INVOICE or ADDRESS"
            )
        return _shown(act, open_, sale["currency"])
    if undo:
        if dispensed is not None or refund_to is not None or by_hand or client is not None:
            raise typer.BadParameter("--undo takes back what was booked; use it without the other options")
        return _undo(act, sale["id"], sale["currency"])
    if (refund_to is None) is not by_hand:
        raise typer.BadParameter("say how the customer is paid: --refund-to INVOICE or ADDRESS, or --by-hand")
    return _book(act, sale["id"], str(dispensed), refund_to, client, reserve)


def _book(
    act: Act, settlement_id: int, dispensed: str, refund_to: str | None, client: int | None, reserve: int | None
) -> Done:
    from satmachine.settlements.correct import shortfall as rules

    reason = act.reason
    sale = rules.allowed(act.conn, settlement_id)
    assert sale.fiat_amount_minor is not None
    dispensed_minor = usage(lambda: numbers.cash(dispensed, sale.currency), "--dispensed")
    short_minor = sale.fiat_amount_minor - dispensed_minor
    rules.allowed(act.conn, settlement_id, short_minor)
    refund_sats = topup_sats = 0
    payee = None
    if refund_to is not None:
        refund_sats = rules.refund_sats(sale, short_minor)
        if refund_sats == 0:
            raise Refused("that is less than one sat: use --by-hand, which corrects only the cash")
        payee = refund_payee(refund_to, refund_sats, act.books.now)
        topup_sats = refund_sats + reserve_sats(act.books, payee, refund_sats, reserve)
    owner = None if client is None else clients.get(act.conn, client)
    if owner is not None and owner.machine_id != sale.machine_id:
        raise Refused(f"LP {owner.id} ({owner.label}) belongs to {owner.machine_id}, not to {sale.machine_id}")
    order = orders.Shortfall(sale.id, short_minor, refund_sats, topup_sats, reason, payee, client)
    told = _preview(sale, order, dispensed_minor, None if owner is None else owner.label)
    act.preview(to_json({"currency": sale.currency, **told}), lambda: emit_table(_rows(sale, told), _WHAT))
    pays = "" if payee is None else f", and pay back {format_sats(refund_sats)} sats once you have topped them up"
    act.ask(f"correct the cash of sale {sale.id} to {format_fiat(dispensed_minor, sale.currency)}{pays}")
    number = shortfalls.next_number(act.conn, sale.id)
    answer = act.order(order)
    booked = shortfalls.latest(act.conn, sale.id)
    if booked is None or booked.number != number:  # the daemon does it when it runs
        hint = f" `satmachine settlements shortfall {sale.id}` shows the invoice then." if payee else ""
        return Done(act.books.sale(str(sale.id)), answer + hint)
    return _shown(act, booked, sale.currency, answer)


def _undo(act: Act, settlement_id: int, currency: str) -> Done:
    from satmachine.settlements.correct import shortfall as rules

    found = rules.to_undo(act.conn, settlement_id)
    reason = act.reason
    act.ask(f"take back the shortfall of {format_fiat(found.short_minor, currency)} of sale {settlement_id}")
    answer = act.order(orders.UndoShortfall(settlement_id, reason))
    return Done(act.books.sale(str(settlement_id)), answer)


def _preview(sale: Settlement, order: orders.Shortfall, dispensed_minor: int, owner: str | None) -> dict[str, Any]:
    return {
        "sold_minor": sale.fiat_amount_minor,
        "dispensed_minor": dispensed_minor,
        "short_minor": order.short_minor,
        "owner": owner,
        "refund_sats": order.refund_sats,
        "topup_sats": order.topup_sats,
        "refund_to": order.to,
    }


def _rows(sale: Settlement, told: dict[str, Any]) -> list[dict[str, str]]:
    def fiat(key: str) -> str:
        return format_fiat(told[key], sale.currency)

    owner = f"{told['owner']}, as a confirmed deposit" if told["owner"] else "the operator"
    rows = {
        "cash that the books say was sold": fiat("sold_minor"),
        "cash that was handed out": fiat("dispensed_minor"),
        "cash that stayed in the machine": f"{fiat('short_minor')}, of {owner}",
    }
    if told["refund_to"]:
        rows |= {
            "the customer gets back": f"{format_sats(told['refund_sats'])} sats",
            "at": told["refund_to"],
            "you pay a top-up of": f"{format_sats(told['topup_sats'])} sats",
        }
    return [{"what": what, "is": value} for what, value in rows.items()]


def _shown(act: Act, found: ShortfallRow, currency: str, answer: str = "") -> Done:
    """What is done so far; with the invoice, while that is still to be paid."""
    made = None if found.topup_hash is None else incoming.top_up_of(act.conn, found.machine_id, found.topup_hash)
    row = {name: getattr(found, name) for name in found.__slots__} | {
        "currency": currency,
        "bolt11": None if made is None else made.bolt11,
        "expires_at": None if made is None else made.expires_at,
    }
    lines = [answer] if answer else []
    if found.waits and made is not None:
        if sys.stdout.isatty() and not act.as_json:
            typer.echo(qr_code(made.bolt11))
        lines += [made.bolt11, _how_to_pay(act, found, made.expires_at)]
    elif not answer:
        lines.append(_how_far(found, format_fiat(found.short_minor, currency)))
    return Done(row, "\n".join(lines))


def _how_to_pay(act: Act, found: ShortfallRow, expires_at: int) -> str:
    number = found.settlement_id
    if expires_at <= act.books.now:
        return (
            f"This invoice has expired. `satmachine settlements shortfall {number} --undo` takes the shortfall back; "
            "then book it again."
        )
    return (
        f"Pay this invoice of {format_sats(found.topup_sats)} sats before {format_time(expires_at, act.books.tz)}; "
        "then "
        "the customer is refunded automatically."
    )


def _how_far(found: ShortfallRow, short: str) -> str:
    if found.waits:
        return (
            f"{short} less was handed out for sale {found.settlement_id}, and the customer waits for a top-up whose "
            f"invoice is not in these books: run `satmachine settlements shortfall {found.settlement_id} --undo`, then "
            "book it again."
        )
    if found.payee is None:
        return f"{short} less was handed out for sale {found.settlement_id}; the customer was paid by hand."
    return (
        f"{short} less was handed out for sale {found.settlement_id}. The top-up has arrived; the refund is payment "
        f"{found.payment_id}: `satmachine payments list --settlement {found.settlement_id}`"
    )
