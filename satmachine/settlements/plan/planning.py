"""The planning transaction: guards, then every leg of a proven sale at once (SPEC sections 5 and 6).

Is a sale's exchange rate believable? It decides how much of an LP's balance a sale uses up: somebody who can raise it
at will can empty the wallet in an LP's name. So what a stolen machine key says about a true payment is compared with
the machine's own past (SPEC section 6.4): its usual rate is the median, *weighted by sats*, of its sales of a day ago
and before. For each step within the limit a thief would have to sell more than the machine itself does, a day in
advance. Very small sales do not change it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from satmachine.config import Config, Payee
from satmachine.identity import PREFIX, SUPER_SCOPE, ruleset_scope
from satmachine.models import HoldReason, Settlement
from satmachine.money import minor_to_fiat
from satmachine.settlements.plan.amounts import Rule, Terms, make_plan
from satmachine.store import incoming, legs, positions, rates, reconciling, settlements, telemetry_rows, wallet_rows
from satmachine.telemetry.trouble import says_broken

_DAY_S = 86_400

#: A machine's own usual rate means something once it has this many sales (SPEC section 6.4).
RATES_FOR_A_MEDIAN = 5
#: Of how long ago the sales are that tell it, in seconds. Younger ones count only where there are no older ones.
YOUNGEST_S = 86_400
OLDEST_S = 8 * 86_400

#: Cash comes in notes and in rounded amounts: so far it may be from net / rate, as a fraction and in major units.
_CASH_TOLERANCE = Decimal("0.02")
_CASH_TOLERANCE_FIAT = Decimal(1)

#: Holds that a person may override by releasing the settlement.
GUARDS = frozenset(
    {
        HoldReason.COMMISSION_OUT_OF_BOUNDS,
        HoldReason.RATE_OUT_OF_BOUNDS,
        HoldReason.DAILY_LIMIT,
        HoldReason.UNKNOWN_PAYMENTS,
        HoldReason.NOT_A_SALE,
        HoldReason.TOLD_TWICE,
        HoldReason.MACHINE_ERROR,
        HoldReason.MARKS_CONFLICT,
    }
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits for a stolen machine key, and whether an error that the machine reports holds its sales.

    Pcts are fractions, `daily_limit_sats` None is no limit.
    """

    max_commission_pct: Decimal
    max_rate_deviation: Decimal
    daily_limit_sats: int | None
    rate_min: Decimal | None = None
    rate_max: Decimal | None = None
    hold_on_error: bool = False


@dataclass(frozen=True, slots=True)
class RateBounds:
    """`max_deviation` is a fraction of the usual rate; the others are sats per major unit, None: no bound."""

    max_deviation: Decimal
    lowest: Decimal | None = None
    highest: Decimal | None = None


#: At which rate a machine sold how many net sats in how many sales.
Sold = tuple[Decimal, int, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`held` is None where the plan was written."""

    settlement: Settlement
    held: HoldReason | None = None


def terms_for(config: Config, machine_id: str) -> Terms:
    """The super fee and the effective ruleset of a machine at this moment."""
    machine = config.machine(machine_id)
    assert machine is not None, f"machine {machine_id} is in the registry"
    ruleset = config.ruleset(machine)
    super_payee = config.super_.payee
    return Terms(
        super_fee_pct=config.super_.fee_pct,
        super_payee=None
        if super_payee is None
        else _rule(SUPER_SCOPE, config.super_.fee_pct, super_payee, SUPER_SCOPE),
        ruleset_source=ruleset.source,
        rules=tuple(
            _rule(
                split.label,
                split.pct,
                split.payee,
                ruleset_scope(ruleset.source, machine.id, machine.operator, split.label),
            )
            for split in ruleset.splits
        ),
    )


def _rule(label: str, pct: Decimal, payee: Payee, scope: str) -> Rule:
    return Rule(label, pct, payee.describe(), payee.identity, scope)


def plan_settlement(
    conn: sqlite3.Connection, settlement_id: int, terms: Terms, bounds: Bounds, now: int
) -> Outcome | None:
    """Plan a proven settlement in one transaction; None where there is nothing to plan (any more).

    Whatever the plan says, the transaction fails where it would use more than the proven incoming payment.
    """
    settlement = settlements.get(conn, settlement_id)
    if settlement.status != "pending" or settlement.proof == "waiting" or settlement.planned_at is not None:
        return None
    if wallet_rows.is_stopped(conn, settlement.machine_id):
        return None  # its books may lack payments: the balances would be wrong
    breach = _breach(conn, settlement, bounds)
    if breach is not None:
        reason, error = breach
        settlements.hold(conn, settlement_id, reason=reason, error=error)
        if reason is HoldReason.TOLD_TWICE:
            settlements.ask_about(conn, settlement_id, [twin for twins in _twins(conn, settlement) for twin in twins])
        return Outcome(settlement, reason)
    lps = positions.of_sale(conn, settlement.machine_id, occurred_at=settlement.occurred_at)
    plan = make_plan(settlement, terms, lps)
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
    assert used_sats <= planned.came_in_sats, f"sale {settlement_id} would use {used_sats} sats: more than came in"
    return Outcome(planned)


def _breach(conn: sqlite3.Connection, settlement: Settlement, bounds: Bounds) -> tuple[HoldReason, str] | None:
    """The first guard that this sale does not pass and that nobody has overridden, with a sentence."""
    overridden = set(settlement.overrides.split()) - {HoldReason.TOLD_TWICE}
    booked = _booked_elsewhere(conn, settlement)
    if booked is not None:
        return HoldReason.MARKS_CONFLICT, booked  # nobody can override that
    for reason, error in (
        (HoldReason.COMMISSION_OUT_OF_BOUNDS, _commission_breach(settlement, bounds)),
        (HoldReason.RATE_OUT_OF_BOUNDS, _rate_breach(conn, settlement, bounds)),
        (HoldReason.DAILY_LIMIT, _daily_breach(conn, settlement, bounds)),
        (HoldReason.UNKNOWN_PAYMENTS, _dismissed(conn, settlement)),
        (HoldReason.TOLD_TWICE, _told_twice(conn, settlement)),
        (HoldReason.MARKS_CONFLICT, _stopped_elsewhere(conn, settlement)),
        (HoldReason.NOT_A_SALE, incoming.no_sale(conn, settlement.machine_id, settlement.payment_hash)),
        (HoldReason.MACHINE_ERROR, _machine_error(conn, settlement) if bounds.hold_on_error else None),
    ):
        if error is not None and reason not in overridden:
            return reason, error
    return None


def _machine_error(conn: sqlite3.Connection, settlement: Settlement) -> str | None:
    """The machine has reported an error since the sale: the customer may have got less than they paid for."""
    for at, status in telemetry_rows.statuses_since(conn, settlement.machine_id, settlement.occurred_at):
        if says_broken(status):
            return (
                f"{settlement.machine_id} reported {status!r}, {max(0, at - settlement.occurred_at)} s after the sale"
            )
    told = telemetry_rows.error_since(conn, settlement.machine_id, settlement.occurred_at)
    return None if told is None else f"{settlement.machine_id} reported an error after the sale: {told}"


def _told_twice(conn: sqlite3.Connection, settlement: Settlement) -> str | None:
    """Where no proof is asked for, and where books that were lost had paid without proof, nothing but a person can tell
    whether two words are of one sale. Their answer stands for those that they were asked about, and for no other."""
    sales, keys = _twins(conn, settlement)
    answered = settlement.twins.split() if HoldReason.TOLD_TWICE in settlement.overrides.split() else []
    if {*sales, *keys}.issubset(answered):
        return None
    found = []
    if sales:
        named = f"sale {sales[0]} is" if len(sales) == 1 else f"sales {', '.join(sales)} are"
        found.append(
            f"{named} of the same amount and day, and nothing tells them apart: this may be the same sale, told again"
        )
    stopped = [sale for sale in sales if settlements.get(conn, int(sale)).planned_at is None]
    if stopped:
        named = " and ".join(stopped)
        found.append(f"A person has stopped {named}: close that one, if this one is to be paid in its place")
    if keys:
        named = ", ".join(f"{PREFIX}{key}" for key in keys)
        found.append(
            f"payments of sales that these books do not have were made that day ({named}): this may be one of them, "
            "paid already"
        )
    return (
        f"{'. And '.join(found)}. If it is, `satmachine settlements close {settlement.id}`; if these are two sales, "
        f"`satmachine settlements release {settlement.id}`"
    )


def _twins(conn: sqlite3.Connection, settlement: Settlement) -> tuple[list[str], list[str]]:
    """What it may be, told again: sales of these books, by their ids, and sales that they lack, by their keys."""
    return [*map(str, settlements.told_before(conn, settlement))], reconciling.paid_without_sale(conn, settlement)


def _dismissed(conn: sqlite3.Connection, settlement: Settlement) -> str | None:
    """A person has said that a payment is not satmachine's, and now its sale has come."""
    found = reconciling.dismissed_before(conn, settlement)
    if not found:
        return None
    one, listed = len(found) == 1, ", ".join(found.values())
    named = f"its payment {listed} was" if one else f"its payments {listed} were"
    booked = " --book ".join(f"{payment_hash}=sale:{settlement.id}" for payment_hash in found)
    return (
        f"before this sale came, {named} declared not to be satmachine's; book {'it' if one else 'them'} with "
        f"`satmachine machines reconcile {settlement.machine_id} --book {booked}`, or release to pay all of it"
    )


def _stopped_elsewhere(conn: sqlite3.Connection, settlement: Settlement) -> str | None:
    """A person's order is not forgotten with the books: the wallet's mark says it, also where the sale comes later."""
    if not reconciling.stopped_before(conn, settlement):
        return None
    return (
        "another life of these books had stopped or changed payments of this sale: compare, then "
        f"`satmachine settlements release {settlement.id}`, or close it"
    )


def _booked_elsewhere(conn: sqlite3.Connection, settlement: Settlement) -> str | None:
    """Parts of it were paid, and are in these books already: nobody can release that."""
    found = reconciling.booked_elsewhere(conn, settlement)
    if found is None:
        return None
    return (
        f"before this sale came, its payment {found} was booked otherwise: paying the sale would pay it again. "
        f"`satmachine settlements close {settlement.id}` keeps what is not paid of it"
    )


def _commission_breach(settlement: Settlement, bounds: Bounds) -> str | None:
    # The commission is charged on top of the net amount, so that is what the pct is of.
    if settlement.commission_sats <= bounds.max_commission_pct * settlement.net_sats:
        return None
    return (
        f"commission of {settlement.commission_sats} sats on {settlement.net_sats} sats net is above "
        f"max_commission_pct {bounds.max_commission_pct}"
    )


def _rate_breach(conn: sqlite3.Connection, settlement: Settlement, bounds: Bounds) -> str | None:
    machine_id, at, own_id = settlement.machine_id, settlement.occurred_at, settlement.id
    usual = usual_rate(
        rates.sold(conn, machine_id, since=at - OLDEST_S, until=at - YOUNGEST_S, exclude_id=own_id),
        rates.sold(conn, machine_id, until=at - YOUNGEST_S, exclude_id=own_id),
        rates.sold(conn, machine_id, until=at, exclude_id=own_id),
    )
    return rate_breach(settlement, usual, RateBounds(bounds.max_rate_deviation, bounds.rate_min, bounds.rate_max))


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


def usual_rate(*spans: Sequence[Sold]) -> Decimal | None:
    """The weighed median of the first span that has enough sales; None where none has."""
    for span in spans:
        if sum(sales for _, _, sales in span) >= RATES_FOR_A_MEDIAN:
            return _median(span)
    return None


def rate_breach(settlement: Settlement, usual: Decimal | None, bounds: RateBounds) -> str | None:
    """Why this sale's rate is not believed, as a sentence for the operator; None where it is, or is unknown."""
    rate = settlement.exchange_rate
    if rate == 0:
        return None
    told = f"exchange rate {rate:f} sats per {settlement.currency}"
    if bounds.lowest is not None and rate < bounds.lowest:
        return f"{told} is below this machine's rate_min {bounds.lowest:f}"
    if bounds.highest is not None and rate > bounds.highest:
        return f"{told} is above this machine's rate_max {bounds.highest:f}"
    if usual is not None and abs(rate - usual) > bounds.max_deviation * usual:
        return (
            f"{told} is further than max_rate_deviation {bounds.max_deviation} from this machine's usual rate "
            f"{usual:f} (by sats sold, a day ago and before)"
        )
    return _cash_breach(settlement, told)


def _cash_breach(settlement: Settlement, told: str) -> str | None:
    """The machine's own figures must agree: the cash it gave is what the net sats buy at its rate."""
    if settlement.fiat_amount_minor is None or settlement.used_fallback_split:  # a derived net is only about right
        return None
    cash = minor_to_fiat(settlement.fiat_amount_minor, settlement.currency)
    # Compared in sats: nothing is divided.
    difference_sats = abs(cash * settlement.exchange_rate - settlement.net_sats)
    allowed_sats = max(_CASH_TOLERANCE * settlement.net_sats, _CASH_TOLERANCE_FIAT * settlement.exchange_rate)
    if difference_sats <= allowed_sats:
        return None
    return f"{told} does not fit: {cash:f} {settlement.currency} were given for {settlement.net_sats} sats net"


def _median(span: Sequence[Sold]) -> Decimal:
    """The rate at which half of the sats are reached, from below."""
    # A sale of nothing but commission weighs one sat, or there would be nothing to halve.
    weights = sorted((rate, max(1, net_sats)) for rate, net_sats, _ in span)
    total = sum(weight for _, weight in weights)
    reached = 0
    for rate, weight in weights:
        reached += weight
        if 2 * reached >= total:
            return rate
    raise AssertionError("half of the sats are reached by the last rate")
