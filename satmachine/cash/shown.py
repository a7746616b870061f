"""What is shown about a machine's cash: reads the books and applies the rules. Only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from satmachine.cash import cycles, narrow
from satmachine.cash.narrow import CashDifference
from satmachine.models.cash_values import Cycle, Told
from satmachine.store import cash_rows

#: No sale is later than this.
_EVER = 2**62


@dataclass(frozen=True, slots=True)
class CycleReport:
    """A cycle, what its difference is made of, and (of the open one) how far the machine's own count is from the
    sales."""

    cycle: Cycle
    findings: tuple[CashDifference, ...]
    distance_minor: int | None


def reports(conn: sqlite3.Connection, machine_id: str, *, limit: int) -> list[CycleReport]:
    """A machine's cycles, the newest first: the open one and at most `limit` closed ones."""
    built = _cycles(conn, machine_id, limit)
    if not built:
        return []
    beacons = cash_rows.beacons(conn, machine_id, built[0].opened_at, _EVER)
    return [_report(cycle, beacons) for cycle in reversed(built)]


def closed_cycle(conn: sqlite3.Connection, machine_id: str, entry_id: int) -> CycleReport | None:
    """The cycle that an entry closed; None if it closed none."""
    entry = cash_rows.get(conn, entry_id)
    for cycle in _cycles(conn, machine_id, _EVER):
        if cycle.closing is not None and cycle.closing.root_id == entry.root_id:
            return _report(cycle, cash_rows.beacons(conn, machine_id, cycle.opened_at, cycle.closing.at + 1))
    return None


def every_cycle(conn: sqlite3.Connection, machine_id: str) -> list[Cycle]:
    """All cycles of a machine, the oldest first."""
    return _cycles(conn, machine_id, _EVER)


def _cycles(conn: sqlite3.Connection, machine_id: str, limit: int) -> list[Cycle]:
    closings = cash_rows.closings(conn, machine_id, min(limit, 2**31) + 1)
    since = closings[limit] if len(closings) > limit else None
    entries = cash_rows.standing(conn, machine_id, since=since.at if since else 0)
    if not entries:
        return []
    sales = cash_rows.sales(conn, machine_id, since.at if since else entries[0].at, _EVER)
    return cycles.build(entries, sales, cash_rows.booked(conn, machine_id), since=since)


def _report(cycle: Cycle, beacons: Sequence[Told]) -> CycleReport:
    if cycle.closing is None:
        return CycleReport(cycle, (), narrow.distance_minor(cycle, beacons))
    return CycleReport(cycle, tuple(narrow.findings(cycle, beacons)), None)
