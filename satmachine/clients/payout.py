"""Settle balance: the operator pays out what an LP has left, at a given rate (SPEC section 8).

The leg is paid by the same exactly-once machinery as every other; it only has no settlement. Its number is fixed when
the operator asks, so that a request which is carried out twice (after a crash in between) plans one payout.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from decimal import Decimal

from satmachine.errors import Refused
from satmachine.models import Client, ClientStatus
from satmachine.money import minor_to_fiat, minor_to_sats
from satmachine.orders import SettleBalance
from satmachine.store import audit_log as audit
from satmachine.store import balances, client_legs, clients, wallet_rows


@dataclass(frozen=True, slots=True)
class Payout:
    """What a payout would do, or has planned. `exchange_rate` is sats per major unit; sats are rounded down."""

    client: Client
    number: int
    leg_key: str
    exchange_rate: Decimal
    amount_sats: int
    fiat_amount_minor: int
    available_minor: int


def propose_payout(
    conn: sqlite3.Connection,
    client_id: int,
    *,
    exchange_rate: Decimal,
    amount_minor: int | None = None,
    operator: str | None = None,
) -> Payout:
    """The result of paying out `amount_minor` (default: all that is available). Writes nothing.

    Raises NotFound, and Refused for a removed client, a rate that is not above 0, an amount that is not available
    or that does not buy a single sat.
    """
    client = clients.get(conn, client_id, operator=operator)
    who = f"LP {client.id} ({client.label} at {client.machine_id})"
    if client.status is ClientStatus.REMOVED:
        raise Refused(f"{who} was removed: there is nothing to pay out")
    if wallet_rows.is_stopped(conn, client.machine_id):
        raise Refused(
            f"payments to {who} may be missing in the books of {client.machine_id}, so less may be left than they "
            f"say: run `satmachine machines reconcile {client.machine_id}` first"
        )
    if not exchange_rate.is_finite() or exchange_rate <= 0:
        raise Refused(f"the rate must be above 0: sats for one {client.currency}")
    available_minor = balances.of_client(conn, client_id).available_minor
    wanted_minor = available_minor if amount_minor is None else amount_minor
    if not 0 < wanted_minor <= available_minor:
        raise Refused(
            f"{who} has {_text(available_minor, client)} available; {_text(wanted_minor, client)} cannot be paid out. "
            f"`satmachine clients balance {client.id}` shows what is reserved for sales"
        )
    amount_sats = minor_to_sats(wanted_minor, exchange_rate, client.currency)
    if amount_sats == 0:
        raise Refused(f"{_text(wanted_minor, client)} is less than one sat at {exchange_rate:f} sats per unit")
    number = client_legs.next_payout_number(conn, client_id)
    key = client_legs.payout_key(client, number)
    return Payout(client, number, key, exchange_rate, amount_sats, wanted_minor, available_minor)


def plan_balance_payout(
    conn: sqlite3.Connection,
    client_id: int,
    *,
    exchange_rate: Decimal,
    amount_minor: int,
    number: int,
    actor: str,
    now: int,
) -> Payout | None:
    """Write the `settlement` leg in this transaction; from now on its fiat is reserved. Raises as `propose_payout`.

    None if exactly this payout was planned before; Refused if `number` belongs to another one.
    """
    if number != client_legs.next_payout_number(conn, client_id):
        _refuse_other(conn, clients.get(conn, client_id), number, amount_minor, exchange_rate)
        return None
    payout = propose_payout(conn, client_id, exchange_rate=exchange_rate, amount_minor=amount_minor)
    client_legs.insert_payout(
        conn,
        payout.client,
        number=payout.number,
        amount_sats=payout.amount_sats,
        fiat_amount_minor=payout.fiat_amount_minor,
        exchange_rate=exchange_rate,
        now=now,
    )
    audit.record(
        conn,
        now=now,
        actor=actor,
        action="client.settle",
        subject=f"client {client_id}",
        machine_id=payout.client.machine_id,
        before={"available_minor": payout.available_minor},
        after={
            "available_minor": payout.available_minor - payout.fiat_amount_minor,
            "leg_key": payout.leg_key,
            "amount_sats": payout.amount_sats,
            "exchange_rate": f"{exchange_rate:f}",
        },
    )
    return payout


def carry_out(conn: sqlite3.Connection, *, order: SettleBalance, actor: str, now: int) -> str:
    """The order of `satmachine clients settle`, in the daemon; returns a sentence for the person who asked."""
    payout = plan_balance_payout(
        conn,
        order.client_id,
        exchange_rate=order.exchange_rate,
        amount_minor=order.amount_minor,
        number=order.number,
        actor=actor,
        now=now,
    )
    if payout is None:
        return "this payout is already planned"
    fiat = _text(payout.fiat_amount_minor, payout.client)
    return f"{payout.amount_sats} sats for {fiat} are on their way to {payout.client.label} ({payout.leg_key})"


def _refuse_other(
    conn: sqlite3.Connection, client: Client, number: int, amount_minor: int, exchange_rate: Decimal
) -> None:
    found = client_legs.payout(conn, client, number)
    if found != (amount_minor, exchange_rate):
        raise Refused(
            f"another payout of LP {client.id} ({client.label}) was planned since this was asked for; look at "
            f"`satmachine clients statement {client.id}` and ask again"
        )


def _text(amount_minor: int, client: Client) -> str:
    return f"{minor_to_fiat(amount_minor, client.currency)} {client.currency}"
