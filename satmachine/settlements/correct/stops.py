"""What a person stops, and lets go on: single sales, and the payouts of a machine or of all (SPEC sections 5 and 6).

Each function is one transaction with its audit row. None of them pays: what goes on passes the payer's checks like
everything else. They raise Refused, with what to do instead.
"""

from __future__ import annotations

import sqlite3

from satmachine.errors import Refused
from satmachine.models import By, HoldReason, SettlementStatus
from satmachine.settlements.correct import audited
from satmachine.settlements.plan.planning import GUARDS
from satmachine.store import settlements, wallet_rows


def hold(conn: sqlite3.Connection, settlement_id: int, by: By) -> None:
    """Nothing more of this sale is sent until it is released. What is on its way is not stopped."""
    before = settlements.get(conn, settlement_id)
    if not settlements.hold(conn, settlement_id, reason=HoldReason.BY_OPERATOR, error=by.reason):
        if before.hold_reason == HoldReason.MACHINE_INACTIVE:
            raise Refused(
                f"sale {settlement_id} is held until its machine is active, and goes on by itself then; "
                f"`satmachine settlements close {settlement_id}` ends it"
            )
        raise Refused(f"sale {settlement_id} is {before.status}: there is nothing to hold")
    audited.sale(conn, by, "settlement.hold", before)


def release(
    conn: sqlite3.Connection, settlement_id: int, by: By, *, read: tuple[str | None, str | None] | None = None
) -> SettlementStatus:
    """Let a held sale go on. A guard that held it is overridden for this sale; every proof is asked for again.

    `read`: the hold reason and the words that the person has read. Where somebody else was faster, it may be held again
    since, for something that this person has not read."""
    before = settlements.get(conn, settlement_id)
    if before.status is not SettlementStatus.HELD:
        raise Refused(not_held(settlement_id, before.status))
    if read is not None and read != (before.hold_reason, before.error):
        raise Refused(
            f"sale {settlement_id} is held for something else by now; `satmachine settlements show {settlement_id}` "
            "says for what. Nothing was changed"
        )
    if before.hold_reason == HoldReason.MACHINE_INACTIVE:
        raise Refused(f"machine {before.machine_id} is not active: set active = true in the file, then reload")
    if before.hold_reason in GUARDS:
        settlements.override_guard(conn, settlement_id, str(before.hold_reason))
    settlements.release(conn, settlement_id)
    settlements.person_acted(conn, settlement_id, by.now)
    status = settlements.refresh_status(conn, settlement_id, by.now)
    audited.sale(conn, by, "settlement.release", before)
    return status


def not_held(settlement_id: int, status: str) -> str:
    """Why a sale cannot be released."""
    return (
        f"sale {settlement_id} is {status}, not held; if a payment of it fails, `satmachine settlements retry "
        f"{settlement_id}` tries it now"
    )


def pause(conn: sqlite3.Connection, machine_id: str | None, by: By) -> None:
    """The emergency stop: nothing is sent for this machine, or for any (None). What is on its way is not stopped."""
    if not wallet_rows.pause(conn, machine_id or "*", actor=by.actor, reason=by.reason, now=by.now):
        raise Refused(f"payouts of {machine_id or 'all machines'} are paused already")
    audited.machines(conn, by, "payouts.pause", machine_id, None, {"paused": True})


def resume(conn: sqlite3.Connection, machine_id: str | None, by: By) -> None:
    """Continue where it stopped."""
    if not wallet_rows.resume(conn, machine_id or "*"):
        raise Refused(f"payouts of {machine_id or 'all machines'} are not paused; `satmachine status` shows what is")
    audited.machines(conn, by, "payouts.resume", machine_id, {"paused": True}, {"paused": False})
