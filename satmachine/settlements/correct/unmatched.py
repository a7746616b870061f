"""What a person says about a payment into a machine's wallet that is no sale in the books: it is one, or it is none.

Each function is one transaction with its audit row. None of them pays: the wallet proves a sale as ever. They raise
Refused, with what to do instead.
"""

from __future__ import annotations

import sqlite3
from decimal import Decimal

from satmachine.config import Machine
from satmachine.errors import NotFound, Refused
from satmachine.models import By, HoldReason, LandingResult
from satmachine.settlements.claim.content import derived_claim
from satmachine.settlements.correct import audited
from satmachine.settlements.land.landing import Landing, Rules, land_claim, with_rate
from satmachine.store import audit_log as audit
from satmachine.store import incoming, settlements


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
    `another_sale`: the person vouches that it is not the one of the same amount that was paid on the machine's word, or
    that a person has stopped.
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
            f"sale {waived} of the same amount was paid on the machine's word, without a payment hash: this "
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
        raise Refused(f"payment {payment_hash} is sale {landing.settlement_id}'s already. {landing.detail}".strip())
    assert landing.settlement_id is not None
    if another_sale:
        twins = [sale for sale in (waived, settlements.stopped_like(conn, claim)) if sale is not None]
        settlements.ask_about(conn, landing.settlement_id, [str(sale) for sale in twins])
        settlements.override_guard(conn, landing.settlement_id, HoldReason.TOLD_TWICE)
    settlements.person_acted(conn, landing.settlement_id, by.now)
    audited.sale(conn, by, "settlement.land", settlements.get(conn, landing.settlement_id), fresh=True)
    return landing


def dismiss(conn: sqlite3.Connection, machine_id: str, payment_hash: str, by: By) -> None:
    """A person says that a payment into a machine's wallet is no sale: nothing lands it, and no event pays it out."""
    payment = incoming.get(conn, machine_id, payment_hash)
    if payment is None:
        raise NotFound(f"there is no unmatched payment {payment_hash} at {machine_id}; see `settlements unmatched`")
    sale = settlements.id_of_key(conn, machine_id, payment_hash)
    if sale is not None:
        raise Refused(f"payment {payment_hash} is sale {sale}'s; `satmachine settlements show {sale}` shows it")
    if not incoming.dismiss(conn, machine_id, payment_hash, actor=by.actor, reason=by.reason, now=by.now):
        raise Refused(f"payment {payment_hash} is dismissed already")
    audit.record_by(conn, by, "incoming.dismiss", f"incoming {payment_hash}", machine_id, None, {"dismissed": True})


def undo_dismissal(conn: sqlite3.Connection, machine_id: str, payment_hash: str, by: By) -> None:
    """It may be a sale after all."""
    if not incoming.undo_dismissal(conn, machine_id, payment_hash):
        raise Refused(f"payment {payment_hash} is not dismissed; `satmachine settlements unmatched --all` lists those")
    audit.record_by(
        conn, by, "incoming.undo_dismissal", f"incoming {payment_hash}", machine_id, {"dismissed": True}, {}
    )
