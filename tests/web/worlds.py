"""The same books without everything that somebody must not know of: their pages have to be the same ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from satmachine.config.model import WebPerson

#: What remains of a sale in which an LP has a part, and is not the LP's: it becomes something else.
_ALTERED = (
    "UPDATE dca_settlements SET gross_sats = gross_sats + 5, net_sats = net_sats + 5, commission_sats = 7, "
    "platform_fee_sats = 3, operator_fee_sats = 4, status = 'held', hold_reason = 'daily_limit', error = 'x', "
    "notes = 'x', txid = NULL, fiat_amount_minor = 1, bills = NULL",
    "UPDATE dca_machines SET active = 0, fallback_commission_pct = '0.06'",
    "UPDATE dca_settlement_events SET relay_url = 'wss://x.example.org'",
)
#: What an LP has no part in, whatever it belongs to.
_OPERATORS_OWN = (
    "dca_wallets", "dca_telemetry", "dca_telemetry_log", "dca_fleet_snapshots", "dca_unmatched_payments", "quarantine",
    "alerts", "dca_cash", "dca_cash_notes", "dca_cash_forecasts", "dca_commission_splits", "audit_log", "dca_retained",
)  # fmt: skip


def without_others(books: Path, viewer: WebPerson) -> int:
    """Take out of the books what `viewer` must not know of; returns how many rows that were or changed. The rules that
    keep books whole are put aside."""
    with closing(sqlite3.connect(books, isolation_level=None)) as conn:
        conn.execute("PRAGMA foreign_keys = OFF")
        conn.execute("PRAGMA ignore_check_constraints = ON")
        for (trigger,) in conn.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            conn.execute(f"DROP TRIGGER {trigger}")
        before = conn.total_changes
        conn.execute("CREATE TEMP TABLE own AS SELECT id FROM dca_machines WHERE operator_id = ?", (viewer.operator,))
        if viewer.client is not None:
            _without_other_lps(conn, viewer.client)
        for table in _tables_with(conn, "machine_id"):
            conn.execute(f"DELETE FROM {table} WHERE machine_id NOT IN (SELECT id FROM own)")
        conn.execute("DELETE FROM dca_machines WHERE id NOT IN (SELECT id FROM own)")
        conn.execute("DELETE FROM dca_operators WHERE id <> ?", (viewer.operator,))
        conn.execute("DELETE FROM dca_commission_splits WHERE operator_id <> ?", (viewer.operator,))
        for table, key, of in (
            ("dca_invoices", "payment_id", "dca_payments"),
            ("dca_retained", "settlement_id", "dca_settlements"),
            ("dca_statements", "client_id", "dca_clients"),
        ):
            conn.execute(f"DELETE FROM {table} WHERE {key} NOT IN (SELECT id FROM {of})")
        return conn.total_changes - before


def _without_other_lps(conn: sqlite3.Connection, person: str) -> None:
    conn.execute("DELETE FROM dca_clients WHERE person <> ? OR machine_id NOT IN (SELECT id FROM own)", (person,))
    conn.execute("DELETE FROM own WHERE id NOT IN (SELECT machine_id FROM dca_clients)")
    for table in ("dca_deposits", "dca_payments"):
        conn.execute(f"DELETE FROM {table} WHERE client_id IS NULL OR client_id NOT IN (SELECT id FROM dca_clients)")
    conn.execute(
        "DELETE FROM dca_settlements WHERE id NOT IN (SELECT settlement_id FROM dca_payments "
        "WHERE settlement_id IS NOT NULL)"
    )
    for table in _OPERATORS_OWN:
        conn.execute(f"DELETE FROM {table}")
    for statement in _ALTERED:
        conn.execute(statement)


def _tables_with(conn: sqlite3.Connection, column: str) -> list[str]:
    return [
        row[0]
        for row in conn.execute(
            "SELECT t.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c ON c.name = ? WHERE t.type = 'table'",
            (column,),
        ).fetchall()
    ]
