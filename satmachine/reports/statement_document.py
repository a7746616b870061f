"""An LP's statement as a document: what it says is plain JSON, always written the same way, so that it can be signed.

Pure. Fiat is a decimal text in major units, sats are whole numbers, times ISO 8601 in UTC. It says nothing about other
LPs, and contains none of the operator's notes. Each purchase has the Lightning payment's hash, which the LP's own
wallet shows too, and its arithmetic: sats / rate = fiat.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from satmachine.clients.statement import Statement, StatementLine
from satmachine.models import Client, DepositKind, Movement
from satmachine.money import minor_to_fiat, sats_to_minor
from satmachine.plain_text import one_line

#: The first word of every statement: what kind of document it is, and how it is written.
FORMAT = "satmachine statement 1"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """Whose statement it is, for which period, and by whom. Times are Unix seconds; None: from the beginning, or up to
    now."""

    operator: str
    machine_name: str
    since: int | None
    until: int | None
    made_at: int
    signer_npub: str | None


def make_document(client: Client, made: Statement, head: Head) -> Document:
    """The document of a statement."""
    totals = made.totals
    average = totals.average_cost_minor

    def fiat(minor: int) -> str:
        return f"{minor_to_fiat(minor, client.currency):f}"

    return {
        "format": FORMAT,
        "operator": one_line(head.operator),
        "machine": client.machine_id,
        "machine_name": one_line(head.machine_name),
        "client": one_line(client.label),
        "person": one_line(client.person),
        "currency": client.currency,
        "since": None if head.since is None else iso(head.since),
        "until": None if head.until is None else iso(head.until),
        "made_at": iso(head.made_at),
        "signer": head.signer_npub,
        "opening": fiat(made.opening_minor),
        "closing": fiat(made.closing_minor),
        "deposited": fiat(totals.deposited_minor),
        "bought": fiat(totals.bought_minor),
        "bought_sats": totals.bought_sats,
        "routing_fee_sats": totals.fee_sats,
        "on_its_way": fiat(totals.reserved_minor),
        "on_its_way_sats": totals.reserved_sats,
        "average_cost_per_bitcoin": None if average is None else fiat(average),
        "lines": [_line(line, client.currency) for line in made.lines],
    }


def iso(at: int) -> str:
    """Unix seconds as 2026-11-22T10:00:00Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def at_of(text: str) -> int:
    """The other way round."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())


def _line(line: StatementLine, currency: str) -> Document:
    movement = line.movement
    found: Document = {
        "at": iso(movement.at),
        "what": movement.kind,
        "amount": f"{minor_to_fiat(movement.amount_minor, currency):f}",
        "balance": f"{minor_to_fiat(line.balance_minor, currency):f}",
    }
    if movement.kind not in set(DepositKind):
        found |= {
            "sats": movement.sats,
            "routing_fee_sats": movement.fee_sats,
            "rate": None if movement.exchange_rate is None else f"{movement.exchange_rate:f}",
            "paid": movement.status == "completed",
            "payment_hash": movement.payment_hash if movement.status == "completed" else None,
            "arithmetic": _arithmetic(movement, currency),
        }
    return found


def _arithmetic(movement: Movement, currency: str) -> str | None:
    """How the amount was computed, in figures; None if there is no rate."""
    rate: Decimal | None = movement.exchange_rate
    if rate is None or rate <= 0 or movement.planned_sats is None:
        return None
    exact = sats_to_minor(movement.planned_sats, rate, currency)
    shown = f"{movement.planned_sats} / {rate:f} = {minor_to_fiat(exact, currency):f}"
    if -movement.amount_minor == exact:
        return shown
    return f"{shown}, of which {minor_to_fiat(-movement.amount_minor, currency):f} was left of the balance"
