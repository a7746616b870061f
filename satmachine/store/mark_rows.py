"""Rows of `dca_marks` and `dca_foreign_marks`: which invoices may be paid (marks.py)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from satmachine.marks import Mark, from_content
from satmachine.store.fragments import LEG_PAID_BY_LP


def current(conn: sqlite3.Connection, machine_id: str, bundle: str) -> tuple[Mark, bool] | None:
    """The latest mark of a bundle that these books have written, and whether it was seen; None if there is none."""
    row = conn.execute(
        "SELECT id, content, seen_at FROM dca_marks WHERE machine_id = ? AND bundle = ? ORDER BY rowid DESC LIMIT 1",
        (machine_id, bundle),
    ).fetchone()
    if row is None:
        return None
    # What was shortened named only what is final by now.
    mark = from_content(row["content"]) or Mark(row["id"], bundle, (), {})
    return mark, row["seen_at"] is not None


def known(conn: sqlite3.Connection, machine_id: str, bundle: str) -> Mapping[str, str]:
    """id -> content, or digest, of every mark of the bundle that is ours, or about which a person has decided."""
    found = conn.execute(
        """SELECT id, content FROM dca_marks WHERE machine_id = ?1 AND bundle = ?2
        UNION ALL SELECT id, content FROM dca_foreign_marks WHERE +machine_id = ?1 AND bundle = ?2
        AND decided_at IS NOT NULL""",
        (machine_id, bundle),
    )
    return {str(row["id"]): str(row["content"]) for row in found}


def write_down(conn: sqlite3.Connection, machine_id: str, mark: Mark, now: int) -> None:
    """Fix a mark's content before it is written into the wallet."""
    conn.execute(
        "INSERT INTO dca_marks (id, machine_id, bundle, content, written_at) VALUES (?, ?, ?, ?, ?)",
        (mark.id, machine_id, mark.bundle, mark.content, now),
    )


def establish(conn: sqlite3.Connection, mark: Mark, now: int) -> None:
    """The mark was seen, with only known ones beside it: what it names may be paid."""
    conn.execute("UPDATE dca_marks SET seen_at = coalesce(seen_at, ?) WHERE id = ?", (now, mark.id))
    conn.execute(
        """UPDATE dca_invoices SET mark_id = coalesce(mark_id, ?1), marked_at = coalesce(marked_at, ?2)
        WHERE payment_hash IN (SELECT value FROM json_each(?3))""",
        (mark.id, now, json.dumps(list(mark.invoices.values()))),
    )


def unmark(conn: sqlite3.Connection, payment_hashes: list[str]) -> None:
    """No mark names these invoices any more: they must not be paid before they are named again. The mark that named
    them first stays recorded: they may have been sent under it."""
    conn.execute(
        "UPDATE dca_invoices SET marked_at = NULL WHERE payment_hash IN (SELECT value FROM json_each(?))",
        (json.dumps(payment_hashes),),
    )


def note_foreign(conn: sqlite3.Connection, machine_id: str, mark: Mark, now: int) -> None:
    """Keep a genuine mark that these books did not write, until a person has decided about it."""
    conn.execute(
        """INSERT INTO dca_foreign_marks (machine_id, id, bundle, content, first_seen_at) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING""",
        (machine_id, mark.id, mark.bundle, mark.content, now),
    )


def shorten(conn: sqlite3.Connection, machine_id: str, *, written_before: int, most: int = 2_000) -> int:
    """Keep only the digests of old marks whose bundles have nothing open: they are never paid by again, only known
    again. Returns how many; the rest has its turn another day."""
    found = conn.execute(
        """SELECT id, content FROM dca_marks k WHERE machine_id = ?1 AND written_at < ?2 AND length(content) > 100
        AND NOT EXISTS (SELECT 1 FROM dca_payments p WHERE p.machine_id = ?1 AND (p.leg_key = k.bundle
        OR (p.leg_key >= k.bundle || ':' AND p.leg_key < k.bundle || ';'))
        AND p.status NOT IN ('completed', 'voided', 'skipped')) LIMIT ?3""",
        (machine_id, written_before, most),
    ).fetchall()
    for row in found:
        mark = from_content(row["content"])
        if mark is not None:
            conn.execute("UPDATE dca_marks SET content = ? WHERE id = ?", (mark.digest, row["id"]))
    return len(found)


def live_invoices(conn: sqlite3.Connection, machine_id: str, bundle: str, *, forwards: bool) -> dict[str, str]:
    """leg key -> payment hash of every invoice of the bundle that may still be paid: what its next mark names.

    A sale's forwards are paid from another wallet: each is a bundle of its own (`forwards`).
    """
    found = conn.execute(
        f"""SELECT p.leg_key, i.payment_hash FROM dca_payments p JOIN dca_invoices i ON i.payment_id = p.id
        AND i.generation = p.generation WHERE p.machine_id = ?1 AND (p.leg_key = ?2 OR (p.leg_key >= ?2 || ':'
        AND p.leg_key < ?2 || ';')) AND (p.{LEG_PAID_BY_LP}) = ?3
        AND p.status NOT IN ('completed', 'voided', 'skipped') AND i.payment_hash IS NOT NULL AND i.dead_at IS NULL""",  # noqa: S608
        (machine_id, bundle, forwards),
    )
    return {str(row["leg_key"]): str(row["payment_hash"]) for row in found}
