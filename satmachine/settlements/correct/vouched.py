"""A person vouches for what became of a held payment: it is paid, or its invoice is dead (SPEC section 6).

Each function is one transaction with its audit row, run by the daemon after `leg_orders.py` has asked the wallets. They
raise Refused where the payment has moved on meanwhile.
"""

from __future__ import annotations

import sqlite3

from satmachine.errors import Refused
from satmachine.models import By, Leg
from satmachine.store import audit_log as audit
from satmachine.store import legs, settlements, wallet_rows
from satmachine.store.wallet_rows import Outgoing


def declare_paid(conn: sqlite3.Connection, *, leg: Leg, by: By) -> str:
    """A person vouches that a leg's sats have left the machine's wallet and that its payee has them, or gets them.

    Where another payment paid less than the leg, the rest is retained.
    """
    other = other_payment(conn, leg)
    payment_hash = other or leg.payment_hash
    if payment_hash is None:
        raise Refused(f"{leg.leg} has no payment at all; `satmachine payments resolve {leg.id} --unpaid` makes one")
    paid_sats = _paid_sats(conn, leg)
    if paid_sats is None and other is None:
        _, invoice = legs.get(conn, leg.id)
        paid_sats = None if invoice is None else invoice.amount_sats
    sent_sats = leg.amount_sats if paid_sats is None else min(paid_sats, leg.amount_sats)
    vouched_by = f"{by.actor}: {by.reason}"
    if not legs.declare_completed(
        conn, leg, payment_hash=payment_hash, sent_sats=sent_sats, vouched_by=vouched_by, now=by.now
    ):
        raise Refused(f"payment {leg.id} was changed in the meantime; look at it, then try again")
    settlements.retain_reserve(conn, leg, leg.amount_sats - sent_sats, by.now)
    if other is not None:
        wallet_rows.mark_adopted(conn, leg.machine_id, other)
    _settle_leg(conn, leg, by, "leg.declare_paid", {"status": "completed", "payment_hash": payment_hash})
    return f"payment {leg.id} ({leg.leg}) is completed, on the word of {by.actor}"


def declare_unpaid(conn: sqlite3.Connection, *, leg: Leg, by: By, given_up: Outgoing | None = None) -> str:
    """A person vouches that a leg's invoice is dead, so that a new one is made. `given_up`: what the wallet calls
    pending still, and what is decided with it."""
    if given_up is not None:
        wallet_rows.give_up(conn, leg.machine_id, given_up, actor=by.actor, reason=by.reason, now=by.now)
    if other_payment(conn, leg) is not None:
        raise Refused(f"the wallet shows another payment for {leg.leg}, of payment {leg.id}: it is not unpaid")
    if not legs.renew(conn, leg, now=by.now):
        raise Refused(f"payment {leg.id} was changed in the meantime; look at it, then try again")
    _settle_leg(conn, leg, by, "leg.declare_unpaid", {"status": "failed"})
    if given_up is not None:
        return (
            f"payment {leg.id} ({leg.leg}) is made anew. The wallet still counts the former one as pending, so the new "
            f"one is held in a moment, and waits for your word: `satmachine payments approve {leg.id}`"
        )
    return f"payment {leg.id} ({leg.leg}) is made anew"


def other_payment(conn: sqlite3.Connection, leg: Leg) -> str | None:
    """The payment that holds this leg and that is not its own invoice's (see `wallets`)."""
    evidence = legs.evidence(conn, leg.id)
    found = evidence.get("another_payment") or evidence.get("payment")
    return str(found) if found else None


def _paid_sats(conn: sqlite3.Connection, leg: Leg) -> int | None:
    """What the evidence says has left the wallet, with the fee; None where it says nothing."""
    evidence = legs.evidence(conn, leg.id)
    other, source = evidence.get("amount_sats"), evidence.get("source")
    if isinstance(other, int):
        return other
    if not isinstance(source, dict) or not isinstance(source.get("amount_msat"), int):
        return None
    paid_msat = abs(int(source["amount_msat"])) + abs(int(source.get("fee_msat") or 0))
    return -(-paid_msat // 1000)


def _settle_leg(conn: sqlite3.Connection, leg: Leg, by: By, action: str, after: dict[str, object]) -> None:
    if leg.settlement_id is not None:
        settlements.person_acted(conn, leg.settlement_id, by.now)
        settlements.refresh_status(conn, leg.settlement_id, by.now)
    wallet_rows.refresh_safe_mode(conn, leg.machine_id)
    before = {"leg": leg.leg, "status": leg.status, "hold_reason": leg.hold_reason, "payment_hash": leg.payment_hash}
    subject = f"payment {leg.id}" if leg.settlement_id is None else f"settlement {leg.settlement_id}"
    audit.record_by(conn, by, action, subject, leg.machine_id, before, after)
