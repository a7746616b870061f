"""How the business goes, machine by machine, for metrics. Only reads, along indexes: quick at any number of sales."""

from __future__ import annotations

import sqlite3
from typing import Any

DAY_S = 86_400

# What was sold in the last day, what the machine told last, and whose the cash in it is.
_MACHINES = """
SELECT m.id AS machine_id, m.currency, t.cash_left_minor, t.received_at, t.status, t.last_error, t.beacon_at,
       json_extract(t.origins, '$.status[0]') AS status_at, json_extract(t.origins, '$.last_error[0]') AS error_at,
       (SELECT coalesce(sum(c.confirmed_minor - c.used_minor), 0) FROM dca_clients c WHERE c.machine_id = m.id)
           AS providers_minor,
       count(s.id) AS sales, coalesce(sum(s.gross_sats), 0) AS gross_sats,
       coalesce(sum(s.commission_sats), 0) AS commission_sats, coalesce(sum(s.fiat_amount_minor), 0) AS sold_minor
FROM dca_machines m LEFT JOIN dca_telemetry t ON t.machine_id = m.id
LEFT JOIN dca_settlements s ON s.machine_id = m.id AND s.occurred_at > ? AND s.proof <> 'waiting'
WHERE m.in_config = 1 AND m.active = 1 GROUP BY m.id ORDER BY m.id
"""


def machines(conn: sqlite3.Connection, now: int) -> tuple[dict[str, Any], ...]:
    """A row for each active machine; `sales` and the sums are of proven sales of the day before `now` (Unix seconds),
    amounts of cash in minor units."""
    return tuple(dict(row) for row in conn.execute(_MACHINES, (now - DAY_S,)))
