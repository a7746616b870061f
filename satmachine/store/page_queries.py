"""What only the pages ask the books. `scope` is an operator's id, or None for all operators; times are Unix seconds.

Rows are dicts whose keys are the tables' column names, as in `store.list_queries`, which has what the command line
asks too.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from satmachine.store.fragments import LEG_PAID_BY_MACHINE
from satmachine.store.list_queries import machine_ids
from satmachine.store.pages import Record

#: How much a search shows of each kind.
_FOUND = 20
#: What is counted and summed of sales.
SUMS = ("sales", "gross_sats", "net_sats", "commission_sats", "retained_sats", "fiat_amount_minor")


def machine_owner(conn: sqlite3.Connection, machine_id: str) -> str | None:
    """The operator of a machine; None if there is no such machine."""
    row = conn.execute("SELECT operator_id FROM dca_machines WHERE id = ?", (machine_id,)).fetchone()
    return None if row is None else str(row["operator_id"])


def sale_owner(conn: sqlite3.Connection, settlement_id: int) -> str | None:
    """The operator of a sale's machine."""
    row = conn.execute(
        """
        SELECT m.operator_id FROM dca_settlements s JOIN dca_machines m ON m.id = s.machine_id WHERE s.id = ?
        """,
        (settlement_id,),
    ).fetchone()
    return None if row is None else str(row["operator_id"])


def client_owner(conn: sqlite3.Connection, client_id: int) -> tuple[str, str] | None:
    """(operator, person) of an LP's position."""
    row = conn.execute(
        """
        SELECT m.operator_id, c.person FROM dca_clients c JOIN dca_machines m ON m.id = c.machine_id WHERE c.id = ?
        """,
        (client_id,),
    ).fetchone()
    return None if row is None else (str(row["operator_id"]), str(row["person"]))


def sales_between(
    conn: sqlite3.Connection, scope: str | None, since: int, until: int, machine_id: str | None = None
) -> list[Record]:
    """Count and sums of the sales of `since` <= time < `until`, by currency, along the index of (machine, time)."""
    ids = [machine_id] if machine_id is not None else machine_ids(conn, scope)
    return _all(
        conn,
        """
        SELECT s.currency, count(*) AS sales, sum(s.gross_sats) AS gross_sats, sum(s.net_sats) AS net_sats,
               sum(s.commission_sats) AS commission_sats, sum(s.retained_sats) AS retained_sats,
               sum(coalesce(s.fiat_amount_minor, 0)) AS fiat_amount_minor
        FROM json_each(?1) m CROSS JOIN dca_settlements s
             ON s.machine_id = m.value AND s.occurred_at >= ?2 AND s.occurred_at < ?3
        GROUP BY s.currency ORDER BY s.currency
        """,
        json.dumps(ids),
        since,
        until,
    )


def sales_by_span(
    conn: sqlite3.Connection, scope: str | None, bounds: Sequence[int], machine_id: str | None = None
) -> list[list[Record]]:
    """`sales_between` for each span from one bound to the next, in one walk."""
    ids = [machine_id] if machine_id is not None else machine_ids(conn, scope)
    spans = [[start, end] for start, end in itertools.pairwise(bounds)]
    found = _all(
        conn,
        """
        SELECT span.key AS span, s.currency, count(*) AS sales, sum(s.gross_sats) AS gross_sats,
               sum(s.net_sats) AS net_sats, sum(s.commission_sats) AS commission_sats,
               sum(s.retained_sats) AS retained_sats, sum(coalesce(s.fiat_amount_minor, 0)) AS fiat_amount_minor
        FROM json_each(?1) m CROSS JOIN json_each(?2) span CROSS JOIN dca_settlements s
             ON s.machine_id = m.value AND s.occurred_at >= json_extract(span.value, '$[0]')
                AND s.occurred_at < json_extract(span.value, '$[1]')
        GROUP BY span.key, s.currency ORDER BY span.key, s.currency
        """,
        json.dumps(ids),
        json.dumps(spans),
    )
    by_span: list[list[Record]] = [[] for _ in spans]
    for row in found:
        by_span[int(row["span"])].append(row)
    return by_span


def paid_between(conn: sqlite3.Connection, scope: str | None, since: int, until: int) -> list[Record]:
    """What was paid to whom for the sales of a period: by type of payment, and label or LP."""
    ids = machine_ids(conn, scope)
    return _all(
        conn,
        f"""
        SELECT p.leg_type, coalesce(p.label, c.person, '') AS payee, count(*) AS payments,
               sum(p.sent_sats) AS sent_sats, sum(coalesce(p.fee_sats, 0)) AS fee_sats
        FROM json_each(?1) m CROSS JOIN dca_settlements s
             ON s.machine_id = m.value AND s.occurred_at >= ?2 AND s.occurred_at < ?3
        JOIN dca_payments p ON p.settlement_id = s.id AND p.status = 'completed' AND p.{LEG_PAID_BY_MACHINE}
        LEFT JOIN dca_clients c ON c.id = p.client_id
        GROUP BY p.leg_type, coalesce(p.label, c.person, '') ORDER BY p.leg_type, sent_sats DESC
        """,  # noqa: S608
        json.dumps(ids),
        since,
        until,
    )


def first_sale_at(conn: sqlite3.Connection, scope: str | None) -> int | None:
    """When the first sale of a scope was."""
    row = conn.execute(
        """
        SELECT min((SELECT s.occurred_at FROM dca_settlements s WHERE s.machine_id = m.value
                    ORDER BY s.occurred_at LIMIT 1)) AS at FROM json_each(?) m
        """,
        (json.dumps(machine_ids(conn, scope)),),
    ).fetchone()
    return None if row["at"] is None else int(row["at"])


def day_of_machine(conn: sqlite3.Connection, machine_id: str, since: int, until: int, limit: int) -> list[Record]:
    """A machine's sales of one day, first come first."""
    return _all(
        conn,
        """
        SELECT id, occurred_at, status, hold_reason, gross_sats, net_sats, commission_sats, fiat_amount_minor, currency
        FROM dca_settlements WHERE machine_id = ? AND occurred_at >= ? AND occurred_at < ?
        ORDER BY occurred_at, id LIMIT ?
        """,
        machine_id,
        since,
        until,
        limit,
    )


def beacons_of_day(conn: sqlite3.Connection, machine_id: str, since: int, until: int, limit: int) -> list[Record]:
    """What a machine reported about its cash in a period, in the order of arrival."""
    return _all(
        conn,
        """
        SELECT created_at, status, cash_left_minor FROM dca_telemetry_log
        WHERE machine_id = ? AND created_at >= ? AND created_at < ? ORDER BY created_at LIMIT ?
        """,
        machine_id,
        since,
        until,
        limit,
    )


def labels(conn: sqlite3.Connection, client_ids: Iterable[int]) -> dict[int, Record]:
    """Label and person of LPs by id."""
    found = _all(
        conn,
        "SELECT id, label, person FROM dca_clients WHERE id IN (SELECT value FROM json_each(?))",
        json.dumps(sorted(client_ids)),
    )
    return {int(row["id"]): row for row in found}


def search_machines(conn: sqlite3.Connection, scope: str | None, text: str) -> list[Record]:
    """Machines whose id, name or key has the text in it; `text` is taken as it is, not as a pattern."""
    return _all(
        conn,
        """
        SELECT id, name, npub FROM dca_machines
        WHERE (?1 IS NULL OR operator_id = ?1)
          AND (instr(lower(id), lower(?2)) OR instr(lower(name), lower(?2)) OR npub = lower(?2) OR pubkey = lower(?2))
        ORDER BY id LIMIT ?3
        """,
        scope,
        text,
        _FOUND,
    )


def search_clients(conn: sqlite3.Connection, scope: str | None, text: str) -> list[Record]:
    """LPs whose label or person has the text in it."""
    return _all(
        conn,
        """
        SELECT c.id, c.machine_id, c.label, c.person FROM dca_clients c JOIN dca_machines m ON m.id = c.machine_id
        WHERE (?1 IS NULL OR m.operator_id = ?1)
          AND (instr(lower(c.label), lower(?2)) OR instr(lower(c.person), lower(?2)))
        ORDER BY c.machine_id, c.label LIMIT ?3
        """,
        scope,
        text,
        _FOUND,
    )


def payment_owner(conn: sqlite3.Connection, payment_id: int) -> tuple[str, str | None] | None:
    """(operator, the LP's person if it is an LP's) of a payment."""
    return _operator_and_person(conn, "dca_payments", payment_id)


def deposit_owner(conn: sqlite3.Connection, deposit_id: int) -> tuple[str, str | None] | None:
    """(operator, person) of a deposit."""
    return _operator_and_person(conn, "dca_deposits", deposit_id)


def _operator_and_person(conn: sqlite3.Connection, table: str, row_id: int) -> tuple[str, str | None] | None:
    row = conn.execute(
        f"""SELECT m.operator_id, c.person FROM {table} t JOIN dca_machines m ON m.id = t.machine_id
        LEFT JOIN dca_clients c ON c.id = t.client_id WHERE t.id = ?""",  # noqa: S608 - a name of our own
        (row_id,),
    ).fetchone()
    return None if row is None else (str(row["operator_id"]), row["person"])


def _all(conn: sqlite3.Connection, sql: str, *values: object) -> list[dict[str, Any]]:
    return [dict(row) for row in conn.execute(sql, values)]
