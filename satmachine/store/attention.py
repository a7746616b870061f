"""The statements behind the list of what needs a person, and what a person has silenced. `scope`: an operator, or None.

Of ten thousand machines hardly any has a problem; each statement finds those along an index, or in a table with a short
row for each machine.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from satmachine.store import audit_log as audit
from satmachine.store.fragments import OPEN_LEG

Record = dict[str, Any]

#: How often the daemon writes that it lives is in daemon.HEALTH_EVERY_S.
_ALIVE = "alive_at"


# --- the daemon itself


def alive(conn: sqlite3.Connection, now: int) -> None:
    """The daemon works at this moment (Unix seconds)."""
    conn.execute(
        "INSERT INTO daemon_state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (_ALIVE, now)
    )


def alive_at(conn: sqlite3.Connection) -> int | None:
    """When it last said so."""
    row = conn.execute("SELECT value FROM daemon_state WHERE key = ?", (_ALIVE,)).fetchone()
    return None if row is None else int(row[0])


def open_requests(conn: sqlite3.Connection, before: int) -> list[Record]:
    """What a person asked for before then (Unix seconds), and the daemon has not carried out."""
    return _all(
        conn,
        """
        SELECT id, action, subject, actor, created_at FROM intents WHERE status = 'open' AND created_at < ?
        ORDER BY id LIMIT 20
        """,
        before,
    )


# --- sales and payments


def troubled_sales(conn: sqlite3.Connection, scope: str | None, most: int) -> list[Record]:
    """Held and errored sales, for each machine and state the `most` oldest; `total` says how many there are."""
    return _all(
        conn,
        """
        SELECT * FROM (
            SELECT s.id AS settlement_id, s.machine_id, s.status, s.hold_reason, s.error, s.gross_sats, s.landed_at,
                   row_number() OVER (PARTITION BY s.machine_id, s.status ORDER BY s.id) AS place,
                   count(*) OVER (PARTITION BY s.machine_id, s.status) AS total
            FROM dca_settlements s JOIN dca_machines m ON m.id = s.machine_id
            WHERE s.status NOT IN ('processed', 'partial', 'refunded') AND s.status IN ('held', 'errored')
              AND (?1 IS NULL OR m.operator_id = ?1)
        ) WHERE place <= ?2 ORDER BY settlement_id
        """,
        scope,
        most,
    )


def failing(conn: sqlite3.Connection, scope: str | None, planned_before: int) -> list[Record]:
    """Payments that were planned before then and still fail, by payee and cause: `FAILING` says which those are."""
    return _all(
        conn,
        f"""
        SELECT p.payee, p.cause, m.operator_id, count(*) AS payments, sum(p.amount_sats) AS amount_sats,
               min(p.id) AS payment_id, min(p.settlement_id) AS settlement_id, min(p.machine_id) AS machine_id,
               count(DISTINCT p.machine_id) AS machines, min(p.leg) AS leg, min(p.client_id) AS client_id,
               max(p.error) AS error, min(p.planned_at) AS since, max(p.attempts) AS attempts,
               min(p.next_attempt_at) AS next_attempt_at
        FROM dca_payments p JOIN dca_machines m ON m.id = p.machine_id
        WHERE {FAILING} AND p.planned_at < ?2 AND (?1 IS NULL OR m.operator_id = ?1)
        GROUP BY m.operator_id, p.payee, p.cause ORDER BY since
        """,  # noqa: S608 - a constant of this module
        scope,
        planned_before,
    )


#: Not paid, and an attempt has failed; what only waits for a person (held) is another case.
FAILING = f"p.status NOT IN ('completed', 'skipped', 'voided') AND p.{OPEN_LEG} AND p.error IS NOT NULL"


# --- machines


def pauses(conn: sqlite3.Connection, scope: str | None) -> list[Record]:
    """Where payouts are stopped."""
    return _all(
        conn,
        """
        SELECT * FROM payout_pauses WHERE ?1 IS NULL OR scope = '*'
            OR scope IN (SELECT id FROM dca_machines WHERE operator_id = ?1) ORDER BY scope
        """,
        scope,
    )


def wallets(conn: sqlite3.Connection, scope: str | None, below_sats: int) -> list[Record]:
    """Wallets of configured machines that do not answer, are in safe mode, or hold less than this."""
    # CROSS JOIN: first the wallets, of which hardly any is in trouble, then the machines of these.
    return _all(
        conn,
        """
        SELECT w.machine_id AS id, w.balance_sats, w.reachable, w.checked_at, w.error, w.safe_mode, w.reconcile_since,
               (SELECT count(*) FROM dca_foreign_payments f WHERE f.machine_id = m.id AND f.settled_by IS NULL)
               + (SELECT count(*) FROM dca_foreign_marks k WHERE k.machine_id = m.id AND k.decided_at IS NULL)
                   AS undecided
        FROM dca_wallets w CROSS JOIN dca_machines m ON m.id = w.machine_id
        WHERE m.in_config = 1 AND (?1 IS NULL OR m.operator_id = ?1)
          AND ((w.reachable = 0 AND w.checked_at IS NOT NULL) OR w.safe_mode IS NOT NULL OR w.balance_sats < ?2)
        ORDER BY w.machine_id
        """,
        scope,
        below_sats,
    )


def told_errors(conn: sqlite3.Connection, scope: str | None) -> list[Record]:
    """What active machines reported last, if there is a status or an error; `status_at` and `error_at` are when each
    was reported (Unix seconds)."""
    return _all(
        conn,
        """
        SELECT t.machine_id, t.status, t.last_error, t.beacon_at,
               json_extract(t.origins, '$.status[0]') AS status_at,
               json_extract(t.origins, '$.last_error[0]') AS error_at
        FROM dca_telemetry t JOIN dca_machines m ON m.id = t.machine_id
        WHERE m.in_config = 1 AND m.active = 1 AND (?1 IS NULL OR m.operator_id = ?1)
          AND (t.status IS NOT NULL OR t.last_error IS NOT NULL) ORDER BY t.machine_id
        """,
        scope,
    )


def quarantined(conn: sqlite3.Connection, scope: str | None) -> list[Record]:
    """How many messages wait in quarantine, by machine, and since when."""
    return _all(
        conn,
        """
        SELECT q.machine_id, count(*) AS messages, min(q.received_at) AS since, min(q.id) AS quarantine_id
        FROM quarantine q JOIN dca_machines m ON m.id = q.machine_id
        WHERE q.status = 'open' AND q.dismissed_at IS NULL AND (?1 IS NULL OR m.operator_id = ?1)
        GROUP BY q.machine_id ORDER BY q.machine_id
        """,
        scope,
    )


def unmatched(conn: sqlite3.Connection, scope: str | None) -> list[Record]:
    """How many incoming payments belong to no sale, by machine, and since when."""
    return _all(
        conn,
        """
        SELECT u.machine_id, count(*) AS payments, sum(u.amount_sats) AS amount_sats, min(u.settled_at) AS since
        FROM dca_unmatched_payments u JOIN dca_machines m ON m.id = u.machine_id
        WHERE u.kind = 'unknown' AND u.dismissed_at IS NULL AND (?1 IS NULL OR m.operator_id = ?1) AND NOT EXISTS (
            SELECT 1 FROM dca_settlements s WHERE s.machine_id = u.machine_id AND s.payment_hash = u.payment_hash)
        GROUP BY u.machine_id ORDER BY u.machine_id
        """,
        scope,
    )


def unknown_rates(conn: sqlite3.Connection, scope: str | None) -> list[Record]:
    """Of how many sales the LPs' part is not paid because their exchange rate is not known, by machine."""
    return _all(
        conn,
        """
        SELECT s.machine_id, count(*) AS sales, min(s.id) AS settlement_id, min(s.landed_at) AS since
        FROM dca_settlements s JOIN dca_machines m ON m.id = s.machine_id
        WHERE s.exchange_rate = '0' AND s.retained_sats > 0 AND s.status = 'processed'
          AND (?1 IS NULL OR m.operator_id = ?1)
        GROUP BY s.machine_id ORDER BY s.machine_id
        """,
        scope,
    )


def open_shortfalls(conn: sqlite3.Connection, scope: str | None) -> list[Record]:
    """Shortfalls whose top-up has not arrived yet."""
    return _all(
        conn,
        """
        SELECT x.settlement_id, x.machine_id, x.refund_sats, x.topup_sats, x.booked_at
        FROM dca_shortfalls x JOIN dca_machines m ON m.id = x.machine_id
        WHERE x.payee IS NOT NULL AND x.funded_at IS NULL AND x.undone_at IS NULL AND (?1 IS NULL OR m.operator_id = ?1)
        ORDER BY x.booked_at
        """,
        scope,
    )


def raised(conn: sqlite3.Connection, scope: str | None) -> list[Record]:
    """Alarms that are raised, as the daemon last stored them; with a scope, those of its machines."""
    return _all(
        conn,
        """
        SELECT a.subject, a.condition, a.changed_at, a.detail FROM alerts a WHERE a.raised = 1 AND (?1 IS NULL
            OR a.subject IN (SELECT id FROM dca_machines WHERE operator_id = ?1)) ORDER BY a.subject, a.condition
        """,
        scope,
    )


# --- silences


def silences(conn: sqlite3.Connection) -> list[Record]:
    """Every silence, including those that are over; `until` NULL: for ever."""
    return _all(conn, "SELECT item, until, reason, actor, at FROM silences ORDER BY at DESC")


def silence(
    conn: sqlite3.Connection, item: str, *, until: int | None, reason: str, actor: str, machine_id: str | None, now: int
) -> None:
    """A person knows about it."""
    conn.execute(
        """
        INSERT INTO silences (item, until, reason, actor, at) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (item) DO UPDATE SET until = excluded.until, reason = excluded.reason, actor = excluded.actor,
            at = excluded.at
        """,
        (item, until, reason, actor, now),
    )
    audit.record(
        conn,
        now=now,
        actor=actor,
        action="alert.silence",
        subject=item,
        machine_id=machine_id,
        reason=reason,
        after={"until": until},
    )


def unsilence(conn: sqlite3.Connection, item: str, *, actor: str, machine_id: str | None, now: int) -> bool:
    """It is shown again; False if it was not silenced."""
    if not conn.execute("DELETE FROM silences WHERE item = ?", (item,)).rowcount:
        return False
    audit.record(conn, now=now, actor=actor, action="alert.unsilence", subject=item, machine_id=machine_id)
    return True


def _all(conn: sqlite3.Connection, sql: str, *values: object) -> list[Record]:
    return [dict(row) for row in conn.execute(sql, values)]
