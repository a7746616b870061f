"""What LPs have in the machines, now or as of any time, and what moved it (SPEC section 8).

A deposit counts from `decided_at`. A leg counts from the moment it is planned until it is voided, at its
`effective_at`: the sale's time for a dca leg, the payout's for a settlement leg. While it is open it is *reserved*,
once completed it is *spent*. So an answer as of a past time is final, but for sales of that time that are landed late.
"""

from __future__ import annotations

import sqlite3

from satmachine.models import Balance, Movement
from satmachine.store import rows


def find(
    conn: sqlite3.Connection,
    *,
    client_id: int | None = None,
    machine: str | None = None,
    person: str | None = None,
    removed: bool = False,
    as_of: int | None = None,
    operator: str | None = None,
) -> list[Balance]:
    """Balances by machine and label; `as_of` (Unix seconds) None is now, with all that is planned."""
    found = conn.execute(_BALANCES, (client_id, machine, person, removed, operator, as_of))
    return [rows.load(Balance, row) for row in found]


def of_client(conn: sqlite3.Connection, client_id: int, *, as_of: int | None = None) -> Balance:
    """The balance of an existing client, removed or not."""
    [balance] = find(conn, client_id=client_id, removed=True, as_of=as_of)
    return balance


def movements(conn: sqlite3.Connection, client_id: int) -> list[Movement]:
    """Everything that moved a client's balance, in the order of time; deposits before the sales of their second."""
    return [rows.load(Movement, row) for row in conn.execute(_MOVEMENTS, (client_id,))]


def latest_rate(conn: sqlite3.Connection, machine_id: str) -> str | None:
    """The rate of the machine's latest sale that had one, as a decimal text."""
    row = conn.execute(
        "SELECT exchange_rate FROM dca_settlements WHERE machine_id = ? AND exchange_rate <> '0' "
        "AND proof <> 'waiting' ORDER BY occurred_at DESC, id DESC LIMIT 1",
        (machine_id,),
    ).fetchone()
    return None if row is None else str(row["exchange_rate"])


_BALANCES = """
WITH client AS MATERIALIZED (
    SELECT c.id, c.machine_id, c.label, c.person, m.currency
    FROM dca_clients c JOIN dca_machines m ON m.id = c.machine_id
    WHERE (?1 IS NULL OR c.id = ?1) AND (?2 IS NULL OR c.machine_id = ?2) AND (?3 IS NULL OR c.person = ?3)
      AND (?4 OR c.status <> 'removed') AND (?5 IS NULL OR m.operator_id = ?5)
),
deposit AS (
    SELECT d.client_id, sum(d.amount_minor) AS confirmed_minor
    FROM client c CROSS JOIN dca_deposits d ON d.client_id = c.id
    WHERE d.status = 'confirmed' AND (?6 IS NULL OR d.decided_at <= ?6) GROUP BY d.client_id
),
leg AS (
    SELECT p.client_id, sum(CASE p.status WHEN 'completed' THEN p.fiat_amount_minor ELSE 0 END) AS spent_minor,
           sum(CASE p.status WHEN 'completed' THEN 0 ELSE p.fiat_amount_minor END) AS reserved_minor
    FROM client c CROSS JOIN dca_payments p ON p.client_id = c.id
    WHERE p.leg_type IN ('dca', 'settlement') AND p.status NOT IN ('voided', 'skipped')
      AND (?6 IS NULL OR p.effective_at <= ?6) GROUP BY p.client_id
)
SELECT c.id AS client_id, c.machine_id, c.label, c.person, c.currency,
       coalesce(d.confirmed_minor, 0) AS confirmed_minor,
       coalesce(l.spent_minor, 0) AS spent_minor, coalesce(l.reserved_minor, 0) AS reserved_minor
FROM client c LEFT JOIN deposit d ON d.client_id = c.id LEFT JOIN leg l ON l.client_id = c.id
ORDER BY c.machine_id, c.label
"""

_MOVEMENTS = """
SELECT decided_at AS at, 'deposit' AS kind, id, NULL AS settlement_id, amount_minor, 0 AS sats, 0 AS fee_sats,
       NULL AS exchange_rate, status, notes, 0 AS step
FROM dca_deposits WHERE client_id = ?1 AND status = 'confirmed'
UNION ALL
SELECT effective_at, CASE leg_type WHEN 'dca' THEN 'purchase' ELSE 'payout' END, id, settlement_id,
       -fiat_amount_minor, coalesce(sent_sats, amount_sats), coalesce(fee_sats, 0), exchange_rate, status, '', 1
FROM dca_payments WHERE client_id = ?1 AND leg_type IN ('dca', 'settlement') AND status NOT IN ('voided', 'skipped')
ORDER BY at, step, kind, id
"""
