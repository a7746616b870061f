"""A top-up for a customer who got too little cash: when it has arrived, the refund is planned.

`settlements shortfall` has booked it (correct/shortfall.py); nothing is paid for it until its top-up is in the
machine's wallet.
"""

from __future__ import annotations

import hashlib
import sqlite3

from satmachine.models import Retained, RetainedReason
from satmachine.store import audit_log as audit
from satmachine.store import corrections, legs, notes, settlements, shortfalls
from satmachine.wallet.rows import WalletPayment


def top_up_id(settlement_key: str, number: int, payee: str, topup_sats: int) -> str:
    """What names a top-up: for which shortfall it is, and whom it pays. Vouched for in the wallet (topups.py), so that
    who can only write the books sends no top-up elsewhere."""
    digest = hashlib.sha256(f"{payee}\n{topup_sats}".encode()).hexdigest()[:32]
    return f"shortfall:{settlement_key}:{number}:{digest}"


def fund(conn: sqlite3.Connection, machine_id: str, came: WalletPayment, topup_id: str, now: int) -> None:
    """A top-up is in the machine's wallet, where `topup_id` was vouched for: if it is a shortfall's, refund it."""
    found = shortfalls.by_top_up(conn, machine_id, came.payment_hash)
    if found is None or found.payee is None:
        return
    sale = settlements.get(conn, found.settlement_id)
    named = top_up_id(str(sale.settlement_key), found.number, found.payee, found.topup_sats)
    if topup_id != named or came.amount_sats != found.topup_sats:
        return  # somebody wrote this row, or changed it: the sats stay in the wallet
    kept = Retained(RetainedReason.SHORTFALL, found.topup_sats)
    settlements.retain(conn, sale.id, sale.revision, [kept], now)
    shortfalls.top_up(conn, sale.id, found.topup_sats)
    sale = settlements.get(conn, sale.id)
    leg = corrections.insert_refund(
        conn,
        sale,
        number=max(found.refund_number, corrections.next_refund_number(conn, sale.id)),
        amount_sats=found.topup_sats,
        payee=found.payee,
        now=now,
    )
    settlements.retain(conn, sale.id, sale.revision, [Retained(RetainedReason.SHORTFALL, -found.topup_sats)], now)
    corrections.reopen(conn, sale, revision=sale.revision)
    payment_id = next(one.id for one in legs.of_settlement(conn, sale.id) if one.leg == leg)
    shortfalls.fund(conn, found, payment_id=payment_id, now=now)
    text = f"{found.topup_sats} sats came in by a top-up and go back to the customer as {leg}."
    notes.add(conn, sale.id, sale.machine_id, text=text, author=audit.DAEMON, now=now)
    audit.record(
        conn,
        now=now,
        actor=audit.DAEMON,
        action="settlement.shortfall_funded",
        subject=f"settlement {sale.id}",
        machine_id=sale.machine_id,
        reason=found.reason,
        after={"topup_sats": found.topup_sats, "payment_hash": came.payment_hash, "payment_id": payment_id},
    )
