"""Rows of `dca_deposits`: pending -> confirmed | rejected (SPEC section 8).

Only a pending deposit can be edited, deleted or decided; what was decided is an audit record, and triggers keep it.
Every change writes its audit row with it; call these inside `atomic()`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime

from satmachine.errors import NotFound, Refused
from satmachine.models import ClientStatus, Deposit, DepositStatus
from satmachine.store import audit, clients, rows
from satmachine.store.pages import Order, Where

# CROSS JOIN: a walk along the deposits, never along the clients.
_SELECT = (
    "SELECT dca_deposits.*, c.label, m.operator_id FROM dca_deposits CROSS JOIN dca_clients c ON c.id = client_id "
    "CROSS JOIN dca_machines m ON m.id = dca_deposits.machine_id"
)


def add(conn: sqlite3.Connection, *, client_id: int, amount_minor: int, notes: str = "", actor: str, now: int) -> int:
    """Record cash that an LP brought, in the machine's currency; returns the deposit's id. It is pending.

    Raises NotFound for the client, Refused for one that was removed.
    """
    client = clients.get(conn, client_id)
    if client.status is ClientStatus.REMOVED:
        raise Refused(f"client {client.id} ({client.label}) was removed and takes no deposits; add a new client")
    cursor = conn.execute(
        "INSERT INTO dca_deposits (client_id, machine_id, amount_minor, currency, notes, recorded_by, recorded_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (client.id, client.machine_id, amount_minor, client.currency, notes, actor, now),
    )
    assert cursor.lastrowid is not None
    deposit = get(conn, cursor.lastrowid)
    after = {"client_id": client.id, "amount_minor": amount_minor, "currency": client.currency, "notes": notes}
    _record(conn, "deposit.add", deposit, actor, now, after=after)
    return deposit.id


def get(conn: sqlite3.Connection, deposit_id: int, *, operator: str | None = None) -> Deposit:
    """One deposit. Raises NotFound, also where it is another operator's."""
    row = conn.execute(
        f"{_SELECT} WHERE dca_deposits.id = ?1 AND (?2 IS NULL OR m.operator_id = ?2)", (deposit_id, operator)
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no deposit {deposit_id}; `satmachine deposits list` shows the ids")
    return rows.load(Deposit, row)


def find(
    conn: sqlite3.Connection,
    *,
    client_id: int | None = None,
    machine: str | None = None,
    status: str | None = None,
    since: int | None = None,
    until: int | None = None,
    operator: str | None = None,
    before_id: int | None = None,
    limit: int | None = None,
) -> list[Deposit]:
    """Deposits, the latest first; `since` and `until` (exclusive) are of the time they were recorded.

    At most `limit` of them; `before_id` goes on after the last one of a page.
    """
    order = Order("dca_deposits", "recorded_at", _SELECT, by_sorting=client_id is not None)
    where = Where()
    where.given("client_id = ?", client_id)
    where.given("dca_deposits.machine_id = ?", machine)
    where.given("dca_deposits.status = ?", status)
    where.given("m.operator_id = ?", operator)
    order.span(where, since, until)
    order.go_on(conn, where, before_id)
    found = conn.execute(order.sql(where), [*where.values, -1 if limit is None else limit])
    return [rows.load(Deposit, row) for row in found]


def edit(
    conn: sqlite3.Connection,
    deposit_id: int,
    *,
    amount_minor: int | None = None,
    notes: str | None = None,
    actor: str,
    now: int,
) -> Deposit:
    """Correct a pending deposit; None leaves a field as it is. Raises Refused where it was decided already."""
    deposit = _pending(conn, deposit_id, "edited")
    wanted = {"amount_minor": amount_minor, "notes": notes}
    after = {name: value for name, value in wanted.items() if value is not None and value != getattr(deposit, name)}
    if not after:
        return deposit
    changed = conn.execute(
        "UPDATE dca_deposits SET amount_minor = coalesce(?, amount_minor), notes = coalesce(?, notes) "
        "WHERE id = ? AND status = 'pending'",
        (amount_minor, notes, deposit.id),
    ).rowcount
    assert changed == 1, f"deposit {deposit.id} changed while it was edited"
    before = {name: getattr(deposit, name) for name in after}
    _record(conn, "deposit.edit", deposit, actor, now, before=before, after=after)
    return get(conn, deposit.id)


def confirm(conn: sqlite3.Connection, deposit_id: int, *, actor: str, now: int) -> Deposit:
    """The cash is in the machine: from now on it takes part in sales, and never changes again."""
    return _decide(conn, deposit_id, DepositStatus.CONFIRMED, actor=actor, now=now, reason="")


def reject(conn: sqlite3.Connection, deposit_id: int, *, actor: str, now: int, reason: str = "") -> Deposit:
    """The cash did not come, or not like this: it stays on record, and never counts."""
    return _decide(conn, deposit_id, DepositStatus.REJECTED, actor=actor, now=now, reason=reason)


def delete(conn: sqlite3.Connection, deposit_id: int, *, actor: str, now: int) -> None:
    """Take back a pending deposit; the audit log keeps what it said."""
    deposit = _pending(conn, deposit_id, "deleted")
    changed = conn.execute("DELETE FROM dca_deposits WHERE id = ? AND status = 'pending'", (deposit.id,)).rowcount
    assert changed == 1, f"deposit {deposit.id} changed while it was deleted"
    before = {"client_id": deposit.client_id, "amount_minor": deposit.amount_minor, "notes": deposit.notes}
    _record(conn, "deposit.delete", deposit, actor, now, before=before)


def _decide(
    conn: sqlite3.Connection, deposit_id: int, status: DepositStatus, *, actor: str, now: int, reason: str
) -> Deposit:
    deposit = _pending(conn, deposit_id, status)
    changed = conn.execute(
        "UPDATE dca_deposits SET status = ?, decided_by = ?, decided_at = ? WHERE id = ? AND status = 'pending'",
        (status, actor, now, deposit.id),
    ).rowcount
    assert changed == 1, f"deposit {deposit.id} changed while it was {status}"
    action = "deposit.confirm" if status is DepositStatus.CONFIRMED else "deposit.reject"
    before, after = {"status": deposit.status}, {"status": status}
    _record(conn, action, deposit, actor, now, before=before, after=after, reason=reason)
    return get(conn, deposit.id)


def _pending(conn: sqlite3.Connection, deposit_id: int, verb: str) -> Deposit:
    """The deposit as it stands in this transaction. Raises NotFound, and Refused where it was decided already."""
    deposit = get(conn, deposit_id)
    if deposit.status is DepositStatus.PENDING:
        return deposit
    assert deposit.decided_at is not None
    decided = datetime.fromtimestamp(deposit.decided_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    raise Refused(
        f"deposit {deposit.id} cannot be {verb}: it was {deposit.status} by {deposit.decided_by} at {decided}, and a "
        "decided deposit is an audit record that never changes. To put it right, record another deposit "
        "or pay the balance out (`satmachine clients settle`)"
    )


def _record(
    conn: sqlite3.Connection,
    action: str,
    deposit: Deposit,
    actor: str,
    now: int,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
    reason: str = "",
) -> None:
    audit.record(
        conn,
        now=now,
        actor=actor,
        action=action,
        subject=f"deposit {deposit.id}",
        machine_id=deposit.machine_id,
        reason=reason,
        before=before,
        after=after,
    )
