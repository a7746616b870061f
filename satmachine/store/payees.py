"""The last known identity of each payee, by where it is named (SPEC section 3)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from satmachine.identity import PayeeIdentity, PayeeKind, client_scope


def known(conn: sqlite3.Connection, scope: str) -> PayeeIdentity | None:
    """Who was last paid under this name; None if nobody was yet."""
    row = conn.execute("SELECT kind, reference FROM dca_payees WHERE scope = ?", (scope,)).fetchone()
    return None if row is None else PayeeIdentity(PayeeKind(row["kind"]), row["reference"])


def unknown_wallets(conn: sqlite3.Connection, machine_id: str, configured: Mapping[str, object]) -> list[str]:
    """Names of a machine's payees that are wallets of which nobody has learnt the id yet: of those that the
    configuration names (by scope), and of its active LPs."""
    clients = conn.execute(
        "SELECT id FROM dca_clients WHERE machine_id = ? AND status = 'active' AND payee_kind = 'invoice_key_file'",
        (machine_id,),
    )
    scopes = [*configured, *(client_scope(row["id"]) for row in clients)]
    learnt = conn.execute(
        "SELECT scope FROM dca_payees WHERE kind = 'wallet' AND scope IN (SELECT value FROM json_each(?))",
        (json.dumps(scopes),),
    )
    known_ones = {row["scope"] for row in learnt}
    return [scope for scope in scopes if scope not in known_ones]


def completed(conn: sqlite3.Connection, scope: str | None, named: PayeeIdentity) -> PayeeIdentity:
    """The identity that is named, with a wallet's id if this name was a wallet before."""
    if named.reference is not None or scope is None:
        return named
    last = known(conn, scope)
    return last if last is not None and last.kind is named.kind else named


def learn(conn: sqlite3.Connection, scope: str, identity: PayeeIdentity, now: int) -> None:
    """Remember who is paid under this name from now on."""
    conn.execute(
        """INSERT INTO dca_payees (scope, kind, reference, learnt_at) VALUES (?, ?, ?, ?) ON CONFLICT (scope) DO UPDATE
        SET kind = excluded.kind, reference = excluded.reference, learnt_at = excluded.learnt_at""",
        (scope, identity.kind, identity.reference, now),
    )


def forget(conn: sqlite3.Connection, scope: str) -> None:
    """Whoever is found next under this name is its payee: a person has said so."""
    conn.execute("DELETE FROM dca_payees WHERE scope = ?", (scope,))
