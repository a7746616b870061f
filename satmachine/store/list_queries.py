"""Every read query of the command line. Rows are dicts whose keys are the tables' column names, newest first.

`scope` is an operator's id, or None for all operators. Long lists are pages (`store.pages`).
"""

# ruff: noqa: S608 - statements are put together from this module's own words; what people type is always a value.

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Literal

from satmachine.models import leg_types
from satmachine.store.fragments import LEG_IS_RARE, LEG_PAID_BY_LP, LEG_PAID_BY_MACHINE, OPEN_LEG
from satmachine.store.pages import Order, Where, merged, page, page_of
from satmachine.store.pages import Page as Page  # of what this module returns
from satmachine.store.pages import Record as Record

#: Tables whose rows belong to a machine.
Table = Literal["dca_clients", "dca_deposits", "dca_payments", "dca_settlements", "quarantine"]

#: Written as in schema.sql, so that SQLite sees that it can use the partial indexes.
_OPEN_SALE = "status NOT IN ('processed', 'partial', 'refunded')"
_RARE_SALE = "status IN ('partial', 'refunded')"
_OPEN_LEG = "status NOT IN ('completed', 'skipped', 'voided')"
_RARE_LEG_STATUS = "status IN ('skipped', 'voided')"
_UNSETTLED = (
    "NOT EXISTS (SELECT 1 FROM dca_settlements s WHERE s.machine_id = u.machine_id AND s.payment_hash = u.payment_hash)"
)
_UNKNOWN_RATE = "u.exchange_rate = '0' AND u.retained_sats > 0"
_OPEN_UNMATCHED = "u.kind = 'unknown' AND u.dismissed_at IS NULL"


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which rows of a list: times are Unix seconds, `since` <= time < `until`; `before_id` continues after a page."""

    machine_id: str | None = None
    status: str | None = None
    since: int | None = None
    until: int | None = None
    before_id: int | None = None
    limit: int = 50
    leg_type: str | None = None
    client_id: int | None = None
    settlement_id: int | None = None
    failing_before: int | None = None


# --- scope


def operator_exists(conn: sqlite3.Connection, operator_id: str) -> bool:
    """Whether the books have ever known this operator."""
    return conn.execute("SELECT 1 FROM dca_operators WHERE id = ?", (operator_id,)).fetchone() is not None


def sees(conn: sqlite3.Connection, scope: str | None, machine_id: str) -> bool:
    """Whether this machine exists and belongs to the scope."""
    row = conn.execute("SELECT operator_id FROM dca_machines WHERE id = ?", (machine_id,)).fetchone()
    return row is not None and scope in (None, row["operator_id"])


def machine_ids(conn: sqlite3.Connection, scope: str | None) -> list[str]:
    """The machines of a scope, also those that the configuration no longer names."""
    found = conn.execute("SELECT id FROM dca_machines WHERE ?1 IS NULL OR operator_id = ?1 ORDER BY id", (scope,))
    return [str(row["id"]) for row in found]


def machine_of(conn: sqlite3.Connection, table: Table, row_id: int) -> str | None:
    """Whose machine's row it is; None if there is no such row."""
    row = conn.execute(f"SELECT machine_id FROM {table} WHERE id = ?", (row_id,)).fetchone()
    return None if row is None else str(row["machine_id"])


def clients_labelled(
    conn: sqlite3.Connection, scope: str | None, label: str, machine_id: str | None
) -> list[tuple[int, str]]:
    """(id, machine) of the clients with this label, at one machine or at any in the scope; including removed ones."""
    found = conn.execute(
        """SELECT c.id, c.machine_id FROM dca_clients c JOIN dca_machines m ON m.id = c.machine_id WHERE c.label = ?1
        AND (?2 IS NULL OR c.machine_id = ?2) AND (?3 IS NULL OR m.operator_id = ?3) ORDER BY c.machine_id""",
        (label, machine_id, scope),
    )
    return [(int(row[0]), str(row[1])) for row in found]


# --- settlements


def settlements(conn: sqlite3.Connection, scope: str | None, wanted: ListFilter) -> Page:
    """Sales by the time they occurred."""
    where = Where()
    where.given("status = ?", wanted.status)
    is_open, is_rare = wanted.status in ("pending", "held", "errored"), wanted.status in ("partial", "refunded")
    if is_open:
        where.add(_OPEN_SALE)
    if is_rare:
        where.add(_RARE_SALE)
    order = Order("dca_settlements", "occurred_at", "SELECT * FROM dca_settlements", by_sorting=is_open)
    return _newest(conn, order, where, scope, wanted, rare=is_open or is_rare)


def find_settlements(conn: sqlite3.Connection, scope: str | None, reference: str) -> list[Record]:
    """Sales by id, event id, payment hash (the customer's, or of a leg) or the machine's txid; in scope only."""
    ids: list[int] = []
    if reference.isascii() and reference.isdigit() and len(reference) < 19:
        ids = _ids(conn, "SELECT id FROM dca_settlements WHERE id = ?", int(reference))
    ids = ids or _ids(conn, _BY_REFERENCE, reference)
    found = [_one(conn, "SELECT * FROM dca_settlements WHERE id = ?", number) for number in ids]
    return [row for row in found if row is not None and sees(conn, scope, row["machine_id"])]


# Each branch has an index of its own.
_BY_REFERENCE = """
SELECT settlement_id FROM dca_settlement_events WHERE event_id = ?1
UNION SELECT id FROM dca_settlements
      WHERE machine_id IN (SELECT id FROM dca_machines) AND payment_hash IS NOT NULL AND payment_hash = ?1
UNION SELECT id FROM dca_settlements
      WHERE machine_id IN (SELECT id FROM dca_machines) AND txid IS NOT NULL AND txid = ?1
UNION SELECT p.settlement_id FROM dca_invoices i JOIN dca_payments p ON p.id = i.payment_id
      WHERE i.payment_hash = ?1 AND p.settlement_id IS NOT NULL
"""


def legs_of(conn: sqlite3.Connection, settlement_id: int) -> list[Record]:
    """All legs of a sale, every revision, in the order of the plan."""
    return _all(
        conn, "SELECT * FROM dca_payments WHERE settlement_id = ? ORDER BY revision, position, id", settlement_id
    )


def retained_of(conn: sqlite3.Connection, settlement_id: int) -> list[Record]:
    """What stays in the wallet from a sale, each entry in the order in which it was made."""
    return _all(conn, "SELECT * FROM dca_retained WHERE settlement_id = ? ORDER BY id", settlement_id)


def events_of(conn: sqlite3.Connection, settlement_id: int) -> list[Record]:
    """The machine's signed events about a sale, first come first."""
    return _all(
        conn,
        """SELECT event_id, created_at, received_at, relay_url, raw FROM dca_settlement_events
        WHERE settlement_id = ? ORDER BY received_at, event_id""",
        settlement_id,
    )


def unmatched(conn: sqlite3.Connection, scope: str | None, wanted: ListFilter, *, everything: bool = False) -> Page:
    """Incoming payments that belong to no sale and wait for a person; `everything`: also those that do not wait."""
    where = Where()
    where.add(_UNSETTLED if everything else f"{_OPEN_UNMATCHED} AND {_UNSETTLED}")
    where.add("machine_id IN (SELECT id FROM dca_machines WHERE ? IS NULL OR operator_id = ?)", scope, scope)
    where.given("machine_id = ?", wanted.machine_id)
    where.given("settled_at >= ?", wanted.since)
    where.given("settled_at < ?", wanted.until)
    sql = f"SELECT * FROM dca_unmatched_payments u {where.sql()} ORDER BY settled_at DESC, payment_hash LIMIT ?"
    return page_of(conn, sql, where, wanted.limit)


# --- payments


def payments(conn: sqlite3.Connection, scope: str | None, wanted: ListFilter) -> Page:
    """Legs by the time they were planned. The status `failing` is: not paid, planned before `failing_before`, and an
    attempt has failed."""
    where = Where()
    is_failing = wanted.status == "failing"
    if is_failing:
        where.add(f"{OPEN_LEG} AND error IS NOT NULL")
        where.given("+planned_at < ?", wanted.failing_before)
    else:
        where.given("status = ?", wanted.status)
    where.given("leg_type = ?", wanted.leg_type)
    where.given("client_id = ?", wanted.client_id)
    where.given("settlement_id = ?", wanted.settlement_id)
    rare_status, rare_type = wanted.status in ("skipped", "voided"), wanted.leg_type in leg_types.RARE
    is_open = wanted.status not in (None, "completed") and not rare_status
    if is_open:
        where.add(_OPEN_LEG)
    elif rare_type:
        where.add(LEG_IS_RARE)
    elif rare_status:
        where.add(_RARE_LEG_STATUS)
    few = is_open or wanted.client_id is not None or wanted.settlement_id is not None
    order = Order("dca_payments", "planned_at", "SELECT * FROM dca_payments", by_sorting=few)
    return _newest(conn, order, where, scope, wanted, rare=few or rare_type or rare_status)


def payment(conn: sqlite3.Connection, payment_id: int) -> Record:
    """One leg that is known to exist."""
    found = _one(conn, "SELECT * FROM dca_payments WHERE id = ?", payment_id)
    assert found is not None
    return found


# --- quarantine


def quarantine(conn: sqlite3.Connection, scope: str | None, wanted: ListFilter) -> Page:
    """Messages that could not be used."""
    where = Where()
    where.add("machine_id IN (SELECT id FROM dca_machines WHERE ? IS NULL OR operator_id = ?)", scope, scope)
    where.given("machine_id = ?", wanted.machine_id)
    where.given("status = ?", wanted.status)
    if wanted.status == "open":
        where.add("dismissed_at IS NULL")
    where.given("received_at >= ?", wanted.since)
    where.given("received_at < ?", wanted.until)
    where.given("id < ?", wanted.before_id)
    return page_of(conn, f"SELECT * FROM quarantine {where.sql()} ORDER BY id DESC LIMIT ?", where, wanted.limit)


def quarantined(conn: sqlite3.Connection, quarantine_id: int) -> Record | None:
    """One of them."""
    return _one(conn, "SELECT * FROM quarantine WHERE id = ?", quarantine_id)


# --- registry


def machines(conn: sqlite3.Connection, scope: str | None, machine_id: str | None = None) -> list[Record]:
    """The registry with live state. Those that the configuration no longer names come last."""
    return _all(conn, _MACHINES, scope, machine_id)


# A machine was last heard when the event of its last sale that had one, or its last beacon, arrived.
_MACHINES = f"""
WITH open AS (
    SELECT machine_id, count(*) AS open_settlements, sum(status = 'held') AS held_settlements,
           sum(status = 'errored') AS errored_settlements
    FROM dca_settlements WHERE {_OPEN_SALE} GROUP BY +machine_id
), machine AS (
    SELECT m.*, (SELECT s.id FROM dca_settlements s WHERE s.machine_id = m.id
                 ORDER BY s.occurred_at DESC, s.id DESC LIMIT 1) AS last_settlement_id
    FROM dca_machines m WHERE (?1 IS NULL OR m.operator_id = ?1) AND (?2 IS NULL OR m.id = ?2)
)
SELECT m.id, m.operator_id, m.name, m.npub, m.pubkey, m.currency, m.fallback_commission_pct, m.payouts_since,
       m.active, m.in_config, m.loaded_at, w.balance_sats, w.reachable, w.error AS wallet_error, w.checked_at,
       w.lnbits_version, w.last_sweep_at, w.safe_mode, w.reconcile_since,
       (SELECT count(*) FROM dca_foreign_payments f WHERE f.machine_id = m.id AND f.settled_by IS NULL)
       + (SELECT count(*) FROM dca_foreign_marks k WHERE k.machine_id = m.id AND k.decided_at IS NULL) AS undecided,
       m.last_settlement_id, s.occurred_at AS last_sale_at,
       nullif(max(coalesce(t.received_at, 0), coalesce((
           SELECT max(e.received_at) FROM dca_settlement_events e WHERE e.settlement_id = (
               SELECT x.id FROM (SELECT id, bitspire_event_id FROM dca_settlements WHERE machine_id = m.id
                                 ORDER BY occurred_at DESC LIMIT 20) x WHERE x.bitspire_event_id IS NOT NULL LIMIT 1)
           ), 0)), 0) AS last_event_at,
       coalesce(o.open_settlements, 0) AS open_settlements, coalesce(o.held_settlements, 0) AS held_settlements,
       coalesce(o.errored_settlements, 0) AS errored_settlements,
       (SELECT p.reason FROM payout_pauses p WHERE p.scope IN ('*', m.id) ORDER BY p.scope LIMIT 1) AS paused,
       c.early_at AS cash_early_at, c.likely_at AS cash_out_at
FROM machine m LEFT JOIN dca_wallets w ON w.machine_id = m.id LEFT JOIN open o ON o.machine_id = m.id
LEFT JOIN dca_settlements s ON s.id = m.last_settlement_id LEFT JOIN dca_telemetry t ON t.machine_id = m.id
LEFT JOIN dca_cash_forecasts c ON c.machine_id = m.id
ORDER BY m.in_config DESC, m.operator_id, m.id
"""


def clients_by_status(conn: sqlite3.Connection, machine_id: str) -> dict[str, int]:
    """How many LPs a machine has, by status."""
    found = conn.execute("SELECT status, count(*) FROM dca_clients WHERE machine_id = ? GROUP BY status", (machine_id,))
    return {str(status): int(number) for status, number in found}


def telemetry_of(conn: sqlite3.Connection, machine_id: str) -> Record | None:
    """What a machine last reported, without the raw beacon."""
    return _one(
        conn,
        """SELECT name, location, status, software_version, uptime_s, cassettes, cash_left_minor,
        (SELECT currency FROM dca_machines m WHERE m.id = t.machine_id) AS currency,
        exchange_rate, fee_pct, last_error, beacon_at FROM dca_telemetry t WHERE machine_id = ?""",
        machine_id,
    )


def super_fee(conn: sqlite3.Connection) -> Record | None:
    """The platform's terms as last loaded; None if no configuration was loaded yet."""
    return _one(conn, "SELECT fee_pct, payee, loaded_at FROM super_config")


def splits(conn: sqlite3.Connection, scope: str | None, machine_id: str | None = None) -> list[Record]:
    """The rules as they are written: operators' default sets, then machines' own; of one machine, what concerns it."""
    return _all(conn, _SPLITS, scope, machine_id)


_SPLITS = """
SELECT c.operator_id, c.machine_id, c.position, c.label, c.pct, c.payee FROM dca_commission_splits c
WHERE (?1 IS NULL OR c.operator_id = ?1)
  AND (?2 IS NULL OR c.machine_id = ?2
       OR (c.machine_id IS NULL AND c.operator_id = (SELECT operator_id FROM dca_machines WHERE id = ?2)))
ORDER BY c.operator_id, c.machine_id IS NOT NULL, c.machine_id, c.position
"""


def effective_splits(conn: sqlite3.Connection, scope: str | None, machine_id: str | None = None) -> list[Record]:
    """The rules in force, machine by machine; a machine without any has one row of source 'none'."""
    return _all(conn, _EFFECTIVE_SPLITS, scope, machine_id)


_EFFECTIVE_SPLITS = """
SELECT m.operator_id, m.id AS machine_id,
       CASE WHEN c.id IS NULL THEN 'none' WHEN c.machine_id IS NULL THEN 'operator' ELSE 'machine' END
           AS ruleset_source, c.position, c.label, c.pct, c.payee
FROM dca_machines m LEFT JOIN dca_commission_splits c ON c.operator_id = m.operator_id
     AND c.machine_id IS (SELECT x.machine_id FROM dca_commission_splits x WHERE x.machine_id = m.id LIMIT 1)
WHERE m.in_config = 1 AND (?1 IS NULL OR m.operator_id = ?1) AND (?2 IS NULL OR m.id = ?2)
ORDER BY m.operator_id, m.id, c.position
"""


# --- status


def relays(conn: sqlite3.Connection) -> list[Record]:
    """What the daemon last saw of its relays."""
    return _all(conn, "SELECT * FROM relay_health ORDER BY url")


def open_counts(conn: sqlite3.Connection, scope: str | None) -> dict[str, int]:
    """How many sales are pending, held and errored."""
    found = conn.execute(
        f"""SELECT status, count(*) FROM dca_settlements WHERE {_OPEN_SALE} AND (?1 IS NULL OR machine_id IN
        (SELECT id FROM dca_machines WHERE operator_id = ?1)) GROUP BY status""",
        (scope,),
    )
    return {str(status): int(number) for status, number in found}


def open_settlements(conn: sqlite3.Connection, scope: str | None, status: str, limit: int) -> list[Record]:
    """The oldest sales in one open state."""
    return _all(
        conn,
        f"""SELECT id AS settlement_id, machine_id, status, hold_reason, error, gross_sats, occurred_at, landed_at
        FROM dca_settlements WHERE {_OPEN_SALE} AND status = ?2 AND (?1 IS NULL OR machine_id IN
        (SELECT id FROM dca_machines WHERE operator_id = ?1)) ORDER BY +occurred_at, id LIMIT ?3""",
        scope,
        status,
        limit,
    )


def worst_leg(conn: sqlite3.Connection, settlement_id: int) -> Record | None:
    """The payment that makes a sale errored: a held one before a failed one."""
    return _one(
        conn,
        f"""SELECT id AS payment_id, status, hold_reason, cause, payee, error FROM dca_payments WHERE settlement_id = ?
        AND {LEG_PAID_BY_MACHINE} AND status IN ('held', 'failed')
        ORDER BY status = 'failed', position LIMIT 1""",
        settlement_id,
    )


def lone_legs(conn: sqlite3.Connection, scope: str | None, limit: int) -> list[Record]:
    """Failed and held legs that no errored sale reports: balances paid out, sats forwarded, and payments that were
    sent to a payee who cannot be asked any more."""
    return _all(
        conn,
        f"""SELECT id AS payment_id, settlement_id, machine_id, leg_type, leg, status, hold_reason, cause, error,
        amount_sats, planned_at FROM dca_payments WHERE {_OPEN_LEG} AND ((status IN ('failed', 'held')
        AND (settlement_id IS NULL OR {LEG_PAID_BY_LP})) OR (status = 'sending'
        AND cause IN ('payee_changed', 'payee_unreachable', 'no_payee', 'key_unreadable')))
        AND (?1 IS NULL OR machine_id IN
        (SELECT id FROM dca_machines WHERE operator_id = ?1)) ORDER BY +planned_at, id LIMIT ?2""",
        scope,
        limit,
    )


def pauses(conn: sqlite3.Connection, scope: str | None) -> list[Record]:
    """Where payouts are stopped."""
    return _all(
        conn,
        """SELECT * FROM payout_pauses WHERE ?1 IS NULL OR scope = '*' OR scope IN
        (SELECT id FROM dca_machines WHERE operator_id = ?1) ORDER BY scope""",
        scope,
    )


def quarantine_count(conn: sqlite3.Connection, scope: str | None) -> int:
    """How many messages wait in quarantine."""
    return _count(conn, "quarantine u WHERE u.status = 'open' AND u.dismissed_at IS NULL", scope)


def unmatched_count(conn: sqlite3.Connection, scope: str | None) -> int:
    """How many incoming payments still belong to no sale."""
    return _count(conn, f"dca_unmatched_payments u WHERE {_OPEN_UNMATCHED} AND {_UNSETTLED}", scope)


def unknown_rate_count(conn: sqlite3.Connection, scope: str | None) -> int:
    """Of how many sales the LPs' part is not paid because their exchange rate is not known."""
    return _count(conn, f"dca_settlements u WHERE {_UNKNOWN_RATE}", scope)


def oldest_unknown_rate(conn: sqlite3.Connection, scope: str | None) -> int | None:
    """The first of these sales."""
    found = _one(
        conn,
        f"""SELECT min(u.id) AS id FROM dca_settlements u WHERE {_UNKNOWN_RATE} AND (?1 IS NULL OR u.machine_id IN
        (SELECT id FROM dca_machines WHERE operator_id = ?1))""",
        scope,
    )
    return None if found is None else found["id"]


# --- helpers


def _newest(
    conn: sqlite3.Connection, order: Order, where: Where, scope: str | None, wanted: ListFilter, *, rare: bool
) -> Page:
    """A page for the machines in question.

    `rare`: an index of what is in `where` finds the rows, of all machines; a plus keeps SQLite at that index. Else a
    scope is read machine by machine, each along (machine_id, time), and merged.
    """
    order.span(where, wanted.since, wanted.until)
    order.go_on(conn, where, wanted.before_id)
    if wanted.machine_id is None and scope is None:
        return page(conn, order, where, wanted.limit)
    ids = [wanted.machine_id] if wanted.machine_id else machine_ids(conn, scope)
    if rare:
        where.add("+machine_id IN (SELECT value FROM json_each(?))", json.dumps(ids))
        return page(conn, order, where, wanted.limit)
    return merged(conn, order, [where.plus("machine_id = ?", machine) for machine in ids], wanted.limit)


def _all(conn: sqlite3.Connection, sql: str, *values: object) -> list[Record]:
    return [dict(row) for row in conn.execute(sql, values)]


def _one(conn: sqlite3.Connection, sql: str, *values: object) -> Record | None:
    row = conn.execute(sql, values).fetchone()
    return None if row is None else dict(row)


def _ids(conn: sqlite3.Connection, sql: str, value: object) -> list[int]:
    return [int(row[0]) for row in conn.execute(sql, (value,))]


def _count(conn: sqlite3.Connection, rest: str, scope: str | None) -> int:
    mine = "(?1 IS NULL OR u.machine_id IN (SELECT id FROM dca_machines WHERE operator_id = ?1))"
    return int(conn.execute(f"SELECT count(*) FROM {rest} AND {mine}", (scope,)).fetchone()[0])
