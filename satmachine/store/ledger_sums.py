"""What many facts of the ledger come to, added up by SQLite (store/ledger.py reads them one by one).

A sum is a fact itself: of one kind, machine and payee, with what it has no use for left empty; the ledger's arithmetic
is linear, so the postings of a sum are the sums of the postings. From the beginning of the books on, the rows of each
machine lie together in an index that holds all that is added up; those of a time are walked along, slice by slice.
"""

# ruff: noqa: S608 - statements are put together from this module's own words only.

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from satmachine.models.facts import CashChange, Fact, Kept, Moved, Paid, Sale, Unassigned
from satmachine.store import ledger
from satmachine.store.ledger import CASH_OF_LEG, CHANGED, COUNTED, FEW, KEPT_POSTED, LATE, MINE, SALE_POSTED, WHO, Span

_FOUR_WEEKS_S = 28 * 86_400
_SLICES = 60

#: What sats were worth at a rate (decimal text) in minor units of a currency; None where the rate is unknown.
Worth = Callable[[int, str, str], int | None]
#: Called after each step.
Seen = Callable[[], object]


def steps(conn: sqlite3.Connection, span: Span) -> int:
    """How often `sums` calls its `seen`."""
    if span.since == 0:
        return len(ledger.machines(conn, span.scope, span.machine_id))
    return steps_of_time(conn, span)


def steps_of_time(conn: sqlite3.Connection, span: Span) -> int:
    """How often `moved` calls its `seen`."""
    return len(_slices(conn, span))


def sums(conn: sqlite3.Connection, span: Span, seen: Seen = lambda: None) -> Iterator[Fact]:
    """The facts of a span, added up."""
    if span.since:
        yield from (one.fact for one in _of_time(conn, span, priced=False, seen=seen))
    else:
        yield from _from_the_beginning(conn, span, seen)
    yield from _beside(conn, span)


def moved(conn: sqlite3.Connection, span: Span, worth: Worth, seen: Seen = lambda: None) -> Iterator[Moved]:
    """The same, with what they were worth at each sale's own rate."""
    conn.create_function("worth", 3, worth, deterministic=True)
    yield from _of_time(conn, span, priced=True, seen=seen)
    yield from map(Moved, _beside(conn, span))


def _from_the_beginning(conn: sqlite3.Connection, span: Span, seen: Seen) -> Iterator[Fact]:
    """Machine by machine: all of it lies together."""
    for machine_id in ledger.machines(conn, span.scope, span.machine_id):
        parameters = ledger.named(span) | {"machine": machine_id}
        for kind, sql in ((Sale, _SALES), (Paid, _PAID), (Kept, _KEPT)):
            yield from ledger.stream(conn, lambda *row, kind=kind: kind(0, 0, "", *row), sql, parameters)
        seen()


def _of_time(conn: sqlite3.Connection, span: Span, *, priced: bool, seen: Seen) -> Iterator[Moved]:
    """Slice by slice of the time."""
    statements = _PRICED if priced else _UNPRICED
    for since, until in _slices(conn, span):
        parameters = ledger.named(replace(span, since=since, until=until))
        for kind, sql in statements:
            yield from ledger.stream(conn, lambda *row, kind=kind: _moved(kind, row), sql, parameters)
        seen()


def _beside(conn: sqlite3.Connection, span: Span) -> Iterator[Fact]:
    """The facts of which there are few; and what few sales have beside their sums."""
    for kind, sql in (*FEW, (CashChange, _CASH_LATER), (Unassigned, _FROM_UNASSIGNED)):
        yield from ledger.stream(conn, kind, sql, ledger.named(span))


def _moved(kind: Any, row: tuple[Any, ...]) -> Moved:
    facts, worth_minor, fee_worth_minor, unpriced_sats, *rest = row
    return Moved(kind(0, 0, "", *rest), facts, worth_minor or 0, fee_worth_minor or 0, unpriced_sats)


def _slices(conn: sqlite3.Connection, span: Span) -> list[tuple[int, int]]:
    """The span in up to 60 parts of at least four weeks."""
    first, last = conn.execute(_EXTENT).fetchone()
    begin, end = max(span.since, first or 0), min(span.until, (last or 0) + 1)
    parts = min(_SLICES, max(1, (end - begin) // _FOUR_WEEKS_S))
    cuts = [begin + (end - begin) * number // parts for number in range(1, parts)]
    return list(zip([span.since, *cuts], [*cuts, span.until], strict=True))


_EXTENT = """
SELECT min(first), max(last) FROM (
    SELECT min(occurred_at) AS first, max(occurred_at) AS last FROM dca_settlements
    UNION ALL SELECT min(completed_at), max(completed_at) FROM dca_payments WHERE completed_at IS NOT NULL
    UNION ALL SELECT min(created_at), max(created_at) FROM dca_retained)
"""

# --- from the beginning on, of one machine; spelled so that the indexes `.._ledger` of schema.sql serve

_SALES = f"""
SELECT :machine, m.currency, '0', count(*), '', sum(s.gross_sats), sum(coalesce(s.fiat_amount_minor, 0)), 0
FROM dca_machines m CROSS JOIN dca_settlements s INDEXED BY dca_settlements_ledger ON s.machine_id = m.id
WHERE m.id = :machine AND s.proof <> 'waiting' AND {SALE_POSTED} < :until AND s.proven_at <= :known HAVING count(*)
"""
_PAID = f"""
WITH paid AS MATERIALIZED (
    SELECT client_id, leg_type, label, leg, sum(sent_sats) AS sent_sats, sum(coalesce(fee_sats, 0)) AS fee_sats,
           sum({COUNTED}) AS counted_sats, sum({CASH_OF_LEG}) AS cash_minor
    FROM dca_payments p INDEXED BY dca_payments_ledger
    WHERE machine_id = :machine AND completed_at IS NOT NULL AND completed_at < :until
    GROUP BY client_id, leg_type, label, leg
)
SELECT m.id, m.currency, '0', 0, '', p.leg_type, {WHO}, p.sent_sats, p.fee_sats, p.counted_sats, p.cash_minor
FROM paid p CROSS JOIN dca_machines m ON m.id = :machine LEFT JOIN dca_clients c ON c.id = p.client_id
"""
_KEPT = f"""
SELECT m.id, m.currency, '0', 1, '', r.reason, '', sum(r.amount_sats)
FROM dca_machines m CROSS JOIN dca_settlements s INDEXED BY dca_settlements_ledger ON s.machine_id = m.id
CROSS JOIN dca_retained r ON r.settlement_id = s.id
WHERE m.id = :machine AND s.proof <> 'waiting' AND {KEPT_POSTED} < :until AND max(r.created_at, s.proven_at) <= :known
GROUP BY r.reason
"""

# --- within a time


def _within(*, priced: bool) -> tuple[tuple[Any, str], ...]:
    def worth(sats: str, rate: str) -> str:
        return f"worth({sats}, {rate}, m.currency)" if priced else "0"

    sale = (
        f"SELECT m.id, m.currency, s.gross_sats AS sats, coalesce(s.fiat_amount_minor, 0) AS cash_minor, "
        f"{worth('s.gross_sats', 's.exchange_rate')} AS value FROM dca_settlements s "
        "CROSS JOIN dca_machines m ON m.id = s.machine_id WHERE s.proof <> 'waiting' AND s.proven_at <= :known"
    )
    sales = f"""
    WITH sale AS MATERIALIZED (
        {sale} AND s.occurred_at >= :since AND s.occurred_at < :until AND {SALE_POSTED} = s.occurred_at AND {MINE}
        UNION ALL {sale} AND {LATE} AND s.proven_at >= :since AND s.proven_at < :until
        AND {SALE_POSTED} <> s.occurred_at AND {MINE}
    )
    SELECT count(*), sum(value), 0, sum(iif(value IS NULL, sats, 0)),
           id, currency, '0', 0, '', sum(sats), sum(cash_minor), 0
    FROM sale GROUP BY id
    """
    rate = "coalesce(p.exchange_rate, s.exchange_rate, '0')"
    legs = f"""
    WITH paid AS MATERIALIZED (
        SELECT m.id AS machine_id, m.currency, p.leg_type, p.client_id, {WHO} AS who, p.sent_sats,
               coalesce(p.fee_sats, 0) AS fee_sats, {COUNTED} AS counted_sats, {CASH_OF_LEG} AS cash_minor,
               {worth("p.sent_sats", rate)} AS value,
               CASE WHEN p.fee_sats > 0 THEN {worth("p.fee_sats", rate)} ELSE 0 END AS fee_value
        FROM dca_payments p CROSS JOIN dca_machines m ON m.id = p.machine_id
        LEFT JOIN dca_settlements s ON s.id = p.settlement_id LEFT JOIN dca_clients c ON c.id = p.client_id
        WHERE p.completed_at IS NOT NULL AND p.completed_at >= :since AND p.completed_at < :until AND {MINE}
    )
    SELECT count(*), sum(value), sum(fee_value), sum(iif(value IS NULL, sent_sats, 0)),
           machine_id, currency, '0', 0, '', leg_type, who, sum(sent_sats), sum(fee_sats), sum(counted_sats),
           sum(cash_minor)
    FROM paid GROUP BY machine_id, leg_type, who
    """
    kept = "SELECT m.id, m.currency, r.reason, r.amount_sats FROM "
    retained = f"""
    WITH kept AS MATERIALIZED (
        {kept} dca_retained r CROSS JOIN dca_settlements s ON s.id = r.settlement_id
        CROSS JOIN dca_machines m ON m.id = s.machine_id
        WHERE s.proof <> 'waiting' AND r.created_at >= :since AND r.created_at < :until
        AND {KEPT_POSTED} = r.created_at AND max(r.created_at, s.proven_at) <= :known AND {MINE}
        UNION ALL {kept} dca_settlements s CROSS JOIN dca_retained r ON r.settlement_id = s.id
        CROSS JOIN dca_machines m ON m.id = s.machine_id
        WHERE s.proof <> 'waiting' AND {LATE} AND s.proven_at >= :since AND s.proven_at < :until
        AND s.proven_at <= :known AND r.created_at < s.proven_at AND {KEPT_POSTED} <> r.created_at AND {MINE}
    )
    SELECT count(*), 0, 0, 0, id, currency, '0', 1, '', reason, '', sum(amount_sats)
    FROM kept GROUP BY id, reason, amount_sats > 0
    """
    return ((Sale, sales), (Paid, legs), (Kept, retained))


_PRICED, _UNPRICED = _within(priced=True), _within(priced=False)

# --- few, beside their sums

_CASH_LATER = f"""{CHANGED}
SELECT 0, 0, '', s.machine_id, m.currency, '0', s.id, '', -c.minor, '' FROM changed c
CROSS JOIN dca_settlements s ON s.id = c.id CROSS JOIN dca_machines m ON m.id = s.machine_id
WHERE {SALE_POSTED} BETWEEN :since AND :until - 1 AND s.proven_at <= :known AND {MINE}
"""
_FROM_UNASSIGNED = f"""
SELECT 0, 0, '', s.machine_id, m.currency, -s.gross_sats, 0 FROM dca_unmatched_payments u
CROSS JOIN dca_settlements s ON s.machine_id = u.machine_id AND s.payment_hash = u.payment_hash
CROSS JOIN dca_machines m ON m.id = s.machine_id
WHERE s.proof <> 'waiting' AND u.first_seen_at <= s.proven_at AND {SALE_POSTED} BETWEEN :since AND :until - 1
  AND s.proven_at <= :known AND {MINE}
"""
