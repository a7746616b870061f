"""What came into the machines' wallets and is no sale, or not yet: unmatched payments, dismissals, top-ups."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from satmachine.store import as_models as rows


@dataclass(frozen=True, slots=True)
class KnownIncoming:
    """What these books know of a wallet's incoming payments, as far as a sweep asks.

    `settled`: hashes that belong to a sale; `dismissed`: those that a person has said are none; `top_ups`: those that
    paid an invoice of `machines top-up`; `own`: those that paid an invoice of a leg. `announces`: whether the machine
    has ever announced a sale.
    """

    settled: frozenset[str]
    dismissed: frozenset[str]
    top_ups: frozenset[str]
    announces: bool
    own: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Listed:
    """An incoming payment without a sale, as it is listed; `settled_at` is when it arrived."""

    machine_id: str
    payment_hash: str
    amount_sats: int
    memo: str
    extra: Mapping[str, object]
    settled_at: int
    kind: str
    dismissed_at: int | None


@dataclass(frozen=True, slots=True)
class TopUp:
    """An invoice that `machines top-up` made; times are Unix seconds."""

    machine_id: str
    payment_hash: str
    id: str
    amount_sats: int
    made_at: int
    made_by: str
    note: str
    expires_at: int
    bolt11: str
    paid_at: int | None = None


def known(conn: sqlite3.Connection, machine_id: str, hashes: Collection[str]) -> KnownIncoming:
    """What is known of these payments of a machine."""
    asked = (machine_id, json.dumps(sorted(hashes)))
    listed = conn.execute(
        """SELECT payment_hash, dismissed_at FROM dca_unmatched_payments
        WHERE machine_id = ? AND payment_hash IN (SELECT value FROM json_each(?))""",
        asked,
    ).fetchall()
    settled = conn.execute(
        """SELECT payment_hash FROM dca_settlements WHERE machine_id = ? AND payment_hash IS NOT NULL
        AND payment_hash IN (SELECT value FROM json_each(?))""",
        asked,
    )
    top_ups = conn.execute(
        "SELECT payment_hash FROM dca_topups WHERE machine_id = ? AND payment_hash IN (SELECT value FROM json_each(?))",
        asked,
    )
    own = conn.execute(
        "SELECT payment_hash FROM dca_invoices WHERE payment_hash IN (SELECT value FROM json_each(?))", asked[1:]
    ).fetchall()
    return KnownIncoming(
        settled=frozenset(row["payment_hash"] for row in settled),
        dismissed=frozenset(row["payment_hash"] for row in listed if row["dismissed_at"] is not None),
        top_ups=frozenset(row["payment_hash"] for row in top_ups),
        announces=announces(conn, machine_id),
        own=frozenset(row["payment_hash"] for row in own),
    )


def top_ups_among(conn: sqlite3.Connection, machine_id: str, named: Sequence[tuple[str, str]]) -> frozenset[str]:
    """Which of these payments are top-ups that these books have not made: `named` are (hash, id), the first paid first.

    Of each id it is one payment, and none where the books know another that has it.
    """
    found: dict[str, str] = {}
    for payment_hash, topup_id in named:
        taken = conn.execute(
            """SELECT payment_hash FROM dca_topups WHERE machine_id = ?1 AND id = ?2 UNION ALL
            SELECT payment_hash FROM dca_unmatched_payments WHERE machine_id = ?1 AND kind = 'top_up'
            AND json_extract(extra, '$.satmachine_topup.id') = ?2 LIMIT 1""",
            (machine_id, topup_id),
        ).fetchone()
        found.setdefault(topup_id, payment_hash if taken is None else taken["payment_hash"])
    return frozenset(payment_hash for payment_hash, topup_id in named if found[topup_id] == payment_hash)


def announces(conn: sqlite3.Connection, machine_id: str) -> bool:
    """Whether an event of this machine has ever told of a sale."""
    row = conn.execute(
        "SELECT 1 FROM dca_settlements WHERE machine_id = ? AND bitspire_event_id IS NOT NULL LIMIT 1", (machine_id,)
    ).fetchone()
    return row is not None


def note(
    conn: sqlite3.Connection,
    machine_id: str,
    *,
    payment_hash: str,
    amount_sats: int,
    memo: str,
    extra: Mapping[str, object],
    settled_at: int,
    reason: str,
    kind: str,
    now: int,
) -> bool:
    """List an incoming payment that no settlement explains; True where it is new and waits for a person.

    Seen again, it is listed for the reason that holds now: the file may have changed. A dismissed one stays dismissed.
    """
    if kind == "top_up":
        conn.execute(
            "UPDATE dca_topups SET paid_at = coalesce(paid_at, ?) WHERE machine_id = ? AND payment_hash = ?",
            (settled_at, machine_id, payment_hash),
        )
    changed = conn.execute(
        """INSERT INTO dca_unmatched_payments (machine_id, payment_hash, amount_sats, memo, extra, settled_at,
        first_seen_at, reason, kind) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING""",
        (machine_id, payment_hash, amount_sats, memo, json.dumps(extra, default=str), settled_at, now, reason, kind),
    ).rowcount
    if not changed:
        conn.execute(
            """UPDATE dca_unmatched_payments SET reason = ?3, kind = ?4 WHERE machine_id = ?1 AND payment_hash = ?2
            AND (reason <> ?3 OR kind <> ?4)""",
            (machine_id, payment_hash, reason, kind),
        )
    return changed == 1 and kind == "unknown"


def find(conn: sqlite3.Connection, payment_hash: str) -> list[Listed]:
    """The listed payments with this hash: one, or, where two machines' wallets saw it, each."""
    found = conn.execute(
        """SELECT * FROM dca_unmatched_payments WHERE machine_id IN (SELECT id FROM dca_machines) AND payment_hash = ?
        ORDER BY machine_id""",
        (payment_hash,),
    )
    return [_listed(row) for row in found]


def get(conn: sqlite3.Connection, machine_id: str, payment_hash: str) -> Listed | None:
    """A listed payment of a machine, whatever it is by now."""
    row = conn.execute(
        "SELECT * FROM dca_unmatched_payments WHERE machine_id = ? AND payment_hash = ?", (machine_id, payment_hash)
    ).fetchone()
    return None if row is None else _listed(row)


def _listed(row: sqlite3.Row) -> Listed:
    # Amounts in `extra` are read exactly, as from the wallet itself.
    extra = json.loads(row["extra"], parse_float=Decimal)
    return Listed(
        row["machine_id"],
        row["payment_hash"],
        row["amount_sats"],
        row["memo"],
        extra,
        row["settled_at"],
        row["kind"],
        row["dismissed_at"],
    )


def dismiss(conn: sqlite3.Connection, machine_id: str, payment_hash: str, *, actor: str, reason: str, now: int) -> bool:
    """A person says that this payment is no sale; False where it is dismissed already, or not listed."""
    return (
        conn.execute(
            """UPDATE dca_unmatched_payments SET dismissed_at = ?, dismissed_by = ?, dismissed_reason = ?
            WHERE machine_id = ? AND payment_hash = ? AND dismissed_at IS NULL""",
            (now, actor, reason, machine_id, payment_hash),
        ).rowcount
        == 1
    )


def undo_dismissal(conn: sqlite3.Connection, machine_id: str, payment_hash: str) -> bool:
    """Take a dismissal back; False where there is none."""
    return (
        conn.execute(
            """UPDATE dca_unmatched_payments SET dismissed_at = NULL, dismissed_by = NULL, dismissed_reason = NULL
            WHERE machine_id = ? AND payment_hash = ? AND dismissed_at IS NOT NULL""",
            (machine_id, payment_hash),
        ).rowcount
        == 1
    )


def no_sale(conn: sqlite3.Connection, machine_id: str, payment_hash: str | None) -> str | None:
    """Why this payment is no sale, whoever says that it is, in words; None where nothing speaks against it."""
    if payment_hash is None:
        return None
    row = conn.execute(
        "SELECT made_by FROM dca_topups WHERE machine_id = ? AND payment_hash = ?", (machine_id, payment_hash)
    ).fetchone()
    if row is not None:
        return f"its payment is a top-up, whose invoice {row['made_by']} made with `machines top-up`"
    row = conn.execute(
        """SELECT kind, reason, dismissed_at, dismissed_by, dismissed_reason FROM dca_unmatched_payments
        WHERE machine_id = ? AND payment_hash = ? AND (dismissed_at IS NOT NULL OR kind IN ('top_up', 'own'))""",
        (machine_id, payment_hash),
    ).fetchone()
    if row is None:
        return None
    if row["dismissed_at"] is not None:
        return f"{row['dismissed_by']} has said that its payment is no sale: {row['dismissed_reason']}"
    return f"its payment is {row['reason']}"


def add_top_up(conn: sqlite3.Connection, top_up: TopUp) -> None:
    """Keep that this invoice is a top-up, before anybody is shown it."""
    conn.execute(
        """INSERT INTO dca_topups (machine_id, payment_hash, id, amount_sats, made_at, made_by, note, expires_at,
        bolt11) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            top_up.machine_id,
            top_up.payment_hash,
            top_up.id,
            top_up.amount_sats,
            top_up.made_at,
            top_up.made_by,
            top_up.note,
            top_up.expires_at,
            top_up.bolt11,
        ),
    )


def top_up(conn: sqlite3.Connection, machine_id: str, topup_id: str) -> TopUp | None:
    """The invoice that was made under this id."""
    row = conn.execute("SELECT * FROM dca_topups WHERE machine_id = ? AND id = ?", (machine_id, topup_id)).fetchone()
    return None if row is None else rows.load(TopUp, row)


def top_up_of(conn: sqlite3.Connection, machine_id: str, payment_hash: str) -> TopUp | None:
    """The top-up whose invoice this is."""
    row = conn.execute(
        "SELECT * FROM dca_topups WHERE machine_id = ? AND payment_hash = ?", (machine_id, payment_hash)
    ).fetchone()
    return None if row is None else rows.load(TopUp, row)


def top_ups_of(conn: sqlite3.Connection, machine_id: str, limit: int = 20) -> list[dict[str, Any]]:
    """A machine's latest top-up invoices, the newest first."""
    found = conn.execute(
        "SELECT * FROM dca_topups WHERE machine_id = ? ORDER BY made_at DESC, id LIMIT ?", (machine_id, limit)
    )
    return [dict(row) for row in found]


def machines_by_last_sale(conn: sqlite3.Connection) -> list[str]:
    """Configured machines that have sold, whoever sold last first."""
    found = conn.execute(
        """SELECT id, (SELECT max(occurred_at) FROM dca_settlements s WHERE s.machine_id = m.id) AS sold_at
        FROM dca_machines m WHERE in_config = 1 AND sold_at IS NOT NULL ORDER BY sold_at DESC, id"""
    )
    return [str(row["id"]) for row in found]


def beacons_before(conn: sqlite3.Connection, machine_id: str, *, at: int, max_age_s: int, limit: int) -> Sequence[str]:
    """The contents of a machine's newest beacons at or before a time, newest first, none older than `max_age_s`."""
    found = conn.execute(
        """SELECT raw FROM dca_telemetry_log WHERE machine_id = ? AND created_at <= ? AND created_at >= ?
        ORDER BY created_at DESC, event_id LIMIT ?""",
        (machine_id, at, at - max_age_s, limit),
    )
    return [str(row["raw"]) for row in found]
