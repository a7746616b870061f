"""Settlement + rules + LP positions -> legs and retained sats, to the last sat (SPEC section 5).

Pure: one function, `make_plan`. What it returns always conserves: gross = legs + retained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from satmachine.identity import PayeeIdentity, client_scope
from satmachine.models import LegType, PlannedLeg, Position, Retained, RetainedReason, Settlement
from satmachine.money import (
    allocate_operator_split_legs,
    calculate_distribution,
    minor_to_fiat,
    sats_to_minor,
    split_two_stage_commission,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who gets which part: a line of a commission ruleset, or the platform.

    `payee` is a description, never a key; `scope` is where it is named.
    """

    label: str
    pct: Decimal
    payee: str
    identity: PayeeIdentity
    scope: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What is in force at the moment of planning: the super fee and the machine's effective ruleset."""

    super_fee_pct: Decimal
    super_payee: Rule | None
    ruleset_source: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Every sat of a sale: what is paid, and what stays with its reason."""

    platform_fee_sats: int
    operator_fee_sats: int
    legs: tuple[PlannedLeg, ...]
    retained: tuple[Retained, ...]


def make_plan(settlement: Settlement, terms: Terms, positions: Sequence[Position]) -> Plan:
    """Turn one settlement into its legs, in the order of SPEC section 5."""
    platform_fee_sats, operator_fee_sats = split_two_stage_commission(settlement.commission_sats, terms.super_fee_pct)
    parts = [
        plan_super(platform_fee_sats, terms),
        plan_splits(operator_fee_sats, terms),
        plan_distribution(settlement, positions),
    ]
    legs = tuple(leg for part_legs, _ in parts for leg in part_legs)
    retained = tuple(row for _, part_retained in parts for row in part_retained if row.amount_sats)
    planned_sats = sum(leg.amount_sats for leg in legs) + sum(row.amount_sats for row in retained)
    assert planned_sats == settlement.net_sats + settlement.commission_sats, "a plan must conserve every sat"
    return Plan(platform_fee_sats, operator_fee_sats, legs, retained)


_Part = tuple[list[PlannedLeg], list[Retained]]


def plan_super(platform_fee_sats: int, terms: Terms) -> _Part:
    """The platform's part."""
    payee = terms.super_payee
    if payee is None:
        return [], [Retained(RetainedReason.NO_SUPER_PAYEE, platform_fee_sats, "super")]
    leg = PlannedLeg(
        LegType.SUPER_FEE,
        "super",
        platform_fee_sats,
        payee.payee,
        payee.identity,
        scope=payee.scope,
        pct=terms.super_fee_pct,
    )
    return [leg], []


def plan_splits(operator_fee_sats: int, terms: Terms) -> _Part:
    """The operator's part, by the ruleset."""
    if not terms.rules:
        return [], [Retained(RetainedReason.NO_RULESET, operator_fee_sats, "split")]
    amounts = allocate_operator_split_legs(operator_fee_sats, [rule.pct for rule in terms.rules])
    legs = [
        PlannedLeg(
            LegType.OPERATOR_SPLIT,
            f"split:{rule.label}",
            amount_sats,
            rule.payee,
            rule.identity,
            scope=rule.scope,
            label=rule.label,
            pct=rule.pct,
        )
        for rule, amount_sats in zip(terms.rules, amounts, strict=True)
    ]
    return legs, []


def plan_distribution(settlement: Settlement, positions: Sequence[Position]) -> _Part:
    """The settlement's net sats, shared among the LPs."""
    net_sats, rate, currency = settlement.net_sats, settlement.exchange_rate, settlement.currency
    if rate == 0:
        return [], [Retained(RetainedReason.UNKNOWN_RATE, net_sats, "dca")]
    total_weight_minor = sum(position.weight_minor for position in positions)
    by_label = {position.label: position for position in positions}
    weights = {p.label: minor_to_fiat(p.weight_minor, currency) for p in positions}
    caps = {p.label: minor_to_fiat(p.cap_minor, currency) for p in positions}
    shares, orphan_sats = calculate_distribution(net_sats, rate, weights, caps)
    legs = [
        PlannedLeg(
            LegType.DCA,
            f"dca:{label}",
            amount_sats,
            by_label[label].payee,
            by_label[label].identity,
            scope=client_scope(by_label[label].client_id),
            client_id=by_label[label].client_id,
            # Rounding half up must never take more than the balance has (SPEC section 8).
            fiat_amount_minor=min(sats_to_minor(amount_sats, rate, currency), by_label[label].cap_minor),
            explain=_explain(by_label[label], total_weight_minor),
        )
        for label, amount_sats in shares.items()
        if by_label[label].weight_minor > 0
    ]
    return legs, [Retained(RetainedReason.NO_LP_BALANCE, orphan_sats, "dca")]


def _explain(position: Position, total_weight_minor: int) -> str:
    return json.dumps(
        {
            "mode": position.mode,
            "weight_minor": position.weight_minor,
            "total_weight_minor": total_weight_minor,
            "cap_minor": position.cap_minor,
        }
    )
