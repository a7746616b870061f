"""A report, read from the ledger of these books. Only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from satmachine.ledger.entries import Balances, add, balances, steps_before
from satmachine.ledger.postings import postings_of, value_minor
from satmachine.models.facts import Moved
from satmachine.reports.summary import Report, make_report
from satmachine.store import ledger, ledger_sums
from satmachine.store.ledger import Span


def steps(conn: sqlite3.Connection, span: Span) -> int:
    """In how many steps `report` reads."""
    before = steps_before(conn, span.since, scope=span.scope, machine_id=span.machine_id)
    return before + ledger_sums.steps_of_time(conn, span)


def report(conn: sqlite3.Connection, span: Span, *, seen: Callable[[], object] = lambda: None) -> Report:
    """The report of a period; `seen` is called for each of `steps`."""
    opening = balances(conn, span.since, scope=span.scope, machine_id=span.machine_id, seen=seen)
    ends = Balances(opening)

    def moved() -> Iterator[Moved]:
        for one in ledger_sums.moved(conn, span, value_minor, seen):
            add(ends, postings_of(one.fact))
            yield one

    return make_report(
        moved(),
        ledger.machines(conn, span.scope, span.machine_id),
        ledger.lps(conn, span.scope, span.machine_id),
        opening,
        ends,
        since=span.since,
        until=span.until,
    )
