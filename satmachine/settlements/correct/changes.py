"""The transactions of corrections (SPEC section 9): each decides again from the books, then writes all or nothing.

Run inside one write transaction, in the daemon. Refused says why not. What was read in the wallets before is passed as
a `ProvenUnpaid`; if a leg has changed since then, the whole correction is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from satmachine.errors import Refused
from satmachine.models import By, Figures, Leg, Position, Retained, RetainedReason, Settlement
from satmachine.settlements.correct.correction_rules import CorrectionKind, Dispensed, draw, memo, refusal, scale
from satmachine.store import audit_log as audit
from satmachine.store import corrections, notes, positions, settlements
from satmachine.store.database import rehearsed

_ADVICE = "Lightning cannot claw back. Close the settlement, or refund what it retains"


@dataclass(frozen=True, slots=True)
class ProvenUnpaid:
    """Legs that were proven unpaid, as they stood then, and what both wallets showed of their invoices, by leg id."""

    legs: Mapping[int, Leg] = field(default_factory=dict)
    evidence: Mapping[int, Mapping[str, object] | None] = field(default_factory=dict)


def partial_dispense(
    conn: sqlite3.Connection, settlement_id: int, dispensed: Dispensed, proof: ProvenUnpaid, by: By
) -> str:
    """Scale the sale to what was dispensed: a new revision, planned and paid again."""
    settlement = allowed(conn, CorrectionKind.PARTIAL_DISPENSE, settlement_id)
    old, new = new_figures(conn, settlement, dispensed)
    voided = _void_all(conn, settlement_id, proof)
    corrections.retain_only_undispensed(conn, settlement, new.undispensed_sats, by.now)
    corrections.put_figures(conn, settlement, new)
    text = memo(settlement, old, new, by.reason)
    before, after = asdict(old) | {"revision": settlement.revision}, asdict(new) | {"voided": voided}
    leave_word(conn, settlement, "settlement.partial_dispense", by, text=text, before=before, after=after)
    held = " It is still held: release it to pay it." if settlement.status == "held" else ""
    return f"sale {settlement_id} now shares out {new.net_sats + new.commission_sats} sats; {_kept(new)}{held}"


def new_figures(conn: sqlite3.Connection, settlement: Settlement, dispensed: Dispensed) -> tuple[Figures, Figures]:
    """The figures in force, and those after the correction. Raises Refused where a leg is paid or nothing changes."""
    paid = corrections.completed_leg(conn, settlement.id)
    if paid is not None:
        raise Refused(f"payment {paid} of sale {settlement.id} is paid, and {_ADVICE}")
    old = corrections.figures_of(settlement)
    new = scale(settlement.gross_sats, corrections.original_figures(conn, settlement), dispensed)
    if new == old:
        raise Refused(f"sale {settlement.id} has these figures already: nothing changes")
    return old, new


def positions_once_voided(conn: sqlite3.Connection, settlement: Settlement) -> list[Position]:
    """The LPs' positions as a new revision will find them, for a preview: nothing is written in the end."""
    with rehearsed(conn):
        for leg in corrections.unpaid_legs(conn, settlement.id):
            corrections.void(conn, leg, None)
        return positions.of_sale(conn, settlement.machine_id, occurred_at=settlement.occurred_at)


def close(conn: sqlite3.Connection, settlement_id: int, proof: ProvenUnpaid, by: By) -> str:
    """What is unpaid is voided and retained; the rest stands."""
    settlement = allowed(conn, CorrectionKind.CLOSE, settlement_id)
    unpaid = corrections.unpaid_legs(conn, settlement_id)
    voided = _void_all(conn, settlement_id, proof)
    kept = [Retained(RetainedReason.VOIDED_LEG, leg.amount_sats, leg.leg) for leg in unpaid]
    if settlement.planned_at is None:
        unplanned_sats = settlement.net_sats + settlement.commission_sats
        kept = [Retained(RetainedReason.CLOSED_UNPAID, unplanned_sats)] if unplanned_sats else []
    settlements.retain(conn, settlement_id, settlement.revision, kept, by.now)
    corrections.close(conn, settlement, by.now)
    sats = sum(row.amount_sats for row in kept)
    stays = f"{sats} sats that were not paid stay in the machine's wallet"
    if settlement.proof == "waived":
        stays += ", if they ever came in"
    elif settlement.proof == "waiting":
        stays = "the customer's payment was never proven, so whatever came in for it stays in the machine's wallet"
    text = f"Closed: {by.reason}. {stays[0].upper()}{stays[1:]}."
    before, after = {"status": settlement.status}, {"status": "partial", "voided": voided, "retained_more_sats": sats}
    leave_word(conn, settlement, "settlement.close", by, text=text, before=before, after=after)
    return f"sale {settlement_id} is closed; {stays}"


def refund(
    conn: sqlite3.Connection,
    settlement_id: int,
    *,
    amount_sats: int,
    payee: str,
    number: int,
    by: By,
) -> str:
    """Plan a refund leg out of what the sale retains; `amount_sats` includes the reserve for routing fees."""
    settlement = allowed(conn, CorrectionKind.REFUND, settlement_id)
    require_retained(settlement, amount_sats)
    drawn = draw(corrections.ledger(conn, settlement_id), amount_sats)
    leg = corrections.insert_refund(conn, settlement, number=number, amount_sats=amount_sats, payee=payee, now=by.now)
    settlements.retain(conn, settlement_id, settlement.revision, drawn, by.now)
    corrections.reopen(conn, settlement, revision=settlement.revision)
    text = f"Refund of {amount_sats} sats as {leg}: {by.reason}."
    before = {"status": settlement.status, "retained_sats": settlement.retained_sats}
    after = {"leg": leg, "amount_sats": amount_sats, "payee": payee}
    leave_word(conn, settlement, "settlement.refund", by, text=text, before=before, after=after)
    return f"sale {settlement_id} refunds {amount_sats} sats as {leg}; `settlements show` tells how far it is"


def require_retained(settlement: Settlement, amount_sats: int) -> None:
    """A refund never takes more than the settlement still has."""
    if amount_sats > settlement.retained_sats:
        raise Refused(
            f"sale {settlement.id} retains {settlement.retained_sats} sats: {amount_sats} sats cannot be "
            "refunded out of it"
        )


def allowed(conn: sqlite3.Connection, command: CorrectionKind, settlement_id: int) -> Settlement:
    """The settlement as it stands now. Raises NotFound, and Refused where its state forbids the command."""
    settlement = corrections.find(conn, settlement_id)
    why = refusal(command, settlement)
    if why is not None:
        raise Refused(why)
    return settlement


def _void_all(conn: sqlite3.Connection, settlement_id: int, proof: ProvenUnpaid) -> list[str]:
    """Void every unpaid leg, each only as it was proven; returns their names."""
    voided = []
    for leg in corrections.unpaid_legs(conn, settlement_id):
        if leg.id not in proof.legs:
            raise Refused(f"payment {leg.id} of sale {settlement_id} was added meanwhile; look again, then retry")
        corrections.void(conn, proof.legs[leg.id], proof.evidence[leg.id])
        voided.append(f"r{leg.revision}:{leg.leg}")
    return voided


def _kept(figures: Figures) -> str:
    return f"{figures.undispensed_sats} sats that were not dispensed are retained."


def leave_word(
    conn: sqlite3.Connection,
    settlement: Settlement,
    action: str,
    by: By,
    *,
    text: str,
    before: Mapping[str, object],
    after: Mapping[str, object],
) -> None:
    """The audit row and the note that every correction leaves."""
    audit.record_by(
        conn,
        by,
        action,
        f"settlement {settlement.id}",
        settlement.machine_id,
        before,
        after,
    )
    notes.add(conn, settlement.id, settlement.machine_id, text=text, author=by.actor, now=by.now)
    settlements.person_acted(conn, settlement.id, by.now)
