"""Why each LP got what they got from a sale: the arithmetic of `settlements explain`. Pure.

Nothing is computed from today's balances: each dca leg carries the weight and the cap with which it was planned
(`dca_payments.explain`), and the shares are derived from them with `money`, so that they can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from satmachine.money import calculate_distribution, minor_to_fiat, minor_to_sats

#: With how many decimals of a sat an exact share is shown; the rest is cut off.
_SHARE_DIGITS = 6


@dataclass(frozen=True, slots=True)
class PlannedShare:
    """A dca leg of the settlement's current revision, with what its `explain` column says."""

    label: str
    client_id: int
    amount_sats: int
    fiat_amount_minor: int
    mode: str
    weight_minor: int
    cap_minor: int

    @classmethod
    def of(cls, leg: Mapping[str, object]) -> PlannedShare:
        """From a row of `dca_payments`."""
        why = json.loads(str(leg["explain"]))
        return cls(
            label=str(leg["leg"]).removeprefix("dca:"),
            client_id=int(str(leg["client_id"])),
            amount_sats=int(str(leg["amount_sats"])),
            fiat_amount_minor=int(str(leg["fiat_amount_minor"])),
            mode=why["mode"],
            weight_minor=why["weight_minor"],
            cap_minor=why["cap_minor"],
        )


@dataclass(frozen=True, slots=True)
class ShareExplained:
    """One LP's share, before and after rounding.

    `weight_minor` is the balance as of the sale (in fixed mode at most what was left of the day). `exact_sats` is the
    share before cap and rounding, cut after six decimals; `capped` says that the cap limited it, and what it cut off
    went to the others; `remainder_sat` says that rounding gave it one of the sats that were left over.
    """

    label: str
    client_id: int
    mode: str
    weight_minor: int
    cap_minor: int
    cap_sats: int
    exact_sats: Decimal
    amount_sats: int
    fiat_amount_minor: int
    capped: bool
    remainder_sat: bool


@dataclass(frozen=True, slots=True)
class Distribution:
    """A sale's net sats, shared. `as_recorded` False would mean that the books and the formula disagree."""

    net_sats: int
    exchange_rate: Decimal
    total_weight_minor: int
    distributable_sats: int
    shares: tuple[ShareExplained, ...]
    orphan_sats: int
    orphan_reason: str
    as_recorded: bool


def explain_distribution(
    net_sats: int, exchange_rate: Decimal, currency: str, planned: Sequence[PlannedShare]
) -> Distribution:
    """Show how `net_sats` were shared at `exchange_rate` (sats per major unit) by what the legs carry."""
    cap_sats = {share.label: minor_to_sats(share.cap_minor, exchange_rate, currency) for share in planned}
    distributable_sats = _distributable(net_sats, exchange_rate, currency, planned)
    rounds = _replay(distributable_sats, {share.label: share.weight_minor for share in planned}, cap_sats)
    orphan_sats = net_sats - sum(share.amount_sats for share in planned)
    return Distribution(
        net_sats=net_sats,
        exchange_rate=exchange_rate,
        total_weight_minor=sum(share.weight_minor for share in planned),
        distributable_sats=distributable_sats,
        shares=tuple(_explained(share, rounds, cap_sats[share.label]) for share in planned),
        orphan_sats=orphan_sats,
        orphan_reason=_orphan_reason(orphan_sats, exchange_rate, planned),
        as_recorded=all(share.amount_sats == rounds.final[share.label] for share in planned),
    )


@dataclass(frozen=True, slots=True)
class _Rounds:
    """The result of sharing in rounds: who was capped, and everybody's share before cap and rounding, and after."""

    capped: set[str]
    exact: dict[str, Decimal]
    final: dict[str, int]


def _explained(share: PlannedShare, rounds: _Rounds, cap_sats: int) -> ShareExplained:
    capped, exact_sats = share.label in rounds.capped, rounds.exact[share.label]
    return ShareExplained(
        label=share.label,
        client_id=share.client_id,
        mode=share.mode,
        weight_minor=share.weight_minor,
        cap_minor=share.cap_minor,
        cap_sats=cap_sats,
        exact_sats=exact_sats,
        amount_sats=share.amount_sats,
        fiat_amount_minor=share.fiat_amount_minor,
        capped=capped,
        remainder_sat=not capped and share.amount_sats > exact_sats,
    )


def _distributable(net_sats: int, rate: Decimal, currency: str, planned: Sequence[PlannedShare]) -> int:
    """What the LPs can take together (SPEC section 4), from the formula itself."""
    caps = {share.label: minor_to_fiat(share.cap_minor, currency) for share in planned}
    weights = {share.label: minor_to_fiat(share.weight_minor, currency) for share in planned}
    _, orphan_sats = calculate_distribution(net_sats, rate, weights, caps)
    return net_sats - orphan_sats


def _replay(distributable_sats: int, weights: Mapping[str, int], cap_sats: Mapping[str, int]) -> _Rounds:
    """Share in rounds until nobody exceeds the cap; whoever does gets the cap and takes no further part (SPEC section
    4). Whoever can take nothing takes no part at all."""
    capped = {label for label, weight in weights.items() if weight and not cap_sats[label]}
    exact = {label: _exact(distributable_sats, weights[label], sum(weights.values())) for label in capped}
    while True:
        pool_sats = distributable_sats - sum(cap_sats[label] for label in capped)
        table = {label: Decimal(weight) for label, weight in weights.items() if label not in capped}
        # With caps out of reach, the distribution is the largest remainder alone.
        proposal, _ = calculate_distribution(pool_sats, Decimal(1), table, dict.fromkeys(table, Decimal(pool_sats)))
        total_weight = sum(weights[label] for label in table)
        exact |= {label: _exact(pool_sats, weights[label], total_weight) for label in table}
        over = {label for label in table if proposal[label] > cap_sats[label]}
        if not over:
            return _Rounds(capped, exact, proposal | {label: cap_sats[label] for label in capped})
        capped |= over


def _exact(pool_sats: int, weight_minor: int, total_weight_minor: int) -> Decimal:
    """pool x weight / total, cut after six decimals."""
    if total_weight_minor == 0:
        return Decimal(0)
    whole, micro = divmod(pool_sats * weight_minor * 10**_SHARE_DIGITS // total_weight_minor, 10**_SHARE_DIGITS)
    return Decimal(f"{whole}.{micro:0{_SHARE_DIGITS}d}")


def _orphan_reason(orphan_sats: int, rate: Decimal, planned: Sequence[PlannedShare]) -> str:
    """A sentence for the operator; empty if every sat was shared."""
    if orphan_sats == 0:
        return ""
    if rate == 0:
        return "the machine gave no exchange rate, so no share could be computed"
    if not planned:
        return "no active LP had a balance, or anything left of the daily limit, at the time of the sale"
    if not any(share.cap_minor for share in planned):
        return "the balances at the time of the sale have been spent since"
    return "more cash was in the machine than is in the books: the balances (or limits) could not take all of it"
