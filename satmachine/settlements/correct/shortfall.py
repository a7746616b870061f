"""A jam noticed after everything is paid: what the customer is owed, booked, refunded, or undone (SPEC section 9).

Lightning payments cannot be taken back, so the sale stays as it is. Its cash is corrected, the operator tops up what
the customer is owed, and when the machine's wallet shows that this top-up is paid, a refund of exactly that amount is
planned. Rules first, then the transactions; `shortfall_orders.py` asks the wallets.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from satmachine.errors import NotFound, Refused
from satmachine.models import By, LegStatus, Retained, RetainedReason, Settlement, SettlementStatus
from satmachine.money import minor_to_fiat, scale_linear
from satmachine.orders import Shortfall as Order
from satmachine.settlements.correct import changes
from satmachine.settlements.correct.changes import ProvenUnpaid
from satmachine.settlements.correct.correction_rules import draw
from satmachine.store import clients, corrections, deposits, incoming, legs, settlements, shortfalls
from satmachine.store.incoming import TopUp
from satmachine.store.shortfalls import ShortfallRow

_ENDED = (SettlementStatus.PROCESSED, SettlementStatus.PARTIAL, SettlementStatus.REFUNDED)


# --- rules


def refund_sats(sale: Settlement, short_minor: int) -> int:
    """What a customer is owed who got `short_minor` too little: that part of what is not corrected yet, half up."""
    assert sale.fiat_amount_minor is not None, "a sale of unknown cash has no shortfall"
    whole_minor = sale.fiat_amount_minor + sale.shortfall_minor
    return scale_linear(sale.net_sats + sale.commission_sats, short_minor, whole_minor)


def refusal(sale: Settlement, short_minor: int | None = None) -> str | None:
    """Why nothing can be booked as missing of a sale, with the way out; None where it can."""
    number = sale.id
    if sale.status not in _ENDED or sale.planned_at is None:
        if sale.status == SettlementStatus.PENDING and sale.planned_at is not None:
            return f"sale {number} is being paid out: try again when it is, in a moment"
        return (
            f"sale {number} is {sale.status}: `satmachine settlements partial-dispense {number} --fraction 0.5` "
            "corrects it while nothing of it is paid (say what was handed out); else "
            f"`satmachine settlements close {number}` first"
        )
    if sale.fiat_amount_minor is None:
        return (
            f"sale {number} does not say how much cash was sold, so that nobody can say what is missing. Pay the "
            f'customer by hand, and write it down: `satmachine settlements note {number} "what was paid"`'
        )
    if short_minor is not None and not 0 < short_minor <= sale.fiat_amount_minor:
        sold = f"{minor_to_fiat(sale.fiat_amount_minor, sale.currency):f} {sale.currency}"
        return f"sale {sale.id} has sold {sold}: what was handed out is less than that, and not below 0"
    return None


# --- transactions


def allowed(conn: sqlite3.Connection, settlement_id: int, short_minor: int | None = None) -> Settlement:
    """The sale as it stands now. Raises NotFound, and Refused where nothing can be booked as missing of it."""
    sale = corrections.find(conn, settlement_id)
    open_ = shortfalls.latest(conn, settlement_id)
    if open_ is not None and open_.waits:
        raise Refused(
            f"sale {sale.id} has a shortfall that waits for its top-up: "
            f"`satmachine settlements shortfall {sale.id}` shows the invoice, "
            f"`satmachine settlements shortfall {sale.id} --undo` takes it back"
        )
    why = refusal(sale, short_minor)
    unpaid = sale.status == SettlementStatus.PROCESSED and corrections.completed_leg(conn, sale.id) is None
    if why is None and unpaid:
        why = (
            f"nothing of sale {sale.id} is paid: "
            f"`satmachine settlements partial-dispense {sale.id} --fraction 0.5` corrects it (say what was given), "
            "and the refund comes out of what it retains"
        )
    if why is not None:
        raise Refused(why)
    return sale


def book(
    conn: sqlite3.Connection,
    order: Order,
    *,
    number: int,
    refund_number: int,
    top_up: TopUp | None,
    by: By,
) -> str:
    """The sale's cash is corrected, what stayed in the machine is whose it is, and the top-up is expected."""
    sale = allowed(conn, order.settlement_id, order.short_minor)
    if order.to is not None and order.refund_sats != refund_sats(sale, order.short_minor):
        raise Refused(f"sale {sale.id} was changed in the meantime: ask again")
    if number != shortfalls.next_number(conn, sale.id):
        raise Refused(f"sale {sale.id} was changed in the meantime: ask again")
    short = _fiat(sale, order.short_minor)
    deposit_id = None
    if order.client_id is not None:
        deposit_id = _deposit(conn, sale, order.client_id, order.short_minor, by)
    if top_up is not None:
        incoming.add_top_up(conn, top_up)
    shortfalls.add(
        conn,
        sale,
        number=number,
        short_minor=order.short_minor,
        refund_sats=order.refund_sats,
        topup_sats=order.topup_sats,
        payee=order.to,
        topup_hash=None if top_up is None else top_up.payment_hash,
        refund_number=refund_number,
        deposit_id=deposit_id,
        reason=by.reason,
        actor=by.actor,
        now=by.now,
    )
    owner = "the operator's" if order.client_id is None else f"{clients.get(conn, order.client_id).label}'s"
    text = f"The customer got {short} too little: {by.reason}. That cash is {owner} now. "
    text += (
        "The customer was paid by hand." if order.to is None else f"{order.refund_sats} sats go back to the customer."
    )
    after = {"deposit_id": deposit_id, "refund_sats": order.refund_sats, "payee": order.to}
    _leave_word(conn, sale, "settlement.shortfall", by, text=text, after=after)
    if top_up is None:
        return f"the cash of sale {sale.id} is corrected: {short} less was handed out"
    return (
        f"the cash of sale {sale.id} is corrected: {short} less was handed out. {order.refund_sats} sats go back "
        f"to the customer as soon as {order.topup_sats} sats have come in by its top-up"
    )


def to_undo(conn: sqlite3.Connection, settlement_id: int) -> ShortfallRow:
    """The latest shortfall of a sale, if it can be taken back. Raises NotFound, Refused."""
    corrections.find(conn, settlement_id)
    found = shortfalls.latest(conn, settlement_id)
    if found is None:
        raise NotFound(f"sale {settlement_id} has no shortfall")
    refund = None if found.payment_id is None else legs.get(conn, found.payment_id)[0]
    if refund is not None and refund.status is LegStatus.COMPLETED:
        raise Refused(
            f"the refund of sale {settlement_id} is paid (payment {refund.id}): its shortfall stands. Whose the "
            "cash is can still be put right, with deposits"
        )
    return found


def undo(conn: sqlite3.Connection, settlement_id: int, *, proof: ProvenUnpaid, by: By) -> str:
    """Take the latest shortfall back: its refund, which was just proven unpaid, its deposit, its change of the cash."""
    found = to_undo(conn, settlement_id)
    sale = corrections.find(conn, settlement_id)
    stays = ""
    if found.payment_id is not None:
        _give_up_refund(conn, sale, found, proof, by.now)
        stays = f"; the {found.topup_sats} sats of its top-up stay in the wallet of {sale.machine_id}"
    elif found.payee is not None:
        stays = "; what its invoice may still bring is a top-up like any other"
    if found.deposit_id is not None and not deposits.is_reversed(conn, found.deposit_id):
        why = f"shortfall of sale {sale.id} undone: {by.reason}"
        deposits.reverse(conn, found.deposit_id, reason=why, actor=by.actor, now=by.now)
    shortfalls.undo(conn, sale, found, actor=by.actor, now=by.now)
    text = f"The shortfall of {_fiat(sale, found.short_minor)} was taken back: {by.reason}."
    _leave_word(conn, sale, "settlement.undo_shortfall", by, text=text, after={"number": found.number})
    settlements.refresh_status(conn, sale.id, by.now)
    return f"the shortfall of sale {sale.id} is taken back{stays}"


def _give_up_refund(
    conn: sqlite3.Connection, sale: Settlement, found: ShortfallRow, proof: ProvenUnpaid, now: int
) -> None:
    """Void the refund, if that is to do, and book its top-up to nobody again."""
    assert found.payment_id is not None
    leg, _ = legs.get(conn, found.payment_id)
    if leg.status is not LegStatus.VOIDED:
        if leg.id not in proof.legs:
            raise Refused(f"payment {leg.id} of sale {sale.id} was added meanwhile; look again, then retry")
        corrections.void(conn, proof.legs[leg.id], proof.evidence[leg.id])
        kept = [Retained(RetainedReason.VOIDED_LEG, leg.amount_sats, leg.leg)]
        settlements.retain(conn, sale.id, sale.revision, kept, now)
    refunds = [entry for entry in corrections.ledger(conn, sale.id) if entry.leg == leg.leg]
    try:
        drawn = draw(refunds, found.topup_sats)
    except ValueError:
        raise Refused(
            f"what the top-up of sale {sale.id} brought was refunded in another way since: its shortfall stands"
        ) from None
    settlements.retain(conn, sale.id, sale.revision, drawn, now)
    shortfalls.top_up(conn, sale.id, -found.topup_sats)


def _deposit(conn: sqlite3.Connection, sale: Settlement, client_id: int, short_minor: int, by: By) -> int:
    """The cash is an LP's from now on."""
    client = clients.get(conn, client_id)
    if client.machine_id != sale.machine_id:
        raise Refused(f"LP {client.id} ({client.label}) is an LP of {client.machine_id}, not of {sale.machine_id}")
    text = f"what the customer of sale {sale.id} did not get: {by.reason}"
    deposit_id = deposits.add(
        conn, client_id=client.id, amount_minor=short_minor, notes=text, actor=by.actor, now=by.now
    )
    deposits.confirm(conn, deposit_id, actor=by.actor, now=by.now)
    return deposit_id


def _fiat(sale: Settlement, minor: int) -> str:
    return f"{minor_to_fiat(minor, sale.currency):f} {sale.currency}"


def _leave_word(
    conn: sqlite3.Connection,
    sale: Settlement,
    action: str,
    by: By,
    *,
    text: str,
    after: Mapping[str, object],
) -> None:
    changes.leave_word(
        conn,
        sale,
        action,
        by,
        text=text,
        before={"fiat_amount_minor": sale.fiat_amount_minor},
        after={"fiat_amount_minor": settlements.get(conn, sale.id).fiat_amount_minor, **after},
    )
