"""A fresh, migrated database with one operator and one machine; for tests of the store and the settlements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from satmachine.models import Claim
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
                    "INSERT INTO dca_machines VALUES (?, 'atitlan', ?, ?, ?, 'GTQ', '0.05', 0, 1, 1, ?)",
                    (f"machine-{number}", f"npub{number}", f"{number:064x}", f"Machine {number}", NOW),
                )
                conn.execute("INSERT INTO dca_wallets (machine_id) VALUES (?)", (f"machine-{number}",))
        yield conn
    finally:
        conn.close()


def add_provider(conn: sqlite3.Connection, label: str, amount_minor: int, *, confirmed_at: int = 1) -> int:
    """An LP of machine-1 (flow mode) with one confirmed deposit; returns the client's id."""
    with atomic(conn):
        cursor = conn.execute(
            "INSERT INTO dca_clients (machine_id, label, person, mode, payee_kind, payee, created_at, created_by) "
            "VALUES (?, ?, ?, 'flow', 'lightning_address', ?, 1, 'test')",
            (MACHINE, label, label, f"{label}@example.org"),
        )
        assert cursor.lastrowid is not None
        conn.execute(
            "INSERT INTO dca_deposits (client_id, machine_id, amount_minor, currency, status, recorded_by, "
            "recorded_at, decided_by, decided_at) VALUES (?, ?, ?, 'GTQ', 'confirmed', 'test', 1, 'test', ?)",
            (cursor.lastrowid, MACHINE, amount_minor, confirmed_at),
        )
    return cursor.lastrowid


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
