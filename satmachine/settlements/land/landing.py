"""Claim -> settlement, each sale once (SPEC sections 2 and 6). Runs inside one write transaction.

The checks come in this order, and the first that applies returns: known event, unusable event, known sale, new sale.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace

from satmachine.models import Claim, HoldReason, LandingResult, Rejection, Settlement
from satmachine.nostr.event import SETTLEMENT_KIND
from satmachine.settlements.claim import sale_rate
from satmachine.store import audit_log as audit
from satmachine.store import incoming, quarantine_rows, settlements
from satmachine.store.settlements import EventRecord

log = logging.getLogger(__name__)

#: Beacons that are asked for a rate: not each of them tells one.
_BEACONS = 20


@dataclass(frozen=True, slots=True)
class Landing:
    """What became of a claim; `settlement_id` is None only where nothing was landed and nothing matched."""

    result: LandingResult
    settlement_id: int | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """The part of the configuration that decides about a new sale."""

    machine_active: bool
    payouts_since: int


def land_event(
    conn: sqlite3.Connection,
    machine_id: str,
    event: EventRecord,
    claim: Claim | Rejection,
    rules: Rules,
    now: int,
    *,
    retry: bool = False,
) -> Landing | Rejection:
    """Store a machine's event and what it says. When this returns, a Rejection is in quarantine.

    `retry` takes up an event that is in quarantine already.
    """
    again = retry and quarantine_rows.is_open(conn, event.event_id)
    if settlements.event_is_known(conn, event.event_id) and not again:
        return Landing(LandingResult.DUPLICATE, None)
    if isinstance(claim, Claim) and event.created_at < rules.payouts_since:
        claim = Rejection(
            "before_payouts_since", "the sale is older than the machine's payouts_since: it is never paid"
        )
    if isinstance(claim, Rejection):
        _quarantine(conn, machine_id, event, claim)
        return claim
    landing = land_claim(conn, claim, rules, now, event_id=event.event_id)
    if landing.result is LandingResult.CONFLICT:
        rejection = Rejection("conflict", landing.detail)
        _quarantine(conn, machine_id, event, rejection, landing.settlement_id)
        return rejection
    assert landing.settlement_id is not None
    settlements.attach_event(conn, landing.settlement_id, machine_id, event)
    if retry:
        quarantine_rows.mark_landed(conn, event.event_id, landing.settlement_id, now)
    return landing


def land_claim(
    conn: sqlite3.Connection, claim: Claim, rules: Rules, now: int, *, event_id: str | None = None
) -> Landing:
    """Find or make the settlement of a claim, whoever makes it: an event, the wallet, or the operator."""
    same = settlements.find_same_sale(conn, claim)
    if len(same) > 1:
        ids = " and ".join(str(settlement.id) for settlement in same)
        return Landing(
            LandingResult.CONFLICT,
            same[0].id,
            f"its payment hash and its txid belong to two different settlements ({ids})",
        )
    if same:
        return _meet(conn, same[0], claim, now)
    return _land_new(conn, claim, rules, now, event_id)


def with_rate(conn: sqlite3.Connection, claim: Claim, extra: Mapping[str, object], max_age_s: int) -> Claim:
    """A claim of the wallet's with the rate that LNbits or the machine's beacons tell; as it was where nobody does.

    `extra` is the payment's; a beacon of more than `max_age_s` before the sale tells nothing (SPEC section 6.3).
    """
    told = sale_rate.of_payment(extra, claim.currency)
    if told is None:
        contents = incoming.beacons_before(
            conn, claim.machine_id, at=claim.occurred_at, max_age_s=max_age_s, limit=_BEACONS
        )
        told = sale_rate.of_beacons(contents, claim.currency)
    return claim if told is None else replace(claim, exchange_rate=told.rate, rate_source=told.source)


def contradiction(settlement: Settlement, claim: Claim) -> str | None:
    """How a claim differs from a settlement of the same sale, in words; None where both say the same."""
    for name, ours, theirs in (
        ("payment_hash", settlement.payment_hash, claim.payment_hash),
        ("txid", settlement.txid, claim.txid),
    ):
        if ours is not None and theirs is not None and ours != theirs:
            return f"sale {settlement.id} has the {name} {ours}, this event says {theirs}"
    pairs: list[tuple[str, object, object]] = [("gross_sats", settlement.gross_sats, claim.gross_sats)]
    if not claim.used_fallback_split:  # a claim without a split of its own does not contradict one
        commission_sats = claim.gross_sats - claim.net_sats
        recorded_sats = settlement.commission_sats
        if settlement.undispensed_sats == 0:
            pairs.append(("commission", recorded_sats, commission_sats))
    if claim.exchange_rate != 0:
        pairs.append(("exchange_rate", settlement.exchange_rate, claim.exchange_rate))
    # A person has corrected the cash as well.
    corrected = settlement.undispensed_sats > 0 or settlement.shortfall_minor > 0
    if claim.fiat_amount_minor is not None and settlement.fiat_amount_minor is not None and not corrected:
        pairs.append(("fiat_amount", settlement.fiat_amount_minor, claim.fiat_amount_minor))
    for name, recorded, said in pairs:
        if recorded != said:
            return f"sale {settlement.id} has {name} {recorded}, this event says {said}"
    return None


def _meet(conn: sqlite3.Connection, settlement: Settlement, claim: Claim, now: int) -> Landing:
    """Another message about a known sale: the same, better figures for derived ones, or a conflict."""
    difference = contradiction(settlement, claim)
    if difference is None:
        _fill_in(conn, settlement, claim, now)
        return Landing(LandingResult.ATTACHED, settlement.id)
    if not _may_revise(conn, settlement, claim):
        return Landing(LandingResult.CONFLICT, settlement.id, difference)
    legs_voided = settlements.void_open_legs(conn, settlement.id)
    settlements.take_back_retained(conn, settlement, now)
    settlements.revise(conn, settlement, claim)
    settlements.fill_in(conn, settlement.id, claim)
    audit.record(
        conn,
        now=now,
        actor=audit.DAEMON,
        action="settlement.revise",
        subject=f"settlement {settlement.id}",
        machine_id=settlement.machine_id,
        reason="the machine's signed figures replace derived ones",
        before=_figures(settlement) | {"legs": legs_voided},
        after=_figures(settlements.get(conn, settlement.id)),
    )
    return Landing(LandingResult.REVISED, settlement.id, difference)


def _figures(settlement: Settlement) -> dict[str, object]:
    return {
        "net_sats": settlement.net_sats,
        "exchange_rate": settlement.exchange_rate,
        "fiat_amount_minor": settlement.fiat_amount_minor,
    }


def _fill_in(conn: sqlite3.Connection, settlement: Settlement, claim: Claim, now: int) -> None:
    """What was not known. Where the sale is in the ledger already, its cash leaves a row: months may be closed."""
    settlements.fill_in(conn, settlement.id, claim)
    if settlement.proof == "waiting" or settlement.fiat_amount_minor is not None or claim.fiat_amount_minor is None:
        return
    audit.record(
        conn,
        now=now,
        actor=audit.DAEMON,
        action="settlement.fill_in",
        subject=f"settlement {settlement.id}",
        machine_id=settlement.machine_id,
        reason="the machine's event tells what the wallet did not",
        before={"fiat_amount_minor": None},
        after={"fiat_amount_minor": claim.fiat_amount_minor},
    )


def _may_revise(conn: sqlite3.Connection, settlement: Settlement, claim: Claim) -> bool:
    """Signed figures replace derived ones of the wallet's, while nothing has been sent (SPEC section 2), and no person
    has decided about the sale: a person's word stands (SPEC section 6.9)."""
    if settlement.person_acted_at is not None:
        return False
    derived = settlement.source in ("wallet", "operator") and settlement.used_fallback_split
    not_its_own = settlement.exchange_rate == 0 or settlement.rate_source is not None
    rate_unknown = settlement.source in ("wallet", "operator") and not_its_own
    split_differs = not claim.used_fallback_split and claim.net_sats != settlement.net_sats
    same_sale = settlement.gross_sats == claim.gross_sats and settlement.payment_hash in (
        claim.payment_hash,
        settlement.payment_hash if claim.payment_hash is None else None,
    )
    allowed = derived if split_differs else (derived or rate_unknown)
    return (
        claim.source == "event"
        and same_sale
        and allowed
        and settlement.undispensed_sats == 0
        and settlement.status in ("pending", "held", "errored", "processed")
        and settlements.nothing_sent(conn, settlement.id)
    )


def _land_new(conn: sqlite3.Connection, claim: Claim, rules: Rules, now: int, event_id: str | None) -> Landing:
    hold = None if rules.machine_active else HoldReason.MACHINE_INACTIVE
    settlement_id = settlements.insert(
        conn,
        claim,
        event_id=event_id,
        now=now,
        proof="waiting",
        hold_reason=hold,
        error="set active = true in its table of the file, and reload" if hold else None,
    )
    if claim.used_fallback_split:
        log.warning(
            "settlement %d of %s came without net_sats and fee_sats: its split is derived from "
            "fallback_commission_pct (lamassu-next#44 adds these fields to the machine)",
            settlement_id,
            claim.machine_id,
            extra={"settlement": settlement_id, "machine": claim.machine_id},
        )
    return Landing(LandingResult.LANDED, settlement_id)


def _quarantine(
    conn: sqlite3.Connection,
    machine_id: str,
    event: EventRecord,
    rejection: Rejection,
    settlement_id: int | None = None,
) -> None:
    quarantine_rows.add(
        conn,
        event_id=event.event_id,
        machine_id=machine_id,
        kind=SETTLEMENT_KIND,
        rejection=rejection,
        created_at=event.created_at,
        received_at=event.received_at,
        relay_url=event.relay_url,
        raw=event.raw,
        settlement_id=settlement_id,
    )
