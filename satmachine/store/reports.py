"""Every read query of the command line. Rows come as plain dicts whose keys are the tables' column names.

`scope` is an operator's id, or None for all operators.
"""

from __future__ import annotations

import sqlite3


def operator_exists(conn: sqlite3.Connection, operator_id: str) -> bool:
    """Whether the books have ever known this operator."""
    return conn.execute("SELECT 1 FROM dca_operators WHERE id = ?", (operator_id,)).fetchone() is not None


def sees(conn: sqlite3.Connection, scope: str | None, machine_id: str) -> bool:
    """Whether this machine exists and belongs to the scope."""
    row = conn.execute("SELECT operator_id FROM dca_machines WHERE id = ?", (machine_id,)).fetchone()
    return row is not None and scope in (None, row["operator_id"])
