"""Rows of `dca_clients` and `dca_deposits`."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from satmachine.models import INTERNAL_PAYEE


@dataclass(frozen=True, slots=True)
class ClientPayee:
    """Where an LP wants its sats; `payee` is an address, or the file in which the invoice key is kept."""

    client_id: int
    label: str
    kind: str
    payee: str


def payee_of(conn: sqlite3.Connection, client_id: int) -> ClientPayee:
    """The payee of an existing client."""
    row = conn.execute("SELECT id, label, payee_kind, payee FROM dca_clients WHERE id = ?", (client_id,)).fetchone()
    return ClientPayee(row["id"], row["label"], row["payee_kind"], row["payee"])


def describe_payee(kind: str, payee: str) -> str:
    """A client's payee for people; the same words as `config.Payee.describe`."""
    return f"{INTERNAL_PAYEE} (key from file {payee})" if kind == "invoice_key_file" else payee
