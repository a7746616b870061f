"""Rows of `dca_deposits`: pending -> confirmed | rejected (SPEC section 8).

Only a pending deposit can be edited, deleted or decided; what was decided is an audit record, protected by triggers.
What was confirmed by mistake is reversed, and what an LP takes home is withdrawn: negative rows, never below zero.
A deposit counts from its effective time on: when it was confirmed, or as given, if no sale was planned since.
Every change writes its audit row with it; call these inside `atomic()`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime

from satmachine.errors import NotFound, Refused
from satmachine.models import Client, ClientStatus, Deposit, DepositKind, DepositStatus
from satmachine.money import minor_to_fiat
from satmachine.store import as_models as rows
from satmachine.store import audit_log as audit
from satmachine.store import balances, clients, wallet_rows
from satmachine.store.pages import Order, Where

# CROSS JOIN: a walk along the deposits, never along the clients.
_SELECT = """SELECT dca_deposits.*, c.label, m.operator_id
    FROM dca_deposits CROSS JOIN dca_clients c ON c.id = client_id
    CROSS JOIN dca_machines m ON m.id = dca_deposits.machine_id"""


def add(
    conn: sqlite3.Connection,
    *,
    client_id: int,
    amount_minor: int,
    notes: str = "",
    effective_at: int | None = None,
    cash_id: int | None = None,
    actor: str,
    now: int,
) -> int:
    """Record cash that an LP brought, in the machine's currency; returns the deposit's id. It is pending.

    `effective_at` (Unix seconds): when it begins to count; None: when it is confirmed. `cash_id`: the load
    that it came with. Raises NotFound for the client, Refused for one that was removed, and for a time that is to come
    or before a planned sale.
    """
    client = clients.get(conn, client_id)
    if client.status is ClientStatus.REMOVED:
        raise Refused(f"LP {client.id} ({client.label}) was removed, so no deposit can be added; add a new LP")
    if effective_at is not None:
        _require_effective(conn, client.machine_id, effective_at, now)
    cursor = conn.execute(
        """INSERT INTO dca_deposits (client_id, machine_id, amount_minor, currency, notes, recorded_by, recorded_at,
        effective_at, cash_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (client.id, client.machine_id, amount_minor, client.currency, notes, actor, now, effective_at, cash_id),
    )
    assert cursor.lastrowid is not None
    deposit = get(conn, cursor.lastrowid)
    after: dict[str, object] = {
        "client_id": client.id,
        "amount_minor": amount_minor,
        "currency": client.currency,
        "notes": notes,
    }
    if effective_at is not None:
        after["effective_at"] = effective_at
    _record(conn, "deposit.add", deposit, actor, now, after=after)
    return deposit.id


def reverse(conn: sqlite3.Connection, deposit_id: int, *, reason: str, actor: str, now: int) -> Deposit:
    """Take back a deposit that was confirmed by mistake, from now on: a negative row; returns it.

    Raises NotFound, and Refused where it is no confirmed deposit, was reversed before, or is partly spent.
    """
    deposit = get(conn, deposit_id)
    if deposit.kind is not DepositKind.DEPOSIT or deposit.status is not DepositStatus.CONFIRMED:
        what = deposit.status if deposit.kind is DepositKind.DEPOSIT else f"a {deposit.kind}"
        raise Refused(f"deposit {deposit.id} is {what}: only a confirmed deposit can be reversed")
    again = conn.execute("SELECT id FROM dca_deposits WHERE reverses = ?", (deposit.id,)).fetchone()
    if again is not None:
        raise Refused(f"deposit {deposit.id} was already reversed, by {again['id']}")
    return _take_back(
        conn,
        deposit.client_id,
        deposit.amount_minor,
        kind=DepositKind.REVERSAL,
        reverses=deposit.id,
        notes=reason,
        actor=actor,
        now=now,
    )


def is_reversed(conn: sqlite3.Connection, deposit_id: int) -> bool:
    """Whether a deposit was taken back."""
    return conn.execute("SELECT 1 FROM dca_deposits WHERE reverses = ?", (deposit_id,)).fetchone() is not None


def withdraw(
    conn: sqlite3.Connection,
    client_id: int,
    amount_minor: int,
    *,
    notes: str = "",
    effective_at: int | None = None,
    actor: str,
    now: int,
) -> Deposit:
    """Record cash that an LP took home: a negative row; returns it.

    `effective_at` (Unix seconds): when it was taken, where the books are put right afterwards; None: now. Raises
    NotFound, and Refused where less is available, for a time that is to come or before a planned sale, and, without a
    time, where the machine's books wait to be reconciled.
    """
    if effective_at is not None:
        _require_effective(conn, clients.get(conn, client_id).machine_id, effective_at, now)
    return _take_back(
        conn,
        client_id,
        amount_minor,
        kind=DepositKind.WITHDRAWAL,
        reverses=None,
        notes=notes,
        effective_at=effective_at,
        actor=actor,
        now=now,
    )


def get(conn: sqlite3.Connection, deposit_id: int, *, operator: str | None = None) -> Deposit:
    """One deposit. Raises NotFound, also if it is another operator's."""
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

    At most `limit` of them; `before_id` continues after the last one of a page.
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
    effective_at: int | None = None,
    actor: str,
    now: int,
) -> Deposit:
    """Correct a pending deposit; None leaves a field as it is. Raises Refused where it was decided already."""
    deposit = _pending(conn, deposit_id, "edited")
    if effective_at is not None:
        _require_effective(conn, deposit.machine_id, effective_at, now)
    wanted = {"amount_minor": amount_minor, "notes": notes, "effective_at": effective_at}
    after = {name: value for name, value in wanted.items() if value is not None and value != getattr(deposit, name)}
    if not after:
        return deposit
    changed = conn.execute(
        """UPDATE dca_deposits SET amount_minor = coalesce(?, amount_minor), notes = coalesce(?, notes),
        effective_at = coalesce(?, effective_at) WHERE id = ? AND status = 'pending'""",
        (amount_minor, notes, effective_at, deposit.id),
    ).rowcount
    assert changed == 1, f"deposit {deposit.id} changed while it was edited"
    before = {name: getattr(deposit, name) for name in after}
    _record(conn, "deposit.edit", deposit, actor, now, before=before, after=after)
    return get(conn, deposit.id)


def confirm(conn: sqlite3.Connection, deposit_id: int, *, actor: str, now: int) -> Deposit:
    """The cash is in the machine: it takes part in sales from now on, or from the time that was stated, and never
    changes again. Raises Refused where a sale was planned since that time."""
    deposit = _pending(conn, deposit_id, DepositStatus.CONFIRMED)
    if deposit.effective_at is not None:
        _require_effective(conn, deposit.machine_id, deposit.effective_at, now)
    return _decide(conn, deposit_id, DepositStatus.CONFIRMED, actor=actor, now=now, reason="")


def reject(conn: sqlite3.Connection, deposit_id: int, *, actor: str, now: int, reason: str = "") -> Deposit:
    """The cash did not come, or not like this: the deposit stays on record, and never counts."""
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
        """UPDATE dca_deposits SET status = ?1, decided_by = ?2, decided_at = ?3, effective_at = CASE ?1
        WHEN 'confirmed' THEN coalesce(effective_at, ?3) ELSE effective_at END WHERE id = ?4 AND status = 'pending'""",
        (status, actor, now, deposit.id),
    ).rowcount
    assert changed == 1, f"deposit {deposit.id} changed while it was {status}"
    action = "deposit.confirm" if status is DepositStatus.CONFIRMED else "deposit.reject"
    decided = get(conn, deposit.id)
    after: dict[str, object] = {"status": status}
    if deposit.effective_at is not None:
        after["effective_at"] = decided.effective_at
    _record(conn, action, deposit, actor, now, before={"status": deposit.status}, after=after, reason=reason)
    return decided


def _take_back(
    conn: sqlite3.Connection,
    client_id: int,
    amount_minor: int,
    *,
    kind: DepositKind,
    reverses: int | None,
    notes: str,
    effective_at: int | None = None,
    actor: str,
    now: int,
) -> Deposit:
    client = clients.get(conn, client_id)
    # For cash that has already gone nothing is checked: it must be entered before the books are reconciled, or
    # what comes next is shared as if it were there.
    if kind is DepositKind.WITHDRAWAL and effective_at is None and wallet_rows.is_stopped(conn, client.machine_id):
        raise Refused(
            f"payments to LP {client.id} ({client.label}) may be missing in the books of {client.machine_id}, so "
            f"less may be left than they say: run `satmachine machines reconcile {client.machine_id}` first. Cash "
            "that was taken earlier, but is not in these books, is entered with its time: --at"
        )
    available_minor = balances.of_client(conn, client_id).available_minor
    if not 0 < amount_minor <= available_minor:
        raise Refused(
            f"LP {client.id} ({client.label}) has {minor_to_fiat(available_minor, client.currency)} "
            f"{client.currency} available; {minor_to_fiat(amount_minor, client.currency)} cannot be taken back. "
            f"`satmachine clients balance {client.id}` shows what is spent and reserved"
            + _what_is_left(client, available_minor, reverses)
        )
    cursor = conn.execute(
        """INSERT INTO dca_deposits (client_id, machine_id, amount_minor, currency, status, notes, recorded_by,
        recorded_at, decided_by, decided_at, kind, effective_at, reverses)
        VALUES (?1, ?2, ?3, ?4, 'confirmed', ?5, ?6, ?7, ?6, ?7, ?8, coalesce(?10, ?7), ?9)""",
        (client.id, client.machine_id, -amount_minor, client.currency, notes, actor, now, kind, reverses, effective_at),
    )
    assert cursor.lastrowid is not None
    taken = get(conn, cursor.lastrowid)
    action = "deposit.reverse" if kind is DepositKind.REVERSAL else "deposit.withdraw"
    before, after = {"available_minor": available_minor}, {"available_minor": available_minor - amount_minor}
    _record(conn, action, taken, actor, now, before=before, after={**after, "reverses": reverses}, reason=notes)
    return taken


def _what_is_left(client: Client, available_minor: int, reverses: int | None) -> str:
    """A deposit that is partly spent is not reversed; what was too much of it can be taken back."""
    if reverses is None or available_minor <= 0:
        return ""
    left = minor_to_fiat(available_minor, client.currency)
    return (
        f". If a part of deposit {reverses} was too much, take back that part, {left} {client.currency} at the most: "
        f'`satmachine deposits withdraw {client.id} {left} --note "deposit {reverses} was less"`'
    )


def _require_effective(conn: sqlite3.Connection, machine_id: str, effective_at: int, now: int) -> None:
    """A given time changes no plan: while a machine pays as usual, no sale since then may be planned."""
    when = datetime.fromtimestamp(effective_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if effective_at > now:
        raise Refused(f"{when} is in the future: cash counts from when it is in the machine, or has left it")
    if wallet_rows.is_stopped(conn, machine_id):
        return  # its books are being reconciled; no plan is changed by that
    row = conn.execute(
        """SELECT id FROM dca_settlements WHERE machine_id = ? AND occurred_at >= ? AND planned_at IS NOT NULL
        ORDER BY occurred_at LIMIT 1""",
        (machine_id, effective_at),
    ).fetchone()
    if row is not None:
        raise Refused(
            f"sale {row['id']} of {machine_id} was shared out after {when}, without this entry, and no plan is "
            "changed: leave out --at, or give a time after the latest sale"
        )


def _pending(conn: sqlite3.Connection, deposit_id: int, verb: str) -> Deposit:
    """The deposit as it is in this transaction. Raises NotFound, and Refused if it is already decided."""
    deposit = get(conn, deposit_id)
    if deposit.status is DepositStatus.PENDING:
        return deposit
    assert deposit.decided_at is not None
    decided = datetime.fromtimestamp(deposit.decided_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    raise Refused(
        f"deposit {deposit.id} cannot be {verb}: it was {deposit.status} by {deposit.decided_by} at {decided}, and a "
        "decided deposit is an audit record that never changes. To correct it, reverse it "
        f"(`satmachine deposits reverse {deposit.id}`) or record another one"
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
