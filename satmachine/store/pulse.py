"""Whether something has changed that somebody may see. Quick at any size: it uses indexes of what is open or newest."""

# ruff: noqa: S608 - statements are put together from this module's own words only.

from __future__ import annotations

import sqlite3


def version(conn: sqlite3.Connection) -> int:
    """A number that changes whenever another connection has changed the books."""
    return int(conn.execute("PRAGMA data_version").fetchone()[0])


def of_scope(conn: sqlite3.Connection, scope: str | None, person: str | None) -> tuple[object, ...]:
    """Something that changes when what is shown of a scope changes: an operator's machines, or an LP's positions. A
    beacon without news changes nothing."""
    statements = _PULSE_OF_OPERATOR if person is None else _PULSE_OF_PROVIDER
    return tuple(tuple(row) for statement in statements for row in conn.execute(statement, (scope, person)))


_OPEN_LEG = "status NOT IN ('completed', 'skipped', 'voided')"
_PULSE_OF_OPERATOR = (
    """SELECT sum((SELECT s.id FROM dca_settlements s WHERE s.machine_id = m.id ORDER BY s.occurred_at DESC LIMIT 1)),
        sum(w.balance_sats), sum(w.reachable), count(w.safe_mode), sum(t.cash_left_minor), count(DISTINCT t.status),
        sum(length(t.last_error)), ?2
    FROM dca_machines m LEFT JOIN dca_wallets w ON w.machine_id = m.id
    LEFT JOIN dca_telemetry t ON t.machine_id = m.id WHERE ?1 IS NULL OR m.operator_id = ?1""",
    """SELECT sum(c.confirmed_minor), sum(c.used_minor), count(*), ?2 FROM dca_clients c
    JOIN dca_machines m ON m.id = c.machine_id WHERE ?1 IS NULL OR m.operator_id = ?1""",
    """SELECT s.status, count(*), sum(s.id), ?2 FROM dca_settlements s CROSS JOIN dca_machines m ON m.id = s.machine_id
    WHERE s.status NOT IN ('processed', 'partial', 'refunded') AND (?1 IS NULL OR m.operator_id = ?1)
    GROUP BY s.status""",
    f"""SELECT p.status, count(*), sum(p.id), ?2 FROM dca_payments p CROSS JOIN dca_machines m ON m.id = p.machine_id
    WHERE p.{_OPEN_LEG} AND (?1 IS NULL OR m.operator_id = ?1) GROUP BY p.status""",
)
_OWN = (
    "SELECT c.id FROM dca_clients c JOIN dca_machines m ON m.id = c.machine_id WHERE m.operator_id = ?1 AND person = ?2"
)
_PULSE_OF_PROVIDER = (
    f"SELECT sum(confirmed_minor), sum(used_minor), count(*) FROM dca_clients WHERE id IN ({_OWN})",
    f"SELECT count(*) FROM dca_statements WHERE client_id IN ({_OWN})",
    f"""SELECT status, count(*), sum(id) FROM dca_payments WHERE {_OPEN_LEG} AND client_id IN ({_OWN})
    GROUP BY status""",
)
