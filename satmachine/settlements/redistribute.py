"""Retained sats planned as additional legs after all (SPEC section 5): who was missing then may be there now.

What was not dispensed is never shared out: it is the customer's. `propose` reads, `redistribute` writes, both inside
one transaction; the amounts come from the same functions as every plan.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from satmachine.errors import Refused
from satmachine.models import PlannedLeg, Retained, RetainedReason, Settlement
from satmachine.settlements.correct import Command, draw
from satmachine.settlements.correcting import Author, allowed
from satmachine.settlements.plan import Terms, plan_distribution, plan_splits, plan_super
from satmachine.store import audit, corrections, legs, notes, positions, settlements

#: The parts of a plan, by the beginning of their legs' names.
_PARTS = ("super", "split", "dca")

#: Reasons that can pass; the others are the customer's, or too small to pay.
_MAY_PASS = frozenset(
    {
        RetainedReason.NO_SUPER_PAYEE,
        RetainedReason.NO_RULESET,
        RetainedReason.NO_LP_BALANCE,
        RetainedReason.UNKNOWN_RATE,
        RetainedReason.VOIDED_LEG,
    }
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person adds: a rate (sats per major unit) where it was unknown, and whose balances count.

    `as_of` None: the balances at the time of the sale, as in every plan (SPEC section 8); else those of that time.
    """

    exchange_rate: Decimal | None = None
    as_of: int | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """Additional legs, the ledger rows that pay for them, and the settlement as those legs see it."""

    settlement: Settlement
    legs: tuple[PlannedLeg, ...]
    drawn: tuple[Retained, ...]


def propose(conn: sqlite3.Connection, settlement: Settlement, terms: Terms, wish: Wish) -> Proposal:
    """Plan what can be planned now. Raises Refused where that is nothing, with the reasons."""
    seen = replace(
        settlement,
        exchange_rate=_rate(settlement, wish),
        occurred_at=settlement.occurred_at if wish.as_of is None else wish.as_of,
    )
    planned: list[PlannedLeg] = []
    drawn: list[Retained] = []
    retained = corrections.ledger(conn, settlement.id)
    for part in _PARTS:
        entries = [entry for entry in retained if _belongs(entry, part)]
        part_sats = sum(entry.amount_sats for entry in entries)
        part_legs = [leg for leg in _plan_part(conn, seen, part, part_sats, terms) if leg.amount_sats]
        planned += part_legs
        drawn += draw(entries, sum(leg.amount_sats for leg in part_legs))
    if not planned:
        may_pass = any(_belongs(entry, part) for entry in retained for part in _PARTS)
        raise Refused(_nothing(seen, wish, may_pass=may_pass))
    return Proposal(seen, tuple(planned), tuple(drawn))


def redistribute(
    conn: sqlite3.Connection, settlement_id: int, terms: Terms, wish: Wish, *, revision: int, author: Author, now: int
) -> str:
    """Write the proposal as legs of a new revision; earlier legs stand as they are."""
    settlement = allowed(conn, Command.REDISTRIBUTE, settlement_id)
    proposal = propose(conn, settlement, terms, wish)
    legs.insert_planned(conn, proposal.settlement, proposal.legs, revision=revision, now=now)
    settlements.retain(conn, settlement_id, revision, proposal.drawn, now)
    corrections.reopen(conn, settlement, revision=revision, exchange_rate=wish.exchange_rate)
    shared_sats = sum(leg.amount_sats for leg in proposal.legs)
    left_sats = settlement.retained_sats - shared_sats
    audit.record(
        conn,
        now=now,
        actor=author.name,
        action="settlement.redistribute",
        subject=f"settlement {settlement_id}",
        machine_id=settlement.machine_id,
        reason=author.reason,
        before={"retained_sats": settlement.retained_sats, "revision": settlement.revision},
        after={
            "retained_sats": left_sats,
            "revision": revision,
            "exchange_rate": proposal.settlement.exchange_rate,
            "legs": {leg.leg: leg.amount_sats for leg in proposal.legs},
        },
    )
    text = f"Redistributed {shared_sats} retained sats: {author.reason}. {left_sats} sats stay retained."
    notes.add(conn, settlement_id, settlement.machine_id, text=text, author=author.name, now=now)
    return f"settlement {settlement_id} pays {shared_sats} sats that were retained; {left_sats} sats stay"


def _rate(settlement: Settlement, wish: Wish) -> Decimal:
    known = settlement.exchange_rate
    if wish.exchange_rate is None:
        return known
    if known not in (0, wish.exchange_rate):
        raise Refused(
            f"the rate of settlement {settlement.id} is known, {known:f} sats per {settlement.currency}: leave out "
            "--rate"
        )
    return wish.exchange_rate


def _belongs(entry: Retained, part: str) -> bool:
    return entry.reason in _MAY_PASS and entry.leg.partition(":")[0] == part


def _plan_part(
    conn: sqlite3.Connection, settlement: Settlement, part: str, sats: int, terms: Terms
) -> Sequence[PlannedLeg]:
    if part == "super":
        return plan_super(sats, terms)[0]
    if part == "split":
        return plan_splits(sats, terms)[0]
    lps = positions.of_sale(conn, settlement.machine_id, occurred_at=settlement.occurred_at)
    return plan_distribution(replace(settlement, net_sats=sats), lps)[0]


def _nothing(seen: Settlement, wish: Wish, *, may_pass: bool) -> str:
    if not may_pass:
        return f"settlement {seen.id} retains nothing that could be shared out"
    if seen.exchange_rate == 0:
        why = "its rate is unknown: state it with --rate"
    elif wish.as_of is None:
        why = "nobody had a balance at the time of the sale: --balances now counts what was confirmed since"
    else:
        why = "nobody has a balance, or a payee"
    return f"nothing of what settlement {seen.id} retains can be shared out now; {why}"
