"""`clients settle`: what is left of a balance, paid out."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer

from satmachine.cli.clients import app
from satmachine.cli.kit import numbers
from satmachine.cli.kit.commands import Act, Done, acting, usage
from satmachine.cli.kit.options import Client
from satmachine.cli.kit.output import emit_record, to_json
from satmachine.cli.kit.values import Column, format_sats
from satmachine.clients.payout import Payout, propose_payout
from satmachine.clients.terms import parse_rate
from satmachine.money import minor_to_sats
from satmachine.orders import SettleBalance
from satmachine.store import balances, clients
from satmachine.store.clients import describe_payee


@acting(app, "settle")
def settle(
    act: Act,
    client: Client,
    rate: Annotated[str, typer.Option(metavar="SATS", help="Sats for one unit of the machine's currency.")],
    amount: Annotated[str | None, typer.Option(help="How much of the balance, in fiat; without it, all.")] = None,
) -> Done:
    """Pay out what is left of an LP's balance, at the rate that you give, from the machine's wallet.

    The daemon pays it, exactly once; until then the amount is reserved. More than is available is refused.

    Examples:

        satmachine clients settle 3 --rate 760.5 --dry-run

        satmachine clients settle maria --rate 760.5 --amount 100
    """
    exchange_rate = usage(lambda: parse_rate(numbers.plain(rate)), "--rate")
    whose = clients.get(act.conn, client)
    amount_minor = None if amount is None else usage(lambda: numbers.fiat(amount, whose.currency), "--amount")
    payout = propose_payout(act.conn, client, exchange_rate=exchange_rate, amount_minor=amount_minor)
    row = _row(payout)
    latest = balances.latest_rate(act.conn, whose.machine_id)
    act.preview(to_json(row) | {"latest_exchange_rate": latest}, lambda: _show(act, payout, latest))
    act.ask(f"pay {format_sats(payout.amount_sats)} sats to {whose.label}")
    answer, intent = act.order_and_intent(SettleBalance(client, exchange_rate, payout.fiat_amount_minor, payout.number))
    return Done(row | {"intent_id": intent.id, "status": intent.status}, answer)


def _row(payout: Payout) -> dict[str, Any]:
    return {
        "client_id": payout.client.id,
        "label": payout.client.label,
        "machine_id": payout.client.machine_id,
        "currency": payout.client.currency,
        "available_minor": payout.available_minor,
        "fiat_amount_minor": payout.fiat_amount_minor,
        "exchange_rate": f"{payout.exchange_rate:f}",
        "amount_sats": payout.amount_sats,
        "payee": describe_payee(payout.client.payee_kind, payout.client.payee),
        "leg_key": payout.leg_key,
    }


def _show(act: Act, payout: Payout, latest: str | None) -> None:
    unit = payout.client.currency
    fields = (
        Column("available_minor", "Available"),
        Column("fiat_amount_minor", "Paid out"),
        Column("exchange_rate", "Rate", show=lambda entry: f"{entry['exchange_rate']} sats per {unit}"),
        Column("amount_sats", "Sats"),
        Column("payee", "Paid to"),
    )
    title = f"Balance of {payout.client.label} at {payout.client.machine_id}"
    emit_record(_row(payout), fields, title=title, tz=act.books.tz)
    if latest is not None:
        at_latest = minor_to_sats(payout.fiat_amount_minor, Decimal(latest), unit)
        typer.echo(f"The machine's latest sale was at {latest} sats per {unit}: {format_sats(at_latest)} sats.")
