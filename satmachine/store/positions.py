"""What each LP may get of a sale: weights as of the sale, caps as of now (SPEC section 8)."""

from __future__ import annotations

import sqlite3

from satmachine.models import Position
from satmachine.store.clients import describe_payee, identity_of
from satmachine.store.fragments import LEG_USES_CASH

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
            identity = identity_of(row["payee_kind"], row["payee"])
            positions.append(Position(row["id"], row["label"], row["mode"], payee, identity, weight, max(cap, 0)))
    return positions


# The totals of `dca_clients` are of now; what came after the sale is taken off them again. That keeps planning quick
# however long a machine's history is: only what is newer than the sale, or of its day, is looked at. Legs count from
# the moment they are planned (reserved) until they are voided.
_POSITIONS = f"""
SELECT c.id, c.label, c.mode, c.payee_kind, c.payee, c.daily_limit_minor,
       c.confirmed_minor AS confirmed_now, c.used_minor AS used_now,
       c.confirmed_minor - (
           SELECT coalesce(sum(d.amount_minor), 0) FROM dca_deposits d
           WHERE d.client_id = c.id AND d.status = 'confirmed' AND d.effective_at > ?2
       ) AS confirmed_then,
       c.used_minor - (
           SELECT coalesce(sum(p.fiat_amount_minor), 0) FROM dca_payments p
           WHERE p.client_id = c.id AND p.effective_at > ?2
             AND p.{LEG_USES_CASH} AND p.status NOT IN ('voided', 'skipped')
       ) AS used_then,
       CASE c.mode WHEN 'fixed' THEN (
           SELECT coalesce(sum(p.fiat_amount_minor), 0) FROM dca_payments p
           WHERE p.client_id = c.id AND p.effective_at >= ?3 AND p.effective_at < ?4
             AND p.leg_type = 'dca' AND p.status NOT IN ('voided', 'skipped')
       ) END AS used_today
FROM dca_clients c WHERE c.machine_id = ?1 AND c.status = 'active' ORDER BY c.label
"""  # noqa: S608
