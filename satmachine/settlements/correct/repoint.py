"""Sends open payments to the payee that the file, or the LP's row, names now (SPEC section 3): rules and transaction.

First `leg_orders.py` proves that no invoice of the old payee can be paid any more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from satmachine.config import Config
from satmachine.errors import Refused
from satmachine.identity import PayeeIdentity, client_scope
from satmachine.models import By, HoldReason, Leg, LegStatus, LegType, leg_types
from satmachine.models.leg_types import NamedBy
from satmachine.settlements.plan.amounts import Rule, Terms
from satmachine.settlements.plan.planning import terms_for
from satmachine.store import audit_log as audit
from satmachine.store import clients, legs, notes, payees, settlements


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a leg is to go to: who that is, in words, and where it is named (`dca_payees.scope`)."""

    identity: PayeeIdentity
    payee: str
    scope: str


@dataclass(frozen=True, slots=True)
class Move:
    """A leg as it was proven unpaid, and where it goes."""

    leg: Leg
    target: Target


def target_of(conn: sqlite3.Connection, leg: Leg, config: Config) -> Target:
    """Who is named for a leg now. Raises Refused where nobody is, or where the leg's state or kind forbids it."""
    if why := _refusal(leg):
        raise Refused(why)
    if leg.client_id is not None:
        client = clients.payee_of(conn, leg.client_id)
        identity = clients.identity_of(client.kind, client.payee)
        return Target(identity, clients.describe_payee(client.kind, client.payee), client_scope(leg.client_id))
    machine = config.machine(leg.machine_id)
    rule = None if machine is None else _named(terms_for(config, machine.id), leg)
    if rule is None:
        raise Refused(
            f"payment {leg.id}: the file names no payee for {leg.leg} of {leg.machine_id}. Name one and reload, or "
            f"`satmachine settlements close {leg.settlement_id}` keeps the sats"
        )
    return Target(rule.identity, rule.payee, rule.scope)


def is_there(leg: Leg, target: Target) -> bool:
    """Whether the leg goes there already. Which wallet a key leads to is not known before it is asked."""
    known = target.identity.reference is not None and not target.identity.differs(leg.identity)
    return known and leg.hold_reason != HoldReason.PAYEE_CHANGED


def repoint(conn: sqlite3.Connection, *, moves: Sequence[Move], left: Sequence[str], by: By) -> str:
    """Write the new payees, all or none; `left` says in words which payments stay as they are, and why."""
    for move in moves:
        leg, target = move.leg, move.target
        if not legs.repoint(conn, leg, target.identity, target.payee, target.scope, by.now):
            raise Refused(f"payment {leg.id} was changed in the meantime; look at it, then try again")
        if target.identity.reference is None:
            payees.forget(conn, target.scope)  # it is learnt when the new wallet is asked for an invoice
        else:
            payees.learn(conn, target.scope, target.identity, by.now)
        _leave_word(conn, move, by)
    ids = ", ".join(str(move.leg.id) for move in moves)
    named = ", ".join(dict.fromkeys(move.target.payee for move in moves))
    return f"payment {ids} goes to {named} now" + "".join(f"; {why}" for why in left)


def _named(terms: Terms, leg: Leg) -> Rule | None:
    if leg.leg_type is LegType.SUPER_FEE:
        return terms.super_payee
    return next((rule for rule in terms.rules if rule.label == leg.label), None)


def _refusal(leg: Leg) -> str | None:
    """Why a leg is not to be sent elsewhere; None where it may."""
    named_by = leg_types.KINDS[leg.leg_type].named_by
    if named_by is NamedBy.ORDER:
        return (
            f"payment {leg.id} is a refund, to whom the customer said: `satmachine settlements close "
            f"{leg.settlement_id}` gives it up, then refund to another invoice"
        )
    if named_by is NamedBy.FORWARD:
        return (
            f"payment {leg.id} is a forward: `satmachine clients update {leg.client_id} --autoforward ADDRESS "
            f"--autoforward-key-file FILE` changes it"
        )
    if leg.status is LegStatus.HELD and leg.hold_reason != HoldReason.PAYEE_CHANGED:
        return (
            f"payment {leg.id} is held, and may have been paid: `satmachine payments resolve "
            f"{leg.id}` decides that first"
        )
    if leg.status not in (*legs.OPEN, LegStatus.HELD):
        return f"payment {leg.id} is {leg.status}: it goes nowhere any more"
    return None


def _leave_word(conn: sqlite3.Connection, move: Move, by: By) -> None:
    leg, target = move.leg, move.target
    audit.record_by(
        conn,
        by,
        "leg.repoint",
        f"payment {leg.id}" if leg.settlement_id is None else f"settlement {leg.settlement_id}",
        leg.machine_id,
        {"leg": leg.leg, "payee": leg.payee, "payee_ref": leg.payee_ref, "status": leg.status},
        {"payee": target.payee, "payee_ref": target.identity.reference},
    )
    if leg.settlement_id is None:
        return
    text = f"Payment {leg.id} ({leg.leg}) goes to {target.payee} instead of {leg.payee}: {by.reason}."
    notes.add(conn, leg.settlement_id, leg.machine_id, text=text, author=by.actor, now=by.now)
    settlements.person_acted(conn, leg.settlement_id, by.now)
    settlements.refresh_status(conn, leg.settlement_id, by.now)
