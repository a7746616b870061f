"""LPs, deposits and planned sales in a test's books; amounts in whole GTQ where they are ints called `fiat`."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal

from satmachine.models import Leg, Proof, Settlement
from satmachine.settlements.land.landing import Rules, land_claim
from satmachine.settlements.plan.amounts import Terms
from satmachine.settlements.plan.planning import Bounds, plan_settlement
from satmachine.store import clients, deposits, legs, settlements
from satmachine.store.database import atomic
from testkit.books import MACHINE, NOW, a_claim, a_rule, give_invoice

RULES = Rules(machine_active=True, payouts_since=0)
#: So wide that no guard ever holds a sale: these tests are about balances.
BOUNDS = Bounds(Decimal(1), Decimal(10**9), None)
TERMS = Terms(Decimal("0.30"), a_rule("super"), "none", ())


def add_client(conn: sqlite3.Connection, label: str, *, limit_minor: int | None = None, **changes: str) -> int:
    """An LP of machine-1; returns its id."""
    values = {"machine_id": MACHINE, "label": label, "person": label, "payee_kind": "lightning_address"} | changes
    values.setdefault("payee", f"{label}@example.org")
    with atomic(conn):
        return clients.add(
            conn,
            mode="flow" if limit_minor is None else "fixed",
            daily_limit_minor=limit_minor,
            actor="test",
            now=1,
            **values,
        )


def deposit(conn: sqlite3.Connection, client_id: int, amount_minor: int, *, at: int = 1) -> int:
    """A confirmed deposit; returns its id."""
    with atomic(conn):
        deposit_id = deposits.add(conn, client_id=client_id, amount_minor=amount_minor, actor="test", now=at)
        deposits.confirm(conn, deposit_id, actor="test", now=at)
    return deposit_id


def plan_sale(
    conn: sqlite3.Connection,
    number: int,
    *,
    net_sats: int,
    rate: Decimal,
    commission_sats: int = 0,
    occurred_at: int = NOW,
    now: int = NOW,
) -> Settlement:
    """Land, prove and plan a sale; `number` makes its payment hash."""
    payment_hash = f"{number:064x}"
    claim = replace(
        a_claim(payment_hash=payment_hash, gross_sats=net_sats + commission_sats, net_sats=net_sats),
        exchange_rate=rate,
        occurred_at=occurred_at,
    )
    with atomic(conn):
        settlement_id = land_claim(conn, claim, RULES, now).settlement_id
        assert settlement_id is not None
        settlement = settlements.get(conn, settlement_id)
        settlements.mark_proven(
            conn,
            settlement,
            payment_hash=payment_hash,
            settlement_key=payment_hash,
            occurred_at=occurred_at,
            proof="proven",
            now=now,
        )
        outcome = plan_settlement(conn, settlement_id, TERMS, BOUNDS, now)
        assert outcome is not None
        assert outcome.held is None
    return settlements.get(conn, settlement_id)


def dca_legs(conn: sqlite3.Connection, settlement_id: int) -> list[Leg]:
    """What a sale planned for its LPs and was not voided."""
    found = legs.of_settlement(conn, settlement_id)
    return [leg for leg in found if leg.leg_type == "dca" and leg.status != "voided"]


def complete(conn: sqlite3.Connection, leg: Leg, *, now: int = NOW) -> None:
    """Let a leg's payment succeed."""
    from satmachine.settlements.pay.payer import complete_leg

    payment_hash = f"{leg.id + 10**9:064x}"
    with atomic(conn):
        leg = give_invoice(conn, leg.id, payment_hash, now=now)
        proof = Proof.BOTH_SIDES
        assert complete_leg(conn, leg, sent_sats=leg.amount_sats, fee_sats=0, preimage=None, proof=proof, now=now)
