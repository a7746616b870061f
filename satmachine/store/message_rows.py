"""Messages to LPs: who wants which, and each message from the payout that it reports to the relay that accepted it.

A receipt's row is written by a trigger, in the transaction that completes the payout (schema.sql).
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from satmachine.models.facts import PaidLeg
from satmachine.store import audit_log as audit

#: What was accepted is kept this long, for the question "was I told?".
KEEP_S = 400 * 86_400


@dataclass(frozen=True, slots=True)
class Wishes:
    """How an LP wants to be told. `relays` are where they read; none: the daemon's own."""

    client_id: int
    npub: str
    relays: tuple[str, ...]
    receipts: bool
    monthly: bool
    since_at: int


@dataclass(frozen=True, slots=True)
class Message:
    """One that no relay has accepted yet; `event` is None until it was sealed."""

    id: int
    client_id: int
    kind: str
    subject: str
    created_at: int
    event: str | None
    attempts: int


def wishes_of(conn: sqlite3.Connection, client_id: int) -> Wishes | None:
    """None: not at all."""
    row = conn.execute("SELECT * FROM dca_client_messages WHERE client_id = ?", (client_id,)).fetchone()
    return None if row is None else _wishes(row)


def set_wishes(conn: sqlite3.Connection, wishes: Wishes, machine_id: str, *, actor: str, now: int) -> None:
    """What an LP wants from now on. What was not accepted yet is sealed again, for the present receiver."""
    conn.execute(
        """INSERT INTO dca_client_messages VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (client_id) DO UPDATE SET
        npub = excluded.npub, relays = excluded.relays, receipts = excluded.receipts, monthly = excluded.monthly""",
        (
            wishes.client_id,
            wishes.npub,
            json.dumps(wishes.relays),
            wishes.receipts,
            wishes.monthly,
            wishes.since_at,
        ),
    )
    conn.execute(
        "UPDATE dca_messages SET event = NULL, next_attempt_at = 0 WHERE client_id = ? AND taken_at IS NULL",
        (wishes.client_id,),
    )
    after = {"npub": wishes.npub, "relays": wishes.relays, "receipts": wishes.receipts, "monthly": wishes.monthly}
    _record(conn, "client.messages", wishes.client_id, machine_id, actor, now, after)


def end_wishes(conn: sqlite3.Connection, client_id: int, machine_id: str, *, actor: str, now: int) -> None:
    """No more messages; what was not accepted yet is dropped."""
    conn.execute("DELETE FROM dca_client_messages WHERE client_id = ?", (client_id,))
    conn.execute("DELETE FROM dca_messages WHERE client_id = ? AND taken_at IS NULL", (client_id,))
    _record(conn, "client.messages", client_id, machine_id, actor, now, {"npub": None})


def note_month(conn: sqlite3.Connection, month: str, ended_at: int, now: int) -> int:
    """Everybody who wants monthly statements gets one of this month, once; returns for how many that is new."""
    conn.execute("DELETE FROM dca_messages WHERE taken_at < ?", (now - KEEP_S,))
    return conn.execute(
        """INSERT INTO dca_messages (client_id, kind, subject, created_at) SELECT w.client_id, 'monthly', ?1, ?3
        FROM dca_client_messages w WHERE w.monthly = 1 AND w.since_at < ?2 ON CONFLICT DO NOTHING""",
        (month, ended_at, now),
    ).rowcount


def due(conn: sqlite3.Connection, now: int, limit: int = 20) -> list[Message]:
    """Messages that must be sent to a relay now, the oldest first."""
    found = conn.execute(
        """SELECT id, client_id, kind, subject, created_at, event, attempts FROM dca_messages
        WHERE taken_at IS NULL AND next_attempt_at <= ? ORDER BY next_attempt_at, id LIMIT ?""",
        (now, limit),
    )
    return [Message(**dict(row)) for row in found]


def seal(conn: sqlite3.Connection, message_id: int, event: str) -> bool:
    """Store the sealed event before it is sent: every attempt sends this one. False if another was already stored."""
    changed = conn.execute(
        "UPDATE dca_messages SET event = ? WHERE id = ? AND event IS NULL AND taken_at IS NULL", (event, message_id)
    ).rowcount
    return changed == 1


def taken(conn: sqlite3.Connection, message_id: int, relay: str, now: int) -> None:
    """A relay has it."""
    conn.execute(
        "UPDATE dca_messages SET taken_at = ?, taken_by = ?, error = NULL WHERE id = ? AND taken_at IS NULL",
        (now, relay, message_id),
    )


def postpone(conn: sqlite3.Connection, message_id: int, *, error: str, until: int) -> None:
    """No relay accepted it; it is kept, and tried again."""
    conn.execute(
        """UPDATE dca_messages SET attempts = attempts + 1, error = ?, next_attempt_at = ?
        WHERE id = ? AND taken_at IS NULL""",
        (error, until, message_id),
    )


def waiting(conn: sqlite3.Connection, client_id: int) -> tuple[int, str | None]:
    """How many messages no relay has accepted yet, and what went wrong last."""
    row = conn.execute(
        "SELECT count(*) AS n, max(error) AS error FROM dca_messages WHERE client_id = ? AND taken_at IS NULL",
        (client_id,),
    ).fetchone()
    return int(row["n"]), row["error"]


def paid_leg(conn: sqlite3.Connection, client_id: int, leg_key: str) -> PaidLeg:
    """The completed leg that a receipt is for."""
    row = conn.execute(
        """SELECT p.leg_type, p.sent_sats, coalesce(p.fee_sats, 0) AS fee_sats, p.fiat_amount_minor,
        coalesce(p.exchange_rate, s.exchange_rate, '0') AS exchange_rate, p.payment_hash, p.completed_at,
        s.occurred_at AS sold_at FROM dca_clients c JOIN dca_payments p ON p.machine_id = c.machine_id
        AND p.leg_key = ? LEFT JOIN dca_settlements s ON s.id = p.settlement_id WHERE c.id = ?""",
        (leg_key, client_id),
    ).fetchone()
    return PaidLeg(**dict(row))


def _wishes(row: sqlite3.Row) -> Wishes:
    return Wishes(
        client_id=row["client_id"],
        npub=row["npub"],
        relays=tuple(json.loads(row["relays"])),
        receipts=bool(row["receipts"]),
        monthly=bool(row["monthly"]),
        since_at=row["since_at"],
    )


def _record(
    conn: sqlite3.Connection,
    action: str,
    client_id: int,
    machine_id: str,
    actor: str,
    now: int,
    after: dict[str, object],
) -> None:
    audit.record(
        conn, now=now, actor=actor, action=action, subject=f"client {client_id}", machine_id=machine_id, after=after
    )
