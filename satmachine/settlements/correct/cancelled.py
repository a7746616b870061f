"""A payment that is proven unpaid is given up: a payout of a balance, or one that the daemon has not ordered.

One transaction with its audit row, run by the daemon after `leg_orders.py` has withdrawn the invoice.
"""

from __future__ import annotations

import sqlite3

from satmachine.errors import Refused
from satmachine.models import By, HoldReason, Leg, LegStatus, Retained, RetainedReason, leg_types
from satmachine.settlements.correct import audited
from satmachine.settlements.correct.changes import ProvenUnpaid
from satmachine.store import balances, corrections, legs, settlements
from satmachine.store.reconciling import accounted_sats


def require_unfinished(leg: Leg) -> None:
    """Raises Refused for a payment that is paid, or given up already."""
    if leg.status not in (*legs.OPEN, LegStatus.HELD):
        raise Refused(f"payment {leg.id} is {leg.status}: there is nothing to give up")


def cancel_payout(conn: sqlite3.Connection, *, leg_id: int, proof: ProvenUnpaid, by: By) -> str:
    """Give up a payment that was just proven unpaid: a balance payout, whose fiat the LP has again, or one that the
    daemon has not ordered. Of that one its sale retains only what it lacks otherwise."""
    leg = proof.legs[leg_id]
    if leg.hold_reason == HoldReason.UNORDERED and leg.client_id is not None:
        balances.count_again(conn, leg.client_id)
    corrections.void(conn, leg, proof.evidence[leg_id])
    audited.payment(conn, by, "leg.cancel", leg)
    if leg.settlement_id is not None and leg.leg_type not in leg_types.PAID_BY_LP:
        sale = settlements.get(conn, leg.settlement_id)
        lacks_sats = sale.came_in_sats - accounted_sats(conn, sale.id)
        if lacks_sats > 0:
            kept = [Retained(RetainedReason.VOIDED_LEG, lacks_sats, leg.leg)]
            settlements.retain(conn, sale.id, sale.revision, kept, by.now)
        settlements.refresh_status(conn, sale.id, by.now)
    if leg.hold_reason == HoldReason.UNORDERED:
        return f"payment {leg_id} is given up"
    return f"payment {leg_id} is given up; the balance is the LP's again"
