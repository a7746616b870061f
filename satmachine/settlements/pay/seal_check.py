"""Did the daemon itself order this payment? Checked right before an invoice is made, and right before it is paid.

Anybody who may write to the database can insert or change a payment, but cannot seal it (seals.py). Nor can they make a
sale pay more than its customer paid: what the seal says came in is compared with everything that the books plan for
that sale and, in `beyond`, with what the wallet itself shows as paid.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from satmachine.errors import Refused
from satmachine.models import By, HoldReason, Leg, LegInvoice, LegStatus, leg_types
from satmachine.seals import Keyring, is_beyond
from satmachine.store import audit_log as audit
from satmachine.store import legs, seal_rows, settlements


@dataclass(frozen=True, slots=True)
class Strange:
    """Why a payment is not made; `way_out` completes the sentence for a person."""

    why: str
    way_out: str
    too_much: bool = False

    @property
    def text(self) -> str:
        """For the operator."""
        return f"{self.why}. {self.way_out}"


def strange(conn: sqlite3.Connection, leg: Leg, invoice: LegInvoice | None) -> Strange | None:
    """What is wrong with a payment, or with its live invoice; None where the daemon itself has ordered exactly this."""
    keyring = seal_rows.keyring_of(conn)
    assert keyring is not None, "only a daemon pays, and it has its keyring"
    gross_sats = seal_rows.came_in_sats(conn, leg)
    if not keyring.fits(leg.seal, seal_rows.ordered(leg, gross_sats)):
        why = (
            "the daemon has not planned this payment as it stands: it was written, or its amount or payee was changed, "
            "by something else than satmachine; or the machine's wallet key was changed since. Nothing is paid"
        )
        return Strange(why, _ways_out(leg))
    if gross_sats is not None and leg.settlement_id is not None and not is_beyond(leg.seal):
        planned_sats = _planned_sats(conn, keyring, leg.settlement_id, gross_sats)
        if planned_sats > gross_sats:
            return _too_much(leg, planned_sats, gross_sats, "the books plan")
    live = invoice is not None and invoice.dead_at is None
    if live and invoice is not None and not keyring.fits(invoice.seal, seal_rows.given(leg, invoice)):
        return Strange(
            "its invoice is not the one that the daemon was given: it was changed by something else than satmachine",
            f'`satmachine payments resolve {leg.id} --unpaid --reason "not our invoice"` makes a new one',
        )
    return None


def beyond(conn: sqlite3.Connection, leg: Leg, invoice: LegInvoice, paid_sats: Mapping[str, int]) -> Strange | None:
    """Why an invoice is not paid although the books are in order: the wallet shows that the sale has been paid out.

    `paid_sats`: what the wallet shows as paid, or being paid, for this sale, by payment hash, without fees.
    """
    gross_sats = seal_rows.came_in_sats(conn, leg)
    if gross_sats is None or is_beyond(leg.seal):
        return None
    others_sats = sum(sats for paid, sats in paid_sats.items() if paid != invoice.payment_hash)
    if others_sats + invoice.amount_sats <= gross_sats:
        return None
    return _too_much(leg, others_sats + invoice.amount_sats, gross_sats, "with what the wallet has paid it would be")


def approve(conn: sqlite3.Connection, leg_id: int, keyring: Keyring, by: By) -> str:
    """A person who may read the machine's key answers for a payment, and its invoice, as they stand. Raises Refused."""
    leg, invoice = legs.get(conn, leg_id)
    if leg.status not in legs.OPEN and leg.hold_reason != HoldReason.UNORDERED:
        raise Refused(f"payment {leg_id} is {leg.hold_reason or leg.status}: there is nothing to approve")
    live = invoice if invoice is not None and invoice.dead_at is None else None
    # Only what was held for that is approved beyond what its sale brought.
    seal_rows.write(conn, leg, live, keyring, beyond=legs.evidence(conn, leg_id).get("too_much") is True)
    if leg.status is LegStatus.HELD and not legs.look_again(conn, leg):
        legs.renew(conn, leg, now=by.now)
    if leg.settlement_id is not None:
        settlements.refresh_status(conn, leg.settlement_id, by.now)
    audit.record(
        conn,
        now=by.now,
        actor=by.actor,
        action="leg.approve",
        subject=f"payment {leg_id}",
        machine_id=leg.machine_id,
        reason=by.reason,
        before={"status": leg.status, "hold_reason": leg.hold_reason},
        after={"leg_key": leg.leg_key, "amount_sats": leg.amount_sats, "payee": leg.payee},
    )
    return f"payment {leg_id} is approved: {leg.amount_sats} sats go to {leg.payee} within seconds"


def _planned_sats(conn: sqlite3.Connection, keyring: Keyring, settlement_id: int, gross_sats: int) -> int:
    """What was paid of a sale, and what the daemon has ordered of it: what others wrote is not paid, and no matter."""
    open_sats = sum(
        leg.amount_sats
        for leg in legs.of_settlement(conn, settlement_id)
        if leg.status in (*legs.OPEN, LegStatus.HELD)
        and leg.leg_type not in leg_types.PAID_BY_LP
        and keyring.fits(leg.seal, seal_rows.ordered(leg, gross_sats))
    )
    return legs.completed_sats(conn, settlement_id) + open_sats


def _too_much(leg: Leg, total_sats: int, gross_sats: int, says: str) -> Strange:
    return Strange(
        f"{says} {total_sats} sats for a sale that brought {gross_sats}. Nothing more of it is paid",
        _ways_out(leg),
        too_much=True,
    )


def _ways_out(leg: Leg) -> str:
    return (
        f'If nobody ordered it, `satmachine payments cancel {leg.id} --reason "not ordered"`. If it is right, '
        f"`satmachine payments approve {leg.id}`, as a user who may read the machine's key"
    )
