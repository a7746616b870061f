"""The planning transaction: guards, then every leg of a proven sale at once (SPEC sections 5 and 6)."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

from satmachine.models import HoldReason, Settlement
from satmachine.settlements.past import PaidBefore, honour
from satmachine.settlements.plan import Terms, make_plan
from satmachine.store import legs, positions, settlements, wallets

#: A machine's own median rate means something once it has this many sales (SPEC section 6.4).
_RATES_FOR_A_MEDIAN = 5
_DAY_S = 86_400

#: Holds that a person may override by releasing the settlement.
GUARDS = frozenset({HoldReason.COMMISSION_OUT_OF_BOUNDS, HoldReason.RATE_OUT_OF_BOUNDS, HoldReason.DAILY_LIMIT})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a stolen machine key must not exceed; pcts are fractions, `daily_limit_sats` None is no limit."""

    max_commission_pct: Decimal
    max_rate_deviation: Decimal
    daily_limit_sats: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`held` is None where the plan was written."""

    settlement: Settlement
    held: HoldReason | None = None


def plan_settlement(
    conn: sqlite3.Connection, settlement_id: int, terms: Terms, bounds: Bounds, now: int
) -> Outcome | None:
    """Plan a proven settlement in one transaction; None where there is nothing to plan (any more).

    Whatever the plan says, the transaction fails where it would use more than the proven incoming payment.
    """
    settlement = settlements.get(conn, settlement_id)
    if settlement.status != "pending" or settlement.proof == "waiting" or settlement.planned_at is not None:
        return None
    breach = _breach(conn, settlement, bounds)
    if breach is not None:
        reason, error = breach
        settlements.hold(conn, settlement_id, reason=reason, error=error)
        return Outcome(settlement, reason)
    lps = positions.of_sale(conn, settlement.machine_id, occurred_at=settlement.occurred_at)
    plan = honour(make_plan(settlement, terms, lps), _paid_before(conn, settlement))
    settlements.mark_planned(
        conn,
        settlement,
        platform_fee_sats=plan.platform_fee_sats,
        operator_fee_sats=plan.operator_fee_sats,
        super_fee_pct=terms.super_fee_pct,
        ruleset_source=terms.ruleset_source,
        now=now,
    )
    legs.insert_planned(conn, settlement, plan.legs, revision=settlement.revision, now=now)
    settlements.retain(conn, settlement_id, settlement.revision, plan.retained, now)
    settlements.refresh_status(conn, settlement_id, now)
    planned = settlements.get(conn, settlement_id)
    used_sats = legs.used_sats(conn, settlement_id) + planned.retained_sats
    assert used_sats <= planned.gross_sats, f"settlement {settlement_id} would use {used_sats} sats: more than came in"
    return Outcome(planned)


def _paid_before(conn: sqlite3.Connection, settlement: Settlement) -> list[PaidBefore]:
    """What another life of this database paid for this revision of the sale."""
    prefix = legs.leg_key(settlement, settlement.revision, "")
    found = wallets.foreign_of(conn, settlement.machine_id, prefix)
    return [
        PaidBefore(row.leg_key.removeprefix(prefix), row.amount_sats, _minor(row.extra.get("fiat_amount_minor")))
        for row in found
    ]


def _minor(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _breach(conn: sqlite3.Connection, settlement: Settlement, bounds: Bounds) -> tuple[HoldReason, str] | None:
    """The first guard that this sale does not pass and that nobody has overridden, with a sentence."""
    overridden = set(settlement.overrides.split())
    for reason, error in (
        (HoldReason.COMMISSION_OUT_OF_BOUNDS, _commission_breach(settlement, bounds)),
        (HoldReason.RATE_OUT_OF_BOUNDS, _rate_breach(conn, settlement, bounds)),
        (HoldReason.DAILY_LIMIT, _daily_breach(conn, settlement, bounds)),
    ):
        if error is not None and reason not in overridden:
            return reason, error
    return None


def _commission_breach(settlement: Settlement, bounds: Bounds) -> str | None:
    # The commission is charged on top of the net amount, so that is what the pct is of.
    if settlement.commission_sats <= bounds.max_commission_pct * settlement.net_sats:
        return None
    return (
        f"commission of {settlement.commission_sats} sats on {settlement.net_sats} sats net is above "
        f"max_commission_pct {bounds.max_commission_pct}"
    )


def _rate_breach(conn: sqlite3.Connection, settlement: Settlement, bounds: Bounds) -> str | None:
    if settlement.exchange_rate == 0:
        return None
    texts = settlements.recent_rates(
        conn, settlement.machine_id, before=settlement.occurred_at, exclude_id=settlement.id
    )
    if len(texts) < _RATES_FOR_A_MEDIAN:
        return None
    usual = median(Decimal(text) for text in texts)
    if abs(settlement.exchange_rate - usual) <= bounds.max_rate_deviation * usual:
        return None
    return (
        f"exchange rate {settlement.exchange_rate:f} sats per {settlement.currency} is further than "
        f"max_rate_deviation {bounds.max_rate_deviation} from this machine's recent median {usual:f}"
    )


def _daily_breach(conn: sqlite3.Connection, settlement: Settlement, bounds: Bounds) -> str | None:
    if bounds.daily_limit_sats is None:
        return None
    day_start = settlement.occurred_at - settlement.occurred_at % _DAY_S
    before = settlements.planned_sats_of_day(conn, settlement.machine_id, day_start=day_start, exclude_id=settlement.id)
    if before + settlement.gross_sats <= bounds.daily_limit_sats:
        return None
    return (
        f"{settlement.gross_sats} sats on top of {before} sats of that UTC day is above daily_limit_sats "
        f"{bounds.daily_limit_sats}"
    )
