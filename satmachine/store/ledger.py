"""What the ledger is made of, read out of the tables: facts in the order in which they are posted (models/facts.py).

Each source is one statement that walks along an index, so that a month among years is as quick as a month alone, and
the memory that a reading takes does not grow with the books. What many facts come to, ledger_sums.py adds up.

In which month a fact counts: in that of its time, unless that month had been closed before the books knew of the fact;
then at the moment when they did (SPEC section 13). So what was closed never changes.
"""

# ruff: noqa: S608 - statements are put together from this module's own words only.

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from satmachine.models.facts import CashBrought, CashChange, CashMoved, Fact, Kept, Paid, Sale, ToppedUp, Unassigned
from satmachine.store.fragments import LEG_USES_CASH


@dataclass(frozen=True, slots=True)
class Span:
    """Which facts: `since` <= posted < `until` (Unix seconds), of one operator's machines, or of one machine; only what
    the books knew at the moment `known_by`."""

    since: int
    until: int
    scope: str | None = None
    machine_id: str | None = None
    known_by: int = 2**62


def facts(conn: sqlite3.Connection, span: Span) -> Iterator[Fact]:
    """Every fact of a span, by the time at which it is posted, and then in a fixed order."""
    streams = [stream(conn, kind, sql, named(span)) for kind, sql in _STREAMS]
    yield from heapq.merge(*streams, key=lambda fact: (fact[0], fact[2]))


def count(conn: sqlite3.Connection, span: Span) -> int:
    """About how many facts a span has: for a progress bar."""
    row = conn.execute(_COUNT, named(span)).fetchone()
    return int(row[0])


def first_at(conn: sqlite3.Connection) -> int | None:
    """When the first fact happened, in Unix seconds; None in empty books."""
    row = conn.execute(_FIRST_AT).fetchone()
    return None if row[0] is None else int(row[0])


def oldest_posted(conn: sqlite3.Connection, since: int) -> int:
    """From when on things happened that are posted since a moment: before it, where a sale was found late."""
    row = conn.execute(
        f"SELECT min(s.occurred_at) AS at FROM dca_settlements s WHERE {LATE} AND s.proven_at >= ?", (since,)
    ).fetchone()
    return since if row["at"] is None else min(since, int(row["at"]))


def machines(conn: sqlite3.Connection, scope: str | None, machine_id: str | None = None) -> dict[str, tuple[str, str]]:
    """(operator, currency) of each machine that the books have ever known, by its id."""
    found = conn.execute(
        "SELECT id, operator_id, currency FROM dca_machines WHERE (?1 IS NULL OR operator_id = ?1) "
        "AND (?2 IS NULL OR id = ?2) ORDER BY id",
        (scope, machine_id),
    )
    return {str(row["id"]): (str(row["operator_id"]), str(row["currency"])) for row in found}


def lps(conn: sqlite3.Connection, scope: str | None, machine_id: str | None = None) -> list[tuple[str, str]]:
    """(machine, label) of every LP that the books have ever known."""
    found = conn.execute(
        "SELECT c.machine_id, c.label FROM dca_clients c JOIN dca_machines m ON m.id = c.machine_id "
        "WHERE (?1 IS NULL OR m.operator_id = ?1) AND (?2 IS NULL OR m.id = ?2) ORDER BY c.machine_id, c.label",
        (scope, machine_id),
    )
    return [(str(row["machine_id"]), str(row["label"])) for row in found]


def wallet_balances(conn: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """What LNbits last said of each machine's wallet: (sats, when)."""
    found = conn.execute("SELECT machine_id, balance_sats, checked_at FROM dca_wallets WHERE balance_sats IS NOT NULL")
    return {str(row["machine_id"]): (int(row["balance_sats"]), int(row["checked_at"] or 0)) for row in found}


def named(span: Span) -> dict[str, Any]:
    """The parameters of every statement here."""
    return {
        "since": span.since,
        "until": span.until,
        "scope": span.scope,
        "machine": span.machine_id,
        "known": span.known_by,
    }


def stream(conn: sqlite3.Connection, kind: Any, sql: str, parameters: dict[str, Any]) -> Iterator[Any]:
    """A statement's rows as facts of a kind."""
    cursor = conn.cursor()
    cursor.row_factory = None
    return (kind(*row) for row in cursor.execute(sql, parameters))


def _posted(happened: str, recorded: str, *, late: str = "TRUE") -> str:
    """In which month a fact counts; where it is not `late`, no month can have been closed in between."""
    closed = f"coalesce((SELECT max(end_at) FROM dca_periods WHERE closed_at < {recorded}), 0)"
    return f"CASE WHEN NOT ({late}) OR {happened} >= {closed} THEN {happened} ELSE {recorded} END"


MINE = "(:scope IS NULL OR m.operator_id = :scope) AND (:machine IS NULL OR m.id = :machine)"

#: How far a fact may be behind its time before it can meet a closed month: none is closed sooner (ledger/periods.py).
#: Spelled as in schema.sql, so that the partial index serves.
LATE = "s.proven_at > min(s.occurred_at, s.landed_at) + 240"

# --- what the books say about a sale's cash, changed after the sale was posted

_CHANGE_MINOR = (
    "coalesce(json_extract(a.after, '$.fiat_amount_minor'), 0) - coalesce(json_extract(a.before, "
    "'$.fiat_amount_minor'), 0)"
)
_CHANGES = (
    "audit_log a JOIN dca_settlements s ON s.id = CAST(substr(a.subject, 12) AS INTEGER) "
    "JOIN dca_machines m ON m.id = s.machine_id WHERE a.action IN ('settlement.partial_dispense', "
    "'settlement.revise', 'settlement.fill_in', 'settlement.shortfall', 'settlement.undo_shortfall') "
    "AND json_type(a.after, '$.fiat_amount_minor') IS NOT NULL "
    f"AND s.proof <> 'waiting' AND a.at > s.proven_at AND {_CHANGE_MINOR} <> 0"
)
_CASH_CHANGES = f"""
SELECT a.at, a.at, 'corrected:' || s.settlement_key || ':' || (
           SELECT count(*) FROM audit_log x WHERE x.subject = a.subject AND x.id <= a.id),
       s.machine_id, m.currency, s.exchange_rate, s.id, s.settlement_key, {_CHANGE_MINOR}, substr(a.action, 12)
FROM {_CHANGES} AND a.at >= :since AND a.at < :until AND {MINE} ORDER BY 1, 3
"""
CHANGED = f"""
WITH changed AS MATERIALIZED (SELECT s.id, sum({_CHANGE_MINOR}) AS minor FROM {_CHANGES} GROUP BY s.id)
"""
_CASH_MINOR = "coalesce(s.fiat_amount_minor, 0) - coalesce((SELECT minor FROM changed c WHERE c.id = s.id), 0)"

# --- sales

_WAS_UNASSIGNED = (
    "EXISTS (SELECT 1 FROM dca_unmatched_payments u WHERE u.machine_id = s.machine_id "
    "AND u.payment_hash = s.payment_hash AND u.first_seen_at <= s.proven_at)"
)
_SALE = (
    "'sale:' || s.settlement_key, s.machine_id, m.currency, s.exchange_rate, s.id, s.settlement_key, s.gross_sats, "
    f"{_CASH_MINOR}, {_WAS_UNASSIGNED} FROM dca_settlements s CROSS JOIN dca_machines m ON m.id = s.machine_id "
    "WHERE s.proof <> 'waiting'"
)
SALE_POSTED = _posted("s.occurred_at", "s.proven_at", late="s.proven_at > s.occurred_at + 240")
_SALES = f"""{CHANGED}
SELECT s.occurred_at, s.occurred_at, {_SALE} AND s.occurred_at >= :since AND s.occurred_at < :until
  AND {SALE_POSTED} = s.occurred_at AND s.proven_at <= :known AND {MINE} ORDER BY 1, 3
"""
_LATE_SALES = f"""{CHANGED}
SELECT s.proven_at, s.occurred_at, {_SALE} AND {LATE} AND s.proven_at >= :since AND s.proven_at < :until
  AND {SALE_POSTED} <> s.occurred_at AND {MINE} ORDER BY 1, 3
"""

# --- legs

WHO = (
    "CASE p.leg_type WHEN 'operator_split' THEN coalesce(p.label, substr(p.leg, 7)) WHEN 'super_fee' THEN '' "
    "WHEN 'refund' THEN '' ELSE c.label END"
)
COUNTED = "min(p.amount_sats, p.sent_sats + coalesce(p.fee_sats, 0))"
CASH_OF_LEG = f"CASE WHEN p.{LEG_USES_CASH} THEN p.fiat_amount_minor ELSE 0 END"
_OF_LEGS = (
    "FROM dca_payments p CROSS JOIN dca_machines m ON m.id = p.machine_id LEFT JOIN dca_settlements s "
    "ON s.id = p.settlement_id LEFT JOIN dca_clients c ON c.id = p.client_id "
    f"WHERE p.completed_at IS NOT NULL AND p.completed_at >= :since AND p.completed_at < :until AND {MINE}"
)
_PAID = f"""
SELECT p.completed_at, p.completed_at, 'leg:' || p.leg_key, p.machine_id, m.currency,
       coalesce(p.exchange_rate, s.exchange_rate, '0'), coalesce(s.id, 0), coalesce(s.settlement_key, ''), p.leg_type,
       {WHO}, p.sent_sats, coalesce(p.fee_sats, 0), {COUNTED}, {CASH_OF_LEG}
{_OF_LEGS} ORDER BY 1, 3
"""

# --- what is retained

KEPT_POSTED = _posted("r.created_at", "max(r.created_at, s.proven_at)", late="s.proven_at > r.created_at")
_KEPT_OF_SALES = (
    "CROSS JOIN dca_settlements s ON s.id = r.settlement_id CROSS JOIN dca_machines m ON m.id = s.machine_id "
    "WHERE s.proof <> 'waiting'"
)
#: The how-manieth of its kind: `+` keeps SQLite from walking along the ids of all sales.
_KEPT_NUMBER = (
    "(SELECT count(*) FROM dca_retained x WHERE x.settlement_id = r.settlement_id AND +x.id <= r.id "
    "AND x.revision = r.revision AND x.reason = r.reason AND x.leg = r.leg)"
)
_KEPT_COLUMNS = (
    "'kept:' || s.settlement_key || ':r' || r.revision || ':' || r.reason || ':' || r.leg || ':' || "
    f"{_KEPT_NUMBER}, m.id, m.currency, s.exchange_rate, s.id, s.settlement_key, r.reason, r.leg, r.amount_sats"
)
_KEPT = f"""
SELECT r.created_at, r.created_at, {_KEPT_COLUMNS} FROM dca_retained r {_KEPT_OF_SALES}
  AND r.created_at >= :since AND r.created_at < :until AND {KEPT_POSTED} = r.created_at
  AND max(r.created_at, s.proven_at) <= :known AND {MINE}
ORDER BY 1, 3
"""
_LATE_KEPT = f"""
SELECT s.proven_at, r.created_at, {_KEPT_COLUMNS}
FROM dca_settlements s CROSS JOIN dca_retained r ON r.settlement_id = s.id
CROSS JOIN dca_machines m ON m.id = s.machine_id
WHERE s.proof <> 'waiting' AND {LATE} AND s.proven_at >= :since AND s.proven_at < :until
  AND r.created_at < s.proven_at AND {KEPT_POSTED} <> r.created_at AND {MINE} ORDER BY 1, 3
"""
_KEPT_OF_PAYOUTS = f"""
SELECT r.created_at, r.created_at, 'kept:' || p.leg_key || ':' || r.reason || ':' || (
           SELECT count(*) FROM dca_retained x WHERE x.payment_id = r.payment_id AND +x.id <= r.id),
       m.id, m.currency, coalesce(p.exchange_rate, '0'), 0, '', r.reason, r.leg, r.amount_sats
FROM dca_retained r CROSS JOIN dca_payments p ON p.id = r.payment_id CROSS JOIN dca_machines m ON m.id = p.machine_id
WHERE r.settlement_id IS NULL AND r.created_at >= :since AND r.created_at < :until AND {MINE}
ORDER BY 1, 3
"""

# --- cash, and what is no sale's

#: Once a machine has a cash book, that says what is in the machine, and a deposit only whose it is; so does one of cash
#: that a customer had not got.
_WAS_THERE = "EXISTS (SELECT 1 FROM dca_shortfalls x WHERE x.deposit_id = coalesce(d.reverses, d.id))"
_BOOKED = (
    f"(d.cash_id IS NOT NULL OR {_WAS_THERE} OR EXISTS (SELECT 1 FROM dca_cash b "
    "WHERE b.machine_id = d.machine_id AND b.recorded_at < d.decided_at))"
)
_CASH_POSTED = _posted("d.effective_at", "d.decided_at", late="d.decided_at > d.effective_at + 240")
_CASH = f"""
SELECT {_CASH_POSTED} AS posted, d.effective_at, 'cash:' || d.machine_id || ':' || c.label || ':' || d.id, d.machine_id,
       d.currency, d.kind, c.label, d.amount_minor, {_BOOKED}, {_WAS_THERE}
FROM dca_deposits d CROSS JOIN dca_clients c ON c.id = d.client_id CROSS JOIN dca_machines m ON m.id = d.machine_id
WHERE d.status = 'confirmed' AND {_CASH_POSTED} >= :since AND {_CASH_POSTED} < :until AND d.decided_at <= :known
  AND {MINE}
ORDER BY 1, 3
"""

_FIRST_ROW = "(SELECT min(x.id) FROM dca_cash x WHERE x.machine_id = k.machine_id)"
_NOTES_POSTED = _posted("k.at", "k.recorded_at", late="k.recorded_at > k.at + 240")
#: A correction counts when it was made. A count moves nothing; but the first row of a machine's book, where it is one,
#: says what was there, and so does its correction.
_NOTES_MOVED = f"""CASE r.kind WHEN 'load' THEN 1 WHEN 'take' THEN -1
    WHEN 'collect' THEN iif(k.corrects IS NOT NULL AND r.id = {_FIRST_ROW}, 0, -1)
    ELSE k.corrects IS NOT NULL AND r.id = {_FIRST_ROW} END * (k.amount_minor - coalesce(o.amount_minor, 0))"""
_NOTES_AT = f"CASE WHEN k.corrects IS NULL THEN {_NOTES_POSTED} ELSE k.recorded_at END"
_NOTES = f"""
SELECT {_NOTES_AT} AS posted, k.at, 'notes:' || k.machine_id || ':' || k.id, k.machine_id, k.currency,
       iif(k.corrects IS NULL, k.kind, 'correction'), {_NOTES_MOVED} AS moved
FROM dca_cash k CROSS JOIN dca_cash r ON r.id = k.root_id LEFT JOIN dca_cash o ON o.id = k.corrects
CROSS JOIN dca_machines m ON m.id = k.machine_id
WHERE {_NOTES_AT} >= :since AND {_NOTES_AT} < :until AND k.recorded_at <= :known AND moved <> 0 AND {MINE}
ORDER BY 1, 3
"""
#: What brings a machine's cash to what its book begins with: what the first row has counted, else nothing. What was
#: sold and brought before, as the books knew it when the row was written, is no part of it any more.
_BEGUN = f"""{CHANGED}
SELECT {_NOTES_POSTED} AS posted, k.at, 'notes:' || k.machine_id || ':begun', k.machine_id, k.currency, 'begun',
       iif(k.kind IN ('count', 'collect'), k.amount_minor, 0)
       + (SELECT coalesce(sum({_CASH_MINOR}), 0) FROM dca_settlements s WHERE s.machine_id = k.machine_id
          AND s.proof <> 'waiting' AND s.occurred_at <= k.at AND s.proven_at <= k.recorded_at)
       + (SELECT coalesce(sum({_CHANGE_MINOR}), 0) FROM {_CHANGES} AND s.machine_id = k.machine_id
          AND s.occurred_at <= k.at AND s.proven_at <= k.recorded_at AND a.at <= k.recorded_at)
       - (SELECT coalesce(sum(d.amount_minor), 0) FROM dca_deposits d WHERE d.machine_id = k.machine_id
          AND d.status = 'confirmed' AND NOT {_BOOKED}) AS moved
FROM dca_cash k CROSS JOIN dca_machines m ON m.id = k.machine_id
WHERE k.id = {_FIRST_ROW} AND {_NOTES_POSTED} >= :since AND {_NOTES_POSTED} < :until AND k.recorded_at <= :known
  AND moved <> 0 AND {MINE}
"""
_DIFFERENCES = f"""
SELECT b.recorded_at, b.recorded_at, 'notes:' || b.machine_id || ':booked:' || b.id, b.machine_id, b.currency,
       'difference', b.amount_minor
FROM dca_cash_booked b CROSS JOIN dca_machines m ON m.id = b.machine_id
WHERE b.recorded_at >= :since AND b.recorded_at < :until AND b.recorded_at <= :known AND {MINE} ORDER BY 1, 3
"""

# A top-up that is booked to a sale, and what of that was undone.
_TOPPED_UP = f"""
SELECT x.funded_at, x.funded_at, 'topped-up:' || s.settlement_key || ':' || x.number, s.machine_id, m.currency,
       s.exchange_rate, s.id, s.settlement_key, x.topup_sats
FROM dca_shortfalls x CROSS JOIN dca_settlements s ON s.id = x.settlement_id
CROSS JOIN dca_machines m ON m.id = s.machine_id
WHERE x.funded_at >= :since AND x.funded_at < :until AND x.funded_at <= :known AND {MINE} ORDER BY 1, 3
"""
_TOPPED_UP_UNDONE = f"""
SELECT x.undone_at, x.undone_at, 'topped-up:' || s.settlement_key || ':' || x.number || ':undone', s.machine_id,
       m.currency, s.exchange_rate, s.id, s.settlement_key, -x.topup_sats
FROM dca_shortfalls x CROSS JOIN dca_settlements s ON s.id = x.settlement_id
CROSS JOIN dca_machines m ON m.id = s.machine_id
WHERE x.funded_at IS NOT NULL AND x.undone_at >= :since AND x.undone_at < :until AND x.undone_at <= :known AND {MINE}
ORDER BY 1, 3
"""

# What came in before its sale was known; the sale then takes it from there (`was_unassigned`).
_IN_POSTED = _posted("u.settled_at", "u.first_seen_at", late="u.first_seen_at > u.settled_at + 240")
_CAME_IN = f"""
SELECT {_IN_POSTED} AS posted, u.settled_at, 'in:' || u.machine_id || ':' || u.payment_hash, u.machine_id, m.currency,
       u.amount_sats, EXISTS (SELECT 1 FROM dca_topups t WHERE t.machine_id = u.machine_id
                              AND t.payment_hash = u.payment_hash)
FROM dca_unmatched_payments u CROSS JOIN dca_machines m ON m.id = u.machine_id
WHERE {_IN_POSTED} >= :since AND {_IN_POSTED} < :until AND u.first_seen_at <= :known AND {MINE} AND NOT EXISTS (
      SELECT 1 FROM dca_settlements s WHERE s.machine_id = u.machine_id AND s.payment_hash = u.payment_hash
      AND s.proof <> 'waiting' AND s.proven_at < u.first_seen_at)
ORDER BY 1, 3
"""

_OUT_POSTED = _posted("f.made_at", "coalesce(f.decided_at, f.first_seen_at)")
_WENT_OUT = f"""
SELECT {_OUT_POSTED} AS posted, f.made_at, 'out:' || f.machine_id || ':' || f.payment_hash, f.machine_id, m.currency,
       -f.amount_sats - f.fee_sats, 0
FROM dca_foreign_payments f CROSS JOIN dca_machines m ON m.id = f.machine_id
WHERE f.settled_by IS NOT NULL AND f.settled_by <> 'adopted' AND f.payment_id IS NULL AND f.status <> 'failure'
  AND {_OUT_POSTED} >= :since AND {_OUT_POSTED} < :until AND coalesce(f.decided_at, f.first_seen_at) <= :known
  AND {MINE} AND NOT EXISTS (
      SELECT 1 FROM dca_payments p WHERE p.payment_hash = f.payment_hash AND p.status = 'completed')
ORDER BY 1, 3
"""

#: Few rows beside sales and legs: they are added up one by one.
FEW: tuple[tuple[Any, str], ...] = (
    (CashChange, _CASH_CHANGES),
    (Kept, _KEPT_OF_PAYOUTS),
    (CashBrought, _CASH),
    (CashMoved, _NOTES),
    (CashMoved, _BEGUN),
    (CashMoved, _DIFFERENCES),
    (ToppedUp, _TOPPED_UP),
    (ToppedUp, _TOPPED_UP_UNDONE),
    (Unassigned, _CAME_IN),
    (Unassigned, _WENT_OUT),
)
_STREAMS: tuple[tuple[Any, str], ...] = (
    (Sale, _SALES),
    (Sale, _LATE_SALES),
    (Paid, _PAID),
    (Kept, _KEPT),
    (Kept, _LATE_KEPT),
    *FEW,
)

_COUNT = """
SELECT (SELECT count(*) FROM dca_payments p WHERE p.completed_at IS NOT NULL AND p.completed_at >= :since
        AND p.completed_at < :until)
     + (SELECT count(*) FROM dca_settlements WHERE occurred_at >= :since AND occurred_at < :until)
"""
_FIRST_AT = """
SELECT min(at) FROM (
    SELECT min(occurred_at) AS at FROM dca_settlements UNION ALL SELECT min(effective_at) FROM dca_deposits
    UNION ALL SELECT min(completed_at) FROM dca_payments WHERE completed_at IS NOT NULL
    UNION ALL SELECT min(settled_at) FROM dca_unmatched_payments
    UNION ALL SELECT min(at) FROM dca_cash UNION ALL SELECT min(made_at) FROM dca_foreign_payments)
"""
