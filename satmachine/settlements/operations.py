"""The ways out: what a person may change about sales, legs and machines that wait (SPEC sections 5, 6 and 9).

Each function is one transaction: it checks the state, changes it conditionally, and writes the audit row. None of them
pays, and none can cause a second payment: what is let go on passes the payer's look-ups like everything else. They
raise Refused, with what to do instead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from satmachine.config import Machine
from satmachine.errors import NotFound, Refused
from satmachine.models import HoldReason, LandingResult, Leg, LegStatus, Settlement, SettlementStatus
from satmachine.settlements.land import Landing, Rules, land_claim
from satmachine.settlements.parse import derived_claim
from satmachine.settlements.planning import GUARDS
from satmachine.store import audit, legs, settlements, wallets


@dataclass(frozen=True, slots=True)
class By:
    """Who does it, why and when."""

    actor: str
    reason: str
    now: int


def hold(conn: sqlite3.Connection, settlement_id: int, by: By) -> None:
    """Nothing more of this sale is sent until it is released. What is on its way is not called back."""
    before = settlements.get(conn, settlement_id)
    if not settlements.hold(conn, settlement_id, reason=HoldReason.BY_OPERATOR, error=by.reason):
        raise Refused(f"settlement {settlement_id} is {before.status}: there is nothing to hold")
    _record(conn, by, "settlement.hold", before)


def release(conn: sqlite3.Connection, settlement_id: int, by: By) -> SettlementStatus:
    """Let a held sale go on. A guard that held it is overridden for this sale; every proof is asked for again."""
    before = settlements.get(conn, settlement_id)
    if before.status is not SettlementStatus.HELD:
        raise Refused(f"settlement {settlement_id} is {before.status}, not held; `settlements retry` tries failed legs")
    if before.hold_reason == HoldReason.MACHINE_INACTIVE:
        raise Refused(f"machine {before.machine_id} is not active: set active = true in the file, then reload")
    if before.hold_reason in GUARDS:
        settlements.override_guard(conn, settlement_id, str(before.hold_reason))
    settlements.release(conn, settlement_id)
    status = settlements.refresh_status(conn, settlement_id, by.now)
    _record(conn, by, "settlement.release", before)
    return status


def retry(conn: sqlite3.Connection, settlement_id: int, by: By) -> int:
    """Try failed legs now, and look again at held ones; returns how many. Never makes a new invoice by itself.

    A leg that is held because of *another* payment is not touched: looking at its own invoice would pay that one too.
    """
    before = settlements.get(conn, settlement_id)
    if before.hold_reason in (HoldReason.PAYMENT_NOT_FOUND, HoldReason.NO_PAYMENT_HASH):
        settlements.release(conn, settlement_id)
    elif before.status is SettlementStatus.HELD:
        raise Refused(f"settlement {settlement_id} is held ({before.hold_reason}); release it first")
    count = settlements.prove_now(conn, settlement_id) + legs.retry_failed(conn, settlement_id)
    count += sum(legs.look_again(conn, leg) for leg in _held_legs(conn, settlement_id) if not _other_payment(conn, leg))
    if count:
        settlements.refresh_status(conn, settlement_id, by.now)
        _record(conn, by, "settlement.retry", before)
    return count


def retry_payment(conn: sqlite3.Connection, leg_id: int, by: By) -> None:
    """Try one payment now, or look again at a held one: the way on for a balance payout, which has no sale."""
    leg, _ = legs.get(conn, leg_id)
    other = leg.status is LegStatus.HELD and _other_payment(conn, leg) is not None
    if other or not (legs.try_now(conn, leg) or legs.look_again(conn, leg)):
        why = "is held because of another payment" if other else f"is {leg.status}: there is nothing to try"
        raise Refused(f"payment {leg_id} {why}")
    _audit_leg(conn, by, "leg.retry", leg)


def cancel_payout(conn: sqlite3.Connection, leg_id: int, by: By) -> None:
    """Give up a balance payout of which nothing was ever sent; the LP's balance has the fiat again."""
    leg, _ = legs.get(conn, leg_id)
    if leg.settlement_id is not None:
        raise Refused(f"payment {leg_id} is of sale {leg.settlement_id}; see `settlements close`")
    if not legs.void_unsent(conn, leg):
        raise Refused(f"payment {leg_id} is {leg.status} and may have been sent: it cannot be called back")
    _audit_leg(conn, by, "leg.cancel", leg)


def retryable(conn: sqlite3.Connection, operator: str | None) -> list[int]:
    """Sales with something that `retry` can try."""
    return settlements.with_trouble(conn, operator)


def declare_paid(conn: sqlite3.Connection, settlement_id: int, leg_name: str, by: By) -> None:
    """A person vouches that a held leg's sats have left the machine's wallet and that its payee has them.

    Where another payment paid less than the leg, the rest is retained.
    """
    leg = _held_leg(conn, settlement_id, leg_name)
    other = _other_payment(conn, leg)
    payment_hash = other or leg.payment_hash
    if payment_hash is None:
        raise Refused(f"leg {leg_name} has no payment at all; `settlements resolve --unpaid` makes one")
    paid_sats = _paid_sats(conn, leg)
    sent_sats = leg.amount_sats if paid_sats is None else min(paid_sats, leg.amount_sats)
    note = f"declared paid by {by.actor}: {by.reason}"
    legs.declare_completed(conn, leg, payment_hash=payment_hash, sent_sats=sent_sats, note=note, now=by.now)
    if other is not None:
        wallets.mark_adopted(conn, leg.machine_id, other)
    _settle_leg(conn, leg, by, "leg.declare_paid", {"status": "completed", "payment_hash": payment_hash})


def declare_unpaid(conn: sqlite3.Connection, settlement_id: int, leg_name: str, by: By) -> None:
    """A person vouches that a held leg's invoice is dead, so that a new one is made.

    The payer asks the machine's wallet for the leg first: while that shows a payment, the leg is held again.
    """
    leg = _held_leg(conn, settlement_id, leg_name)
    if _other_payment(conn, leg) is not None:
        raise Refused(f"the wallet shows another payment for leg {leg_name}: `settlements show {settlement_id}`")
    legs.renew(conn, leg, now=by.now)
    _settle_leg(conn, leg, by, "leg.declare_unpaid", {"status": "failed"})


def land(
    conn: sqlite3.Connection,
    machine: Machine,
    payment_hash: str,
    by: By,
    *,
    exchange_rate: Decimal = Decimal(0),
    fiat_amount_minor: int | None = None,
) -> Landing:
    """Make a sale of an unmatched payment, split by the machine's fallback commission. The wallet proves it as ever."""
    payment = wallets.unmatched(conn, machine.id, payment_hash)
    if payment is None:
        raise NotFound(f"there is no unmatched payment {payment_hash} at {machine.id}; see `settlements unmatched`")
    if payment.settled_at < machine.payouts_since:
        raise Refused(f"payment {payment_hash} is older than the machine's payouts_since: it is never paid out")
    waived = settlements.waived_like(conn, machine.id, payment.amount_sats, payment.settled_at)
    if waived is not None:
        raise Refused(
            f"settlement {waived} of the same amount was paid on the machine's word, without a payment hash: this "
            "payment may be its own, and landing it would pay the sale again"
        )
    claim = derived_claim(
        machine,
        payment_hash=payment_hash,
        amount_sats=payment.amount_sats,
        settled_at=payment.settled_at,
        exchange_rate=exchange_rate,
        fiat_amount_minor=fiat_amount_minor,
    )
    landing = land_claim(conn, claim, Rules(machine.active, machine.payouts_since), by.now)
    if landing.result is not LandingResult.LANDED:
        raise Refused(
            f"payment {payment_hash} is settlement {landing.settlement_id}'s already. {landing.detail}".strip()
        )
    assert landing.settlement_id is not None
    _record(conn, by, "settlement.land", settlements.get(conn, landing.settlement_id), fresh=True)
    return landing


def accept_foreign(conn: sqlite3.Connection, machine_id: str, by: By) -> tuple[int, str | None]:
    """The way out of safe mode: a person has looked at the payments that the books do not know.

    They stay on record: a sale that is landed later still takes them over instead of paying again. Returns how many
    there were, and why the machine is in safe mode still, if it is.
    """
    count = wallets.accept_foreign(conn, machine_id, by.actor)
    why = wallets.refresh_safe_mode(conn, machine_id)
    _audit_machine(conn, by, "machine.reconcile", machine_id, {"unknown_payments": count}, {"safe_mode": why})
    return count, why


def pause(conn: sqlite3.Connection, machine_id: str | None, by: By) -> None:
    """The red button: nothing is sent for this machine, or for any (None). What is on its way is not called back."""
    if not wallets.pause(conn, machine_id or "*", actor=by.actor, reason=by.reason, now=by.now):
        raise Refused(f"payouts of {machine_id or 'all machines'} are paused already")
    _audit_machine(conn, by, "payouts.pause", machine_id, None, {"paused": True})


def resume(conn: sqlite3.Connection, machine_id: str | None, by: By) -> None:
    """Go on where it stopped."""
    if not wallets.resume(conn, machine_id or "*"):
        raise Refused(f"payouts of {machine_id or 'all machines'} are not paused; `satmachine status` shows what is")
    _audit_machine(conn, by, "payouts.resume", machine_id, {"paused": True}, {"paused": False})


# --- helpers


def _held_legs(conn: sqlite3.Connection, settlement_id: int) -> list[Leg]:
    return [leg for leg in legs.of_settlement(conn, settlement_id) if leg.status is LegStatus.HELD]


def _held_leg(conn: sqlite3.Connection, settlement_id: int, leg_name: str) -> Leg:
    for leg in _held_legs(conn, settlement_id):
        if leg.leg == leg_name:
            return leg
    raise NotFound(
        f"settlement {settlement_id} has no held leg {leg_name}; `settlements show {settlement_id}` lists them"
    )


def _other_payment(conn: sqlite3.Connection, leg: Leg) -> str | None:
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


def _audit_leg(conn: sqlite3.Connection, by: By, action: str, leg: Leg) -> None:
    after, _ = legs.get(conn, leg.id)
    before = {"status": leg.status, "error": leg.error}
    _audit(conn, by, action, f"payment {leg.id}", leg.machine_id, before, {"status": after.status})


def _settle_leg(conn: sqlite3.Connection, leg: Leg, by: By, action: str, after: dict[str, object]) -> None:
    assert leg.settlement_id is not None
    settlements.refresh_status(conn, leg.settlement_id, by.now)
    wallets.refresh_safe_mode(conn, leg.machine_id)
    before = {"leg": leg.leg, "status": leg.status, "hold_reason": leg.hold_reason, "payment_hash": leg.payment_hash}
    _audit(conn, by, action, f"settlement {leg.settlement_id}", leg.machine_id, before, after)


def _record(conn: sqlite3.Connection, by: By, action: str, before: Settlement, *, fresh: bool = False) -> None:
    now = settlements.get(conn, before.id)
    was = None if fresh else {"status": before.status, "hold_reason": before.hold_reason}
    after = {"status": now.status, "hold_reason": now.hold_reason, "overrides": now.overrides}
    _audit(conn, by, action, f"settlement {before.id}", before.machine_id, was, after)


def _audit_machine(
    conn: sqlite3.Connection,
    by: By,
    action: str,
    machine_id: str | None,
    before: dict[str, object] | None,
    after: dict[str, object],
) -> None:
    _audit(conn, by, action, f"machine {machine_id}" if machine_id else "all machines", machine_id, before, after)


def _audit(
    conn: sqlite3.Connection,
    by: By,
    action: str,
    subject: str,
    machine_id: str | None,
    before: Mapping[str, object] | None,
    after: Mapping[str, object],
) -> None:
    audit.record(
        conn,
        now=by.now,
        actor=by.actor,
        action=action,
        subject=subject,
        machine_id=machine_id,
        reason=by.reason,
        before=before,
        after=after,
    )
