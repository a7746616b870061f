"""Plans retained sats as additional legs (SPEC section 5): a payee who was missing then may be there now.

What was given up of a named payee's leg goes back to that payee, or to the payee that the person names; never through
the ruleset again. Sats that were never planned for anybody are shared by the rules. What was not dispensed is never
shared out: it belongs to the customer. `propose` reads, `redistribute` writes, both inside one transaction; the amounts
come from the same functions as every plan.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from satmachine.errors import Refused
from satmachine.identity import client_scope
from satmachine.models import (
    By,
    Client,
    ClientStatus,
    LegType,
    PlannedLeg,
    Position,
    Retained,
    RetainedReason,
    Settlement,
)
from satmachine.money import minor_to_sats, sats_to_minor
from satmachine.settlements.correct.changes import allowed
from satmachine.settlements.correct.correction_rules import CorrectionKind, draw
from satmachine.settlements.plan.amounts import Terms, plan_distribution, plan_splits, plan_super
from satmachine.store import audit_log as audit
from satmachine.store import balances, clients, corrections, legs, notes, positions, settlements

#: The parts of a plan, by the beginning of their legs' names.
_PARTS = ("super", "split", "dca")

#: Reasons for what was never anybody's, and that can pass; the others are the customer's, or too small to pay.
_MAY_PASS = frozenset(
    {
        RetainedReason.NO_SUPER_PAYEE,
        RetainedReason.NO_RULESET,
        RetainedReason.NO_LP_BALANCE,
        RetainedReason.UNKNOWN_RATE,
    }
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person adds: a rate (sats per major unit) where it was unknown, whose balances count, and who gets what
    was given up.

    `as_of` None: the balances at the time of the sale, as in every plan (SPEC section 8); else those of that time.
    `to` None: whom it was meant for; else the name of the leg that gets it, like `split:owner`.
    """

    exchange_rate: Decimal | None = None
    as_of: int | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """Additional legs, the ledger rows that pay for them, and the settlement as those legs see it.

    What is given back and what is shared out may both have a leg of the same name: each is a revision of its own.
    """

    settlement: Settlement
    given_back: tuple[PlannedLeg, ...]
    shared: tuple[PlannedLeg, ...]
    drawn: tuple[Retained, ...]

    @property
    def sats_by_leg(self) -> Mapping[str, int]:
        """Who gets how much."""
        total: Counter[str] = Counter()
        for leg in (*self.given_back, *self.shared):
            total[leg.leg] += leg.amount_sats
        return total

    @property
    def revisions(self) -> tuple[tuple[PlannedLeg, ...], ...]:
        """The legs, revision by revision."""
        return tuple(found for found in (self.given_back, self.shared) if found)


def propose(conn: sqlite3.Connection, settlement: Settlement, terms: Terms, wish: Wish) -> Proposal:
    """Plan what can be planned now. Raises Refused where that is nothing, with the reasons."""
    seen = replace(
        settlement,
        exchange_rate=_rate(settlement, wish),
        occurred_at=settlement.occurred_at if wish.as_of is None else wish.as_of,
    )
    retained = corrections.ledger(conn, settlement.id)
    given_back, drawn = _give_back(conn, seen, retained, terms, wish)
    shared: list[PlannedLeg] = []
    for part in _PARTS:
        entries = [entry for entry in retained if _belongs(entry, part)]
        part_sats = sum(entry.amount_sats for entry in entries)
        found = [leg for leg in _plan_part(conn, seen, part, part_sats, terms, given_back) if leg.amount_sats]
        shared += found
        drawn += draw(entries, sum(leg.amount_sats for leg in found))
    if not given_back and not shared:
        may_pass = any(_belongs(entry, part) or _was_given_up(entry) for entry in retained for part in _PARTS)
        raise Refused(_nothing(seen, wish, may_pass=may_pass))
    return Proposal(seen, tuple(given_back), tuple(shared), tuple(drawn))


def redistribute(
    conn: sqlite3.Connection, settlement_id: int, terms: Terms, wish: Wish, *, revision: int, by: By
) -> str:
    """Write the proposal as legs of a new revision; earlier legs stand as they are."""
    settlement = allowed(conn, CorrectionKind.REDISTRIBUTE, settlement_id)
    proposal = propose(conn, settlement, terms, wish)
    for number, planned in enumerate(proposal.revisions):
        legs.insert_planned(conn, proposal.settlement, planned, revision=revision + number, now=by.now)
    settlements.retain(conn, settlement_id, revision, proposal.drawn, by.now)
    revision += len(proposal.revisions) - 1
    corrections.reopen(conn, settlement, revision=revision, exchange_rate=wish.exchange_rate)
    settlements.person_acted(conn, settlement_id, by.now)
    shared_sats = sum(proposal.sats_by_leg.values())
    left_sats = settlement.retained_sats - shared_sats
    audit.record(
        conn,
        now=by.now,
        actor=by.actor,
        action="settlement.redistribute",
        subject=f"settlement {settlement_id}",
        machine_id=settlement.machine_id,
        reason=by.reason,
        before={"retained_sats": settlement.retained_sats, "revision": settlement.revision},
        after={
            "retained_sats": left_sats,
            "revision": revision,
            "exchange_rate": proposal.settlement.exchange_rate,
            "legs": dict(proposal.sats_by_leg),
        },
    )
    text = f"Redistributed {shared_sats} retained sats: {by.reason}. {left_sats} sats stay retained."
    notes.add(conn, settlement_id, settlement.machine_id, text=text, author=by.actor, now=by.now)
    return f"sale {settlement_id} pays {shared_sats} sats that were retained; {left_sats} sats stay"


def _rate(settlement: Settlement, wish: Wish) -> Decimal:
    known = settlement.exchange_rate
    if wish.exchange_rate is None:
        return known
    if known not in (0, wish.exchange_rate):
        raise Refused(
            f"the rate of sale {settlement.id} is known, {known:f} sats per {settlement.currency}: leave out --rate"
        )
    return wish.exchange_rate


def _belongs(entry: Retained, part: str) -> bool:
    return entry.reason in _MAY_PASS and entry.leg.partition(":")[0] == part


def _plan_part(
    conn: sqlite3.Connection,
    settlement: Settlement,
    part: str,
    sats: int,
    terms: Terms,
    given_back: Sequence[PlannedLeg],
) -> Sequence[PlannedLeg]:
    if part == "super":
        return plan_super(sats, terms)[0]
    if part == "split":
        return plan_splits(sats, terms)[0]
    taken = {leg.client_id: leg.fiat_amount_minor or 0 for leg in given_back if leg.client_id is not None}
    lps = positions.of_sale(conn, settlement.machine_id, occurred_at=settlement.occurred_at)
    left = [_less(position, taken.get(position.client_id, 0)) for position in lps]
    return plan_distribution(replace(settlement, net_sats=sats), [one for one in left if one.weight_minor > 0])[0]


def _less(position: Position, taken_minor: int) -> Position:
    """A position once something more is reserved of its balance."""
    return replace(
        position,
        weight_minor=position.weight_minor - taken_minor,
        cap_minor=max(0, position.cap_minor - taken_minor),
    )


def _was_given_up(entry: Retained) -> bool:
    """Whether these sats were somebody's, who was not paid. A refund that was given up is the customer's."""
    return entry.reason is RetainedReason.VOIDED_LEG and entry.leg.partition(":")[0] in _PARTS


def _give_back(
    conn: sqlite3.Connection, settlement: Settlement, retained: Sequence[Retained], terms: Terms, wish: Wish
) -> tuple[list[PlannedLeg], list[Retained]]:
    """A leg for each payee that was not paid, of as much as it can be paid now, and the ledger rows for them."""
    by_leg: dict[str, list[Retained]] = {}
    for entry in retained:
        if _was_given_up(entry):
            by_leg.setdefault(wish.to or entry.leg, []).append(entry)
    planned: list[PlannedLeg] = []
    drawn: list[Retained] = []
    for name, entries in by_leg.items():
        leg = _leg_to(conn, settlement, name, sum(entry.amount_sats for entry in entries), terms)
        if leg is not None and leg.amount_sats > 0:
            planned.append(leg)
            drawn += draw(entries, leg.amount_sats)
        elif wish.to is not None:
            raise Refused(f"nothing can be paid as {wish.to} now: nobody of that name is there, or has a balance")
    return planned, drawn


def _leg_to(conn: sqlite3.Connection, settlement: Settlement, name: str, sats: int, terms: Terms) -> PlannedLeg | None:
    """A leg of this name to whoever is named for it now; None where nobody is. An LP's only up to the balance now."""
    kind, _, label = name.partition(":")
    if kind == "dca":
        client = clients.by_label(conn, settlement.machine_id, label)
        return None if client is None else _share(conn, settlement, client, sats)
    rule = terms.super_payee if name == "super" else next((rule for rule in terms.rules if rule.label == label), None)
    if rule is None or kind not in ("super", "split"):
        return None
    leg_type = LegType.SUPER_FEE if kind == "super" else LegType.OPERATOR_SPLIT
    return PlannedLeg(leg_type, name, sats, rule.payee, rule.identity, scope=rule.scope, label=label or None)


def _share(conn: sqlite3.Connection, settlement: Settlement, client: Client, sats: int) -> PlannedLeg | None:
    rate, currency = settlement.exchange_rate, settlement.currency
    available_minor = balances.of_client(conn, client.id).available_minor
    if rate == 0 or available_minor <= 0 or client.status is ClientStatus.REMOVED:
        return None
    sats = min(sats, minor_to_sats(available_minor, rate, currency))
    return PlannedLeg(
        LegType.DCA,
        f"dca:{client.label}",
        sats,
        clients.describe_payee(client.payee_kind, client.payee),
        clients.identity_of(client.payee_kind, client.payee),
        scope=client_scope(client.id),
        client_id=client.id,
        fiat_amount_minor=min(sats_to_minor(sats, rate, currency), available_minor),
    )


def _nothing(seen: Settlement, wish: Wish, *, may_pass: bool) -> str:
    if not may_pass:
        return f"sale {seen.id} retains nothing that could be shared out"
    if seen.exchange_rate == 0:
        why = "its rate is unknown: state it with --rate"
    elif wish.as_of is None:
        why = "nobody had a balance at the time of the sale: --balances now counts what was confirmed since"
    else:
        why = "nobody has a balance, or a payee"
    return f"nothing of what sale {seen.id} retains can be shared out now; {why}"
