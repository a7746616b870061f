"""The words of messages to LPs: what concerns the reader, and nobody else. Pure.

They say nothing about other LPs, the commission, or what else was sold.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from satmachine.models.facts import PaidLeg
from satmachine.money import minor_to_fiat
from satmachine.plain_text import one_line
from satmachine.reports.statement_document import Document


def receipt(leg: PaidLeg, *, machine_name: str, currency: str, balance_minor: int) -> str:
    """For sats that were just paid out; `balance_minor` is the cash that is left after everything that was paid so
    far."""
    what = "from your balance" if leg.sold_at is None else f"from the sale of {_time(leg.sold_at)}"
    fee = f" {leg.fee_sats:,} sats went for routing." if leg.fee_sats else ""
    rate = Decimal(leg.exchange_rate)
    at_rate = f", at {rate:f} sats per {currency}" if rate > 0 else ""
    return (
        f"{one_line(machine_name)}: you got {leg.sent_sats:,} sats for "
        f"{_fiat(leg.fiat_amount_minor, currency)}, {what}{at_rate}."
        f"{fee} Your cash there is now {_fiat(balance_minor, currency)}. Payment {leg.payment_hash}."
    )


def monthly(month: str, document: Document, statement_id: str) -> str:
    """After a month; the signed statement itself is too long for a message, its id proves which one is meant."""
    unit = document["currency"]
    average = document["average_cost_per_bitcoin"]
    cost = "" if average is None else f" A bitcoin has cost you {average} {unit} on average."
    bought = (
        f"You bought {document['bought_sats']:,} sats for {document['bought']} {unit}."
        if document["bought_sats"]
        else "You bought nothing."
    )
    return (
        f"{document['machine_name']}, {month}: your cash was {document['opening']} {unit}; you brought "
        f"{document['deposited']} {unit}. {bought}{cost} Your cash is now {document['closing']} {unit}. Your operator "
        f"can give you the signed statement {statement_id}."
    )


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _fiat(amount_minor: int, currency: str) -> str:
    return f"{minor_to_fiat(amount_minor, currency):,f} {currency}"
