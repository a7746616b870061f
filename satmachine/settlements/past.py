"""Planning a sale that another life of this database has paid, or begun to pay. Pure.

An LP's share depends on the balances at the moment of planning, so books that were lost and made anew may compute it a
few sats differently. What the wallet has paid is what was planned then: those legs take the paid amounts, the others
and what stays in the wallet make up the difference, and the sale conserves as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from satmachine.models import INTERNAL_PAYEE, LegType, PlannedLeg, Retained, RetainedReason
from satmachine.settlements.plan import Plan


@dataclass(frozen=True, slots=True)
class PaidBefore:
    """A payment of this sale in the machine's wallet; `leg` is the last part of its leg key."""

    leg: str
    amount_sats: int
    fiat_amount_minor: int | None


def honour(plan: Plan, payments: Sequence[PaidBefore]) -> Plan:
    """The plan with the amounts that LPs were paid. Unchanged where that cannot be: then the payments do not fit.

    Only wallets of the same LNbits: what an external payee got is less than its leg anyway, by the fee.
    """
    paid = {row.leg: row for row in payments}
    shares = [leg for leg in plan.legs if leg.leg_type is LegType.DCA]
    fixed = [leg for leg in shares if leg.leg in paid and leg.payee.startswith(INTERNAL_PAYEE)]
    if all(paid[leg.leg].amount_sats == leg.amount_sats for leg in fixed):
        return plan
    orphan_sats = sum(row.amount_sats for row in plan.retained if row.reason is RetainedReason.NO_LP_BALANCE)
    left_sats = orphan_sats + sum(leg.amount_sats for leg in shares) - sum(paid[leg.leg].amount_sats for leg in fixed)
    if left_sats < 0:
        return plan
    legs: list[PlannedLeg] = []
    for leg in plan.legs:
        if leg in fixed:
            before = paid[leg.leg]
            legs.append(replace(leg, amount_sats=before.amount_sats, fiat_amount_minor=before.fiat_amount_minor))
        elif leg.leg_type is LegType.DCA:
            legs.append(_at_most(leg, left_sats))
            left_sats -= legs[-1].amount_sats
        else:
            legs.append(leg)
    others = [row for row in plan.retained if row.reason is not RetainedReason.NO_LP_BALANCE]
    orphan = [Retained(RetainedReason.NO_LP_BALANCE, left_sats, "dca")] if left_sats else []
    return replace(plan, legs=tuple(legs), retained=(*others, *orphan))


def _at_most(leg: PlannedLeg, limit_sats: int) -> PlannedLeg:
    """A share that is cut to what is left, with its fiat in proportion."""
    if leg.amount_sats <= limit_sats:
        return leg
    fiat_minor = (leg.fiat_amount_minor or 0) * limit_sats // leg.amount_sats
    return replace(leg, amount_sats=limit_sats, fiat_amount_minor=fiat_minor)
