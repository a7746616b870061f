"""Rows of `dca_payments` (legs) and `dca_invoices` (their generations).

Every step of the payer is one small transaction here, committed before the next call to a wallet (docs/lnbits.md).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from satmachine import identity
from satmachine.identity import PayeeKind
from satmachine.models import (
    Cause,
    HoldReason,
    Leg,
    LegInvoice,
    LegStatus,
    LegType,
    PlannedLeg,
    Proof,
    Settlement,
)
from satmachine.seals import Given, Ordered
from satmachine.store import as_models as rows
from satmachine.store import payees, seal_rows
from satmachine.store.fragments import LEG_PAID_BY_LP, LEG_PAID_BY_MACHINE, OPEN_LEG

#: Statuses in which the daemon still works on a leg.
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
    """Write the legs of a plan, sealed where this connection can; a leg of zero sats is recorded as skipped."""
    for position, leg in enumerate(legs):
        order = Ordered(
            machine_id=settlement.machine_id,
            settlement_id=settlement.id,
            leg_key=leg_key(settlement, revision, leg.leg),
            leg=leg.leg,
            leg_type=leg.leg_type,
            label=leg.label,
            client_id=leg.client_id,
            amount_sats=leg.amount_sats,
            fiat_amount_minor=leg.fiat_amount_minor,
            payee=leg.payee,
            payee_kind=leg.identity.kind,
            payee_ref=payees.completed(conn, leg.scope, leg.identity).reference,
            payee_scope=leg.scope,
            gross_sats=settlement.came_in_sats,
        )
        _insert_planned(conn, settlement, leg, order, revision=revision, position=position, now=now)


def _insert_planned(
    conn: sqlite3.Connection,
    settlement: Settlement,
    leg: PlannedLeg,
    order: Ordered,
    *,
    revision: int,
    position: int,
    now: int,
) -> None:
    conn.execute(
        """INSERT INTO dca_payments (settlement_id, machine_id, revision, position, leg_type, leg, leg_key, label,
        client_id, pct, amount_sats, fiat_amount_minor, exchange_rate, currency, payee, effective_at, status,
        explain, planned_at, payee_kind, payee_ref, payee_scope, seal)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            order.settlement_id,
            order.machine_id,
            revision,
            position,
            order.leg_type,
            order.leg,
            order.leg_key,
            order.label,
            order.client_id,
            None if leg.pct is None else f"{leg.pct:f}",
            order.amount_sats,
            order.fiat_amount_minor,
            f"{settlement.exchange_rate:f}" if leg.fiat_amount_minor is not None else None,
            settlement.currency,
            order.payee,
            settlement.occurred_at,
            LegStatus.PENDING if leg.amount_sats else LegStatus.SKIPPED,
            leg.explain,
            now,
            order.payee_kind,
            order.payee_ref,
            order.payee_scope,
            seal_rows.seal_of(conn, order),
        ),
    )


def leg_key(settlement: Settlement, revision: int, leg: str) -> str:
    """The key under which LNbits knows a leg: the same in every copy of the books (docs/lnbits.md "The protocol")."""
    assert settlement.settlement_key is not None, "only proven settlements have legs"
    return identity.sale_leg_key(settlement.settlement_key, revision, leg)


@dataclass(frozen=True, slots=True)
class DueLeg:
    """An open leg that is due. `marked`: its invoice may be paid; else it has none yet, or no mark names it."""

    id: int
    machine_id: str
    settlement_id: int | None
    leg_type: LegType
    leg_key: str
    payee: str
    payee_kind: PayeeKind
    payee_ref: str | None
    attempts: int
    marked: bool


def due(conn: sqlite3.Connection, now: int, machines: Collection[str], *, per_payee: int, limit: int) -> list[DueLeg]:
    """Open legs of these machines that are due by now and may be paid; sales in order, legs in order.

    At most `per_payee` for each machine and payee, so that a long queue for one never hides what others wait for.
    """
    # The plus and the CROSS JOINs: along the due legs, which are few, never along a machine's history.
    found = conn.execute(
        f"""SELECT *, EXISTS (SELECT 1 FROM dca_invoices i WHERE i.payment_id = q.id AND i.generation = q.generation
        AND i.marked_at IS NOT NULL AND i.dead_at IS NULL) AS marked
        FROM (SELECT p.*, row_number() OVER (PARTITION BY p.machine_id, p.payee
        ORDER BY p.next_attempt_at, p.settlement_id, p.position) AS place
        FROM dca_payments p CROSS JOIN dca_machines m ON m.id = p.machine_id
        CROSS JOIN dca_wallets w ON w.machine_id = p.machine_id
        LEFT JOIN dca_settlements s ON s.id = p.settlement_id
        WHERE p.{OPEN_LEG} AND p.next_attempt_at <= ?
        AND +p.machine_id IN (SELECT value FROM json_each(?))
        AND coalesce(s.status, 'pending') NOT IN ('held') AND m.active = 1 AND m.in_config = 1
        AND w.safe_mode IS NULL AND NOT EXISTS (SELECT 1 FROM payout_pauses x WHERE x.scope IN ('*', p.machine_id)))
        q WHERE place <= ? ORDER BY place, next_attempt_at, settlement_id, position LIMIT ?""",  # noqa: S608
        (now, json.dumps(sorted(machines)), per_payee, limit),
    )
    return [rows.load(DueLeg, row) for row in found]


def machines_with_open_legs(conn: sqlite3.Connection) -> frozenset[str]:
    """Who has something to pay, now or later."""
    found = conn.execute(f"SELECT DISTINCT machine_id FROM dca_payments WHERE {OPEN_LEG}")  # noqa: S608
    return frozenset(row["machine_id"] for row in found)


def open_of_payee(
    conn: sqlite3.Connection,
    *,
    leg: str | None = None,
    machine_id: str | None = None,
    client_id: int | None = None,
    operator: str | None = None,
) -> list[int]:
    """Payments that are not final, oldest first: of a leg's name (`super`, `split:owner`), or an LP's shares and
    payouts."""
    found = conn.execute(
        f"""SELECT p.id FROM dca_payments p JOIN dca_machines m ON m.id = p.machine_id
        WHERE p.status NOT IN ('completed', 'skipped', 'voided') AND (?1 IS NULL OR p.leg = ?1)
        AND (?2 IS NULL OR p.machine_id = ?2) AND (?3 IS NULL OR (p.client_id = ?3 AND p.{LEG_PAID_BY_MACHINE}))
        AND (?4 IS NULL OR m.operator_id = ?4) ORDER BY p.id""",  # noqa: S608
        (leg, machine_id, client_id, operator),
    )
    return [int(row["id"]) for row in found]


def used_sats(conn: sqlite3.Connection, settlement_id: int) -> int:
    """What the legs of a sale, of every revision, take out of its machine's wallet: sent and fees, or the amount."""
    row = conn.execute(
        f"""SELECT coalesce(sum(CASE status WHEN 'completed' THEN sent_sats + coalesce(fee_sats, 0) ELSE amount_sats
        END), 0) AS total FROM dca_payments WHERE settlement_id = ? AND {LEG_PAID_BY_MACHINE}
        AND status NOT IN ('voided', 'skipped')""",  # noqa: S608
        (settlement_id,),
    ).fetchone()
    return int(row["total"])


def waiting_sats(conn: sqlite3.Connection, machine_id: str, but: int) -> int:
    """What a machine's wallet must still pay, without one payment and without what is already on its way."""
    row = conn.execute(
        f"""SELECT coalesce(sum(amount_sats), 0) AS total FROM dca_payments WHERE +machine_id = ? AND id <> ?
        AND status IN ('pending', 'invoiced', 'failed') AND {LEG_PAID_BY_MACHINE}""",  # noqa: S608
        (machine_id, but),
    ).fetchone()
    return int(row["total"])


def completed_sats(conn: sqlite3.Connection, settlement_id: int) -> int:
    """What was paid of a sale, without routing fees that its machine pays on top."""
    row = conn.execute(
        f"""SELECT coalesce(sum(min(amount_sats, sent_sats + coalesce(fee_sats, 0))), 0) AS total FROM dca_payments
        WHERE settlement_id = ? AND {LEG_PAID_BY_MACHINE} AND status = 'completed'""",  # noqa: S608
        (settlement_id,),
    ).fetchone()
    return int(row["total"])


def add_invoice(
    conn: sqlite3.Connection,
    leg: Leg,
    *,
    bolt11: str,
    payment_hash: str,
    amount_sats: int,
    expires_at: int | None,
    wallet_id: str | None,
    now: int,
) -> bool:
    """Store an invoice as the leg's next generation; False if the leg's state has changed. It must not be paid before a
    mark names it. `wallet_id`: the wallet of this LNbits into which it pays, None if that is not known."""
    changed = conn.execute(
        f"""UPDATE dca_payments SET generation = ?1 + 1, status = 'invoiced', payment_hash = ?2 WHERE id = ?3
        AND generation = ?1 AND {OPEN_LEG}""",  # noqa: S608
        (leg.generation, payment_hash, leg.id),
    ).rowcount
    if changed == 1:
        internal = leg.payee_kind is PayeeKind.WALLET
        invoice = Given(
            leg.machine_id, leg.leg_key, leg.generation + 1, payment_hash, bolt11, amount_sats, internal, wallet_id
        )
        conn.execute(
            """INSERT INTO dca_invoices (payment_id, generation, amount_sats, asked_at, bolt11, payment_hash,
            expires_at, internal, wallet_id, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                leg.id,
                invoice.generation,
                amount_sats,
                now,
                bolt11,
                payment_hash,
                expires_at,
                int(internal),
                wallet_id,
                seal_rows.seal_of(conn, invoice),
            ),
        )
    return changed == 1


def learn_payee(conn: sqlite3.Connection, leg: Leg, reference: str, now: int) -> bool:
    """The payee's wallet has shown its id: it belongs to this leg from now on. False if the name was another
    wallet's."""
    if leg.payee_scope is not None:
        last = payees.known(conn, leg.payee_scope)
        if last is not None and last.differs(identity.PayeeIdentity(leg.payee_kind, reference)):
            return False
        payees.learn(conn, leg.payee_scope, identity.PayeeIdentity(leg.payee_kind, reference), now)
    seal = seal_rows.seal_again(conn, leg, replace(leg, payee_ref=reference))
    conn.execute(
        "UPDATE dca_payments SET payee_ref = ?, seal = ? WHERE id = ? AND payee_ref IS NULL", (reference, seal, leg.id)
    )
    return True


def mark_sending(conn: sqlite3.Connection, leg: Leg, *, now: int) -> bool:
    """Commit the intent to pay; False if no mark names the invoice, or if a person (hold, pause), a correction or safe
    mode came first."""
    changed = conn.execute(
        f"""UPDATE dca_payments SET status = 'sending' WHERE id = ? AND generation = ?
        AND status IN ('invoiced', 'sending', 'failed') AND EXISTS (SELECT 1 FROM dca_invoices i
        WHERE i.payment_id = dca_payments.id AND i.generation = dca_payments.generation
        AND i.marked_at IS NOT NULL AND i.dead_at IS NULL) AND ({LEG_PAID_BY_LP} OR coalesce((SELECT status
        FROM dca_settlements s WHERE s.id = settlement_id), 'pending')
        IN ('pending', 'errored', 'processed', 'partial'))
        AND NOT EXISTS (SELECT 1 FROM payout_pauses x WHERE x.scope IN ('*', dca_payments.machine_id))
        AND (SELECT safe_mode FROM dca_wallets w WHERE w.machine_id = dca_payments.machine_id) IS NULL""",  # noqa: S608
        (leg.id, leg.generation),
    ).rowcount
    if changed == 1:
        conn.execute(
            "UPDATE dca_invoices SET sent_at = coalesce(sent_at, ?) WHERE payment_id = ? AND generation = ?",
            (now, leg.id, leg.generation),
        )
    return changed == 1


def complete(
    conn: sqlite3.Connection,
    leg: Leg,
    *,
    sent_sats: int,
    fee_sats: int,
    preimage: str | None,
    proof: Proof,
    now: int,
) -> bool:
    """Record that a leg is paid; what follows is done by `payer.complete_leg`, in this transaction."""
    return (
        conn.execute(
            """UPDATE dca_payments SET status = 'completed', sent_sats = ?, fee_sats = ?, preimage = ?,
            completed_at = ?, proof = ?, next_attempt_at = NULL, hold_reason = NULL, error = NULL, cause = NULL
            WHERE id = ? AND status NOT IN ('completed', 'voided', 'skipped')""",
            (sent_sats, fee_sats, preimage, now, proof, leg.id),
        ).rowcount
        == 1
    )


def postpone(
    conn: sqlite3.Connection,
    leg: Leg,
    *,
    status: LegStatus,
    until: int | None,
    error: str | None,
    cause: Cause | None = None,
) -> bool:
    """Record the leg's state, why, and when to continue; `until` None waits for a person."""
    return (
        conn.execute(
            f"""UPDATE dca_payments SET status = ?, attempts = attempts + 1, next_attempt_at = ?, error = ?, cause = ?
            WHERE id = ? AND {OPEN_LEG}""",  # noqa: S608
            (status, until, error, cause, leg.id),
        ).rowcount
        == 1
    )


def hold(conn: sqlite3.Connection, leg: Leg, *, reason: str, error: str, evidence: Mapping[str, object]) -> bool:
    """Its outcome or evidence needs a person."""
    return (
        conn.execute(
            f"""UPDATE dca_payments SET status = 'held', hold_reason = ?, error = ?, evidence = ?,
            next_attempt_at = NULL WHERE id = ? AND {OPEN_LEG}""",  # noqa: S608
            (reason, error, json.dumps(evidence, default=str), leg.id),
        ).rowcount
        == 1
    )


def hold_paid_otherwise(conn: sqlite3.Connection, machine_id: str, leg_key: str, paid: str, amount_sats: int) -> bool:
    """The wallet shows that an invoice of this leg was paid after it had been given up: the leg must not be paid
    again."""
    row = conn.execute(
        f"""SELECT p.id FROM dca_payments p JOIN dca_invoices i ON i.payment_id = p.id AND i.payment_hash = ?1
        WHERE p.machine_id = ?2 AND p.leg_key = ?3 AND p.{OPEN_LEG}
        AND (i.generation < p.generation OR i.dead_at IS NOT NULL)""",  # noqa: S608
        (paid, machine_id, leg_key),
    ).fetchone()
    if row is None:
        return False
    leg, _ = get(conn, int(row["id"]))
    error = f"the wallet shows that an invoice of this payment was paid after it had been given up: {paid}"
    evidence = {"another_payment": paid, "amount_sats": amount_sats}
    return hold(conn, leg, reason=HoldReason.CONTRADICTION, error=error, evidence=evidence)


def note_shown(conn: sqlite3.Connection, leg: Leg, *, now: int) -> None:
    """The paying wallet shows a payment of this generation's invoice."""
    conn.execute(
        "UPDATE dca_invoices SET shown_at = coalesce(shown_at, ?) WHERE payment_id = ? AND generation = ?",
        (now, leg.id, leg.generation),
    )


def mark_invoice_dead(conn: sqlite3.Connection, leg: Leg, *, now: int) -> None:
    """It is proven that this generation's invoice can no longer be paid."""
    conn.execute(
        "UPDATE dca_invoices SET dead_at = coalesce(dead_at, ?) WHERE payment_id = ? AND generation = ?",
        (now, leg.id, leg.generation),
    )


def knows_payment(conn: sqlite3.Connection, payment_hash: str) -> bool:
    """Whether a leg of this database that is still valid made (or adopted) a payment. A voided leg never should have,
    nor one that is completed by another of its invoices."""
    found = conn.execute(
        """SELECT 1 FROM dca_invoices i JOIN dca_payments p ON p.id = i.payment_id
        WHERE i.payment_hash = ? AND p.status <> 'voided' AND (p.status <> 'completed' OR p.payment_hash =
        i.payment_hash)""",
        (payment_hash,),
    ).fetchone()
    return found is not None


def invoice_is_known(conn: sqlite3.Connection, payment_hash: str) -> bool:
    """Whether any leg ever had this invoice: then it is ours."""
    found = conn.execute("SELECT 1 FROM dca_invoices WHERE payment_hash = ?", (payment_hash,)).fetchone()
    return found is not None


def evidence(conn: sqlite3.Connection, leg_id: int) -> Mapping[str, object]:
    """What the wallets said when a leg was held."""
    row = conn.execute("SELECT evidence FROM dca_payments WHERE id = ?", (leg_id,)).fetchone()
    found: dict[str, object] = json.loads(row["evidence"] or "{}")
    return found


def retry_failed(conn: sqlite3.Connection, settlement_id: int) -> int:
    """Try a sale's failed or waiting legs at once; returns how many."""
    return conn.execute(
        """UPDATE dca_payments SET next_attempt_at = 0, attempts = 0 WHERE settlement_id = ?
        AND (status = 'failed' OR (status IN ('pending', 'invoiced', 'sending') AND attempts > 0))""",
        (settlement_id,),
    ).rowcount


def try_now(conn: sqlite3.Connection, leg: Leg) -> bool:
    """Try one failed or waiting leg at once."""
    return (
        conn.execute(
            """UPDATE dca_payments SET next_attempt_at = 0, attempts = 0 WHERE id = ? AND (status = 'failed'
            OR (status IN ('pending', 'invoiced', 'sending') AND attempts > 0))""",
            (leg.id,),
        ).rowcount
        == 1
    )


def repoint(
    conn: sqlite3.Connection, leg: Leg, payee: identity.PayeeIdentity, described: str, scope: str, now: int
) -> bool:
    """Send a leg that was just proven unpaid to another payee; False if its state has changed.

    The generation also increases: an invoice of the former payee that is just being made finds the leg changed.
    """
    moved = replace(leg, payee=described, payee_kind=payee.kind, payee_ref=payee.reference, payee_scope=scope)
    changed = conn.execute(
        """UPDATE dca_payments SET payee = ?, payee_kind = ?, payee_ref = ?, payee_scope = ?, seal = ?,
        status = 'pending', generation = generation + 1, payment_hash = NULL, cause = NULL, hold_reason = NULL,
        error = NULL, next_attempt_at = 0, attempts = 0 WHERE id = ? AND status = ? AND generation = ?""",
        (
            described,
            payee.kind,
            payee.reference,
            scope,
            seal_rows.seal_again(conn, leg, moved),
            leg.id,
            leg.status,
            leg.generation,
        ),
    ).rowcount
    if changed == 1:
        conn.execute("UPDATE dca_invoices SET dead_at = coalesce(dead_at, ?) WHERE payment_id = ?", (now, leg.id))
    return changed == 1


def look_again(conn: sqlite3.Connection, leg: Leg) -> bool:
    """Put a held leg back into the state in which its own invoice is looked up on both sides; False if it has none."""
    return (
        conn.execute(
            """UPDATE dca_payments SET status = 'sending', hold_reason = NULL, error = NULL, next_attempt_at = 0,
            attempts = 0 WHERE id = ? AND status = 'held' AND EXISTS (SELECT 1 FROM dca_invoices i
            WHERE i.payment_id = dca_payments.id AND i.generation = dca_payments.generation
            AND i.payment_hash IS NOT NULL AND i.dead_at IS NULL)""",
            (leg.id,),
        ).rowcount
        == 1
    )


def renew(conn: sqlite3.Connection, leg: Leg, *, now: int) -> bool:
    """A person gives up an invoice; the payer looks for a payment of the leg before it makes a new one. False if the
    leg's state has changed."""
    changed = conn.execute(
        """UPDATE dca_payments SET status = 'failed', hold_reason = NULL, error = NULL, cause = NULL,
        next_attempt_at = 0, attempts = 0 WHERE id = ? AND status = ? AND generation = ?""",
        (leg.id, leg.status, leg.generation),
    ).rowcount
    if changed == 1:
        mark_invoice_dead(conn, leg, now=now)
    return changed == 1


def declare_completed(
    conn: sqlite3.Connection, leg: Leg, *, payment_hash: str, sent_sats: int, vouched_by: str, now: int
) -> bool:
    """A person vouches for a leg, whose evidence stays; False if its state has changed. The caller retains what was not
    sent."""
    return (
        conn.execute(
            """UPDATE dca_payments SET status = 'completed', payment_hash = ?, sent_sats = ?, fee_sats = 0,
            completed_at = ?, proof = 'person', vouched_by = ?, hold_reason = NULL, next_attempt_at = NULL,
            error = NULL, cause = NULL WHERE id = ? AND status = ? AND generation = ?""",
            (payment_hash, sent_sats, now, vouched_by, leg.id, leg.status, leg.generation),
        ).rowcount
        == 1
    )
