"""Rows of `dca_shortfalls`: cash that a customer did not get, of a sale that was already paid out (SPEC section 9).

Call what changes something inside `atomic()`.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from satmachine.models import Settlement
from satmachine.store import as_models as rows


@dataclass(frozen=True, slots=True)
class ShortfallRow:
    """One of them; `.._minor` in the currency of its sale, times are Unix seconds. `payee` None: the customer was paid
    by hand, and nothing is refunded. `payment_id`: the refund, once its top-up has arrived."""

    id: int
    settlement_id: int
    machine_id: str
    number: int
    short_minor: int
    refund_sats: int
    topup_sats: int
    payee: str | None
    topup_hash: str | None
    refund_number: int
    deposit_id: int | None
    reason: str
    actor: str
    booked_at: int
    funded_at: int | None
    payment_id: int | None
    undone_at: int | None

    @property
    def waits(self) -> bool:
        """Whether its top-up has not arrived yet."""
        return self.payee is not None and self.funded_at is None and self.undone_at is None


def latest(conn: sqlite3.Connection, settlement_id: int) -> ShortfallRow | None:
    """The sale's latest one that was not undone."""
    row = conn.execute(
        "SELECT * FROM dca_shortfalls WHERE settlement_id = ? AND undone_at IS NULL ORDER BY number DESC LIMIT 1",
        (settlement_id,),
    ).fetchone()
    return None if row is None else rows.load(ShortfallRow, row)


def next_number(conn: sqlite3.Connection, settlement_id: int) -> int:
    """1 for a sale's first; what was undone counts."""
    row = conn.execute("SELECT count(*) AS n FROM dca_shortfalls WHERE settlement_id = ?", (settlement_id,)).fetchone()
    return int(row["n"]) + 1


def by_top_up(conn: sqlite3.Connection, machine_id: str, payment_hash: str) -> ShortfallRow | None:
    """The one for which this top-up is named, and that waits for it."""
    row = conn.execute(
        """SELECT * FROM dca_shortfalls WHERE topup_hash = ? AND machine_id = ? AND funded_at IS NULL
        AND undone_at IS NULL""",
        (payment_hash, machine_id),
    ).fetchone()
    return None if row is None else rows.load(ShortfallRow, row)


def add(
    conn: sqlite3.Connection,
    sale: Settlement,
    *,
    number: int,
    short_minor: int,
    refund_sats: int,
    topup_sats: int,
    payee: str | None,
    topup_hash: str | None,
    refund_number: int,
    deposit_id: int | None,
    reason: str,
    actor: str,
    now: int,
) -> None:
    """Write one, and take what was not handed out off the sale's cash."""
    conn.execute(
        """INSERT INTO dca_shortfalls (settlement_id, machine_id, number, short_minor, refund_sats, topup_sats, payee,
        topup_hash, refund_number, deposit_id, reason, actor, booked_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            sale.id,
            sale.machine_id,
            number,
            short_minor,
            refund_sats,
            topup_sats,
            payee,
            topup_hash,
            refund_number,
            deposit_id,
            reason,
            actor,
            now,
        ),
    )
    _change_cash(conn, sale, short_minor)


def fund(conn: sqlite3.Connection, shortfall: ShortfallRow, *, payment_id: int, now: int) -> None:
    """Its top-up has arrived, and this payment is its refund."""
    changed = conn.execute(
        "UPDATE dca_shortfalls SET funded_at = ?, payment_id = ? WHERE id = ? AND funded_at IS NULL",
        (now, payment_id, shortfall.id),
    ).rowcount
    assert changed == 1, f"shortfall {shortfall.id} was funded twice"


def top_up(conn: sqlite3.Connection, settlement_id: int, sats: int) -> None:
    """This many sats more (or, negative, less) are booked to the sale beside what its customer paid."""
    conn.execute("UPDATE dca_settlements SET topped_up_sats = topped_up_sats + ? WHERE id = ?", (sats, settlement_id))


def undo(conn: sqlite3.Connection, sale: Settlement, shortfall: ShortfallRow, *, actor: str, now: int) -> None:
    """As if it had never been: the sale's cash is what it was before."""
    changed = conn.execute(
        "UPDATE dca_shortfalls SET undone_at = ?, undone_by = ? WHERE id = ? AND undone_at IS NULL",
        (now, actor, shortfall.id),
    ).rowcount
    assert changed == 1, f"shortfall {shortfall.id} was undone twice"
    _change_cash(conn, sale, -shortfall.short_minor)


def _change_cash(conn: sqlite3.Connection, sale: Settlement, short_minor: int) -> None:
    conn.execute(
        """UPDATE dca_settlements SET fiat_amount_minor = fiat_amount_minor - ?1,
        shortfall_minor = shortfall_minor + ?1 WHERE id = ?2""",
        (short_minor, sale.id),
    )
