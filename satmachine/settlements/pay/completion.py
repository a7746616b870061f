"""A leg is paid: everything that follows, in one transaction, so that a crash can lose none of it.

Used when the payer has proof. A person's decision (`correct/vouched.py`) and reconciling complete legs by themselves;
nothing is forwarded then.
"""

from __future__ import annotations

import sqlite3

from satmachine.clients.forward import plan_autoforward
from satmachine.models import Leg, Proof, Retained, RetainedReason, leg_types
from satmachine.store import legs, settlements


def complete_leg(
    conn: sqlite3.Connection,
    leg: Leg,
    *,
    sent_sats: int,
    fee_sats: int,
    preimage: str | None,
    proof: Proof,
    now: int,
) -> bool:
    """Complete the leg, retain what an external payee's reserve left over, refresh its sale, plan its forward.

    False where the leg was final already: then nothing is written.
    """
    if not legs.complete(conn, leg, sent_sats=sent_sats, fee_sats=fee_sats, preimage=preimage, proof=proof, now=now):
        return False
    retain_reserve(conn, leg, leg.amount_sats - sent_sats - fee_sats, now)
    if leg.settlement_id is not None:
        settlements.refresh_status(conn, leg.settlement_id, now)
    plan_autoforward(conn, leg, sent_sats=sent_sats, now=now)
    return True


def retain_reserve(conn: sqlite3.Connection, leg: Leg, unused_sats: int, now: int) -> None:
    """Retain what was not sent of a leg, where its sale, or its payout, has it from now on.

    An autoforward is paid from the LP's own wallet, where its reserve stays: it is no part of any sale's sats.
    """
    if unused_sats <= 0 or leg.leg_type in leg_types.PAID_BY_LP:
        return
    reserve = Retained(RetainedReason.UNUSED_FEE_RESERVE, unused_sats, leg.leg)
    if leg.settlement_id is None:
        settlements.retain_of_payout(conn, leg.id, reserve, now)
    else:
        settlements.retain(conn, leg.settlement_id, leg.revision, [reserve], now)
