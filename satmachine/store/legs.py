"""Rows of `dca_payments` (legs) and `dca_invoices` (their generations).

Every step of the payer is one small transaction here, committed before the next call to a wallet (LNBITS.md).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence

from satmachine.models import Leg, LegInvoice, LegStatus, LegType, PlannedLeg, Retained, RetainedReason, Settlement
from satmachine.store import rows, settlements

#: Statuses in which a leg is still the daemon's work.
OPEN = ("pending", "invoiced", "sending", "failed")


def get(conn: sqlite3.Connection, leg_id: int) -> tuple[Leg, LegInvoice | None]:
    """A leg, which must exist, and its latest invoice."""
    leg = rows.load(Leg, conn.execute("SELECT * FROM dca_payments WHERE id = ?", (leg_id,)).fetchone())
    row = conn.execute(
        "SELECT * FROM dca_invoices WHERE payment_id = ? ORDER BY generation DESC LIMIT 1", (leg_id,)
    ).fetchone()
    return leg, None if row is None else rows.load(LegInvoice, row)


def of_settlement(conn: sqlite3.Connection, settlement_id: int) -> list[Leg]:
    """All legs of a sale, every revision, in order."""
    found = conn.execute(
        "SELECT * FROM dca_payments WHERE settlement_id = ? ORDER BY revision, position, id", (settlement_id,)
    )
    return [rows.load(Leg, row) for row in found]


def insert_planned(
    conn: sqlite3.Connection, settlement: Settlement, legs: Sequence[PlannedLeg], *, revision: int, now: int
) -> None:
    """Write the legs of a plan; a leg of zero sats is recorded as skipped."""
    conn.executemany(
        "INSERT INTO dca_payments (settlement_id, machine_id, revision, position, leg_type, leg, leg_key, label, "
        "client_id, pct, amount_sats, fiat_amount_minor, exchange_rate, currency, payee, effective_at, status, "
        "explain, planned_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                settlement.id,
                settlement.machine_id,
                revision,
                position,
                leg.leg_type,
                leg.leg,
                leg_key(settlement, revision, leg.leg),
                leg.label,
                leg.client_id,
                None if leg.pct is None else f"{leg.pct:f}",
                leg.amount_sats,
                leg.fiat_amount_minor,
                f"{settlement.exchange_rate:f}" if leg.fiat_amount_minor is not None else None,
                settlement.currency,
                leg.payee,
                settlement.occurred_at,
                LegStatus.PENDING if leg.amount_sats else LegStatus.SKIPPED,
                leg.explain,
                now,
            )
            for position, leg in enumerate(legs)
        ],
    )


def leg_key(settlement: Settlement, revision: int, leg: str) -> str:
    """What LNbits knows a leg by: the same in this database's life or another's (LNBITS.md "The protocol")."""
    assert settlement.settlement_key is not None, "only proven settlements have legs"
    return f"sm1:{settlement.settlement_key}:r{revision}:{leg}"


def due(conn: sqlite3.Connection, now: int, machines: Collection[str], *, per_payee: int, limit: int) -> list[Leg]:
    """Open legs of these machines that are due by now and may be paid; sales in order, legs in order.

    At most `per_payee` of each machine and payee, so that a long queue for one never hides what others wait for.
    """
    # The plus and the CROSS JOINs: along the due legs, which are few, never along a machine's history.
    found = conn.execute(
        "SELECT * FROM (SELECT p.*, row_number() OVER (PARTITION BY p.machine_id, p.payee "
        "ORDER BY p.next_attempt_at, p.settlement_id, p.position) AS place "
        "FROM dca_payments p CROSS JOIN dca_machines m ON m.id = p.machine_id "
        "CROSS JOIN dca_wallets w ON w.machine_id = p.machine_id "
        "LEFT JOIN dca_settlements s ON s.id = p.settlement_id "
        "WHERE p.status IN ('pending', 'invoiced', 'sending', 'failed') AND p.next_attempt_at <= ? "
        "AND +p.machine_id IN (SELECT value FROM json_each(?)) "
        "AND coalesce(s.status, 'pending') NOT IN ('held') AND m.active = 1 AND m.in_config = 1 "
        "AND w.safe_mode IS NULL AND NOT EXISTS (SELECT 1 FROM payout_pauses x WHERE x.scope IN ('*', p.machine_id))) "
        "WHERE place <= ? ORDER BY place, next_attempt_at, settlement_id, position LIMIT ?",
        (now, json.dumps(sorted(machines)), per_payee, limit),
    )
    return [rows.load(Leg, row) for row in found]


def machines_with_open_legs(conn: sqlite3.Connection) -> frozenset[str]:
    """Who has something to pay, now or later."""
    found = conn.execute(
        "SELECT DISTINCT machine_id FROM dca_payments WHERE status IN ('pending', 'invoiced', 'sending', 'failed')"
    )
    return frozenset(row["machine_id"] for row in found)


def used_sats(conn: sqlite3.Connection, settlement_id: int) -> int:
    """What the legs of a sale, of every revision, take out of its machine's wallet: sent and fees, or the amount."""
    row = conn.execute(
        "SELECT coalesce(sum(CASE status WHEN 'completed' THEN sent_sats + coalesce(fee_sats, 0) ELSE amount_sats "
        "END), 0) AS total FROM dca_payments WHERE settlement_id = ? AND leg_type <> 'autoforward' "
        "AND status NOT IN ('voided', 'skipped')",
        (settlement_id,),
    ).fetchone()
    return int(row["total"])


def begin_invoice(conn: sqlite3.Connection, leg: Leg, *, amount_sats: int, internal: bool, now: int) -> int | None:
    """Commit that a new generation's invoice will be asked for; None where the leg's state has changed."""
    generation = leg.generation + 1
    changed = conn.execute(
        "UPDATE dca_payments SET generation = ?, status = 'pending' WHERE id = ? AND generation = ? "
        "AND status IN ('pending', 'failed', 'invoiced', 'sending')",
        (generation, leg.id, leg.generation),
    ).rowcount
    if changed != 1:
        return None
    conn.execute(
        "INSERT INTO dca_invoices (payment_id, generation, amount_sats, asked_at, internal) VALUES (?, ?, ?, ?, ?)",
        (leg.id, generation, amount_sats, now, int(internal)),
    )
    return generation


def store_invoice(
    conn: sqlite3.Connection,
    leg_id: int,
    generation: int,
    *,
    bolt11: str,
    payment_hash: str,
    amount_sats: int,
    expires_at: int | None,
    adopted: bool = False,
) -> None:
    """Keep an invoice before it is paid (LNBITS.md, state "invoiced")."""
    changed = conn.execute(
        "UPDATE dca_invoices SET bolt11 = ?, payment_hash = ?, amount_sats = ?, expires_at = ?, adopted = ? "
        "WHERE payment_id = ? AND generation = ? AND payment_hash IS NULL",
        (bolt11, payment_hash, amount_sats, expires_at, int(adopted), leg_id, generation),
    ).rowcount
    assert changed == 1, f"leg {leg_id} has an invoice of generation {generation} already"
    changed = conn.execute(
        "UPDATE dca_payments SET status = 'invoiced', payment_hash = ? WHERE id = ? AND generation = ? "
        "AND status IN ('pending', 'failed')",
        (payment_hash, leg_id, generation),
    ).rowcount
    assert changed == 1, f"leg {leg_id} changed while its invoice was made"


def mark_sending(conn: sqlite3.Connection, leg: Leg, *, now: int) -> bool:
    """Commit the intent to pay; False where a person (hold, pause), a correction or safe mode came first."""
    changed = conn.execute(
        "UPDATE dca_payments SET status = 'sending' WHERE id = ? AND generation = ? "
        "AND status IN ('invoiced', 'sending', 'failed') AND (leg_type = 'autoforward' OR coalesce((SELECT status "
        "FROM dca_settlements s WHERE s.id = settlement_id), 'pending') "
        "IN ('pending', 'errored', 'processed', 'partial')) "
        "AND NOT EXISTS (SELECT 1 FROM payout_pauses x WHERE x.scope IN ('*', dca_payments.machine_id)) "
        "AND (SELECT safe_mode FROM dca_wallets w WHERE w.machine_id = dca_payments.machine_id) IS NULL",
        (leg.id, leg.generation),
    ).rowcount
    if changed == 1:
        conn.execute(
            "UPDATE dca_invoices SET sent_at = coalesce(sent_at, ?) WHERE payment_id = ? AND generation = ?",
            (now, leg.id, leg.generation),
        )
    return changed == 1


def complete(
    conn: sqlite3.Connection, leg: Leg, *, sent_sats: int, fee_sats: int, preimage: str | None, now: int
) -> bool:
    """Both sides were seen. What an external payee's reserve left over is retained (SPEC section 5).

    An autoforward is paid from the LP's own wallet, where its reserve stays: it is no part of the sale's sats.
    """
    changed = conn.execute(
        "UPDATE dca_payments SET status = 'completed', sent_sats = ?, fee_sats = ?, preimage = ?, completed_at = ?, "
        "next_attempt_at = NULL, hold_reason = NULL, error = NULL WHERE id = ? "
        "AND status NOT IN ('completed', 'voided', 'skipped')",
        (sent_sats, fee_sats, preimage, now, leg.id),
    ).rowcount
    unused_sats = leg.amount_sats - sent_sats - fee_sats
    forwards = leg.leg_type is LegType.AUTOFORWARD
    if changed == 1 and leg.settlement_id is not None and unused_sats > 0 and not forwards:
        reserve = Retained(RetainedReason.UNUSED_FEE_RESERVE, unused_sats, leg.leg)
        settlements.retain(conn, leg.settlement_id, leg.revision, [reserve], now)
    if changed == 1 and leg.settlement_id is not None:
        # With it: a crash must not leave a sale open of which every leg is final.
        settlements.refresh_status(conn, leg.settlement_id, now)
    return changed == 1


def postpone(conn: sqlite3.Connection, leg: Leg, *, status: LegStatus, until: int | None, error: str | None) -> bool:
    """Record how the leg stands and when to go on; `until` None waits for a person."""
    return (
        conn.execute(
            "UPDATE dca_payments SET status = ?, attempts = attempts + 1, next_attempt_at = ?, error = ? "
            "WHERE id = ? AND status IN ('pending', 'invoiced', 'sending', 'failed')",
            (status, until, error, leg.id),
        ).rowcount
        == 1
    )


def hold(conn: sqlite3.Connection, leg: Leg, *, reason: str, error: str, evidence: Mapping[str, object]) -> bool:
    """Fate or evidence needs a person."""
    return (
        conn.execute(
            "UPDATE dca_payments SET status = 'held', hold_reason = ?, error = ?, evidence = ?, next_attempt_at = NULL "
            "WHERE id = ? AND status IN ('pending', 'invoiced', 'sending', 'failed')",
            (reason, error, json.dumps(evidence, default=str), leg.id),
        ).rowcount
        == 1
    )


def mark_invoice_dead(conn: sqlite3.Connection, leg: Leg, *, now: int) -> None:
    """It is proven that this generation's invoice can no longer be paid."""
    conn.execute(
        "UPDATE dca_invoices SET dead_at = coalesce(dead_at, ?) WHERE payment_id = ? AND generation = ?",
        (now, leg.id, leg.generation),
    )


def knows_payment(conn: sqlite3.Connection, payment_hash: str) -> bool:
    """Whether a leg of this database that still stands made (or adopted) a payment; a voided one never should have."""
    found = conn.execute(
        "SELECT 1 FROM dca_invoices i JOIN dca_payments p ON p.id = i.payment_id "
        "WHERE i.payment_hash = ? AND p.status <> 'voided'",
        (payment_hash,),
    ).fetchone()
    return found is not None


def had_invoice(conn: sqlite3.Connection, leg_id: int, payment_hash: str) -> bool:
    """Whether this is one of the leg's own invoices, of whatever generation."""
    found = conn.execute(
        "SELECT 1 FROM dca_invoices WHERE payment_id = ? AND payment_hash = ?", (leg_id, payment_hash)
    ).fetchone()
    return found is not None


def evidence(conn: sqlite3.Connection, leg_id: int) -> Mapping[str, object]:
    """What the wallets said when a leg was held."""
    row = conn.execute("SELECT evidence FROM dca_payments WHERE id = ?", (leg_id,)).fetchone()
    found: dict[str, object] = json.loads(row["evidence"] or "{}")
    return found


def retry_failed(conn: sqlite3.Connection, settlement_id: int) -> int:
    """Try a sale's failed or waiting legs at once; returns how many."""
    return conn.execute(
        "UPDATE dca_payments SET next_attempt_at = 0, attempts = 0 WHERE settlement_id = ? "
        "AND (status = 'failed' OR (status IN ('pending', 'invoiced', 'sending') AND attempts > 0))",
        (settlement_id,),
    ).rowcount


def try_now(conn: sqlite3.Connection, leg: Leg) -> bool:
    """Try one failed or waiting leg at once."""
    return (
        conn.execute(
            "UPDATE dca_payments SET next_attempt_at = 0, attempts = 0 WHERE id = ? AND (status = 'failed' "
            "OR (status IN ('pending', 'invoiced', 'sending') AND attempts > 0))",
            (leg.id,),
        ).rowcount
        == 1
    )


def void_unsent(conn: sqlite3.Connection, leg: Leg) -> bool:
    """Void a leg of which no invoice was ever sent; the payer that has it in hand finds it changed."""
    return (
        conn.execute(
            "UPDATE dca_payments SET status = 'voided', next_attempt_at = NULL WHERE id = ? "
            "AND status IN ('pending', 'invoiced', 'failed') AND NOT EXISTS (SELECT 1 FROM dca_invoices i "
            "WHERE i.payment_id = dca_payments.id AND i.sent_at IS NOT NULL)",
            (leg.id,),
        ).rowcount
        == 1
    )


def look_again(conn: sqlite3.Connection, leg: Leg) -> bool:
    """Put a held leg back to where its own invoice is looked up on both sides; False where it has none."""
    return (
        conn.execute(
            "UPDATE dca_payments SET status = 'sending', hold_reason = NULL, error = NULL, next_attempt_at = 0, "
            "attempts = 0 WHERE id = ? AND status = 'held' AND EXISTS (SELECT 1 FROM dca_invoices i "
            "WHERE i.payment_id = dca_payments.id AND i.generation = dca_payments.generation "
            "AND i.payment_hash IS NOT NULL AND i.dead_at IS NULL)",
            (leg.id,),
        ).rowcount
        == 1
    )


def renew(conn: sqlite3.Connection, leg: Leg, *, now: int) -> None:
    """A held leg's invoice is given up; the payer looks for a payment of the leg before it makes a new one."""
    mark_invoice_dead(conn, leg, now=now)
    changed = conn.execute(
        "UPDATE dca_payments SET status = 'failed', hold_reason = NULL, error = NULL, next_attempt_at = 0, "
        "attempts = 0 WHERE id = ? AND status = 'held'",
        (leg.id,),
    ).rowcount
    assert changed == 1, f"leg {leg.id} was held a moment ago, in this transaction"


def declare_completed(
    conn: sqlite3.Connection, leg: Leg, *, payment_hash: str, sent_sats: int, note: str, now: int
) -> None:
    """A person vouches for a held leg; `error` keeps who did. The evidence stays; what was not sent is retained."""
    changed = conn.execute(
        "UPDATE dca_payments SET status = 'completed', payment_hash = ?, sent_sats = ?, fee_sats = 0, "
        "completed_at = ?, hold_reason = NULL, next_attempt_at = NULL, error = ? WHERE id = ? AND status = 'held'",
        (payment_hash, sent_sats, now, note, leg.id),
    ).rowcount
    assert changed == 1, f"leg {leg.id} was held a moment ago, in this transaction"
    if leg.settlement_id is not None and sent_sats < leg.amount_sats:
        rest = Retained(RetainedReason.UNUSED_FEE_RESERVE, leg.amount_sats - sent_sats, leg.leg)
        settlements.retain(conn, leg.settlement_id, leg.revision, [rest], now)
