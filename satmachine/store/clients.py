"""Rows of `dca_clients`: the liquidity providers (SPEC section 8).

Every change writes its audit row with it; call these inside `atomic()`. What may be changed when is decided here,
where the state is seen and changed in the same transaction. `operator` limits a look-up to one operator's machines.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from satmachine.errors import NotFound, Refused
from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.models import Client, ClientStatus
from satmachine.store import as_models as rows
from satmachine.store import audit_log as audit
from satmachine.store.fragments import LEG_PAID_BY_LP, LEG_PAID_BY_MACHINE, LEG_USES_CASH

#: Columns that `update` may change; machine and label are part of payment keys.
CHANGEABLE = frozenset(
    {"person", "mode", "daily_limit_minor", "status", "payee_kind", "payee", "autoforward", "autoforward_key_file"}
)

_SELECT = "SELECT c.*, m.operator_id, m.currency FROM dca_clients c JOIN dca_machines m ON m.id = c.machine_id "


@dataclass(frozen=True, slots=True)
class ClientPayee:
    """Where an LP wants its sats; `payee` is an address, or the file in which the invoice key is kept."""

    client_id: int
    label: str
    kind: str
    payee: str


def machine_currency(conn: sqlite3.Connection, machine_id: str, *, operator: str | None = None) -> str:
    """The currency of a machine that is in the configuration. Raises NotFound."""
    row = conn.execute(
        "SELECT currency FROM dca_machines WHERE id = ?1 AND in_config = 1 AND (?2 IS NULL OR operator_id = ?2)",
        (machine_id, operator),
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no machine {machine_id}; `satmachine machines list` shows those in the registry")
    return str(row["currency"])


def add(
    conn: sqlite3.Connection,
    *,
    machine_id: str,
    label: str,
    person: str,
    payee_kind: str,
    payee: str,
    mode: str = "flow",
    daily_limit_minor: int | None = None,
    autoforward: str | None = None,
    autoforward_key_file: str | None = None,
    actor: str,
    now: int,
) -> int:
    """Register an LP; returns its id. `payee` is an address, or the absolute path of the key's file.

    Raises NotFound for a machine that is not in the registry, Refused for a label that was ever used there.
    """
    machine_currency(conn, machine_id)
    _refuse_used_label(conn, machine_id, label)
    values: dict[str, object] = {
        "machine_id": machine_id,
        "label": label,
        "person": person,
        "mode": mode,
        "daily_limit_minor": daily_limit_minor,
        "payee_kind": payee_kind,
        "payee": payee,
        "autoforward": autoforward,
        "autoforward_key_file": autoforward_key_file,
    }
    client_id = int(conn.execute("SELECT coalesce(max(id), 0) + 1 FROM dca_clients").fetchone()[0])
    # The log first: what no row of it announces, a trigger takes for somebody else's work.
    _record(conn, "client.add", client_id, machine_id, actor, now, after=values)
    conn.execute(
        """INSERT INTO dca_clients (id, machine_id, label, person, mode, daily_limit_minor, payee_kind, payee,
        autoforward, autoforward_key_file, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (client_id, *values.values(), now, actor),
    )
    return client_id


def get(conn: sqlite3.Connection, client_id: int, *, operator: str | None = None) -> Client:
    """One client. Raises NotFound, also where it is another operator's."""
    row = conn.execute(
        _SELECT + "WHERE c.id = ?1 AND (?2 IS NULL OR m.operator_id = ?2)", (client_id, operator)
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no client {client_id}; `satmachine clients list` shows the ids")
    return rows.load(Client, row)


def by_label(conn: sqlite3.Connection, machine_id: str, label: str) -> Client | None:
    """A machine's client of this label, removed or not; labels are never used again."""
    row = conn.execute(_SELECT + "WHERE c.machine_id = ? AND c.label = ?", (machine_id, label)).fetchone()
    return None if row is None else rows.load(Client, row)


def find(
    conn: sqlite3.Connection,
    *,
    machine: str | None = None,
    person: str | None = None,
    status: str | None = None,
    removed: bool = False,
    operator: str | None = None,
    limit: int | None = None,
) -> list[Client]:
    """Clients by machine and label, at most `limit` of them; those that were removed only on request."""
    found = conn.execute(
        _SELECT
        + """WHERE (?1 IS NULL OR c.machine_id = ?1) AND (?2 IS NULL OR c.person = ?2)
                  AND (?3 IS NULL OR c.status = ?3) AND (?4 OR ?3 = 'removed' OR c.status <> 'removed')
                  AND (?5 IS NULL OR m.operator_id = ?5) ORDER BY c.machine_id, c.label LIMIT ?6""",
        (machine, person, status, removed, operator, -1 if limit is None else limit),
    )
    return [rows.load(Client, row) for row in found]


def update(conn: sqlite3.Connection, client: Client, changes: Mapping[str, object], *, actor: str, now: int) -> Client:
    """Change some columns of a client that was just read; returns it as it is now.

    Raises Refused for a removed client, and where an invoice of the payee so far may still be paid.
    """
    assert changes.keys() <= CHANGEABLE, f"not changeable: {changes.keys() - CHANGEABLE}"
    if client.status is ClientStatus.REMOVED:
        raise Refused(f"client {client.id} ({client.label}) was removed; add a new one with another label")
    said, changes = changes, {name: value for name, value in changes.items() if value != getattr(client, name)}
    if not changes:
        _confirm_payee(conn, client, said, actor, now)
        return client
    if changes.keys() & {"payee_kind", "payee"}:
        _refuse_while_invoiced(conn, client, LEG_USES_CASH, "payee")
    if changes.keys() & {"autoforward", "autoforward_key_file"}:
        _refuse_while_invoiced(conn, client, LEG_PAID_BY_LP, "autoforward")
        _void_unsent_forwards(conn, client)
    # The names come from CHANGEABLE, never from outside.
    assignments = ", ".join(f"{name} = ?" for name in changes)
    before = {name: getattr(client, name) for name in changes}
    # The log first, as in `add`.
    _record(conn, "client.update", client.id, client.machine_id, actor, now, before=before, after=changes)
    changed = conn.execute(
        f"UPDATE dca_clients SET {assignments} WHERE id = ? AND status = ?",  # noqa: S608
        (*changes.values(), client.id, client.status),
    ).rowcount
    assert changed == 1, f"client {client.id} changed while it was updated"
    return get(conn, client.id)


def mark_removed(conn: sqlite3.Connection, client: Client, *, actor: str, now: int, reason: str = "") -> None:
    """Take a client out of all further sales. `clients.removal.remove` asks first whether that is right."""
    _void_unsent_forwards(conn, client)
    changed = conn.execute(
        "UPDATE dca_clients SET status = 'removed', removed_at = ? WHERE id = ? AND status <> 'removed'",
        (now, client.id),
    ).rowcount
    assert changed == 1, f"client {client.id} changed while it was removed"
    before, after = {"status": client.status}, {"status": ClientStatus.REMOVED}
    _record(conn, "client.remove", client.id, client.machine_id, actor, now, before=before, after=after, reason=reason)


def open_legs(conn: sqlite3.Connection, client_id: int) -> list[str]:
    """The keys of the legs that still owe this client something, oldest first."""
    found = conn.execute(
        f"""SELECT leg_key FROM dca_payments WHERE client_id = ? AND {LEG_PAID_BY_MACHINE}
        AND status NOT IN ('completed', 'voided', 'skipped') ORDER BY id""",  # noqa: S608
        (client_id,),
    )
    return [str(row["leg_key"]) for row in found]


def payee_of(conn: sqlite3.Connection, client_id: int) -> ClientPayee:
    """The payee of an existing client."""
    row = conn.execute("SELECT id, label, payee_kind, payee FROM dca_clients WHERE id = ?", (client_id,)).fetchone()
    return ClientPayee(row["id"], row["label"], row["payee_kind"], row["payee"])


def payees_of_machine(conn: sqlite3.Connection, machine_id: str) -> list[ClientPayee]:
    """The payees of all who are, or were, LPs at a machine, the latest first."""
    found = conn.execute(
        "SELECT id, label, payee_kind, payee FROM dca_clients WHERE machine_id = ? ORDER BY id DESC", (machine_id,)
    )
    return [ClientPayee(row["id"], row["label"], row["payee_kind"], row["payee"]) for row in found]


def identity_of(kind: str, payee: str) -> PayeeIdentity:
    """Who a client's payee is; which wallet a key leads to is not known before LNbits was asked."""
    if kind == "invoice_key_file":
        return PayeeIdentity(PayeeKind.WALLET, None)
    return PayeeIdentity(PayeeKind(kind), payee)


def describe_payee(kind: str, payee: str) -> str:
    """A client's payee for people; the same words as `config.Payee.describe`."""
    if kind == "invoice_key_file":
        return f"LNbits wallet (key from file {payee})"
    if kind == "lnurl":
        from satmachine.config.formats import lnurl_host  # here, so that reads of the books need no pydantic

        return f"LNURL of {lnurl_host(payee)}"
    return payee


def _refuse_used_label(conn: sqlite3.Connection, machine_id: str, label: str) -> None:
    taken = conn.execute(
        "SELECT id, status FROM dca_clients WHERE machine_id = ? AND label = ?", (machine_id, label)
    ).fetchone()
    if taken is not None:
        raise Refused(
            f"label {label} at machine {machine_id} is client {taken['id']} ({taken['status']}); a label is part of "
            "payment keys and is never used again: choose another"
        )


def _refuse_while_invoiced(conn: sqlite3.Connection, client: Client, legs: str, what: str) -> None:
    """`legs`: which of the client's, in SQL. An invoice that was sent, or that a mark names, may still be paid, and is
    looked up in the payee's wallet: that must stay the same one. One that was only asked for, or made, is not paid by
    anybody."""
    row = conn.execute(
        f"""SELECT p.id, p.leg_key, p.status FROM dca_payments p JOIN dca_invoices i ON i.payment_id = p.id
        AND i.generation = p.generation WHERE p.client_id = ? AND p.{legs}
        AND p.status IN ('pending', 'invoiced', 'sending', 'failed', 'held') AND i.dead_at IS NULL
        AND i.payment_hash IS NOT NULL AND (i.sent_at IS NOT NULL OR i.marked_at IS NOT NULL) LIMIT 1""",  # noqa: S608
        (client.id,),
    ).fetchone()
    if row is not None:
        raise Refused(
            f"the {what} of client {client.id} ({client.label}) cannot change now: payment {row['id']} "
            f"({row['leg_key']}) is {row['status']} with an invoice that may still be paid. Try again when it is "
            f"completed or voided; where the payee's wallet is gone, `satmachine payments resolve {row['id']}` decides"
        )


def _confirm_payee(conn: sqlite3.Connection, client: Client, said: Mapping[str, object], actor: str, now: int) -> None:
    """A person names the payee that somebody else has written into the file: it is right, and no news any more."""
    if "payee" in said and changed_outside(conn, client.id):
        _record(conn, "client.confirm_payee", client.id, client.machine_id, actor, now, after=said)


def changed_outside(conn: sqlite3.Connection, client_id: int | None = None) -> list[dict[str, object]]:
    """Changes of payees that no command of satmachine made, and that no person has confirmed or replaced since."""
    found = conn.execute(
        """SELECT a.at, a.subject, a.machine_id, a.before, a.after, c.label, c.id AS client_id FROM audit_log a
        JOIN dca_clients c ON a.subject = 'client ' || c.id
        WHERE a.action = 'client.changed_outside' AND (?1 IS NULL OR c.id = ?1) AND NOT EXISTS (
        SELECT 1 FROM audit_log b WHERE b.subject = a.subject AND b.id > a.id AND (b.action = 'client.confirm_payee'
        OR (b.action = 'client.update' AND json_type(b.after, '$.payee') IS NOT NULL))) ORDER BY a.id""",
        (client_id,),
    )
    return [dict(row) for row in found]


def _void_unsent_forwards(conn: sqlite3.Connection, client: Client) -> None:
    """What waits to be forwarded under the terms so far, and has no invoice yet, is not forwarded."""
    conn.execute(
        f"""UPDATE dca_payments SET status = 'voided', next_attempt_at = NULL WHERE client_id = ?
        AND {LEG_PAID_BY_LP} AND generation = 0 AND status IN ('pending', 'failed')""",  # noqa: S608
        (client.id,),
    )


def _record(
    conn: sqlite3.Connection,
    action: str,
    client_id: int,
    machine_id: str,
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
        subject=f"client {client_id}",
        machine_id=machine_id,
        reason=reason,
        before=before,
        after=after,
    )
