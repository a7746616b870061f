"""What LPs have in the machines, now or as of any time, and what moved it (SPEC section 8).

A deposit counts from `effective_at`. A leg counts from the moment it is planned until it is voided, at its
`effective_at`: the sale's time for a dca leg, the payout's for a settlement leg. While it is open it is *reserved*,
once completed it is *spent*. So an answer as of a past time is final, but for sales of that time that are landed late.
"""

from __future__ import annotations

import sqlite3

from satmachine.models import Balance, Movement
from satmachine.store import as_models as rows
from satmachine.store.fragments import LEG_USES_CASH


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


def count_again(conn: sqlite3.Connection, client_id: int) -> None:
    """Make the running total of what a client has used what its rows sum to: somebody else may have written some."""
    conn.execute(
        f"""UPDATE dca_clients SET used_minor = (SELECT coalesce(sum(p.fiat_amount_minor), 0) FROM dca_payments p
        WHERE p.client_id = dca_clients.id AND p.{LEG_USES_CASH}
        AND p.status NOT IN ('voided', 'skipped')) WHERE id = ?""",  # noqa: S608
        (client_id,),
    )


def wrong_totals(conn: sqlite3.Connection) -> list[int]:
    """Clients whose running totals are not the sums of their rows: none, unless somebody has changed the file."""
    return [int(row["id"]) for row in conn.execute(_WRONG_TOTALS)]


def movements(conn: sqlite3.Connection, client_id: int) -> list[Movement]:
    """Everything that moved a client's balance, in the order of time; deposits before the sales of their second."""
    return [rows.load(Movement, row) for row in conn.execute(_MOVEMENTS, (client_id,))]


def latest_rate(conn: sqlite3.Connection, machine_id: str) -> str | None:
    """The rate of the machine's latest sale that had one, as a decimal text."""
    row = conn.execute(
        """SELECT exchange_rate FROM dca_settlements WHERE machine_id = ? AND exchange_rate <> '0'
        AND proof <> 'waiting' ORDER BY occurred_at DESC, id DESC LIMIT 1""",
        (machine_id,),
    ).fetchone()
    return None if row is None else str(row["exchange_rate"])


# The totals of `dca_clients` are of now; what came after `as_of` is taken off them again, so that no answer adds up the
# whole history. Open legs are few, and have an index of their own; what is used and not open is spent.
_BALANCES = f"""
WITH client AS MATERIALIZED (
    SELECT c.id, c.machine_id, c.label, c.person, c.confirmed_minor, c.used_minor, m.currency
    FROM dca_clients c JOIN dca_machines m ON m.id = c.machine_id
    WHERE (?1 IS NULL OR c.id = ?1) AND (?2 IS NULL OR c.machine_id = ?2) AND (?3 IS NULL OR c.person = ?3)
      AND (?4 OR c.status <> 'removed') AND (?5 IS NULL OR m.operator_id = ?5)
),
open_leg AS MATERIALIZED (
    SELECT client_id, sum(fiat_amount_minor) AS reserved_minor FROM dca_payments
    WHERE status NOT IN ('completed', 'skipped', 'voided') AND {LEG_USES_CASH}
      AND (?6 IS NULL OR effective_at <= ?6) GROUP BY client_id
),
moment AS (
    SELECT c.*, coalesce(o.reserved_minor, 0) AS reserved_minor,
           CASE WHEN ?6 IS NULL THEN 0 ELSE (
               SELECT coalesce(sum(d.amount_minor), 0) FROM dca_deposits d
               WHERE d.client_id = c.id AND d.status = 'confirmed' AND d.effective_at > ?6
           ) END AS confirmed_later,
           CASE WHEN ?6 IS NULL THEN 0 ELSE (
               SELECT coalesce(sum(p.fiat_amount_minor), 0) FROM dca_payments p
               WHERE p.client_id = c.id AND p.effective_at > ?6
                 AND p.{LEG_USES_CASH} AND p.status NOT IN ('voided', 'skipped')
           ) END AS used_later
    FROM client c LEFT JOIN open_leg o ON o.client_id = c.id
)
SELECT id AS client_id, machine_id, label, person, currency, confirmed_minor - confirmed_later AS confirmed_minor,
       used_minor - used_later - reserved_minor AS spent_minor, reserved_minor
FROM moment ORDER BY machine_id, label
"""  # noqa: S608

_MOVEMENTS = f"""
SELECT effective_at AS at, kind, id, NULL AS settlement_id, amount_minor, 0 AS sats, 0 AS fee_sats,
       NULL AS exchange_rate, status, notes, NULL AS planned_sats, NULL AS payment_hash, 0 AS step
FROM dca_deposits WHERE client_id = ?1 AND status = 'confirmed'
UNION ALL
SELECT effective_at, CASE leg_type WHEN 'dca' THEN 'purchase' ELSE 'payout' END, id, settlement_id,
       -fiat_amount_minor, coalesce(sent_sats, amount_sats), coalesce(fee_sats, 0), exchange_rate, status, '',
       amount_sats, payment_hash, 1
FROM dca_payments WHERE client_id = ?1 AND {LEG_USES_CASH} AND status NOT IN ('voided', 'skipped')
ORDER BY at, step, kind, id
"""  # noqa: S608

_WRONG_TOTALS = f"""
SELECT id FROM dca_clients c
WHERE confirmed_minor <> (
    SELECT coalesce(sum(amount_minor), 0) FROM dca_deposits d WHERE d.client_id = c.id AND d.status = 'confirmed'
) OR used_minor <> (
    SELECT coalesce(sum(fiat_amount_minor), 0) FROM dca_payments p
    WHERE p.client_id = c.id AND {LEG_USES_CASH} AND status NOT IN ('voided', 'skipped')
) ORDER BY id
"""  # noqa: S608
