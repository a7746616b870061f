"""Rows of `dca_settlements`, their events and what they retain.

State changes are conditional and column-scoped: each names the state from which it starts and requires one
changed row, so two writers can never undo one another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from satmachine.models import Claim, HoldReason, Leg, Retained, RetainedReason, Settlement, SettlementStatus, leg_types
from satmachine.store import as_models as rows
from satmachine.store.fragments import LEG_PAID_BY_MACHINE


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A verified kind 21000 event as it is stored: `raw` is its JSON text as it arrived."""

    event_id: str
    created_at: int
    received_at: int
    relay_url: str
    raw: str


def get(conn: sqlite3.Connection, settlement_id: int) -> Settlement:
    """The settlement with this id, which must exist."""
    row = conn.execute("SELECT * FROM dca_settlements WHERE id = ?", (settlement_id,)).fetchone()
    return rows.load(Settlement, row)


def id_of_key(conn: sqlite3.Connection, machine_id: str, settlement_key: str) -> int | None:
    """The settlement of this machine to which a payment belongs, by settlement key or payment hash."""
    row = conn.execute(
        """SELECT id FROM dca_settlements WHERE machine_id = ?1 AND (settlement_key = ?2 OR payment_hash = ?2)
        ORDER BY settlement_key IS NULL LIMIT 1""",
        (machine_id, settlement_key),
    ).fetchone()
    return None if row is None else int(row["id"])


def event_is_known(conn: sqlite3.Connection, event_id: str) -> bool:
    """Whether this event is already in the books, with its settlement or in quarantine."""
    return (
        conn.execute(
            """SELECT 1 FROM dca_settlement_events WHERE event_id = ?1
            UNION ALL SELECT 1 FROM quarantine WHERE event_id = ?1""",
            (event_id,),
        ).fetchone()
        is not None
    )


def find_same_sale(conn: sqlite3.Connection, claim: Claim) -> list[Settlement]:
    """Settlements of this machine that share the claim's payment hash or txid: none, one, or (a conflict) two."""
    found = conn.execute(
        """SELECT * FROM dca_settlements WHERE machine_id = ?1 AND payment_hash = ?2
        UNION SELECT * FROM dca_settlements WHERE machine_id = ?1 AND txid = ?3 ORDER BY id""",
        (claim.machine_id, claim.payment_hash, claim.txid),
    )
    return [rows.load(Settlement, row) for row in found]


def insert(
    conn: sqlite3.Connection,
    claim: Claim,
    *,
    event_id: str | None,
    now: int,
    proof: str,
    hold_reason: str | None = None,
    error: str | None = None,
) -> int:
    """Land a new sale; returns its id."""
    cursor = conn.execute(
        """INSERT INTO dca_settlements (bitspire_event_id, payment_hash, txid, machine_id, source, status, hold_reason,
        gross_sats, net_sats, commission_sats, fee_pct, discount_pct, fallback_commission_pct, used_fallback_split,
        exchange_rate, fiat_amount_minor, currency, bills, cassettes, proof, occurred_at, landed_at, error,
        rate_source) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            event_id,
            claim.payment_hash,
            claim.txid,
            claim.machine_id,
            claim.source,
            "held" if hold_reason else "pending",
            hold_reason,
            claim.gross_sats,
            claim.net_sats,
            claim.commission_sats,
            *_told(claim),
            claim.currency,
            claim.bills,
            claim.cassettes,
            proof,
            claim.occurred_at,
            now,
            error,
            claim.rate_source,
        ),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def attach_event(conn: sqlite3.Connection, settlement_id: int, machine_id: str, event: EventRecord) -> None:
    """Keep an event of a sale."""
    conn.execute(
        """INSERT INTO dca_settlement_events (event_id, settlement_id, machine_id, created_at, received_at, relay_url,
        raw) VALUES (?, ?, ?, ?, ?, ?, ?)""",
        (
            event.event_id,
            settlement_id,
            machine_id,
            event.created_at,
            event.received_at,
            event.relay_url,
            event.raw,
        ),
    )
    conn.execute(
        "UPDATE dca_settlements SET bitspire_event_id = ? WHERE id = ? AND bitspire_event_id IS NULL",
        (event.event_id, settlement_id),
    )


def fill_in(conn: sqlite3.Connection, settlement_id: int, claim: Claim) -> None:
    """Let a further claim of the same sale add what was not known: hash, txid, fiat, bills. Never an amount."""
    conn.execute(
        """UPDATE dca_settlements SET payment_hash = coalesce(payment_hash, ?), txid = coalesce(txid, ?),
        fiat_amount_minor = coalesce(fiat_amount_minor, ?), bills = coalesce(bills, ?),
        cassettes = coalesce(cassettes, ?) WHERE id = ?""",
        (claim.payment_hash, claim.txid, claim.fiat_amount_minor, claim.bills, claim.cassettes, settlement_id),
    )


def revise(conn: sqlite3.Connection, settlement: Settlement, claim: Claim) -> None:
    """Replace the present figures by those of a claim, as a new revision that is planned again."""
    changed = conn.execute(
        """UPDATE dca_settlements SET source = ?, net_sats = ?, commission_sats = ?, fee_pct = ?, discount_pct = ?,
        fallback_commission_pct = ?, used_fallback_split = ?, exchange_rate = ?, fiat_amount_minor = ?,
        rate_source = ?, revision = revision + 1, planned_at = NULL, platform_fee_sats = NULL,
        operator_fee_sats = NULL, super_fee_pct = NULL, ruleset_source = NULL, next_attempt_at = 0,
        finished_at = NULL,
        status = CASE status WHEN 'held' THEN 'held' ELSE 'pending' END WHERE id = ? AND revision = ?""",
        (
            claim.source,
            claim.net_sats,
            claim.commission_sats,
            *_told(claim),
            claim.rate_source,
            settlement.id,
            settlement.revision,
        ),
    ).rowcount
    assert changed == 1, f"settlement {settlement.id} changed while it was revised"


def person_acted(conn: sqlite3.Connection, settlement_id: int, now: int) -> None:
    """A person has decided about this sale: no later event revises it (SPEC section 6.9)."""
    conn.execute("UPDATE dca_settlements SET person_acted_at = ? WHERE id = ?", (now, settlement_id))


def nothing_sent(conn: sqlite3.Connection, settlement_id: int) -> bool:
    """Whether no leg of this sale has ever had an invoice: only then may its figures change."""
    row = conn.execute(
        """SELECT 1 FROM dca_payments WHERE settlement_id = ? AND (generation > 0 OR status NOT IN
        ('pending', 'skipped', 'voided'))""",
        (settlement_id,),
    ).fetchone()
    return row is None


def void_open_legs(conn: sqlite3.Connection, settlement_id: int) -> int:
    """Void the legs of a sale of which nothing was sent; returns how many."""
    return conn.execute(
        """UPDATE dca_payments SET status = 'voided', next_attempt_at = NULL WHERE settlement_id = ?
        AND status = 'pending' AND generation = 0""",
        (settlement_id,),
    ).rowcount


def take_back_retained(conn: sqlite3.Connection, settlement: Settlement, now: int) -> None:
    """Undo what the current plan retained: it is planned again. What was not dispensed stays retained."""
    conn.execute(
        """INSERT INTO dca_retained (settlement_id, revision, reason, leg, amount_sats, created_at)
        SELECT settlement_id, ?, reason, leg, -sum(amount_sats), ? FROM dca_retained
        WHERE settlement_id = ? AND reason <> ? GROUP BY reason, leg HAVING sum(amount_sats) <> 0""",
        (settlement.revision, now, settlement.id, RetainedReason.UNDISPENSED),
    )


def retain(conn: sqlite3.Connection, settlement_id: int, revision: int, entries: Sequence[Retained], now: int) -> None:
    """Record sats that stay in the machine's wallet."""
    conn.executemany(
        """INSERT INTO dca_retained (settlement_id, revision, reason, leg, amount_sats, created_at)
        VALUES (?, ?, ?, ?, ?, ?)""",
        [(settlement_id, revision, row.reason, row.leg, row.amount_sats, now) for row in entries],
    )


def retain_of_payout(conn: sqlite3.Connection, payment_id: int, entry: Retained, now: int) -> None:
    """Record sats of a balance payout, which has no sale, that stay in the machine's wallet."""
    conn.execute(
        """INSERT INTO dca_retained (revision, reason, leg, amount_sats, created_at, payment_id)
        VALUES (1, ?, ?, ?, ?, ?)""",
        (entry.reason, entry.leg, entry.amount_sats, now, payment_id),
    )


def retain_reserve(conn: sqlite3.Connection, leg: Leg, unused_sats: int, now: int) -> None:
    """Retain what was not sent of a leg, where its sale, or its payout, has it from now on.

    An autoforward is paid from the LP's own wallet, where its reserve stays: it is no part of any sale's sats.
    """
    if unused_sats <= 0 or leg.leg_type in leg_types.PAID_BY_LP:
        return
    reserve = Retained(RetainedReason.UNUSED_FEE_RESERVE, unused_sats, leg.leg)
    if leg.settlement_id is None:
        retain_of_payout(conn, leg.id, reserve, now)
    else:
        retain(conn, leg.settlement_id, leg.revision, [reserve], now)


def mark_proven(
    conn: sqlite3.Connection,
    settlement: Settlement,
    *,
    payment_hash: str | None,
    settlement_key: str,
    occurred_at: int,
    proof: str,
    now: int,
) -> bool:
    """The customer's payment is there (or not asked for). False if the state has changed in the meantime."""
    return (
        conn.execute(
            """UPDATE dca_settlements SET proof = ?, payment_hash = coalesce(payment_hash, ?), settlement_key = ?,
            occurred_at = ?, proven_at = ?, attempts = 0, next_attempt_at = 0, error = NULL
            WHERE id = ? AND status = 'pending' AND proof IN ('waiting', 'waived') AND planned_at IS NULL""",
            (proof, payment_hash, settlement_key, occurred_at, now, settlement.id),
        ).rowcount
        == 1
    )


def postpone(conn: sqlite3.Connection, settlement_id: int, *, until: int, error: str | None) -> None:
    """Try again later to prove or plan it."""
    conn.execute(
        """UPDATE dca_settlements SET attempts = attempts + 1, next_attempt_at = ?, error = ?
        WHERE id = ? AND status = 'pending' AND planned_at IS NULL""",
        (until, error, settlement_id),
    )


def hold(conn: sqlite3.Connection, settlement_id: int, *, reason: str, error: str, payment_seen: bool = False) -> bool:
    """Make it wait for a person. False if it is already held or finished. One that waits for its payment, and would go
    on by itself when that comes, is held by a person too.

    `payment_seen`: the customer's payment is there, but does not fit.
    """
    return (
        conn.execute(
            """UPDATE dca_settlements SET status = 'held', hold_reason = ?1, error = ?2,
            payment_seen = max(payment_seen, ?3) WHERE id = ?4 AND (status IN ('pending', 'errored')
            OR (?1 = 'by_operator' AND status = 'held' AND hold_reason IN ('payment_not_found', 'no_payment_hash')))""",
            (reason, error, payment_seen, settlement_id),
        ).rowcount
        == 1
    )


def release(conn: sqlite3.Connection, settlement_id: int, *, reason: str | None = None) -> bool:
    """Let a held settlement continue; with `reason`, only if that is why it was held."""
    return (
        conn.execute(
            """UPDATE dca_settlements SET status = 'pending', hold_reason = NULL, error = NULL, attempts = 0,
            next_attempt_at = 0 WHERE id = ?1 AND status = 'held' AND (?2 IS NULL OR hold_reason = ?2)""",
            (settlement_id, reason),
        ).rowcount
        == 1
    )


def override_guard(conn: sqlite3.Connection, settlement_id: int, reason: str) -> None:
    """Remember that a person lets this sale pass a guard; planning does not ask it again."""
    conn.execute(
        "UPDATE dca_settlements SET overrides = trim(overrides || ' ' || ?) WHERE id = ? AND planned_at IS NULL",
        (reason, settlement_id),
    )


def ask_about(conn: sqlite3.Connection, settlement_id: int, twins: Sequence[str]) -> None:
    """A person is asked whether it is one of these sales (ids, or keys of sales that are not in these books), told
    again. What they answered before is asked anew."""
    conn.execute(
        """UPDATE dca_settlements SET twins = ?1,
        overrides = trim(replace(' ' || overrides || ' ', ' ' || ?2 || ' ', ' ')) WHERE id = ?3""",
        (" ".join(twins), HoldReason.TOLD_TWICE, settlement_id),
    )


def prove_now(conn: sqlite3.Connection, settlement_id: int) -> int:
    """Ask for the proof, or plan, at once instead of later; 1 if it waits for that."""
    return conn.execute(
        "UPDATE dca_settlements SET next_attempt_at = 0 WHERE id = ? AND status = 'pending' AND planned_at IS NULL",
        (settlement_id,),
    ).rowcount


def with_trouble(conn: sqlite3.Connection, operator: str | None) -> list[int]:
    """Sales of which `retry` can try something, of one operator or of all.

    Errored, waiting for their proof or for a payment that was tried without success, or held because it was not found.
    """
    found = conn.execute(
        """SELECT s.id FROM dca_settlements s CROSS JOIN dca_machines m ON m.id = s.machine_id
        WHERE s.status NOT IN ('processed', 'partial', 'refunded')
        AND (s.status = 'errored' OR s.hold_reason IN ('payment_not_found', 'no_payment_hash')
             OR (s.status = 'pending' AND (s.attempts > 0 OR EXISTS (SELECT 1 FROM dca_payments p
                 WHERE p.settlement_id = s.id AND (p.status = 'failed'
                 OR (p.status IN ('pending', 'invoiced', 'sending') AND p.attempts > 0))))))
        AND (?1 IS NULL OR m.operator_id = ?1) ORDER BY +s.id""",
        (operator,),
    )
    return [int(row["id"]) for row in found]


def release_reactivated(conn: sqlite3.Connection) -> list[int]:
    """Let the sales continue that were held because their machine was inactive, and now is not."""
    found = conn.execute(
        """UPDATE dca_settlements SET status = 'pending', hold_reason = NULL, error = NULL, next_attempt_at = 0
        WHERE status NOT IN ('processed', 'partial', 'refunded') AND status = 'held'
        AND hold_reason = 'machine_inactive' AND +machine_id IN
        (SELECT id FROM dca_machines WHERE active = 1 AND in_config = 1) RETURNING id"""
    )
    return [int(row["id"]) for row in found]


def payment_arrived(conn: sqlite3.Connection, machine_id: str, payment_hash: str) -> bool:
    """A sweep has seen this payment: whether a settlement knows it. One that waits for it is proven next.

    One that a person had closed before the payment was there is opened again, once: whoever closes it after that knows
    about the payment.
    """
    row = conn.execute(
        "SELECT id, status, payment_seen FROM dca_settlements WHERE machine_id = ? AND payment_hash = ?",
        (machine_id, payment_hash),
    ).fetchone()
    if row is None:
        return False
    conn.execute(
        """UPDATE dca_settlements SET status = 'pending', hold_reason = NULL, error = NULL, next_attempt_at = 0
        WHERE id = ? AND proof = 'waiting' AND (status = 'pending' OR hold_reason = 'payment_not_found')""",
        (row["id"],),
    )
    if not row["payment_seen"]:
        if row["status"] == "partial":
            _reopen_unproven(conn, int(row["id"]))
        conn.execute("UPDATE dca_settlements SET payment_seen = 1 WHERE id = ?", (row["id"],))
    return True


def _reopen_unproven(conn: sqlite3.Connection, settlement_id: int) -> None:
    """A sale was closed because nobody had paid, and then the customer paid: a person decides again."""
    settlement = get(conn, settlement_id)
    if settlement.proof != "waiting":
        return
    take_back_retained(conn, settlement, settlement.landed_at)
    conn.execute(
        """UPDATE dca_settlements SET status = 'held', hold_reason = ?, finished_at = NULL,
        error = 'the customer paid after this sale was closed; release it to pay it out' WHERE id = ?""",
        (HoldReason.PAID_AFTER_CLOSE, settlement_id),
    )


def waived_like(conn: sqlite3.Connection, machine_id: str, gross_sats: int, settled_at: int) -> int | None:
    """A sale of this amount and day that was paid without proof and names no payment: it may be this payment's."""
    row = conn.execute(
        """SELECT id FROM dca_settlements WHERE machine_id = ? AND proof = 'waived' AND payment_hash IS NULL
        AND gross_sats = ? AND occurred_at BETWEEN ? AND ?""",
        (machine_id, gross_sats, settled_at - 86_400, settled_at + 86_400),
    ).fetchone()
    return None if row is None else int(row["id"])


def stopped_like(conn: sqlite3.Connection, claim: Claim) -> int | None:
    """A sale of this amount and day that names no payment, and that a person holds or has closed before its proof."""
    row = conn.execute(
        """SELECT id FROM dca_settlements WHERE machine_id = ? AND proof = 'waiting' AND payment_hash IS NULL
        AND (hold_reason = ? OR finished_at IS NOT NULL) AND gross_sats = ? AND occurred_at BETWEEN ? AND ?
        AND (txid IS NULL OR ? IS NULL)""",
        (
            claim.machine_id,
            HoldReason.BY_OPERATOR,
            claim.gross_sats,
            claim.occurred_at - 86_400,
            claim.occurred_at + 86_400,
            claim.txid,
        ),
    ).fetchone()
    return None if row is None else int(row["id"])


def told_before(conn: sqlite3.Connection, settlement: Settlement) -> list[int]:
    """The other sales of this amount and day that may be the same one, reported again: no payment hash and no txid
    distinguishes them. Those that are planned, and those that a person has stopped before. All of them: a person
    decides about each.

    Another split, an unknown rate and unknown cash do not make it another sale, nor does what only the wallet reported,
    or what a person has corrected since. If the payments of two sales were both seen, each has its own. One that was
    closed when a person was asked whether it is this one is not asked about again: nothing of it was paid.
    """
    by_wallet = settlement.bitspire_event_id is None
    found = conn.execute(
        """SELECT id FROM dca_settlements WHERE machine_id = ?1 AND id <> ?2 AND gross_sats = ?3
        AND occurred_at BETWEEN ?4 - 86400 AND ?4 + 86400 AND (payment_hash IS NULL OR ?5 IS NULL)
        AND (txid IS NULL OR ?6 IS NULL) AND CASE WHEN planned_at IS NULL
        THEN hold_reason = 'by_operator' OR finished_at IS NOT NULL ELSE 'waived' IN (proof, ?9) END
        AND (bitspire_event_id IS NULL OR person_acted_at IS NOT NULL
        OR ((exchange_rate = ?7 OR exchange_rate = '0' OR ?7 = '0' OR rate_source IS NOT NULL)
        AND (fiat_amount_minor = ?8 OR fiat_amount_minor IS NULL OR ?8 IS NULL)))
        AND NOT (finished_at IS NOT NULL AND instr(' ' || twins || ' ', ' ' || ?2 || ' ') > 0
        AND instr(overrides, 'told_twice') = 0
        AND NOT EXISTS (SELECT 1 FROM dca_payments p WHERE p.settlement_id = dca_settlements.id)) ORDER BY id""",
        (
            settlement.machine_id,
            settlement.id,
            settlement.gross_sats,
            settlement.occurred_at,
            settlement.payment_hash,
            settlement.txid,
            "0" if by_wallet or settlement.rate_source is not None else f"{settlement.exchange_rate:f}",
            None if by_wallet or settlement.undispensed_sats else settlement.fiat_amount_minor,
            settlement.proof,
        ),
    )
    return [int(row["id"]) for row in found]


def planned_sats_of_day(conn: sqlite3.Connection, machine_id: str, *, day_start: int, exclude_id: int) -> int:
    """Gross sats of a machine's planned sales of one UTC day."""
    row = conn.execute(
        """SELECT coalesce(sum(gross_sats), 0) AS total FROM dca_settlements WHERE machine_id = ?
        AND occurred_at >= ? AND occurred_at < ? AND planned_at IS NOT NULL AND id <> ?""",
        (machine_id, day_start, day_start + 86_400, exclude_id),
    ).fetchone()
    return int(row["total"])


def mark_planned(
    conn: sqlite3.Connection,
    settlement: Settlement,
    *,
    platform_fee_sats: int,
    operator_fee_sats: int,
    super_fee_pct: Decimal,
    ruleset_source: str,
    now: int,
) -> None:
    """Record the plan's first stage; its legs are written in the same transaction."""
    changed = conn.execute(
        """UPDATE dca_settlements SET platform_fee_sats = ?, operator_fee_sats = ?, super_fee_pct = ?,
        ruleset_source = ?, planned_at = ?, error = NULL WHERE id = ? AND revision = ? AND planned_at IS NULL""",
        (
            platform_fee_sats,
            operator_fee_sats,
            f"{super_fee_pct:f}",
            ruleset_source,
            now,
            settlement.id,
            settlement.revision,
        ),
    ).rowcount
    assert changed == 1, f"settlement {settlement.id} was planned twice"


def refresh_status(conn: sqlite3.Connection, settlement_id: int, now: int) -> SettlementStatus:
    """Derive a planned settlement's status from its legs; a held or closed one stays as it is."""
    settlement = get(conn, settlement_id)
    if settlement.planned_at is None or settlement.status not in ("pending", "errored", "processed"):
        return settlement.status
    worst = conn.execute(
        f"""SELECT id, payee, status, error FROM dca_payments WHERE settlement_id = ? AND {LEG_PAID_BY_MACHINE}
        AND status NOT IN ('completed', 'skipped', 'voided')
        ORDER BY CASE status WHEN 'held' THEN 0 WHEN 'failed' THEN 1 ELSE 2 END, position LIMIT 1""",  # noqa: S608
        (settlement_id,),
    ).fetchone()
    refunded = conn.execute(
        "SELECT 1 FROM dca_payments WHERE settlement_id = ? AND leg_type = 'refund' AND status = 'completed'",
        (settlement_id,),
    ).fetchone()
    status, error = _judged(worst, refunded=refunded is not None)
    conn.execute(
        """UPDATE dca_settlements SET status = ?1, error = ?2,
        finished_at = CASE WHEN ?1 IN ('processed', 'refunded') THEN coalesce(finished_at, ?3) END WHERE id = ?4""",
        (status, error, now, settlement_id),
    )
    return status


def _judged(worst: sqlite3.Row | None, *, refunded: bool) -> tuple[SettlementStatus, str | None]:
    if worst is None:
        return SettlementStatus.REFUNDED if refunded else SettlementStatus.PROCESSED, None
    if worst["status"] in ("held", "failed"):
        return SettlementStatus.ERRORED, f"payment {worst['id']}, to {worst['payee']}: {worst['error']}"
    return SettlementStatus.PENDING, None


def due_to_prove(conn: sqlite3.Connection, now: int, *, per_machine: int, limit: int) -> list[Settlement]:
    """Settlements that wait for their proof or their plan, due by now; some of each machine.

    In the order of the sales, so that lost books are made again in the order in which they were made. For a machine
    that must be reconciled, sales are proven but not planned: the balances may be old.
    """
    found = conn.execute(
        """SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY machine_id
        ORDER BY next_attempt_at, occurred_at, id) AS place
        FROM dca_settlements WHERE status = 'pending' AND planned_at IS NULL AND next_attempt_at <= ?
        AND (proof = 'waiting' OR NOT EXISTS (SELECT 1 FROM dca_wallets w
        WHERE w.machine_id = dca_settlements.machine_id AND w.safe_mode IS NOT NULL)))
        WHERE place <= ? ORDER BY place, next_attempt_at, occurred_at, id LIMIT ?""",
        (now, per_machine, limit),
    )
    return [rows.load(Settlement, row) for row in found]


def event_ids(conn: sqlite3.Connection, settlement_id: int) -> frozenset[str]:
    """The ids of all events that reported this sale."""
    found = conn.execute("SELECT event_id FROM dca_settlement_events WHERE settlement_id = ?", (settlement_id,))
    return frozenset(str(row["event_id"]) for row in found)


def _told(claim: Claim) -> tuple[object, ...]:
    """The columns fee_pct, discount_pct, fallback_commission_pct, used_fallback_split, exchange_rate, fiat."""
    return (
        None if claim.fee_pct is None else f"{claim.fee_pct:f}",
        None if claim.discount_pct is None else f"{claim.discount_pct:f}",
        None if claim.fallback_commission_pct is None else f"{claim.fallback_commission_pct:f}",
        int(claim.used_fallback_split),
        f"{claim.exchange_rate:f}",
        claim.fiat_amount_minor,
    )
