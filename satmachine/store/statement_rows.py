"""Statements as the daemon has signed them, and the names in them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """`event` is the Nostr event as JSON, `html` the page without it; times in Unix seconds."""

    id: str
    client_id: int
    since_at: int | None
    until_at: int | None
    made_at: int
    asked_by: str
    event: str
    html: str


def names_of(conn: sqlite3.Connection, machine_id: str) -> tuple[str, str]:
    """The operator's name and the machine's."""
    row = conn.execute(
        """SELECT o.name AS operator, m.name AS machine FROM dca_machines m JOIN dca_operators o ON o.id = m.operator_id
        WHERE m.id = ?""",
        (machine_id,),
    ).fetchone()
    return str(row["operator"]), str(row["machine"])


def add(conn: sqlite3.Connection, statement: SignedStatement) -> None:
    """Store one; the same once more changes nothing."""
    conn.execute(
        "INSERT INTO dca_statements VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        tuple(getattr(statement, name) for name in SignedStatement.__dataclass_fields__),
    )


def of_client(conn: sqlite3.Connection, client_id: int, limit: int) -> list[dict[str, Any]]:
    """The newest signed statements of a position, without their text; `signer` is a public key in hex."""
    found = conn.execute(
        """SELECT id, since_at, until_at, made_at, json_extract(event, '$.pubkey') AS signer FROM dca_statements
        WHERE client_id = ? ORDER BY made_at DESC, id LIMIT ?""",
        (client_id, limit),
    )
    return [dict(row) for row in found]


def get(conn: sqlite3.Connection, client_id: int, statement_id: str) -> SignedStatement | None:
    """A position's statement by its id."""
    row = conn.execute(
        "SELECT * FROM dca_statements WHERE id = ? AND client_id = ?", (statement_id, client_id)
    ).fetchone()
    return None if row is None else SignedStatement(**dict(row))


def newest(
    conn: sqlite3.Connection, client_id: int, since: int | None, until: int | None, *, made_since: int
) -> SignedStatement | None:
    """The newest of this period that was made since a moment."""
    row = conn.execute(
        """SELECT * FROM dca_statements WHERE client_id = ? AND made_at >= ? AND since_at IS ? AND until_at IS ?
        ORDER BY made_at DESC LIMIT 1""",
        (client_id, made_since, since, until),
    ).fetchone()
    return None if row is None else SignedStatement(**dict(row))
