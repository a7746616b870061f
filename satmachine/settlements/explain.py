"""Where every sat of a sale went, and how it was calculated: `settlements explain` (SPEC sections 4, 5 and 10). Pure.

Explains what the books recorded, from rows of `dca_settlements`, `dca_payments` and `dca_retained`; nothing is
computed from today's rules. All amounts are sats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

from satmachine.clients.shares import Distribution, PlannedShare, explain_distribution
from satmachine.models import LegStatus, LegType, RetainedReason
from satmachine.models.leg_types import OF_THE_SALE
from satmachine.money import minor_to_fiat

Record = Mapping[str, Any]


#: What the daemon writes is a number: the audit says what else was changed.
_CHANGED = "somebody has changed it in the database (`satmachine audit`)"


@dataclass(frozen=True, slots=True)
class Line:
    """One amount, and how it came about."""

    what: str
    amount_sats: int
    how: str


@dataclass(frozen=True, slots=True)
class Section:
    """Amounts that belong together, in order."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The rules in force, the sections, and the sum that closes the account; `conserves` False is a break."""

    summary: dict[str, Any]
    sections: tuple[Section, ...]
    total: str
    conserves: bool


def explain_settlement(
    settlement: Record, legs: Sequence[Record], retained: Sequence[Record], say: Callable[[str], str] = str
) -> Explanation:
    """Explain a sale; `say` gives the reason of a retained sat in words."""
    plans = {leg["revision"]: [other for other in legs if other["revision"] == leg["revision"]] for leg in legs}
    sections = [
        _payment(settlement),
        _stage_one(settlement),
        *(_revision(revision, plan, retained) for revision, plan in sorted(plans.items())),
        Section("Stays in the machine's wallet", tuple(_kept(row, say) for row in retained)),
    ]
    legs_sats = sum(counted_sats(leg) for leg in legs)
    retained_sats = sum(row["amount_sats"] for row in retained)
    came_in_sats = settlement["gross_sats"] + settlement["topped_up_sats"]
    conserves = came_in_sats == legs_sats + retained_sats
    if settlement["planned_at"] is None and not legs:
        conserves = settlement["undispensed_sats"] == retained_sats or conserves
        total = f"{settlement['gross_sats']} sats, not planned yet; {retained_sats} sats of them stay in the wallet"
    else:
        sign = "=" if conserves else "IS NOT"
        came_in = f"{settlement['gross_sats']} sats"
        if settlement["topped_up_sats"]:
            came_in += f" + {settlement['topped_up_sats']} sats topped up"
        total = f"{came_in} {sign} {legs_sats} sats in payments + {retained_sats} sats that stay in the wallet"
    shown = tuple(section for section in sections if section.lines)
    return Explanation(_summary(settlement), shown, total, conserves)


def counted_sats(leg: Record) -> int:
    """What a leg counts in its sale's sum: of a completed one what left for it, at most its amount (SPEC section 5)."""
    if leg["leg_type"] not in OF_THE_SALE or leg["status"] in (LegStatus.VOIDED, LegStatus.SKIPPED):
        return 0
    if leg["status"] != LegStatus.COMPLETED:
        return int(leg["amount_sats"])
    return min(int(leg["amount_sats"]), int(leg["sent_sats"]) + int(leg["fee_sats"] or 0))


def to_plain(explanation: Explanation) -> dict[str, Any]:
    """For JSON."""
    return asdict(explanation)


def _summary(settlement: Record) -> dict[str, Any]:
    return {
        "settlement": settlement["id"],
        "machine": settlement["machine_id"],
        "status": settlement["status"],
        "revision": settlement["revision"],
        "super_fee": settlement["super_fee_pct"] or "not planned yet",
        "ruleset": settlement["ruleset_source"] or "not planned yet",
        "rate": _rate(settlement),
    }


def _rate(settlement: Record) -> str:
    if settlement["exchange_rate"] == "0":
        return "unknown"
    return f"{settlement['exchange_rate']} sats per {settlement['currency']}"


def _payment(settlement: Record) -> Section:
    how = "as the machine said"
    if settlement["used_fallback_split"]:
        pct, discount = settlement["fallback_commission_pct"], settlement["discount_pct"] or "0"
        how = f"derived: floor(gross / (1 + {pct} x (100 - {discount}) / 100))"
    lines = [Line("the customer paid", settlement["gross_sats"], "never changes")]
    if settlement["undispensed_sats"]:
        how += ", then scaled to what was dispensed, rounded half up"
        lines.append(Line("not dispensed", settlement["undispensed_sats"], "retained; the rest is shared out"))
    lines.append(Line("net, to the LPs", settlement["net_sats"], how))
    lines.append(Line("commission", settlement["commission_sats"], "the rest"))
    if settlement["topped_up_sats"]:
        how = f"the customer got {_short(settlement)} too little, when all was paid; to give back"
        lines.append(Line("topped up since", settlement["topped_up_sats"], how))
    return Section("The sale", tuple(lines))


def _short(settlement: Record) -> str:
    return f"{minor_to_fiat(settlement['shortfall_minor'], settlement['currency']):f} {settlement['currency']}"


def _stage_one(settlement: Record) -> Section:
    if settlement["platform_fee_sats"] is None:
        return Section("Commission, stage one", ())
    platform_sats, operator_sats = settlement["platform_fee_sats"], settlement["operator_fee_sats"]
    how = _product(settlement["commission_sats"], settlement["super_fee_pct"], platform_sats)
    lines = (Line("platform", platform_sats, how), Line("operator", operator_sats, "the rest"))
    return Section("Commission, stage one", lines)


def _revision(revision: int, legs: Sequence[Record], retained: Sequence[Record]) -> Section:
    """One plan: every leg with its arithmetic."""
    # What was given back to whom it was meant for has no arithmetic.
    splits = [leg for leg in legs if leg["leg_type"] == LegType.OPERATOR_SPLIT and leg["pct"] is not None]
    shares = [leg for leg in legs if leg["leg_type"] == LegType.DCA and leg["explain"] is not None]
    fee_sats = sum(leg["amount_sats"] for leg in splits)
    how = {leg["id"]: _product(fee_sats, leg["pct"], leg["amount_sats"]) for leg in splits[:-1]}
    how |= {leg["id"]: f"the rest of {fee_sats}, its pct is {leg['pct']}" for leg in splits[-1:]}
    how |= _share_hows(revision, shares, retained)
    lines = tuple(Line(leg["leg"], leg["amount_sats"], _leg_how(leg, how.get(leg["id"]))) for leg in legs)
    return Section(f"Payments of revision {revision}", lines)


def _share_hows(revision: int, shares: Sequence[Record], retained: Sequence[Record]) -> dict[int, str]:
    if not shares:
        return {}
    orphan_sats = sum(
        row["amount_sats"]
        for row in retained
        if row["revision"] == revision and row["reason"] == RetainedReason.NO_LP_BALANCE and row["amount_sats"] > 0
    )
    net_sats = sum(leg["amount_sats"] for leg in shares) + orphan_sats
    rate, currency = _number(shares[0]["exchange_rate"]), shares[0]["currency"]
    if not rate:
        return {leg["id"]: f"its rate is {leg['exchange_rate']!r}, which is no rate: {_CHANGED}" for leg in shares}
    distribution = explain_distribution(net_sats, rate, currency, [PlannedShare.of(leg) for leg in shares])
    return dict(zip((leg["id"] for leg in shares), _in_words(distribution, currency), strict=True))


def _in_words(distribution: Distribution, currency: str) -> Iterable[str]:
    total = minor_to_fiat(distribution.total_weight_minor, currency)
    for share in distribution.shares:
        weight, cap = minor_to_fiat(share.weight_minor, currency), minor_to_fiat(share.cap_minor, currency)
        weights = f"{weight:f} of {total:f} {currency} of the balances"
        if share.capped:
            yield f"{weights}; its cap of {cap:f} {currency} allows {share.cap_sats}"
        else:
            rounded = "" if share.exact_sats == share.amount_sats else ", rounded down"
            extra = ", plus 1 by largest remainder" if share.remainder_sat else rounded
            yield f"{weights} is {share.exact_sats.normalize():f}{extra}"


_HOW: Mapping[str, str] = {
    LegType.SUPER_FEE: "the platform's part, from stage one",
    LegType.OPERATOR_SPLIT: "given back to whom it was meant for, or to whom a person named",
    LegType.DCA: "given back to whom it was meant for, or to whom a person named",
    LegType.SETTLEMENT: "",
    LegType.AUTOFORWARD: "from the LP's own wallet: no part of this sum",
    LegType.REFUND: "out of what was retained",
}


def _leg_how(leg: Record, arithmetic: str | None) -> str:
    arithmetic = arithmetic or _HOW[leg["leg_type"]]
    fate = str(leg["status"])
    if leg["status"] == LegStatus.COMPLETED and leg["fee_sats"]:
        fate = f"completed: {leg['sent_sats']} sent, {leg['fee_sats']} for routing"
    return f"{arithmetic} ({fate})"


def _kept(row: Record, say: Callable[[str], str]) -> Line:
    part = f" for {row['leg']}" if row["leg"] else ""
    taken = "paid out after all, or taken back: " if row["amount_sats"] < 0 else ""
    return Line(f"revision {row['revision']}{part}", row["amount_sats"], taken + say(row["reason"]))


def _product(amount_sats: int, pct: str, result_sats: int) -> str:
    factor = _number(pct)
    if factor is None:
        return f"{amount_sats} x {pct!r}, which is no number: {_CHANGED}"
    with localcontext(prec=60):
        exact = Decimal(amount_sats) * factor
    rounded = "" if exact == result_sats else f", rounded half to even to {result_sats}"
    return f"{amount_sats} x {pct} = {exact.normalize():f}{rounded}"


def _number(text: str | None) -> Decimal | None:
    """None for what the daemon never wrote."""
    try:
        number = Decimal(text or "")
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
