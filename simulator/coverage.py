"""Which action met which state: pairs that were never reached are where nobody has looked. SQL reads only."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable

#: Every state of a sale or a leg that an action can meet.
STATES = (
    "sale:none",
    "sale:unproven",
    "sale:unplanned",
    "sale:pending",
    "sale:held",
    "sale:processed",
    "sale:errored",
    "sale:partial",
    "sale:refunded",
    "leg:pending",
    "leg:asking",
    "leg:invoiced",
    "leg:sending",
    "leg:failed",
    "leg:waiting",
    "leg:held",
    "leg:completed",
    "leg:voided",
    "leg:skipped",
    "wallet:between",
)

_SALES = """
SELECT DISTINCT CASE WHEN status <> 'pending' THEN status WHEN proof = 'waiting' THEN 'unproven'
WHEN planned_at IS NULL THEN 'unplanned' ELSE 'pending' END AS state FROM dca_settlements WHERE ?1 IS NULL OR id = ?1
"""
_LEGS = """
SELECT DISTINCT CASE WHEN p.status = 'pending' AND p.generation > 0 THEN 'asking'
WHEN p.status = 'failed' AND p.next_attempt_at IS NULL THEN 'waiting' ELSE p.status END AS state
FROM dca_payments p WHERE ?1 IS NULL OR p.settlement_id = ?1
"""

Pairs = Counter[tuple[str, str]]


def states(conn: sqlite3.Connection, settlement_id: int | None = None) -> list[str]:
    """The states of one sale and its legs, or (None) of all of them."""
    sales = [f"sale:{row['state']}" for row in conn.execute(_SALES, (settlement_id,))]
    legs = [f"leg:{row['state']}" for row in conn.execute(_LEGS, (settlement_id,))]
    return (sales or ["sale:none"]) + legs


def never(pairs: Pairs, actions: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs that no run has reached."""
    return [(action, state) for action in actions for state in STATES if (action, state) not in pairs]
