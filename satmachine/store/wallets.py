"""What the machines' LNbits wallets are known to hold, and payments in them that the books cannot place."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from satmachine.models import INTERNAL_PAYEE, HoldReason, Leg
from satmachine.store import legs, rows


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A tagged outgoing payment as the machine's wallet shows it; `status` is success or pending.

    `accepted`: a person has looked at it, when these books did not know it.
    """

    payment_hash: str
    leg_key: str
    bolt11: str
    amount_sats: int
    status: str
    expires_at: int | None
    extra: Mapping[str, object]
    made_at: int
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Unmatched:
    """An incoming payment without a sale; `settled_at` is when it arrived."""

    amount_sats: int
    settled_at: int


@dataclass(frozen=True, slots=True)
class SweepMarks:
    """How far a wallet has been read: incoming by the time of the last change, outgoing by the time of creation."""

    swept_until: int
    known_until: int


def marks(conn: sqlite3.Connection, machine_id: str) -> SweepMarks:
    """Where the next sweep of a machine's wallet begins."""
    row = conn.execute(
        "SELECT swept_until, known_until FROM dca_wallets WHERE machine_id = ?", (machine_id,)
    ).fetchone()
    return SweepMarks(row["swept_until"], row["known_until"])


def mark_swept(conn: sqlite3.Connection, machine_id: str, found: SweepMarks, now: int) -> None:
    """A sweep has read everything up to here. Marks only move forward, but for one that a wrong clock set ahead."""
    conn.execute(
        "UPDATE dca_wallets SET "
        "swept_until = CASE WHEN swept_until > ?3 THEN ?1 ELSE max(swept_until, ?1) END, "
        "known_until = CASE WHEN known_until > ?3 THEN ?2 ELSE max(known_until, ?2) END, "
        "last_sweep_at = ?3 WHERE machine_id = ?4",
        (found.swept_until, found.known_until, now, machine_id),
    )


def reached(
    conn: sqlite3.Connection, machine_id: str, *, wallet_id: str, balance_sats: int, version: str, now: int
) -> None:
    """The wallet has answered. If it was funded since, what waits for that is tried at once."""
    conn.execute(
        "UPDATE dca_payments SET next_attempt_at = ?1 WHERE +machine_id = ?2 AND status = 'failed' "
        "AND status IN ('pending', 'invoiced', 'sending', 'failed') AND next_attempt_at > ?1 "
        "AND error LIKE '%insufficient%' AND (SELECT balance_sats FROM dca_wallets w WHERE w.machine_id = ?2) < ?3",
        (now, machine_id, balance_sats),
    )
    conn.execute(
        "UPDATE dca_wallets SET wallet_id = coalesce(wallet_id, ?), balance_sats = ?, lnbits_version = ?, "
        "reachable = 1, error = NULL, checked_at = ? WHERE machine_id = ?",
        (wallet_id, balance_sats, version, now, machine_id),
    )


def failed(conn: sqlite3.Connection, machine_id: str, *, error: str, now: int) -> bool:
    """The wallet has not answered, or not as it should; True where that is news."""
    known = conn.execute(
        "SELECT 1 FROM dca_wallets WHERE machine_id = ? AND reachable = 0 AND error = ?", (machine_id, error)
    ).fetchone()
    conn.execute(
        "UPDATE dca_wallets SET reachable = 0, error = ?, checked_at = ? WHERE machine_id = ?",
        (error, now, machine_id),
    )
    return known is None


def wallet_id(conn: sqlite3.Connection, machine_id: str) -> str | None:
    """LNbits' id of this machine's wallet, once it was seen."""
    row = conn.execute("SELECT wallet_id FROM dca_wallets WHERE machine_id = ?", (machine_id,)).fetchone()
    return None if row is None or row["wallet_id"] is None else str(row["wallet_id"])


def owner_of_wallet(conn: sqlite3.Connection, wallet: str) -> str | None:
    """The machine whose wallet this is, if any."""
    row = conn.execute("SELECT machine_id FROM dca_wallets WHERE wallet_id = ?", (wallet,)).fetchone()
    return None if row is None else str(row["machine_id"])


def note_unmatched(
    conn: sqlite3.Connection,
    machine_id: str,
    *,
    payment_hash: str,
    amount_sats: int,
    memo: str,
    extra: Mapping[str, object],
    settled_at: int,
    reason: str,
    now: int,
) -> bool:
    """List an incoming payment that no settlement explains; True where it is new."""
    return (
        conn.execute(
            "INSERT INTO dca_unmatched_payments (machine_id, payment_hash, amount_sats, memo, extra, settled_at, "
            "first_seen_at, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (machine_id, payment_hash, amount_sats, memo, json.dumps(extra, default=str), settled_at, now, reason),
        ).rowcount
        == 1
    )


def unmatched(conn: sqlite3.Connection, machine_id: str, payment_hash: str) -> Unmatched | None:
    """An incoming payment that no settlement explained when it was found."""
    row = conn.execute(
        "SELECT amount_sats, settled_at FROM dca_unmatched_payments WHERE machine_id = ? AND payment_hash = ?",
        (machine_id, payment_hash),
    ).fetchone()
    return None if row is None else rows.load(Unmatched, row)


def pause(conn: sqlite3.Connection, scope: str, *, actor: str, reason: str, now: int) -> bool:
    """Pay nothing for a machine, or ('*') for any; False where that is so already."""
    return (
        conn.execute(
            "INSERT INTO payout_pauses (scope, paused_at, actor, reason) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (scope, now, actor, reason),
        ).rowcount
        == 1
    )


def resume(conn: sqlite3.Connection, scope: str) -> bool:
    """Undo `pause`; False where nothing was paused."""
    return conn.execute("DELETE FROM payout_pauses WHERE scope = ?", (scope,)).rowcount == 1


def note_outgoing(
    conn: sqlite3.Connection, machine_id: str, found: Iterable[Outgoing], now: int, *, alone_since: int | None = None
) -> int:
    """Place tagged payments that this database did not make: adopt them where a leg wants them, else keep them as
    foreign. Returns how many were adopted (LNBITS.md: a database restored or lost pays nothing twice).

    What was made after `alone_since`, and not by this daemon, another one made that is alive: nothing is adopted then.
    """
    adopted = 0
    for payment in found:
        if legs.knows_payment(conn, payment.payment_hash):  # a voided leg must not have been paid
            continue
        leg = _leg_by_key(conn, machine_id, payment.leg_key)
        of_the_past = alone_since is None or payment.made_at <= alone_since
        if of_the_past and leg is not None and _adopt(conn, leg, payment, now):
            adopted += 1
            continue
        conn.execute(
            "INSERT INTO dca_foreign_payments (machine_id, payment_hash, leg_key, amount_sats, status, extra, made_at, "
            "first_seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET status = excluded.status",
            (
                machine_id,
                payment.payment_hash,
                payment.leg_key,
                payment.amount_sats,
                payment.status,
                json.dumps({**payment.extra, "bolt11": payment.bolt11, "expires_at": payment.expires_at}, default=str),
                payment.made_at,
                now,
            ),
        )
    return adopted


def adopt_foreign(
    conn: sqlite3.Connection, machine_id: str, settlement_key: str, now: int, *, alone_since: int | None = None
) -> list[str]:
    """After planning: hand foreign payments of this sale to the legs that want them. Returns what no leg wants.

    Those that a person has accepted (to leave safe mode) are handed over too: else they would be made again.
    `alone_since` as in `note_outgoing`.
    """
    strange = []
    for payment in foreign_of(conn, machine_id, f"sm1:{settlement_key}:"):
        leg = _leg_by_key(conn, machine_id, payment.leg_key)
        of_the_past = alone_since is None or payment.made_at <= alone_since or payment.accepted
        if of_the_past and leg is not None and _adopt(conn, leg, payment, now):
            mark_adopted(conn, machine_id, payment.payment_hash)
        else:
            strange.append(f"{payment.leg_key} ({payment.amount_sats} sats)")
    return strange


def mark_adopted(conn: sqlite3.Connection, machine_id: str, payment_hash: str) -> None:
    """A leg of these books stands for this payment now."""
    conn.execute(
        "UPDATE dca_foreign_payments SET settled_by = 'adopted' WHERE machine_id = ? AND payment_hash = ?",
        (machine_id, payment_hash),
    )


def refresh_safe_mode(conn: sqlite3.Connection, machine_id: str) -> str | None:
    """Stop a machine's payouts while its wallet shows tagged payments that nothing explains; returns why.

    A payment whose sale is landed but not planned yet may still find its leg: it does not count so far.
    """
    unexplained = [
        payment.leg_key
        for payment in foreign_of(conn, machine_id, "sm1:")
        if not payment.accepted and not _waits_for_plan(conn, machine_id, payment.leg_key)
    ]
    forgotten = conn.execute(
        "SELECT leg_key FROM dca_payments WHERE +machine_id = ? AND status = 'held' AND hold_reason = ? "
        "AND status NOT IN ('completed', 'skipped', 'voided') LIMIT 1",
        (machine_id, HoldReason.WALLET_ROLLED_BACK),
    ).fetchone()
    why = None
    if unexplained:
        why = (
            f"its wallet shows {len(unexplained)} payment(s) of satmachine that these books do not know, the first is "
            f"{unexplained[0]}: the database was restored or lost, or another daemon pays from this wallet"
        )
    elif forgotten is not None:
        why = f"neither wallet knows the invoice of {forgotten['leg_key']} any more: LNbits may have been rolled back"
    conn.execute("UPDATE dca_wallets SET safe_mode = ? WHERE machine_id = ?", (why, machine_id))
    return why


def accept_foreign(conn: sqlite3.Connection, machine_id: str, actor: str) -> int:
    """The way out of safe mode: a person has reconciled these payments. Returns how many."""
    return conn.execute(
        "UPDATE dca_foreign_payments SET settled_by = ? WHERE machine_id = ? AND settled_by IS NULL",
        (actor, machine_id),
    ).rowcount


def _leg_by_key(conn: sqlite3.Connection, machine_id: str, leg_key: str) -> Leg | None:
    row = conn.execute(
        "SELECT * FROM dca_payments WHERE machine_id = ? AND leg_key = ?", (machine_id, leg_key)
    ).fetchone()
    return None if row is None else rows.load(Leg, row)


def _adopt(conn: sqlite3.Connection, leg: Leg, payment: Outgoing, now: int) -> bool:
    """Give an open leg the payment that was made for it. A leg that has another invoice alive is held instead."""
    if leg.status not in legs.OPEN:
        return False
    _, invoice = legs.get(conn, leg.id)
    if leg.payee.startswith(INTERNAL_PAYEE) and payment.amount_sats != leg.amount_sats:
        evidence = {"payment": payment.payment_hash, "amount_sats": payment.amount_sats}
        error = f"the wallet has paid {payment.amount_sats} sats for this leg of {leg.amount_sats} sats"
        legs.hold(conn, leg, reason=HoldReason.AMOUNT_MISMATCH, error=error, evidence=evidence)
        return False
    alive = invoice is not None and invoice.dead_at is None and invoice.payment_hash is not None
    if alive:
        evidence = {"another_payment": payment.payment_hash, "amount_sats": payment.amount_sats}
        error = f"the wallet shows another payment for this leg: {payment.payment_hash}"
        legs.hold(conn, leg, reason=HoldReason.CONTRADICTION, error=error, evidence=evidence)
        return False
    if invoice is None or invoice.payment_hash is not None:
        internal = leg.payee.startswith(INTERNAL_PAYEE)
        generation = legs.begin_invoice(conn, leg, amount_sats=leg.amount_sats, internal=internal, now=now)
        assert generation is not None, "nobody else writes in this transaction"
    else:
        generation = invoice.generation
    legs.store_invoice(
        conn,
        leg.id,
        generation,
        bolt11=payment.bolt11,
        payment_hash=payment.payment_hash,
        amount_sats=payment.amount_sats,
        expires_at=payment.expires_at,
        adopted=True,
    )
    return True


def foreign_of(conn: sqlite3.Connection, machine_id: str, prefix: str) -> list[Outgoing]:
    """Foreign payments that no leg has adopted, accepted by a person or not, by the start of their leg key."""
    found = conn.execute(
        "SELECT * FROM dca_foreign_payments WHERE machine_id = ? AND settled_by IS NOT 'adopted' "
        "AND leg_key >= ? AND leg_key < ? ORDER BY made_at, leg_key",
        (machine_id, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)),
    )
    return [_outgoing(row) for row in found]


def _outgoing(row: sqlite3.Row) -> Outgoing:
    extra = json.loads(row["extra"])
    return Outgoing(
        payment_hash=row["payment_hash"],
        leg_key=row["leg_key"],
        bolt11=str(extra.get("bolt11", "")),
        amount_sats=row["amount_sats"],
        status=row["status"],
        expires_at=extra.get("expires_at"),
        extra=extra,
        made_at=row["made_at"],
        accepted=row["settled_by"] is not None,
    )


def _waits_for_plan(conn: sqlite3.Connection, machine_id: str, leg_key: str) -> bool:
    settlement_key = leg_key.split(":")[1]
    row = conn.execute(
        "SELECT 1 FROM dca_settlements WHERE machine_id = ?1 AND planned_at IS NULL "
        "AND hold_reason IS NOT 'unknown_payments' AND (payment_hash = ?2 OR settlement_key = ?2)",
        (machine_id, settlement_key),
    ).fetchone()
    return row is not None
