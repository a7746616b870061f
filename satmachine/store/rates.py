"""The rates at which a machine has sold, weighted by sats: its rate guard compares with them (SPEC section 6.4)."""

from __future__ import annotations

import sqlite3
from decimal import Decimal


def sold(
    conn: sqlite3.Connection, machine_id: str, *, since: int = 0, until: int, exclude_id: int = 0
) -> list[tuple[Decimal, int, int]]:
    """(rate, net sats, sales) of a machine's proven and planned sales within these times (Unix seconds)."""
    found = conn.execute(
        """SELECT exchange_rate, sum(net_sats) AS net_sats, count(*) AS sales FROM dca_settlements
        WHERE machine_id = ? AND occurred_at BETWEEN ? AND ? AND id <> ?
        AND proof <> 'waiting' AND planned_at IS NOT NULL AND exchange_rate <> '0' GROUP BY exchange_rate""",
        (machine_id, since, until, exclude_id),
    )
    return [(Decimal(row["exchange_rate"]), row["net_sats"], row["sales"]) for row in found]
