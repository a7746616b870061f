"""What would have been: the sales of a period planned again, under other splits, fees or terms of LPs (SPEC section
13).

Nothing is paid, nothing is written. Each sale is planned by the same function that the daemon uses, and the result is
compared with what *was* planned; what people did afterwards (refunds, redistributing) is not repeated.

Who had which balance is taken from the plan itself: each share carries the weight and the cap with which it was
planned. So under the rules that were in force, the result is the same to the sat. Fees and splits never change what LPs
get. If an LP's terms are different, balances diverge from what they were, and are counted from then on: what was
brought, less what was given in this other history.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from satmachine.models import LegType, Position, Settlement
from satmachine.settlements.plan.amounts import Terms, make_plan
from satmachine.store import clients, history
from satmachine.store.history import LpHistory, PlannedSale

_DAY_S = 86_400

#: (part, who): ("platform", ""), ("split", label), ("lp", label), ("retained", reason).
Share = tuple[str, str]
Row = dict[str, Any]

_PARTS = {LegType.SUPER_FEE: "platform", LegType.OPERATOR_SPLIT: "split", LegType.DCA: "lp"}


@dataclass(frozen=True, slots=True)
class LpTerms:
    """Other terms of an LP: mode `flow`, `fixed` with a limit in minor units a day, or `paused`."""

    mode: str
    daily_limit_minor: int | None = None


@dataclass(slots=True)
class WhatIf:
    """Sats by machine and who gets them: as they were planned, and as they would have been.

    `fiat` is by how much LPs' balances went down, in minor units. `differ` are the sales with another result, `sales`
    all that were planned again; `left_out` had a plan that says too little to be made again, and are in neither column.
    """

    sales: int = 0
    differ: list[int] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)
    was: dict[tuple[str, Share], int] = field(default_factory=Counter)
    would_be: dict[tuple[str, Share], int] = field(default_factory=Counter)
    fiat_was: dict[tuple[str, Share], int] = field(default_factory=Counter)
    fiat_would_be: dict[tuple[str, Share], int] = field(default_factory=Counter)

    def rows(self, machines: Mapping[str, tuple[str, str]]) -> list[Row]:
        """A row for each machine and who; `machines` says operator and currency."""
        order = ("platform", "split", "lp", "retained")
        keys = sorted({*self.was, *self.would_be}, key=lambda key: (key[0], order.index(key[1][0]), key[1][1]))
        return [
            {
                "machine_id": machine,
                "operator_id": machines[machine][0],
                "currency": machines[machine][1],
                "part": share[0],
                "who": share[1],
                "planned_sats": self.was.get((machine, share), 0),
                "would_be_sats": self.would_be.get((machine, share), 0),
                "difference_sats": self.would_be.get((machine, share), 0) - self.was.get((machine, share), 0),
                "planned_minor": self.fiat_was.get((machine, share), 0),
                "would_be_minor": self.fiat_would_be.get((machine, share), 0),
            }
            for machine, share in keys
        ]


def simulate(
    conn: sqlite3.Connection,
    machines: Mapping[str, Callable[[], Terms]],
    since: int,
    until: int,
    *,
    lp_terms: Mapping[tuple[str, str], LpTerms] | None = None,
    seen: Callable[[], object] = lambda: None,
) -> WhatIf:
    """Plan the sales of `since` <= time < `until` again. `machines` gives the terms of each, `lp_terms` those of LPs
    that should be different, by machine and label."""
    found = WhatIf()
    for machine_id, terms_of in machines.items():
        sales = history.planned_sales(conn, machine_id, since, until)
        if not sales:
            continue
        mine = {label: terms for (machine, label), terms in (lp_terms or {}).items() if machine == machine_id}
        again = {sale.settlement.id for sale in sales}
        replay = _Replay(history.lps_of(conn, machine_id), mine, again) if mine else None
        terms = terms_of()
        for sale in sales:
            _again(found, sale, terms, replay)
            seen()
    return found


def _again(found: WhatIf, sale: PlannedSale, terms: Terms, replay: _Replay | None) -> None:
    """One sale as it was planned, and as it would have been."""
    machine = sale.settlement.machine_id
    recorded = _recorded_positions(sale)
    if recorded is None or not (sale.legs or sale.retained):
        found.left_out.append(sale.settlement.id)
        return
    positions = recorded if replay is None else replay.positions(sale, recorded)
    seen = sale.settlement
    if any(reason == "unknown_rate" for reason, _, _ in sale.retained):
        seen = replace(seen, exchange_rate=Decimal(0))  # a person has given it later
    was, fiat_was = _as_planned(sale)
    would_be, fiat_would_be = _as_it_would_be(seen, terms, positions)
    if replay is not None:
        replay.note(seen, fiat_was, fiat_would_be)
    found.sales += 1
    if was != would_be:
        found.differ.append(seen.id)
    for sums, parts in (
        (found.was, was),
        (found.would_be, would_be),
        (found.fiat_was, fiat_was),
        (found.fiat_would_be, fiat_would_be),
    ):
        for share, amount in parts.items():
            sums[machine, share] = sums.get((machine, share), 0) + amount


def _as_planned(sale: PlannedSale) -> tuple[dict[Share, int], dict[Share, int]]:
    """Sats, and LPs' fiat, of the plan that was made."""
    sats: Counter[Share] = Counter()
    fiat: Counter[Share] = Counter()
    for leg, _ in sale.legs:
        share = (_PARTS[leg.leg_type], leg.leg.partition(":")[2])
        sats[share] += leg.amount_sats
        fiat[share] += leg.fiat_amount_minor or 0
    for reason, _, amount_sats in sale.retained:
        sats["retained", reason] += amount_sats
    return _some(sats), _some(fiat)


def _as_it_would_be(
    settlement: Settlement, terms: Terms, positions: Iterable[Position]
) -> tuple[dict[Share, int], dict[Share, int]]:
    plan = make_plan(settlement, terms, list(positions))
    sats: Counter[Share] = Counter()
    fiat: Counter[Share] = Counter()
    for leg in plan.legs:
        share = (_PARTS[leg.leg_type], leg.leg.partition(":")[2])
        sats[share] += leg.amount_sats
        fiat[share] += leg.fiat_amount_minor or 0
    for row in plan.retained:
        sats["retained", str(row.reason)] += row.amount_sats
    return _some(sats), _some(fiat)


def _some(sums: Counter[Share]) -> dict[Share, int]:
    return {share: amount for share, amount in sums.items() if amount}


def _recorded_positions(sale: PlannedSale) -> list[Position] | None:
    """The positions with which the sale was planned; None if some share does not say them."""
    positions = []
    for leg, explain in sale.legs:
        if leg.leg_type is not LegType.DCA:
            continue
        if explain is None or leg.client_id is None:
            return None
        said = json.loads(explain)
        label = leg.leg.partition(":")[2]
        weight, cap = said["weight_minor"], said["cap_minor"]
        positions.append(Position(leg.client_id, label, said["mode"], leg.payee, leg.identity, weight, cap))
    return positions


@dataclass(slots=True)
class _Lp:
    """An LP in the other history: who it is, and what it has used there so far, as (effective, minor units)."""

    known: LpHistory
    used: list[tuple[int, int]] = field(default_factory=list)
    #: How much more it has there than it had: (effective, minor units) of each plan with another result.
    more: list[tuple[int, int]] = field(default_factory=list)
    #: How many of `known.used` have been looked at, in the order in which they were planned.
    read: int = 0


class _Replay:
    """Balances of one machine's LPs as they develop under other terms; plans come in the order in which they were
    made."""

    def __init__(self, known: list[LpHistory], terms: Mapping[str, LpTerms], again: set[int]) -> None:
        self._lps = {lp.label: _Lp(lp) for lp in known}
        self._terms = terms
        self._again = again
        self._given: dict[tuple[str, int], int] = defaultdict(int)  # of fixed LPs: by label and UTC day

    def positions(self, sale: PlannedSale, recorded: list[Position]) -> list[Position]:
        """Weights and caps for this sale: those who took part then, and fixed LPs who had nothing left that day."""
        took_part = {position.label: position for position in recorded}
        found = []
        for label, lp in self._lps.items():
            self._catch_up(lp, sale)
            then = took_part.get(label)
            if then is None and not (label in self._terms and lp.known.mode == "fixed"):
                continue
            position = self._position(lp, then, sale.settlement)
            if position is not None:
                found.append(position)
        return found

    def note(self, sale: Settlement, was: Mapping[Share, int], would_be: Mapping[Share, int]) -> None:
        """By how much the LPs' balances went down, and by how much they go down in the other history."""
        for part, label in {*was, *would_be}:
            if part != "lp":
                continue
            gone_minor, minor = was.get((part, label), 0), would_be.get((part, label), 0)
            self._lps[label].used.append((sale.occurred_at, minor))
            self._given[label, sale.occurred_at // _DAY_S] += minor
            if gone_minor != minor:
                self._lps[label].more.append((sale.occurred_at, gone_minor - minor))

    def _position(self, lp: _Lp, then: Position | None, sale: Settlement) -> Position | None:
        label = lp.known.label
        mode = then.mode if then is not None else lp.known.mode
        limit_minor = lp.known.daily_limit_minor
        if (terms := self._terms.get(label)) is not None:
            mode, limit_minor = terms.mode, terms.daily_limit_minor
        if mode == "paused":
            return None
        if then is not None and label not in self._terms and not lp.more:
            return then
        weight, cap = self._balance(lp, then, sale)
        if mode == "fixed":
            left = (limit_minor or 0) - self._given[label, sale.occurred_at // _DAY_S]
            weight, cap = min(weight, left), min(cap, left)
        if weight <= 0:
            return None
        payee = clients.describe_payee(lp.known.payee_kind, lp.known.payee)
        identity = clients.identity_of(lp.known.payee_kind, lp.known.payee)
        return Position(lp.known.client_id, label, mode, payee, identity, weight, max(0, min(weight, cap)))

    def _balance(self, lp: _Lp, then: Position | None, sale: Settlement) -> tuple[int, int]:
        """As of the sale, and when it was planned. What a plan says about it is better than what can be added up now:
        legs that were voided since counted then. About a fixed LP it says only what was left of the day."""
        if then is not None and then.mode == "flow":
            more_then = sum(minor for at, minor in lp.more if at <= sale.occurred_at)
            return then.weight_minor + more_then, then.cap_minor + sum(minor for _, minor in lp.more)
        planned_at = sale.planned_at or sale.occurred_at
        known = [(at, minor) for decided, at, minor in lp.known.cash if decided <= planned_at]
        now = sum(minor for _, minor in known) - sum(minor for _, minor in lp.used)
        later = sum(minor for at, minor in known if at > sale.occurred_at)
        later -= sum(minor for at, minor in _after(lp.used, sale.occurred_at))
        return now - later, now

    def _catch_up(self, lp: _Lp, sale: PlannedSale) -> None:
        """Include what was planned before this sale and is not planned again: earlier sales, balances paid out."""
        first = sale.order[1]
        while lp.read < len(lp.known.used) and lp.known.used[lp.read][0] < first:
            _, at, minor, settlement_id = lp.known.used[lp.read]
            if settlement_id not in self._again:
                lp.used.append((at, minor))
            lp.read += 1


def _after(used: list[tuple[int, int]], at: int) -> Iterator[tuple[int, int]]:
    return ((one, minor) for one, minor in used if one > at)
