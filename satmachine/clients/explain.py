"""Why each LP got what it got of a sale: the arithmetic of `settlements explain`. Pure.

Nothing is computed anew from today's balances: each dca leg carries what weighed and what bound when it was planned
(`dca_payments.explain`), and the shares are derived from that with `money`, so that they can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from satmachine.money import calculate_distribution, minor_to_fiat, minor_to_sats

#: Decimals of a sat that an exact share is shown with, cut off.
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
    share before rounding, cut after six decimals; `capped` says that the cap bound, and what it cut off went to the
    others; `remainder_sat` that rounding gave it one of the sats that were left over.
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
    capped, pool_sats, final = _last_round(distributable_sats, planned, cap_sats)
    open_weight_minor = sum(share.weight_minor for share in planned if share.label not in capped)
    shares = []
    for share in planned:
        bound = share.label in capped
        exact = Decimal(cap_sats[share.label]) if bound else _exact(pool_sats, share.weight_minor, open_weight_minor)
        shares.append(
            ShareExplained(
                label=share.label,
                client_id=share.client_id,
                mode=share.mode,
                weight_minor=share.weight_minor,
                cap_minor=share.cap_minor,
                cap_sats=cap_sats[share.label],
                exact_sats=exact,
                amount_sats=share.amount_sats,
                fiat_amount_minor=share.fiat_amount_minor,
                capped=bound,
                remainder_sat=not bound and share.amount_sats > exact,
            )
        )
    orphan_sats = net_sats - sum(share.amount_sats for share in planned)
    return Distribution(
        net_sats=net_sats,
        exchange_rate=exchange_rate,
        total_weight_minor=sum(share.weight_minor for share in planned),
        distributable_sats=distributable_sats,
        shares=tuple(shares),
        orphan_sats=orphan_sats,
        orphan_reason=_orphan_reason(orphan_sats, exchange_rate, planned),
        as_recorded=all(share.amount_sats == final[share.label] for share in planned),
    )


def _distributable(net_sats: int, rate: Decimal, currency: str, planned: Sequence[PlannedShare]) -> int:
    """What the LPs can take together (SPEC section 4); asked of the formula itself."""
    caps = {share.label: minor_to_fiat(share.cap_minor, currency) for share in planned}
    weights = {share.label: minor_to_fiat(share.weight_minor, currency) for share in planned}
    _, orphan_sats = calculate_distribution(net_sats, rate, weights, caps)
    return net_sats - orphan_sats


def _last_round(
    distributable_sats: int, planned: Sequence[PlannedShare], cap_sats: Mapping[str, int]
) -> tuple[set[str], int, dict[str, int]]:
    """Who was capped, what was left for the others, and what each got: rounds until nobody exceeds the cap."""
    capped: set[str] = set()
    while True:
        pool_sats = distributable_sats - sum(cap_sats[label] for label in capped)
        weights = {share.label: Decimal(share.weight_minor) for share in planned if share.label not in capped}
        # Without caps the distribution is the largest remainder alone.
        unbounded = dict.fromkeys(weights, Decimal(pool_sats))
        proposal, _ = calculate_distribution(pool_sats, Decimal(1), weights, unbounded)
        over = {label for label in weights if proposal[label] > cap_sats[label]}
        if not over:
            return capped, pool_sats, proposal | {label: cap_sats[label] for label in capped}
        capped |= over


def _exact(pool_sats: int, weight_minor: int, total_weight_minor: int) -> Decimal:
    """pool x weight / total, cut after six decimals."""
    if total_weight_minor == 0:
        return Decimal(0)
    whole, micro = divmod(pool_sats * weight_minor * 10**_SHARE_DIGITS // total_weight_minor, 10**_SHARE_DIGITS)
    return Decimal(f"{whole}.{micro:0{_SHARE_DIGITS}d}")


def _orphan_reason(orphan_sats: int, rate: Decimal, planned: Sequence[PlannedShare]) -> str:
    """A sentence for the operator; empty where every sat was shared."""
    if orphan_sats == 0:
        return ""
    if rate == 0:
        return "the machine told no exchange rate, so no share could be computed"
    if not planned:
        return "no active client had a balance in this machine at the time of the sale"
    if not any(share.cap_minor for share in planned):
        return "nothing was available any more of the balances at the time of the sale, or of the day's limits"
    return "more cash was in the machine than is on the books: the balances (or limits) could not take all"
