"""What the machines' LNbits wallets are known to hold, and payments from them that the books cannot explain."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from satmachine import identity
from satmachine.models import Cause, HoldReason
from satmachine.store import legs
from satmachine.store.fragments import OPEN_LEG


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A tagged outgoing payment as the machine's wallet shows it; `status` is success or pending.

    `accepted`: a person has decided about it, when these books did not know it. `inside`: LNbits moved it from one of
    its wallets to another, in two commits: that it left this one does not prove that it reached the other.
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
    fee_sats: int = 0
    inside: bool = False


@dataclass(frozen=True, slots=True)
class ReadUntil:
    """How far a wallet has been read: incoming by the time of the last change, outgoing by the time of creation."""

    swept_until: int
    known_until: int


def read_until(conn: sqlite3.Connection, machine_id: str) -> ReadUntil:
    """Where the next sweep of a machine's wallet begins."""
    row = conn.execute(
        "SELECT swept_until, known_until FROM dca_wallets WHERE machine_id = ?", (machine_id,)
    ).fetchone()
    return ReadUntil(row["swept_until"], row["known_until"])


def was_swept(conn: sqlite3.Connection, machine_id: str) -> bool:
    """Whether these books have already read the machine's wallet to its end, since they were made or copied."""
    row = conn.execute(
        "SELECT 1 FROM dca_wallets WHERE machine_id = ? AND last_sweep_at IS NOT NULL", (machine_id,)
    ).fetchone()
    return row is not None


def mark_swept(conn: sqlite3.Connection, machine_id: str, found: ReadUntil, now: int) -> None:
    """A sweep has read everything up to here. These marks only move forward, except one that a wrong clock set
    ahead."""
    conn.execute(
        """UPDATE dca_wallets SET
        swept_until = CASE WHEN swept_until > ?3 THEN ?1 ELSE max(swept_until, ?1) END,
        known_until = CASE WHEN known_until > ?3 THEN ?2 ELSE max(known_until, ?2) END,
        last_sweep_at = ?3 WHERE machine_id = ?4""",
        (found.swept_until, found.known_until, now, machine_id),
    )


def note_answer(
    conn: sqlite3.Connection, machine_id: str, *, wallet_id: str, balance_sats: int, version: str, now: int
) -> None:
    """The wallet has answered. If it was funded since, what waits for that is tried at once."""
    conn.execute(
        f"""UPDATE dca_payments SET next_attempt_at = ?1 WHERE +machine_id = ?2 AND status = 'failed'
        AND {OPEN_LEG} AND next_attempt_at > ?1
        AND cause = 'no_funds' AND (SELECT balance_sats FROM dca_wallets w WHERE w.machine_id = ?2) < ?3""",  # noqa: S608
        (now, machine_id, balance_sats),
    )
    conn.execute(
        """UPDATE dca_wallets SET wallet_id = coalesce(wallet_id, ?), balance_sats = ?, lnbits_version = ?,
        reachable = 1, error = NULL, checked_at = ? WHERE machine_id = ?""",
        (wallet_id, balance_sats, version, now, machine_id),
    )


def failed(conn: sqlite3.Connection, machine_id: str, *, error: str, now: int) -> bool:
    """The wallet has not answered, or not as it should; True if that is news."""
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


def pause(conn: sqlite3.Connection, scope: str, *, actor: str, reason: str, now: int) -> bool:
    """Pay nothing for a machine, or ('*') for any; False if that is already so."""
    return (
        conn.execute(
            "INSERT INTO payout_pauses (scope, paused_at, actor, reason) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (scope, now, actor, reason),
        ).rowcount
        == 1
    )


def resume(conn: sqlite3.Connection, scope: str) -> bool:
    """Undo `pause`; False if nothing was paused."""
    return conn.execute("DELETE FROM payout_pauses WHERE scope = ?", (scope,)).rowcount == 1


def note_outgoing(conn: sqlite3.Connection, machine_id: str, found: Iterable[Outgoing], now: int) -> int:
    """Keep payments with one of our keys that no leg of these books made, until a person has decided about them
    (SPEC section 6.8). Nothing is adopted here. Returns how many there are that nobody has decided about."""
    strange = 0
    for payment in found:
        if legs.knows_payment(conn, payment.payment_hash):  # a voided leg must not have been paid
            continue
        strange += not is_decided(conn, machine_id, payment.payment_hash)
        conn.execute(
            """INSERT INTO dca_foreign_payments (machine_id, payment_hash, leg_key, amount_sats, fee_sats, status,
            extra, made_at, first_seen_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT DO UPDATE SET status = excluded.status, fee_sats = excluded.fee_sats, extra = excluded.extra""",
            (
                machine_id,
                payment.payment_hash,
                payment.leg_key,
                payment.amount_sats,
                payment.fee_sats,
                payment.status,
                json.dumps({**payment.extra, **_of_row(payment)}, default=str),
                payment.made_at,
                now,
            ),
        )
    return strange


def give_up(conn: sqlite3.Connection, machine_id: str, payment: Outgoing, *, actor: str, reason: str, now: int) -> None:
    """A person has decided about a payment of these books that stays pending: nothing waits for it any more."""
    conn.execute(
        """INSERT INTO dca_foreign_payments (machine_id, payment_hash, leg_key, amount_sats, fee_sats, status, extra,
        made_at, first_seen_at, settled_by, decided_at, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET settled_by = excluded.settled_by, decided_at = excluded.decided_at,
        reason = excluded.reason""",
        (
            machine_id,
            payment.payment_hash,
            payment.leg_key,
            payment.amount_sats,
            payment.fee_sats,
            payment.status,
            json.dumps({**payment.extra, **_of_row(payment)}, default=str),
            payment.made_at,
            now,
            actor,
            now,
            reason,
        ),
    )


def mark_adopted(conn: sqlite3.Connection, machine_id: str, payment_hash: str) -> None:
    """These books have a leg for this payment now."""
    conn.execute(
        "UPDATE dca_foreign_payments SET settled_by = 'adopted' WHERE machine_id = ? AND payment_hash = ?",
        (machine_id, payment_hash),
    )


def refresh_safe_mode(conn: sqlite3.Connection, machine_id: str) -> str | None:
    """Stop a machine's payouts while its wallet shows payments or marks that nothing explains; returns why."""
    unexplained = [p.leg_key for p in foreign_of(conn, machine_id, identity.PREFIX) if not p.accepted]
    marks = conn.execute(
        "SELECT count(*) AS n FROM dca_foreign_marks WHERE machine_id = ? AND decided_at IS NULL", (machine_id,)
    ).fetchone()["n"]
    forgotten = conn.execute(
        """SELECT leg_key FROM dca_payments WHERE +machine_id = ? AND status = 'held' AND hold_reason = ?
        AND status NOT IN ('completed', 'skipped', 'voided') LIMIT 1""",
        (machine_id, HoldReason.WALLET_ROLLED_BACK),
    ).fetchone()
    why = None
    if unexplained:
        why = (
            f"its wallet shows {len(unexplained)} payment(s) of satmachine that these books do not know, the first is "
            f"{unexplained[0]}: the database was restored or lost, or another daemon pays from this wallet"
        )
    elif marks:
        why = f"its wallet shows {marks} mark(s) of another daemon, or of another copy of these books"
    elif forgotten is not None:
        why = (
            f"no wallet knows the invoice of {forgotten['leg_key']} any more: LNbits may have been restored from "
            "an older copy"
        )
    why = "; ".join(part for part in (_restored(conn, machine_id), why) if part) or None
    was_stopped = is_stopped(conn, machine_id)
    conn.execute("UPDATE dca_wallets SET safe_mode = ? WHERE machine_id = ?", (why, machine_id))
    if was_stopped and why is None:
        # What waited for this continues at once.
        conn.execute(
            f"""UPDATE dca_payments SET next_attempt_at = 0 WHERE +machine_id = ? AND cause = ?
            AND {OPEN_LEG}""",  # noqa: S608
            (machine_id, Cause.MARKS),
        )
    return why


def is_stopped(conn: sqlite3.Connection, machine_id: str) -> bool:
    """Whether nothing is planned and paid for this machine before a person has reconciled it."""
    row = conn.execute(
        "SELECT 1 FROM dca_wallets WHERE machine_id = ? AND safe_mode IS NOT NULL", (machine_id,)
    ).fetchone()
    return row is not None


def _restored(conn: sqlite3.Connection, machine_id: str) -> str | None:
    row = conn.execute(
        "SELECT reconcile_why FROM dca_wallets WHERE machine_id = ? AND reconcile_since IS NOT NULL", (machine_id,)
    ).fetchone()
    return None if row is None else str(row["reconcile_why"])


def is_decided(conn: sqlite3.Connection, machine_id: str, payment_hash: str) -> bool:
    """Whether a person has decided about this payment, which was not in the books."""
    found = conn.execute(
        "SELECT 1 FROM dca_foreign_payments WHERE machine_id = ? AND payment_hash = ? AND settled_by IS NOT NULL",
        (machine_id, payment_hash),
    ).fetchone()
    return found is not None


def foreign_of(conn: sqlite3.Connection, machine_id: str, prefix: str) -> list[Outgoing]:
    """Foreign payments that no leg has adopted, accepted by a person or not, by the beginning of their leg key."""
    found = conn.execute(
        """SELECT * FROM dca_foreign_payments WHERE machine_id = ? AND settled_by IS NOT 'adopted'
        AND leg_key >= ? AND leg_key < ? ORDER BY made_at, leg_key""",
        (machine_id, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)),
    )
    return [_outgoing(row) for row in found]


def _of_row(payment: Outgoing) -> dict[str, object]:
    """What is kept beside what travels with the payment."""
    return {"bolt11": payment.bolt11, "expires_at": payment.expires_at, "inside": payment.inside}


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
