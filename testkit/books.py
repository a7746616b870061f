"""A fresh, migrated database with one operator and one machine; for tests of the store and the settlements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.marks import Mark
from satmachine.models import Claim, Leg, Settlement, SettlementStatus
from satmachine.settlements.land.landing import Rules, land_claim
from satmachine.settlements.plan.amounts import Rule, Terms
from satmachine.settlements.plan.planning import Bounds, plan_settlement
from satmachine.store import clients, legs, mark_rows, settlements
from satmachine.store.database import atomic, connect, prepare

MACHINE = "machine-1"
NOW = 1_800_000_000
HASH = "aa" * 32
OTHER_HASH = "bb" * 32


@contextmanager
def fresh_books(folder: Path) -> Iterator[sqlite3.Connection]:
    """An empty database with machine-1 (GTQ) and machine-2 of the operator atitlan."""
    path = folder / "satmachine.db"
    prepare(path)
    conn = connect(path)
    try:
        with atomic(conn):
            conn.execute("INSERT INTO dca_operators VALUES ('atitlan', 'Atitlan Cash', 1)")
            for number in (1, 2):
                conn.execute(
                    "INSERT INTO dca_machines VALUES (?, 'atitlan', ?, ?, ?, 'GTQ', '0.05', 0, 1, 1, ?, 2)",
                    (f"machine-{number}", f"npub{number}", f"{number:064x}", f"Machine {number}", NOW),
                )
                conn.execute("INSERT INTO dca_wallets (machine_id) VALUES (?)", (f"machine-{number}",))
        yield conn
    finally:
        conn.close()


def add_provider(conn: sqlite3.Connection, label: str, amount_minor: int, *, confirmed_at: int = 1) -> int:
    """An LP of machine-1 (flow mode) with one confirmed deposit; returns the client's id."""
    with atomic(conn):
        client_id = clients.add(
            conn,
            machine_id=MACHINE,
            label=label,
            person=label,
            payee_kind="lightning_address",
            payee=f"{label}@example.org",
            actor="test",
            now=1,
        )
        conn.execute(
            "INSERT INTO dca_deposits (client_id, machine_id, amount_minor, currency, status, recorded_by, "
            "recorded_at, decided_by, decided_at, effective_at) "
            "VALUES (?1, ?2, ?3, 'GTQ', 'confirmed', 'test', 1, 'test', ?4, ?4)",
            (client_id, MACHINE, amount_minor, confirmed_at),
        )
    return client_id


def a_rule(label: str, pct: str | Decimal = "1", payee: str = "payee@example.org") -> Rule:
    """Who gets a part: an external payee."""
    return Rule(label, Decimal(pct), payee, PayeeIdentity(PayeeKind.LIGHTNING_ADDRESS, payee), f"operator:op:{label}")


def a_claim(
    *,
    machine_id: str = MACHINE,
    source: str = "event",
    payment_hash: str | None = HASH,
    txid: str | None = None,
    gross_sats: int = 266_800,
    net_sats: int = 258_835,
    derived: bool = False,
    exchange_rate: Decimal = Decimal("143.797"),
    fiat_amount_minor: int | None = None,
    occurred_at: int = NOW,
) -> Claim:
    """What a machine says about the sale of the specification's worked example."""
    return Claim(
        machine_id=machine_id,
        source=source,
        payment_hash=payment_hash,
        txid=txid,
        gross_sats=gross_sats,
        net_sats=net_sats,
        commission_sats=gross_sats - net_sats,
        used_fallback_split=derived,
        fallback_commission_pct=Decimal("0.05") if derived else None,
        fee_pct=None,
        discount_pct=None,
        exchange_rate=exchange_rate,
        fiat_amount_minor=fiat_amount_minor,
        currency="GTQ",
        bills=None,
        cassettes=None,
        occurred_at=occurred_at,
    )


def a_settlement(**changes: Any) -> Settlement:
    """A proven sale of one sat, not planned yet, as the books have it; for what needs no database."""
    sale = Settlement(
        id=1,
        bitspire_event_id=None,
        payment_hash=HASH,
        txid=None,
        machine_id=MACHINE,
        source="event",
        status=SettlementStatus.PENDING,
        hold_reason=None,
        gross_sats=1,
        net_sats=1,
        commission_sats=0,
        undispensed_sats=0,
        platform_fee_sats=None,
        operator_fee_sats=None,
        retained_sats=0,
        super_fee_pct=None,
        ruleset_source=None,
        used_fallback_split=False,
        exchange_rate=Decimal(1),
        fiat_amount_minor=None,
        currency="GTQ",
        revision=1,
        settlement_key=HASH,
        proof="proven",
        occurred_at=NOW,
        landed_at=NOW,
        proven_at=NOW,
        planned_at=None,
        attempts=0,
        overrides="",
        error=None,
        person_acted_at=None,
    )
    return replace(sale, **changes)


def give_invoice(
    conn: sqlite3.Connection,
    leg_id: int,
    payment_hash: str,
    *,
    amount_sats: int | None = None,
    expires_at: int | None = None,
    marked: bool = True,
    internal: bool = True,
    now: int = NOW,
) -> Leg:
    """Give a leg its next invoice, inside a transaction; `marked`: a mark names it, so that it may be paid; `internal`:
    as if its payee were a wallet of the same LNbits."""
    leg, _ = legs.get(conn, leg_id)
    assert legs.add_invoice(
        conn,
        leg,
        bolt11="lnbc1",
        payment_hash=payment_hash,
        amount_sats=leg.amount_sats if amount_sats is None else amount_sats,
        expires_at=expires_at,
        wallet_id=None,
        now=now,
    )
    conn.execute("UPDATE dca_invoices SET internal = ? WHERE payment_hash = ?", (int(internal), payment_hash))
    if marked:
        mark_rows.establish(conn, Mark("0" * 16, leg.leg_key, (), {leg.leg_key: payment_hash}), now)
    return legs.get(conn, leg_id)[0]


# --- sales as the planner leaves them

RULES = Rules(machine_active=True, payouts_since=0)
BOUNDS = Bounds(Decimal("0.25"), Decimal("0.25"), None)
TERMS = Terms(
    super_fee_pct=Decimal("0.30"),
    super_payee=a_rule("super"),
    ruleset_source="operator",
    rules=(a_rule("owner", "0.7"), a_rule("technician", "0.3")),
)


def landed(books: sqlite3.Connection, number: int = 1, **changes: object) -> int:
    """A proven sale; returns its id."""
    payment_hash = f"{number:064x}"
    claim = replace(a_claim(payment_hash=payment_hash), **changes)  # type: ignore[arg-type]
    with atomic(books):
        settlement_id = land_claim(books, claim, RULES, NOW).settlement_id
        assert settlement_id is not None
        settlements.mark_proven(
            books,
            settlements.get(books, settlement_id),
            payment_hash=payment_hash,
            settlement_key=payment_hash,
            occurred_at=claim.occurred_at,
            proof="proven",
            now=NOW,
        )
    return settlement_id


def plan(books: sqlite3.Connection, settlement_id: int, terms: Terms = TERMS, bounds: Bounds = BOUNDS) -> Settlement:
    with atomic(books):
        outcome = plan_settlement(books, settlement_id, terms, bounds, NOW)
    assert outcome is not None
    return settlements.get(books, settlement_id)


def on_word(books: sqlite3.Connection, number: int, **changes: object) -> int:
    """A sale that is paid on the machine's word; by its event's id, where nothing else names it."""
    said: dict[str, Any] = {"payment_hash": None, **changes}
    with atomic(books):
        landing = land_claim(books, replace(a_claim(), **said), RULES, NOW, event_id=f"{number + 900:064x}")
        assert landing.settlement_id is not None
        settlement = settlements.get(books, landing.settlement_id)
        settlements.mark_proven(
            books,
            settlement,
            payment_hash=None,
            settlement_key=f"{number + 900:064x}",
            occurred_at=settlement.occurred_at,
            proof="waived",
            now=NOW,
        )
    return landing.settlement_id
