"""The state of a machine, in a word."""

from __future__ import annotations

from satmachine.cli.kit.values import Row, format_sats


def mode(row: Row) -> str:
    """The state of a machine; the most serious one counts."""
    if not row["in_config"]:
        return "dropped"
    if row["safe_mode"]:
        return "safe mode"
    if row["paused"]:
        return "paused"
    return "active" if row["active"] else "inactive"


def balance(row: Row) -> str:
    """What the wallet holds, as far as it is known."""
    if row["checked_at"] is None:
        return "not asked yet"
    if row["balance_sats"] is None:
        return "unreachable"
    return format_sats(row["balance_sats"]) + ("" if row["reachable"] else " ?")
