"""The cash book, what it is compared with, and the forecasts (SPEC section 12). Rows of the book are only ever added.

Amounts are minor units of the machine's currency. The entries that are valid (neither corrected nor taken back) are in
the view `cash_entries`; a sale's cash is read only from the view `cash_sales`.
"""

# ruff: noqa: S608 - statements are put together from this module's own words only.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from satmachine.errors import NotFound
from satmachine.models.banknotes import of_sale
from satmachine.models.cash_values import CashEntry, CashSale, EntryKind, NoteLine, Told
from satmachine.money import sats_to_minor
from satmachine.store.pages import Order, Page, Where, merged, page

Record = dict[str, Any]

#: A forecast that is older than this is no longer shown.
STALE_AFTER_S = 6 * 3_600
#: How much a machine's clock may differ from ours before its beacons are no longer found.
_CLOCK_SLACK_S = 2 * 86_400


# --- the book


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry before it has an id."""

    machine_id: str
    kind: EntryKind
    at: int
    currency: str
    lines: tuple[NoteLine, ...]
    note: str = ""
    corrects: int | None = None


def insert(conn: sqlite3.Connection, draft: Draft, *, actor: str, now: int) -> CashEntry:
    """Add an entry with what the machine had last said before it; returns it."""
    new_id = int(conn.execute("SELECT coalesce(max(id), 0) + 1 FROM dca_cash").fetchone()[0])
    told = told_before(conn, draft.machine_id, draft.at)
    conn.execute(
        """INSERT INTO dca_cash (id, root_id, corrects, machine_id, kind, at, amount_minor, currency, told_minor,
        told_at, note, actor, recorded_at) VALUES (?1, coalesce((SELECT root_id FROM dca_cash WHERE id = ?2), ?1),
        ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)""",
        (
            new_id,
            draft.corrects,
            draft.machine_id,
            draft.kind,
            draft.at,
            sum(line.amount_minor for line in draft.lines),
            draft.currency,
            None if told is None else told.cash_minor,
            None if told is None else told.at,
            draft.note,
            actor,
            now,
        ),
    )
    conn.executemany(
        """INSERT INTO dca_cash_notes (cash_id, position, cassette, denomination_minor, notes, amount_minor)
        VALUES (?, ?, ?, ?, ?, ?)""",
        [
            (new_id, place, line.cassette, line.denomination_minor, line.notes, line.amount_minor)
            for place, line in enumerate(draft.lines)
        ],
    )
    return get(conn, new_id)


def currency_of(conn: sqlite3.Connection, machine_id: str) -> str:
    """The currency of a machine that exists."""
    return str(conn.execute("SELECT currency FROM dca_machines WHERE id = ?", (machine_id,)).fetchone()["currency"])


def get(conn: sqlite3.Connection, entry_id: int, *, operator: str | None = None) -> CashEntry:
    """One entry, valid or not. Raises NotFound, also if it is another operator's."""
    row = conn.execute(
        """SELECT c.* FROM dca_cash c JOIN dca_machines m ON m.id = c.machine_id
        WHERE c.id = ?1 AND (?2 IS NULL OR m.operator_id = ?2)""",
        (entry_id, operator),
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no cash entry {entry_id}; `satmachine cash list` shows the ids")
    return _entry(row, _lines(conn, [entry_id])[entry_id])


def replaced_by(conn: sqlite3.Connection, entry_id: int) -> CashEntry | None:
    """The entry that has replaced this one."""
    row = conn.execute("SELECT id FROM dca_cash WHERE corrects = ?", (entry_id,)).fetchone()
    return None if row is None else get(conn, row["id"])


def standing(conn: sqlite3.Connection, machine_id: str, *, since: int = 0) -> list[CashEntry]:
    """A machine's valid entries, the oldest first, done at or after `since` (Unix seconds)."""
    found = conn.execute(
        "SELECT * FROM cash_entries WHERE machine_id = ? AND at >= ? ORDER BY at, root_id", (machine_id, since)
    ).fetchall()
    lines = _lines(conn, [row["id"] for row in found])
    return [_entry(row, lines[row["id"]]) for row in found]


def closings(conn: sqlite3.Connection, machine_id: str, limit: int) -> list[CashEntry]:
    """The latest valid counts and collections, the newest first."""
    found = conn.execute(
        """SELECT * FROM cash_entries WHERE machine_id = ? AND kind IN ('count', 'collect')
        ORDER BY at DESC, root_id DESC LIMIT ?""",
        (machine_id, limit),
    ).fetchall()
    lines = _lines(conn, [row["id"] for row in found])
    return [_entry(row, lines[row["id"]]) for row in found]


def last_closing_before(conn: sqlite3.Connection, machine_id: str, at: int) -> int:
    """When the machine was last counted or emptied before a moment; 0: never."""
    row = conn.execute(
        "SELECT max(at) FROM cash_entries WHERE machine_id = ? AND kind IN ('count', 'collect') AND at <= ?",
        (machine_id, at),
    ).fetchone()
    return int(row[0] or 0)


def find(
    conn: sqlite3.Connection,
    scope: str | None,
    *,
    machine: str | None = None,
    kind: str | None = None,
    since: int | None = None,
    until: int | None = None,
    before_id: int | None = None,
    limit: int = 50,
) -> Page:
    """Entries as they were recorded, the newest first, with what has replaced them and their notes as text."""
    order = Order("dca_cash", "recorded_at", _LISTED)
    where = Where()
    where.given("machine_id = ?", machine)
    where.given("kind = ?", kind)
    order.span(where, since, until)
    order.go_on(conn, where, before_id)
    if scope is None or machine is not None:
        return page(conn, order, where, limit)
    ids = conn.execute("SELECT id FROM dca_machines WHERE operator_id = ?", (scope,))
    return merged(conn, order, [where.plus("machine_id = ?", row["id"]) for row in ids], limit)


def told_before(conn: sqlite3.Connection, machine_id: str, at: int) -> Told | None:
    """What the machine last said about its cash before a moment; its `at` is when that was received."""
    row = conn.execute(
        """SELECT received_at, cash_left_minor FROM dca_telemetry_log WHERE machine_id = ?1
        AND cash_left_minor IS NOT NULL AND created_at <= ?2 + ?3 AND received_at <= ?2
        ORDER BY created_at DESC LIMIT 1""",
        (machine_id, at, _CLOCK_SLACK_S),
    ).fetchone()
    return None if row is None else Told(row["received_at"], row["cash_left_minor"])


def beacons(conn: sqlite3.Connection, machine_id: str, since: int, until: int) -> list[Told]:
    """What the machine said about its cash, by the time at which it was received: its own clock may be wrong."""
    found = conn.execute(
        """SELECT received_at, cash_left_minor FROM dca_telemetry_log WHERE machine_id = ?1
        AND cash_left_minor IS NOT NULL AND created_at >= ?2 - ?4 AND created_at < ?3 + ?4
        AND received_at >= ?2 AND received_at < ?3 ORDER BY received_at, created_at""",
        (machine_id, since, until, _CLOCK_SLACK_S),
    )
    return [Told(row[0], row[1]) for row in found]


def sales(conn: sqlite3.Connection, machine_id: str, since: int, until: int) -> list[CashSale]:
    """What proven sales took out of a machine, after `since` and up to `until`, the oldest first."""
    found = conn.execute(
        """SELECT c.settlement_id, c.at, c.sold_minor, s.bills, s.net_sats, s.exchange_rate, s.currency
        FROM cash_sales c JOIN dca_settlements s ON s.id = c.settlement_id
        WHERE c.machine_id = ? AND c.at > ? AND c.at <= ? ORDER BY c.at, c.settlement_id""",
        (machine_id, since, until),
    )
    return [_sale(row) for row in found]


def unproven(conn: sqlite3.Connection, machine_id: str, since: int) -> Record:
    """How many sales since then wait for their proof, and the cash that they say they took."""
    row = conn.execute(
        """SELECT count(*) AS sales, coalesce(sum(fiat_amount_minor), 0) AS sold_minor FROM dca_settlements
        WHERE machine_id = ? AND occurred_at > ? AND proof = 'waiting'""",
        (machine_id, since),
    ).fetchone()
    return dict(row)


def told_notes(conn: sqlite3.Connection, machine_id: str) -> dict[int, tuple[int, list[int]]]:
    """{denomination: (notes, its cassettes)} as the machine last reported; without what it did not report."""
    found: dict[int, tuple[int, list[int]]] = {}
    for row in conn.execute(
        """SELECT cassette, denomination_minor, notes FROM cash_by_cassette
        WHERE machine_id = ? AND denomination_minor IS NOT NULL AND notes IS NOT NULL ORDER BY cassette""",
        (machine_id,),
    ):
        notes, cassettes = found.get(row["denomination_minor"], (0, []))
        found[row["denomination_minor"]] = (notes + row["notes"], [*cassettes, row["cassette"]])
    return found


def known_cassettes(conn: sqlite3.Connection, machine_id: str) -> dict[int, int]:
    """{cassette: denomination} as the book knows it, else as the machine reports."""
    found = {
        int(row["cassette"]): int(row["denomination_minor"])
        for row in conn.execute(
            """SELECT cassette, denomination_minor FROM cash_by_cassette
            WHERE machine_id = ? AND denomination_minor IS NOT NULL""",
            (machine_id,),
        )
    }
    last = closings(conn, machine_id, 1)
    for entry in standing(conn, machine_id, since=last[0].at if last else 0):
        for line in entry.lines:
            if line.cassette is not None and line.denomination_minor is not None:
                found[line.cassette] = line.denomination_minor
    return found


# --- what is booked of differences


def book(
    conn: sqlite3.Connection,
    closing: CashEntry,
    amount_minor: int,
    *,
    since_at: int,
    until_at: int,
    reason: str,
    actor: str,
    now: int,
) -> int:
    """Say why a cycle's cash differed; returns the row's id."""
    cursor = conn.execute(
        """INSERT INTO dca_cash_booked (cash_id, machine_id, amount_minor, currency, since_at, until_at, reason, actor,
        recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            closing.root_id,
            closing.machine_id,
            amount_minor,
            closing.currency,
            since_at,
            until_at,
            reason,
            actor,
            now,
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def booked(conn: sqlite3.Connection, machine_id: str) -> dict[int, int]:
    """{root of the closing entry: what is booked of its cycle's difference}"""
    found = conn.execute(
        "SELECT cash_id, sum(amount_minor) FROM dca_cash_booked WHERE machine_id = ? GROUP BY cash_id", (machine_id,)
    )
    return {int(row[0]): int(row[1]) for row in found}


def bookings(conn: sqlite3.Connection, root_id: int) -> list[Record]:
    """What was booked of one cycle, the oldest first."""
    found = conn.execute("SELECT * FROM dca_cash_booked WHERE cash_id = ? ORDER BY id", (root_id,))
    return [dict(row) for row in found]


# --- views


def now_rows(conn: sqlite3.Connection, scope: str | None, machine_ids: Sequence[str] | None = None) -> list[Record]:
    """The view `cash_now` with the stored forecast and how many cycles have an open difference, by operator and id.

    `machine_ids`: only these machines; of a thousand, a few are answered in a fraction of the time.
    """
    only = "" if machine_ids is None else "n.machine_id IN (SELECT value FROM json_each(?2)) AND "
    found = conn.execute(
        f"""SELECT n.*, f.early_at, f.likely_at, f.late_at, f.sure, f.computed_at, f.open_differences FROM cash_now n
        LEFT JOIN dca_cash_forecasts f ON f.machine_id = n.machine_id
        WHERE {only}(?1 IS NULL OR n.operator_id = ?1)
        ORDER BY n.operator_id, n.machine_id""",
        (scope, *([] if machine_ids is None else [json.dumps(list(machine_ids))])),
    )
    return [dict(row) for row in found]


def cycle_rows(conn: sqlite3.Connection, scope: str | None, machine_id: str | None, limit: int) -> list[Record]:
    """The view `cash_cycles`, each machine's newest cycles first."""
    found = conn.execute(
        """SELECT * FROM cash_cycles WHERE (?1 IS NULL OR operator_id = ?1) AND (?2 IS NULL OR machine_id = ?2)
        ORDER BY operator_id, machine_id, closed_at IS NOT NULL, closed_at DESC, root_id DESC LIMIT ?3""",
        (scope, machine_id, limit),
    )
    return [dict(row) for row in found]


def open_differences(conn: sqlite3.Connection, machine_id: str) -> list[Record]:
    """Cycles of a machine whose cash differs, with a part for which nobody has given a reason, the newest first."""
    found = conn.execute(
        """SELECT * FROM cash_differences WHERE machine_id = ? AND state IN ('short', 'over', 'unclear')
        ORDER BY closed_at DESC, closed_id DESC""",
        (machine_id,),
    )
    return [dict(row) for row in found]


def count_differing(conn: sqlite3.Connection, machine_id: str) -> int:
    """How many cycles of a configured machine differ, with a part that is not booked. Reads all its sales since the
    first count."""
    row = conn.execute(
        "SELECT count(*) FROM cash_cycles WHERE machine_id = ? AND state IN ('short', 'over', 'unclear')",
        (machine_id,),
    ).fetchone()
    return int(row[0])


def deposits_of(conn: sqlite3.Connection, root_id: int) -> list[Record]:
    """The deposits that were proposed with a load, or with what it was corrected from."""
    found = conn.execute(
        """SELECT d.id, d.client_id, c.label, d.amount_minor, d.currency, d.status FROM dca_deposits d
        JOIN dca_clients c ON c.id = d.client_id JOIN dca_cash l ON l.id = d.cash_id
        WHERE l.root_id = ? AND d.status <> 'rejected' AND d.kind = 'deposit'
        AND NOT EXISTS (SELECT 1 FROM dca_deposits x WHERE x.reverses = d.id) ORDER BY d.id""",
        (root_id,),
    )
    return [dict(row) for row in found]


# --- forecasts


def sold_at(conn: sqlite3.Connection, machine_id: str, since: int, until: int) -> list[tuple[int, int | None]]:
    """(time, cash) of each proven sale of `since` <= time < `until`, the oldest first; None: it does not say it."""
    found = conn.execute(
        "SELECT at, sold_minor FROM cash_sales WHERE machine_id = ? AND at >= ? AND at < ? ORDER BY at",
        (machine_id, since, until),
    )
    return [(row[0], row[1]) for row in found]


def first_sale_day(conn: sqlite3.Connection, machine_id: str) -> int | None:
    """The UTC day of the machine's first proven sale."""
    row = conn.execute(
        "SELECT at / 86400 FROM cash_sales WHERE machine_id = ? ORDER BY at LIMIT 1", (machine_id,)
    ).fetchone()
    return None if row is None else int(row[0])


def save_forecast(conn: sqlite3.Connection, row: Mapping[str, object]) -> None:
    """Store a machine's forecast in place of the one before."""
    names = (
        *("machine_id", "computed_at", "source", "cash_minor", "currency", "days_known", "sure", "horizon_days"),
        *("open_differences", "early_at", "likely_at", "late_at"),
    )
    conn.execute(
        """INSERT INTO dca_cash_forecasts (machine_id, computed_at, source, cash_minor, currency, days_known, sure,
        horizon_days, open_differences, early_at, likely_at, late_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (machine_id) DO UPDATE SET computed_at = excluded.computed_at, source = excluded.source,
        cash_minor = excluded.cash_minor, currency = excluded.currency, days_known = excluded.days_known,
        sure = excluded.sure, horizon_days = excluded.horizon_days, open_differences = excluded.open_differences,
        early_at = excluded.early_at, likely_at = excluded.likely_at, late_at = excluded.late_at""",
        [row[name] for name in names],
    )


def forecasts_due(conn: sqlite3.Connection, before: int, limit: int) -> list[str]:
    """Configured machines whose forecast was computed before then, or never; those that wait longest first."""
    found = conn.execute(
        """SELECT m.id FROM dca_machines m LEFT JOIN dca_cash_forecasts f ON f.machine_id = m.id
        WHERE m.in_config = 1 AND coalesce(f.computed_at, 0) < ? ORDER BY coalesce(f.computed_at, 0), m.id LIMIT ?""",
        (before, limit),
    )
    return [str(row["id"]) for row in found]


def forecasts(conn: sqlite3.Connection, *, fresh_since: int) -> list[Record]:
    """Stored forecasts of active machines that are up to date; `first_at` is when the machine may be empty, or NULL."""
    found = conn.execute(
        """SELECT f.*, coalesce(f.early_at, f.likely_at) AS first_at FROM dca_cash_forecasts f
        JOIN dca_machines m ON m.id = f.machine_id WHERE m.in_config = 1 AND m.active = 1 AND f.computed_at >= ?
        ORDER BY f.machine_id""",
        (fresh_since,),
    )
    return [dict(row) for row in found]


# --- what the audit looks for; every row has `subject`, `machine_id`, `settlement_id` and `at`

_ROW = "'cash ' || c.id AS subject, c.machine_id, NULL AS settlement_id, c.at, c.id AS entry_id, c.currency"

#: By the kind of break: what violates a rule of the cash book.
BREAKS: Mapping[str, str] = {
    "cash_sum": f"""
        SELECT {_ROW}, c.amount_minor AS found_minor,
               (SELECT coalesce(sum(n.amount_minor), 0) FROM dca_cash_notes n WHERE n.cash_id = c.id) AS expected_minor
        FROM dca_cash c WHERE found_minor <> expected_minor""",
    "cash_chain": f"""
        SELECT {_ROW}, c.corrects FROM dca_cash c JOIN dca_cash o ON o.id = c.corrects
        WHERE c.root_id <> o.root_id OR c.machine_id <> o.machine_id OR c.currency <> o.currency OR o.id >= c.id
           OR o.kind = 'void' OR c.kind NOT IN (o.kind, 'void')""",
    "cash_booked": """
        SELECT 'cash ' || k.cash_id AS subject, k.machine_id, NULL AS settlement_id, max(k.recorded_at) AS at,
               k.cash_id AS entry_id, sum(k.amount_minor) AS booked_minor, k.currency
        FROM dca_cash_booked k GROUP BY k.cash_id HAVING booked_minor <> 0 AND NOT EXISTS (
             SELECT 1 FROM cash_entries e WHERE e.root_id = k.cash_id AND e.kind IN ('count', 'collect')
             AND e.machine_id = k.machine_id)""",
    "cash_deposits": """
        SELECT 'cash ' || l.root_id AS subject, l.machine_id, NULL AS settlement_id, max(d.recorded_at) AS at,
               l.root_id AS entry_id, sum(d.amount_minor) AS parts_minor, l.currency,
               coalesce((SELECT e.amount_minor FROM cash_entries e WHERE e.root_id = l.root_id), 0) AS loaded_minor
        FROM dca_deposits d JOIN dca_cash l ON l.id = d.cash_id
        WHERE d.status <> 'rejected' AND d.kind = 'deposit'
          AND NOT EXISTS (SELECT 1 FROM dca_deposits x WHERE x.reverses = d.id)
        GROUP BY l.root_id HAVING parts_minor > loaded_minor""",
}


def breaking(conn: sqlite3.Connection, kind: str) -> list[Record]:
    """The rows that break one rule of the cash book."""
    return [dict(row) for row in conn.execute(BREAKS[kind])]


# --- helpers


_LISTED = """
SELECT dca_cash.id, machine_id, kind, at, amount_minor, currency, note, actor, recorded_at, corrects,
       (SELECT x.id FROM dca_cash x WHERE x.corrects = dca_cash.id) AS replaced_by,
       (SELECT json_group_array(json_object('cassette', n.cassette, 'denomination_minor', n.denomination_minor,
                                            'notes', n.notes, 'amount_minor', n.amount_minor))
        FROM dca_cash_notes n WHERE n.cash_id = dca_cash.id) AS notes
FROM dca_cash
"""


def _lines(conn: sqlite3.Connection, ids: Sequence[int]) -> dict[int, tuple[NoteLine, ...]]:
    found: dict[int, tuple[NoteLine, ...]] = {}
    for entry_id in ids:
        rows = conn.execute(
            """SELECT cassette, denomination_minor, notes, amount_minor FROM dca_cash_notes WHERE cash_id = ?
            ORDER BY position""",
            (entry_id,),
        )
        found[entry_id] = tuple(NoteLine(*row) for row in rows)
    return found


def _entry(row: sqlite3.Row, lines: tuple[NoteLine, ...]) -> CashEntry:
    return CashEntry(
        id=row["id"],
        root_id=row["root_id"],
        corrects=row["corrects"],
        machine_id=row["machine_id"],
        kind=EntryKind(row["kind"]),
        at=row["at"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        told_minor=row["told_minor"],
        told_at=row["told_at"],
        note=row["note"],
        actor=row["actor"],
        recorded_at=row["recorded_at"],
        lines=lines,
    )


def _sale(row: sqlite3.Row) -> CashSale:
    sold_minor, rate = row["sold_minor"], Decimal(row["exchange_rate"])
    estimated = sats_to_minor(row["net_sats"], rate, row["currency"]) if sold_minor is None and rate > 0 else None
    return CashSale(
        row["settlement_id"], row["at"], sold_minor, estimated, of_sale(row["bills"], sold_minor, row["currency"])
    )
