"""What each LP may get of a sale: weights as of the sale, caps as of now (SPEC section 8)."""

from __future__ import annotations

import sqlite3

from satmachine.models import Position
from satmachine.store.clients import describe_payee

_DAY_S = 86_400


def of_sale(conn: sqlite3.Connection, machine_id: str, *, occurred_at: int) -> list[Position]:
    """The positions of a machine's active LPs for one sale, by label; those with nothing left are not listed.

    Ask before the sale's legs are written: they count too. (What a revision voided does not.)
    """
    day_start = occurred_at - occurred_at % _DAY_S
    found = conn.execute(_POSITIONS, (machine_id, occurred_at, day_start, day_start + _DAY_S))
    positions = []
    for row in found:
        weight = row["confirmed_then"] - row["used_then"]
        cap = min(weight, row["confirmed_now"] - row["used_now"])
        if row["mode"] == "fixed":
            left_today = row["daily_limit_minor"] - row["used_today"]
            weight, cap = min(weight, left_today), min(cap, left_today)
        if weight > 0:
            payee = describe_payee(row["payee_kind"], row["payee"])
            positions.append(Position(row["id"], row["label"], row["mode"], payee, weight, max(cap, 0)))
    return positions


# Legs count from the moment they are planned (reserved) until they are voided; `effective_at` is the sale's time.
_POSITIONS = """
WITH client AS MATERIALIZED (SELECT * FROM dca_clients WHERE machine_id = ?1 AND status = 'active'),
deposit AS (
    SELECT d.client_id, sum(d.amount_minor) AS now_minor,
           sum(CASE WHEN d.decided_at <= ?2 THEN d.amount_minor ELSE 0 END) AS then_minor
    FROM client c CROSS JOIN dca_deposits d ON d.client_id = c.id WHERE d.status = 'confirmed' GROUP BY d.client_id
),
used AS (
    SELECT p.client_id, sum(p.fiat_amount_minor) AS now_minor,
           sum(CASE WHEN p.effective_at <= ?2 THEN p.fiat_amount_minor ELSE 0 END) AS then_minor,
           sum(CASE WHEN p.effective_at >= ?3 AND p.effective_at < ?4 AND p.leg_type = 'dca'
                    THEN p.fiat_amount_minor ELSE 0 END) AS today_minor
    FROM client c CROSS JOIN dca_payments p ON p.client_id = c.id
    WHERE p.leg_type IN ('dca', 'settlement') AND p.status NOT IN ('voided', 'skipped')
    GROUP BY p.client_id
)
SELECT c.id, c.label, c.mode, c.payee_kind, c.payee, c.daily_limit_minor,
       coalesce(d.now_minor, 0) AS confirmed_now, coalesce(d.then_minor, 0) AS confirmed_then,
       coalesce(u.now_minor, 0) AS used_now, coalesce(u.then_minor, 0) AS used_then,
       coalesce(u.today_minor, 0) AS used_today
FROM client c LEFT JOIN deposit d ON d.client_id = c.id LEFT JOIN used u ON u.client_id = c.id
ORDER BY c.label
"""
