"""The ways out: what a person may change about sales, legs and machines that wait (SPEC sections 5, 6 and 9).

Each function is one transaction: it checks the state, changes it conditionally, and writes the audit row. None of them
pays, and none can cause a second payment: what may continue passes the payer's checks like everything else. They raise
Refused, with what to do instead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from decimal import Decimal

from satmachine.config import Machine
from satmachine.errors import NotFound, Refused
from satmachine.models import (
    By,
    HoldReason,
    LandingResult,
    Leg,
    LegStatus,
    LegType,
    Retained,
    RetainedReason,
    Settlement,
    SettlementStatus,
)
from satmachine.settlements.claim.content import derived_claim
from satmachine.settlements.correct.changes import Proof
from satmachine.settlements.land.landing import Landing, Rules, land_claim, with_rate
from satmachine.settlements.pay.completion import retain_reserve
from satmachine.settlements.plan.planning import GUARDS
from satmachine.store import audit_log as audit
from satmachine.store import balances, corrections, incoming, legs, settlements, wallets
from satmachine.store.reconciling import accounted_sats
from satmachine.store.wallets import Outgoing


def hold(conn: sqlite3.Connection, settlement_id: int, by: By) -> None:
    """Nothing more of this sale is sent until it is released. What is on its way is not stopped."""
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
    settlements.person_acted(conn, settlement_id, by.now)
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
        raise Refused(f"settlement {settlement_id} is held: `satmachine settlements release {settlement_id}` first")
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


def require_unfinished(leg: Leg) -> None:
    """Raises Refused for a payment that is paid, or given up already."""
    if leg.status not in (*legs.OPEN, LegStatus.HELD):
        raise Refused(f"payment {leg.id} is {leg.status}: there is nothing to give up")


def cancel_payout(conn: sqlite3.Connection, *, leg_id: int, proof: Proof, by: By) -> str:
    """Give up a payment that was just proven unpaid: a balance payout, whose fiat the LP has again, or one that the
    daemon has not ordered. Of that one its sale retains only what it lacks otherwise."""
    leg = proof.legs[leg_id]
    if leg.hold_reason == HoldReason.UNORDERED and leg.client_id is not None:
        balances.count_again(conn, leg.client_id)
    corrections.void(conn, leg, proof.evidence[leg_id])
    _audit_leg(conn, by, "leg.cancel", leg)
    if leg.settlement_id is not None and leg.leg_type is not LegType.AUTOFORWARD:
        sale = settlements.get(conn, leg.settlement_id)
        lacks_sats = sale.came_in_sats - accounted_sats(conn, sale.id)
        if lacks_sats > 0:
            kept = [Retained(RetainedReason.VOIDED_LEG, lacks_sats, leg.leg)]
            settlements.retain(conn, sale.id, sale.revision, kept, by.now)
        settlements.refresh_status(conn, sale.id, by.now)
    if leg.hold_reason == HoldReason.UNORDERED:
        return f"payment {leg_id} is given up"
    return f"payment {leg_id} is given up; the balance is the LP's again"


def retryable(conn: sqlite3.Connection, operator: str | None) -> list[int]:
    """Sales with something that `retry` can try."""
    return settlements.with_trouble(conn, operator)


def declare_paid(conn: sqlite3.Connection, *, leg: Leg, by: By) -> str:
    """A person vouches that a leg's sats have left the machine's wallet and that its payee has them, or gets them.

    Where another payment paid less than the leg, the rest is retained.
    """
    other = _other_payment(conn, leg)
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
        raise Refused(f"payment {leg.id} was changed meanwhile; look again, then retry")
    retain_reserve(conn, leg, leg.amount_sats - sent_sats, by.now)
    if other is not None:
        wallets.mark_adopted(conn, leg.machine_id, other)
    _settle_leg(conn, leg, by, "leg.declare_paid", {"status": "completed", "payment_hash": payment_hash})
    return f"payment {leg.id} ({leg.leg}) is completed, on the word of {by.actor}"


def declare_unpaid(conn: sqlite3.Connection, *, leg: Leg, by: By, given_up: Outgoing | None = None) -> str:
    """A person vouches that a leg's invoice is dead, so that a new one is made. `given_up`: what the wallet calls
    pending still, and what is decided with it."""
    if given_up is not None:
        wallets.give_up(conn, leg.machine_id, given_up, actor=by.actor, reason=by.reason, now=by.now)
    if _other_payment(conn, leg) is not None:
        raise Refused(f"the wallet shows another payment for {leg.leg}, of payment {leg.id}: it is not unpaid")
    if not legs.renew(conn, leg, now=by.now):
        raise Refused(f"payment {leg.id} was changed meanwhile; look again, then retry")
    _settle_leg(conn, leg, by, "leg.declare_unpaid", {"status": "failed"})
    if given_up is not None:
        return (
            f"payment {leg.id} ({leg.leg}) is made anew. The wallet still counts the former one as pending, so the new "
            f"one is held in a moment, and waits for your word: `satmachine payments approve {leg.id}`"
        )
    return f"payment {leg.id} ({leg.leg}) is made anew"


def land(
    conn: sqlite3.Connection,
    machine: Machine,
    payment_hash: str,
    by: By,
    *,
    exchange_rate: Decimal = Decimal(0),
    fiat_amount_minor: int | None = None,
    another_sale: bool = False,
) -> Landing:
    """Make a sale of an unmatched payment, split by the machine's fallback commission. The wallet proves it as ever.

    A rate that is not given (0) is the one that LNbits or a beacon tells of that time, as for an unannounced sale.
    `another_sale`: the person vouches that it is not the one of the same amount that was paid on the machine's word.
    """
    payment = incoming.get(conn, machine.id, payment_hash)
    if payment is None:
        raise NotFound(f"there is no unmatched payment {payment_hash} at {machine.id}; see `settlements unmatched`")
    why = incoming.no_sale(conn, machine.id, payment_hash)
    if why is not None:
        undo = (
            f"; `satmachine settlements dismiss --undo {payment_hash}` takes that back" if payment.dismissed_at else ""
        )
        raise Refused(f"payment {payment_hash} is no sale: {why}{undo}")
    if payment.settled_at < machine.payouts_since:
        raise Refused(f"payment {payment_hash} is older than the machine's payouts_since: it is never paid out")
    waived = settlements.waived_like(conn, machine.id, payment.amount_sats, payment.settled_at)
    if waived is not None and not another_sale:
        raise Refused(
            f"settlement {waived} of the same amount was paid on the machine's word, without a payment hash: this "
            "payment may be its own, and landing it would pay the sale again. If these are two sales: "
            f"`satmachine settlements land {payment_hash} --machine {machine.id} --another-sale`"
        )
    claim = derived_claim(
        machine,
        payment_hash=payment_hash,
        amount_sats=payment.amount_sats,
        settled_at=payment.settled_at,
        exchange_rate=exchange_rate,
        fiat_amount_minor=fiat_amount_minor,
    )
    if exchange_rate == 0:
        claim = with_rate(conn, claim, payment.extra, machine.unannounced.rate_max_age_s)
    landing = land_claim(conn, claim, Rules(machine.active, machine.payouts_since), by.now)
    if landing.result is not LandingResult.LANDED:
        raise Refused(
            f"payment {payment_hash} is settlement {landing.settlement_id}'s already. {landing.detail}".strip()
        )
    assert landing.settlement_id is not None
    if another_sale:
        settlements.override_guard(conn, landing.settlement_id, HoldReason.TOLD_TWICE)
    settlements.person_acted(conn, landing.settlement_id, by.now)
    _record(conn, by, "settlement.land", settlements.get(conn, landing.settlement_id), fresh=True)
    return landing


def dismiss(conn: sqlite3.Connection, machine_id: str, payment_hash: str, by: By) -> None:
    """A person says that a payment into a machine's wallet is no sale: nothing lands it, and no event pays it out."""
    payment = incoming.get(conn, machine_id, payment_hash)
    if payment is None:
        raise NotFound(f"there is no unmatched payment {payment_hash} at {machine_id}; see `settlements unmatched`")
    sale = settlements.id_of_key(conn, machine_id, payment_hash)
    if sale is not None:
        raise Refused(f"payment {payment_hash} is settlement {sale}'s; `satmachine settlements show {sale}` shows it")
    if not incoming.dismiss(conn, machine_id, payment_hash, actor=by.actor, reason=by.reason, now=by.now):
        raise Refused(f"payment {payment_hash} is dismissed already")
    _audit(conn, by, "incoming.dismiss", f"incoming {payment_hash}", machine_id, None, {"dismissed": True})


def undo_dismissal(conn: sqlite3.Connection, machine_id: str, payment_hash: str, by: By) -> None:
    """It may be a sale after all."""
    if not incoming.undo_dismissal(conn, machine_id, payment_hash):
        raise Refused(f"payment {payment_hash} is not dismissed; `satmachine settlements unmatched --all` lists those")
    _audit(conn, by, "incoming.undo_dismissal", f"incoming {payment_hash}", machine_id, {"dismissed": True}, {})


def pause(conn: sqlite3.Connection, machine_id: str | None, by: By) -> None:
    """The emergency stop: nothing is sent for this machine, or for any (None). What is on its way is not stopped."""
    if not wallets.pause(conn, machine_id or "*", actor=by.actor, reason=by.reason, now=by.now):
        raise Refused(f"payouts of {machine_id or 'all machines'} are paused already")
    _audit_machine(conn, by, "payouts.pause", machine_id, None, {"paused": True})


def resume(conn: sqlite3.Connection, machine_id: str | None, by: By) -> None:
    """Continue where it stopped."""
    if not wallets.resume(conn, machine_id or "*"):
        raise Refused(f"payouts of {machine_id or 'all machines'} are not paused; `satmachine status` shows what is")
    _audit_machine(conn, by, "payouts.resume", machine_id, {"paused": True}, {"paused": False})


# --- helpers


def _held_legs(conn: sqlite3.Connection, settlement_id: int) -> list[Leg]:
    return [leg for leg in legs.of_settlement(conn, settlement_id) if leg.status is LegStatus.HELD]


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
    if leg.settlement_id is not None:
        settlements.person_acted(conn, leg.settlement_id, by.now)
        settlements.refresh_status(conn, leg.settlement_id, by.now)
    wallets.refresh_safe_mode(conn, leg.machine_id)
    before = {"leg": leg.leg, "status": leg.status, "hold_reason": leg.hold_reason, "payment_hash": leg.payment_hash}
    subject = f"payment {leg.id}" if leg.settlement_id is None else f"settlement {leg.settlement_id}"
    _audit(conn, by, action, subject, leg.machine_id, before, after)


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
