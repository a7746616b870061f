"""What a person has tried again now: failed payments, and held ones whose own invoice is looked at (SPEC section 6).

Each function is one transaction with its audit row. It makes no invoice: the payer asks the wallets first, as ever.
"""

from __future__ import annotations

import sqlite3

from satmachine.errors import Refused
from satmachine.models import By, HoldReason, Leg, LegStatus, SettlementStatus
from satmachine.settlements.correct import audited
from satmachine.settlements.correct.vouched import other_payment
from satmachine.store import legs, settlements


def retry(conn: sqlite3.Connection, settlement_id: int, by: By) -> int:
    """Try failed legs now, and look again at held ones; returns how many. Never makes a new invoice by itself.

    A leg that is held because of *another* payment is not touched: looking at its own invoice would pay that one too.
    """
    before = settlements.get(conn, settlement_id)
    if before.hold_reason in (HoldReason.PAYMENT_NOT_FOUND, HoldReason.NO_PAYMENT_HASH):
        settlements.release(conn, settlement_id)
    elif before.status is SettlementStatus.HELD:
        raise Refused(f"settlement {settlement_id} is held: `satmachine settlements release {settlement_id}` first")
    count = settlements.prove_now(conn, settlement_id) + legs.retry_failed(conn, settlement_id)
    count += sum(legs.look_again(conn, leg) for leg in _held_legs(conn, settlement_id) if not other_payment(conn, leg))
    if count:
        settlements.refresh_status(conn, settlement_id, by.now)
        audited.sale(conn, by, "settlement.retry", before)
    return count


def retry_payment(conn: sqlite3.Connection, leg_id: int, by: By) -> None:
    """Try one payment now, or look again at a held one: the way on for a balance payout, which has no sale."""
    leg, _ = legs.get(conn, leg_id)
    other = leg.status is LegStatus.HELD and other_payment(conn, leg) is not None
    if other or not (legs.try_now(conn, leg) or legs.look_again(conn, leg)):
        why = "is held because of another payment" if other else f"is {leg.status}: there is nothing to try"
        raise Refused(f"payment {leg_id} {why}")
    audited.payment(conn, by, "leg.retry", leg)


def retryable(conn: sqlite3.Connection, operator: str | None) -> list[int]:
    """Sales with something that `retry` can try."""
    return settlements.with_trouble(conn, operator)


def _held_legs(conn: sqlite3.Connection, settlement_id: int) -> list[Leg]:
    return [leg for leg in legs.of_settlement(conn, settlement_id) if leg.status is LegStatus.HELD]
