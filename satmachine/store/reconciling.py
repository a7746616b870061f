"""What the wallets show but the books do not have: payments and marks that wait for a person's decision (SPEC 6.8).

The sweep records them (`wallets.note_outgoing`, `marks.note_foreign`); here they are read, and decided. Call what
writes inside `atomic()`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from satmachine.identity import PREFIX, PayeeIdentity, PayeeKind
from satmachine.models import Leg, LegType, Settlement
from satmachine.seals import Given
from satmachine.store import as_models as rows
from satmachine.store import seal_rows
from satmachine.store.fragments import LEG_IS_RARE, LEG_PAID_BY_MACHINE

#: What `settled_by` says about a payment for which these books have a leg.
ADOPTED = "adopted"


@dataclass(frozen=True, slots=True)
class Found:
    """An outgoing payment that no leg of these books has made; amounts without the fee, `made_at` in Unix seconds."""

    payment_hash: str
    leg_key: str
    amount_sats: int
    fee_sats: int
    status: str
    extra: Mapping[str, object]
    made_at: int
    settled_by: str | None

    def whole(self, name: str) -> int | None:
        """A whole number of 0 or more in the payment's `extra`; None if there is none."""
        value = self.extra.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62 else None

    @property
    def inside(self) -> bool:
        """Whether LNbits moved it between its own wallets: then this wallet alone does not show that it arrived."""
        return self.extra.get("inside") is True

    def text(self, name: str) -> str:
        """A text in the payment's `extra`; empty if there is none."""
        value = self.extra.get(name)
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class FoundMark:
    """A genuine mark that these books did not write; `invoices` is leg key -> payment hash, `stopped` what a person's
    order has stopped: leg keys, or the bundle for all of it."""

    id: str
    bundle: str
    prev: frozenset[str]
    invoices: Mapping[str, str]
    stopped: frozenset[str] = frozenset()
    first_seen_at: int = 0


@dataclass(frozen=True, slots=True)
class Pause:
    """A machine's wallet, as far as reconciling needs it; times in Unix seconds.

    `since`: its books are a restored copy that is not reconciled yet. `stopped_at`: nothing was sent after that.
    """

    since: int | None
    why: str | None
    last_sweep_at: int | None
    stopped_at: int | None
    safe_mode: str | None


@dataclass(frozen=True, slots=True)
class OwnInvoice:
    """An invoice of an open leg. `begun`: these books may have sent it; else only another copy of them could have."""

    payment_id: int
    payment_hash: str
    begun: bool


@dataclass(frozen=True, slots=True)
class Booking:
    """A payment as the leg that it becomes."""

    settlement_id: int | None
    revision: int
    leg_type: LegType
    leg: str
    leg_key: str
    label: str | None
    client_id: int | None
    amount_sats: int
    fiat_amount_minor: int | None
    exchange_rate: Decimal | None
    currency: str
    payee: str
    identity: PayeeIdentity
    scope: str | None
    effective_at: int


def undecided(conn: sqlite3.Connection, machine_id: str, named: Sequence[str] = ()) -> list[Found]:
    """Payments that nobody has decided about, in the order in which they were made; and, of those that a person has
    declared not to be satmachine's, the ones that are `named` by their payment hash."""
    found = conn.execute(
        """SELECT * FROM dca_foreign_payments WHERE machine_id = ?1 AND (settled_by IS NULL OR (settled_by <> ?2
        AND payment_hash IN (SELECT value FROM json_each(?3)))) ORDER BY made_at, leg_key, payment_hash""",
        (machine_id, ADOPTED, json.dumps(list(named))),
    )
    return [
        Found(
            payment_hash=row["payment_hash"],
            leg_key=row["leg_key"],
            amount_sats=row["amount_sats"],
            fee_sats=row["fee_sats"],
            status=row["status"],
            extra=json.loads(row["extra"]),
            made_at=row["made_at"],
            settled_by=row["settled_by"],
        )
        for row in found
    ]


def undecided_marks(conn: sqlite3.Connection, machine_id: str) -> list[FoundMark]:
    """Marks that nobody has decided about, by their bundle."""
    found = conn.execute(
        """SELECT id, bundle, content, first_seen_at FROM dca_foreign_marks WHERE machine_id = ? AND decided_at IS NULL
        ORDER BY bundle, id""",
        (machine_id,),
    )
    return [_mark(row) for row in found]


def own_marks(conn: sqlite3.Connection, machine_id: str, bundle: str) -> list[FoundMark]:
    """Marks of a bundle that these books have written, or that were decided about before."""
    found = conn.execute(
        """SELECT id, bundle, content, written_at AS first_seen_at FROM dca_marks WHERE machine_id = ?1 AND bundle = ?2
        UNION ALL SELECT id, bundle, content, first_seen_at FROM dca_foreign_marks
        WHERE +machine_id = ?1 AND bundle = ?2 AND decided_at IS NOT NULL""",
        (machine_id, bundle),
    )
    return [_mark(row) for row in found]


def counts(conn: sqlite3.Connection, machine_id: str) -> tuple[int, int]:
    """How many payments and marks wait for a decision."""
    row = conn.execute(
        """SELECT (SELECT count(*) FROM dca_foreign_payments WHERE machine_id = ?1 AND settled_by IS NULL) AS payments,
        (SELECT count(*) FROM dca_foreign_marks WHERE machine_id = ?1 AND decided_at IS NULL) AS marks""",
        (machine_id,),
    ).fetchone()
    return int(row["payments"]), int(row["marks"])


def pause(conn: sqlite3.Connection, machine_id: str) -> Pause:
    """Since when, and why, the machine pays nothing. Its wallet's row must exist."""
    row = conn.execute(
        """SELECT reconcile_since, reconcile_why, last_sweep_at, safe_mode, min(coalesce(reconcile_since, 1 << 60),
        (SELECT coalesce(min(first_seen_at), 1 << 60) FROM dca_foreign_payments f WHERE f.machine_id = w.machine_id
        AND f.settled_by IS NULL), (SELECT coalesce(min(first_seen_at), 1 << 60) FROM dca_foreign_marks k
        WHERE k.machine_id = w.machine_id AND k.decided_at IS NULL)) AS stopped_at
        FROM dca_wallets w WHERE machine_id = ?""",
        (machine_id,),
    ).fetchone()
    stopped_at = int(row["stopped_at"])
    return Pause(
        row["reconcile_since"],
        row["reconcile_why"],
        row["last_sweep_at"],
        None if stopped_at == 1 << 60 else stopped_at,
        row["safe_mode"],
    )


def stopped_machines(conn: sqlite3.Connection, operator: str | None) -> list[str]:
    """Machines that pay nothing before they are reconciled, of one operator or of all."""
    found = conn.execute(
        """SELECT w.machine_id FROM dca_wallets w JOIN dca_machines m ON m.id = w.machine_id
        WHERE w.safe_mode IS NOT NULL AND (?1 IS NULL OR m.operator_id = ?1) ORDER BY w.machine_id""",
        (operator,),
    )
    return [str(row["machine_id"]) for row in found]


def open_legs(conn: sqlite3.Connection, settlement_id: int) -> list[Leg]:
    """The sale's legs that are not final, in order; an autoforward is no part of its sats."""
    found = conn.execute(
        f"""SELECT * FROM dca_payments WHERE settlement_id = ? AND {LEG_PAID_BY_MACHINE}
        AND status NOT IN ('completed', 'voided', 'skipped') ORDER BY revision, position, id""",  # noqa: S608
        (settlement_id,),
    )
    return [rows.load(Leg, row) for row in found]


def leg_by_key(conn: sqlite3.Connection, machine_id: str, leg_key: str) -> Leg | None:
    """The leg with this key, in whatever state."""
    row = conn.execute(
        "SELECT * FROM dca_payments WHERE machine_id = ? AND leg_key = ?", (machine_id, leg_key)
    ).fetchone()
    return None if row is None else rows.load(Leg, row)


def live_invoice(conn: sqlite3.Connection, leg: Leg) -> str | None:
    """The payment hash of the leg's invoice that may be paid, or was; None if there is none, or only a dead one."""
    row = conn.execute(
        "SELECT payment_hash FROM dca_invoices WHERE payment_id = ? AND generation = ? AND dead_at IS NULL",
        (leg.id, leg.generation),
    ).fetchone()
    return None if row is None or row["payment_hash"] is None else str(row["payment_hash"])


def may_be_paid(conn: sqlite3.Connection, settlement_ids: Sequence[int]) -> list[OwnInvoice]:
    """Invoices of these sales' open legs: only the wallet knows what happened to them, because another copy of these
    books may have marked and paid what this one has only asked for."""
    found = conn.execute(
        f"""SELECT i.payment_id, i.payment_hash, (i.sent_at IS NOT NULL OR i.marked_at IS NOT NULL) AS begun
        FROM dca_invoices i JOIN dca_payments p ON p.id = i.payment_id
        WHERE p.settlement_id IN (SELECT value FROM json_each(?)) AND p.{LEG_PAID_BY_MACHINE}
        AND p.status NOT IN ('completed', 'voided', 'skipped') AND i.payment_hash IS NOT NULL AND i.adopted = 0
        ORDER BY i.payment_id, i.generation""",  # noqa: S608
        (json.dumps(list(settlement_ids)),),
    )
    return [OwnInvoice(row["payment_id"], row["payment_hash"], bool(row["begun"])) for row in found]


def client_by_label(conn: sqlite3.Connection, machine_id: str, label: str) -> int | None:
    """The LP with this label at this machine, removed or not."""
    row = conn.execute("SELECT id FROM dca_clients WHERE machine_id = ? AND label = ?", (machine_id, label)).fetchone()
    return None if row is None else int(row["id"])


def is_known_paid(conn: sqlite3.Connection, payment_hash: str) -> bool:
    """Whether these books have a leg for this payment, completed or with its invoice."""
    row = conn.execute(
        """SELECT 1 FROM dca_invoices i JOIN dca_payments p ON p.id = i.payment_id WHERE i.payment_hash = ?
        AND (p.status = 'completed' OR i.adopted = 1)""",
        (payment_hash,),
    ).fetchone()
    return row is not None


def take_over(conn: sqlite3.Connection, leg: Leg, payment: Found, *, internal: bool, now: int) -> None:
    """The leg belongs to this payment: from now on it is looked up on both sides like one that was just sent."""
    _forget_voided(conn, payment.payment_hash)
    taken = Given(
        leg.machine_id,
        leg.leg_key,
        leg.generation + 1,
        payment.payment_hash,
        payment.text("bolt11"),
        payment.amount_sats,
        internal,
        None,
    )
    seal = seal_rows.seal_of(conn, taken)
    _give_invoice(conn, leg.id, taken.generation, payment, internal=internal, now=now, seal=seal)
    changed = conn.execute(
        """UPDATE dca_payments SET status = 'sending', generation = generation + 1, payment_hash = ?,
        hold_reason = NULL, error = NULL, cause = NULL, attempts = 0, next_attempt_at = 0 WHERE id = ?
        AND generation = ? AND status IN ('pending', 'invoiced', 'sending', 'failed', 'held')""",
        (payment.payment_hash, leg.id, leg.generation),
    ).rowcount
    assert changed == 1, f"payment {leg.id} changed while it was reconciled"


def complete_booked(conn: sqlite3.Connection, leg: Leg, payment: Found, *, by: str, now: int) -> None:
    """The leg is paid by a person's decision, with what the wallet shows."""
    changed = conn.execute(
        """UPDATE dca_payments SET status = 'completed', sent_sats = ?, fee_sats = ?, completed_at = ?,
        proof = 'booked', vouched_by = ?, next_attempt_at = NULL, hold_reason = NULL, error = NULL, cause = NULL
        WHERE id = ? AND status = 'sending'""",
        (payment.amount_sats, payment.fee_sats, now, by, leg.id),
    ).rowcount
    assert changed == 1, f"payment {leg.id} has just been reconciled"


def insert_booked(
    conn: sqlite3.Connection, machine_id: str, booking: Booking, payment: Found, *, by: str, now: int
) -> int:
    """Write a payment as a completed leg, after the others of its revision; returns its id.

    One that LNbits moved inside itself is not completed yet: it is looked up on both sides, as after every payment.
    """
    _forget_voided(conn, payment.payment_hash)
    done = not payment.inside
    cursor = conn.execute(
        """INSERT INTO dca_payments (settlement_id, machine_id, revision, position, leg_type, leg, leg_key, label,
        client_id, amount_sats, fiat_amount_minor, exchange_rate, currency, payee, effective_at, status, generation,
        payment_hash, sent_sats, fee_sats, next_attempt_at, planned_at, completed_at, payee_kind, payee_ref,
        payee_scope, proof, vouched_by) VALUES (?1, ?2, ?3, (SELECT coalesce(max(position), -1) + 1 FROM dca_payments
        WHERE settlement_id = ?1 AND revision = ?3), ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?23, 1,
        ?15, ?16, ?17, ?24, ?18, ?25, ?19, ?20, ?21, ?26, ?22)""",
        (
            booking.settlement_id,
            machine_id,
            booking.revision,
            booking.leg_type,
            booking.leg,
            booking.leg_key,
            booking.label,
            booking.client_id,
            booking.amount_sats,
            booking.fiat_amount_minor,
            None if booking.exchange_rate is None else f"{booking.exchange_rate:f}",
            booking.currency,
            booking.payee,
            booking.effective_at,
            payment.payment_hash,
            payment.amount_sats if done else None,
            payment.fee_sats if done else None,
            now,
            booking.identity.kind,
            booking.identity.reference,
            booking.scope,
            by if done else None,
            "completed" if done else "sending",
            None if done else 0,
            now if done else None,
            "booked" if done else None,
        ),
    )
    assert cursor.lastrowid is not None
    internal = payment.inside and booking.identity.kind is PayeeKind.WALLET
    _give_invoice(conn, cursor.lastrowid, 1, payment, internal=internal, now=now)
    return cursor.lastrowid


def name_is_free(conn: sqlite3.Connection, machine_id: str, leg_key: str) -> bool:
    """Whether no leg has this key."""
    return leg_by_key(conn, machine_id, leg_key) is None


def void(conn: sqlite3.Connection, leg: Leg, evidence: Mapping[str, object], now: int) -> None:
    """Void a leg of which nothing was sent, or of which the wallet was just seen not to have paid anything."""
    conn.execute(
        "UPDATE dca_invoices SET dead_at = coalesce(dead_at, ?) WHERE payment_id = ? AND payment_hash IS NOT NULL",
        (now, leg.id),
    )
    changed = conn.execute(
        """UPDATE dca_payments SET status = 'voided', next_attempt_at = NULL, hold_reason = NULL, error = NULL,
        cause = NULL, evidence = ? WHERE id = ? AND status = ? AND generation = ?""",
        (json.dumps(evidence, default=str), leg.id, leg.status, leg.generation),
    ).rowcount
    assert changed == 1, f"payment {leg.id} changed while its sale was reconciled"


def still_held(conn: sqlite3.Connection, machine_id: str) -> list[tuple[int | None, int, str, str]]:
    """(sale, payment, reason, error) of the sales, and of the payments of no sale (sale None), that stay held when a
    machine is reconciled: a person decides about each of them by itself."""
    found = conn.execute(
        f"""SELECT id AS sale, 0 AS payment, hold_reason, error FROM dca_settlements WHERE machine_id = ?1
        AND status NOT IN ('processed', 'partial', 'refunded') AND status = 'held'
        AND hold_reason IN ('unknown_payments', 'marks_conflict')
        UNION ALL SELECT NULL, id, hold_reason, error FROM dca_payments WHERE machine_id = ?1 AND {LEG_IS_RARE}
        AND settlement_id IS NULL AND status = 'held' AND hold_reason = 'marks_conflict' ORDER BY sale, payment""",  # noqa: S608
        (machine_id,),
    )
    return [(row["sale"], row["payment"], row["hold_reason"], row["error"] or "") for row in found]


def begin_plan(
    conn: sqlite3.Connection, settlement: Settlement, *, prove: tuple[str, int] | None = None, now: int
) -> None:
    """Let a sale with known payments continue from where it waits for a person; `prove` are the payment hash and
    the time (Unix seconds) of the customer's payment, where the wallet was just seen to have it."""
    conn.execute(
        """UPDATE dca_settlements SET status = 'pending', hold_reason = NULL, error = NULL, attempts = 0,
        next_attempt_at = 0 WHERE id = ? AND ((status = 'held' AND hold_reason IN ('unknown_payments',
        'marks_conflict', 'payment_not_found', 'no_payment_hash', 'before_payouts_since'))
        OR (status = 'partial' AND planned_at IS NULL))""",
        (settlement.id,),
    )
    if prove is not None:
        conn.execute(
            """UPDATE dca_settlements SET proof = 'proven', payment_hash = ?1, settlement_key = ?1, occurred_at = ?2,
            proven_at = ?3 WHERE id = ?4 AND proof = 'waiting'""",
            (*prove, now, settlement.id),
        )


def raise_revision(conn: sqlite3.Connection, settlement_id: int, revision: int) -> None:
    """No key of this revision, or of one before it, is ever made again."""
    conn.execute("UPDATE dca_settlements SET revision = max(revision, ?) WHERE id = ?", (revision, settlement_id))


def hold_sale(conn: sqlite3.Connection, settlement_id: int, *, reason: str, error: str) -> bool:
    """Make a sale wait for a person who compares; False if it is final, or held before it is planned: then its plan
    asks. One that is planned and held for something else is held for this: whoever lets it go on is to know of it."""
    return (
        conn.execute(
            """UPDATE dca_settlements SET status = 'held', hold_reason = ?, error = ? WHERE id = ?
            AND (status IN ('pending', 'errored') OR (status = 'held' AND planned_at IS NOT NULL))""",
            (reason, error, settlement_id),
        ).rowcount
        == 1
    )


def decide(
    conn: sqlite3.Connection,
    machine_id: str,
    payment_hash: str,
    *,
    settled_by: str,
    payment_id: int | None,
    reason: str,
    now: int,
) -> None:
    """Record what a person has decided about a payment."""
    changed = conn.execute(
        """UPDATE dca_foreign_payments SET settled_by = ?, payment_id = ?, reason = ?, decided_at = ?
        WHERE machine_id = ? AND payment_hash = ? AND settled_by IS NOT ?""",
        (settled_by, payment_id, reason, now, machine_id, payment_hash, ADOPTED),
    ).rowcount
    assert changed == 1, f"payment {payment_hash} was decided twice"


def forget(conn: sqlite3.Connection, machine_id: str, payment_hash: str, now: int) -> None:
    """The wallet says that this payment, which was under way when it was found, was never made."""
    conn.execute(
        """UPDATE dca_foreign_payments SET status = 'failure', settled_by = 'failed', decided_at = ?
        WHERE machine_id = ? AND payment_hash = ?""",
        (now, machine_id, payment_hash),
    )


def decide_marks(conn: sqlite3.Connection, machine_id: str, ids: Sequence[str], *, actor: str, now: int) -> int:
    """A person has reconciled these marks: they are known from now on. Returns how many were not before."""
    return conn.execute(
        """UPDATE dca_foreign_marks SET decided_at = ?, decided_by = ? WHERE machine_id = ? AND decided_at IS NULL
        AND id IN (SELECT value FROM json_each(?))""",
        (now, actor, machine_id, json.dumps(list(ids))),
    ).rowcount


def end_pause(conn: sqlite3.Connection, machine_id: str) -> None:
    """The machine's books no longer count as a restored copy that nobody has checked."""
    conn.execute(
        "UPDATE dca_wallets SET reconcile_since = NULL, reconcile_why = NULL WHERE machine_id = ?", (machine_id,)
    )


def retain_rest(conn: sqlite3.Connection, leg: Leg, rest_sats: int, now: int) -> None:
    """What is left of a leg after the payment to an external payee, of a sale or of a balance payout, stays in the
    wallet."""
    conn.execute(
        """INSERT INTO dca_retained (settlement_id, revision, reason, leg, amount_sats, created_at, payment_id)
        VALUES (?, ?, 'unused_fee_reserve', ?, ?, ?, ?)""",
        (leg.settlement_id, leg.revision, leg.leg, rest_sats, now, None if leg.settlement_id is not None else leg.id),
    )


def accounted_sats(conn: sqlite3.Connection, settlement_id: int) -> int:
    """The sale's legs and what it retains: its gross amount, once it is planned."""
    row = conn.execute(
        f"""SELECT (SELECT coalesce(sum(CASE status WHEN 'completed' THEN min(amount_sats, sent_sats +
        coalesce(fee_sats, 0)) ELSE amount_sats END), 0) FROM dca_payments WHERE settlement_id = ?1
        AND {LEG_PAID_BY_MACHINE} AND status NOT IN ('voided', 'skipped'))
        + (SELECT coalesce(sum(amount_sats), 0) FROM dca_retained
        WHERE settlement_id = ?1) AS total""",  # noqa: S608
        (settlement_id,),
    ).fetchone()
    return int(row["total"])


def dismissed_before(conn: sqlite3.Connection, settlement: Settlement) -> dict[str, str]:
    """Payments with this sale's key that were declared not to be satmachine's before the sale was in these books, or
    was proven in them: by payment hash, with their key and amount."""
    prefix = f"{PREFIX}{settlement.settlement_key}:"
    found = conn.execute(
        """SELECT payment_hash, leg_key, amount_sats FROM dca_foreign_payments WHERE machine_id = ?1 AND leg_key >= ?2
        AND leg_key < ?3 AND settled_by NOT IN ('adopted', 'failed') AND coalesce(decided_at, 0) <= ?4
        ORDER BY leg_key, payment_hash""",
        (settlement.machine_id, prefix, prefix[:-1] + ";", max(settlement.landed_at, settlement.proven_at or 0)),
    )
    return {row["payment_hash"]: f"{row['leg_key']} ({row['amount_sats']} sats)" for row in found}


def paid_without_sale(conn: sqlite3.Connection, settlement: Settlement) -> list[str]:
    """The settlement keys of payments that a person has decided about, and that can have been this sale's: made within
    a day after it, and no more than it brought. Not those of a sale that these books have planned, or that has a proof
    of its own as this one has. All: a person answers for each."""
    found = conn.execute(
        """SELECT substr(leg_key, 5, 64) AS sale_key FROM dca_foreign_payments f WHERE f.machine_id = ?1
        AND f.settled_by IS NOT NULL AND f.settled_by <> 'failed' AND f.leg_key GLOB ?2
        AND f.made_at BETWEEN ?3 - 600 AND ?3 + 86400 AND substr(f.leg_key, 5, 64) <> ?5
        AND NOT EXISTS (SELECT 1 FROM dca_settlements s
        WHERE s.machine_id = ?1 AND s.settlement_key = substr(f.leg_key, 5, 64)
        AND (s.planned_at IS NOT NULL OR 'waived' NOT IN (s.proof, ?6)))
        GROUP BY sale_key HAVING sum(f.amount_sats) <= ?4
        ORDER BY min(f.made_at)""",
        (
            settlement.machine_id,
            f"{PREFIX}{'?' * 64}:r*",
            settlement.occurred_at,
            settlement.gross_sats,
            settlement.settlement_key,
            settlement.proof,
        ),
    )
    return [str(row["sale_key"]) for row in found]


def booked_elsewhere(conn: sqlite3.Connection, settlement: Settlement) -> str | None:
    """A payment with this sale's key that a person has booked to something else, before the sale was in these books."""
    prefix = f"{PREFIX}{settlement.settlement_key}:"
    row = conn.execute(
        """SELECT f.leg_key, p.leg FROM dca_foreign_payments f JOIN dca_payments p ON p.id = f.payment_id
        WHERE f.machine_id = ?1 AND f.leg_key >= ?2 AND f.leg_key < ?3 AND p.settlement_id IS NOT ?4
        AND p.status <> 'voided' LIMIT 1""",
        (settlement.machine_id, prefix, prefix[:-1] + ";", settlement.id),
    ).fetchone()
    return None if row is None else f"{row['leg_key']} ({row['leg']})"


def stopped_before(conn: sqlite3.Connection, settlement: Settlement) -> bool:
    """Whether another life of these books had stopped or corrected this sale: by marks about which a person has decided
    when the sale was not in these books, and that these books have not replaced by one of their own."""
    bundle = f"{PREFIX}{settlement.settlement_key}"
    found = conn.execute(
        """SELECT id, bundle, content, first_seen_at FROM dca_foreign_marks k WHERE +machine_id = ?1 AND bundle = ?2
        AND decided_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM dca_marks o WHERE o.machine_id = ?1
        AND o.bundle = ?2)""",
        (settlement.machine_id, bundle),
    )
    return any(
        mark.stopped
        or not mark.invoices
        or any(not key.startswith(f"{bundle}:r{settlement.revision}:") for key in mark.invoices)
        for mark in map(_mark, found)
    )


def _mark(row: sqlite3.Row) -> FoundMark:
    content = json.loads(row["content"])
    if not isinstance(content, dict):  # only its digest is kept: nothing that it named is open
        return FoundMark(row["id"], row["bundle"], frozenset(), {})
    stopped, seen_at = frozenset(content.get("stopped", ())), row["first_seen_at"]
    return FoundMark(row["id"], row["bundle"], frozenset(content["prev"]), content["invoices"], stopped, seen_at)


def _give_invoice(
    conn: sqlite3.Connection,
    payment_id: int,
    generation: int,
    payment: Found,
    *,
    internal: bool,
    now: int,
    seal: str | None = None,
) -> None:
    expires_at = payment.whole("expires_at")
    conn.execute(
        """INSERT INTO dca_invoices (payment_id, generation, amount_sats, asked_at, bolt11, payment_hash, expires_at,
        internal, adopted, sent_at, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)""",
        (
            payment_id,
            generation,
            payment.amount_sats,
            now,
            payment.text("bolt11"),
            payment.payment_hash,
            expires_at,
            int(internal),
            payment.made_at,
            seal,
        ),
    )


def _forget_voided(conn: sqlite3.Connection, payment_hash: str) -> None:
    """A leg that was voided but had been paid, or was completed by another of its invoices, gives this one to the leg
    of the payment."""
    conn.execute(
        """DELETE FROM dca_invoices WHERE payment_hash = ?1 AND payment_id IN (SELECT id FROM dca_payments
        WHERE status = 'voided' OR (status = 'completed' AND payment_hash IS NOT ?1))""",
        (payment_hash,),
    )
    conn.execute(
        "UPDATE dca_payments SET payment_hash = NULL WHERE payment_hash = ? AND status = 'voided'", (payment_hash,)
    )
