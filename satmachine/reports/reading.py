"""A report, read out of the ledger of these books. Reads only."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator

from satmachine.ledger.entries import Balances, add, balances, entries
from satmachine.ledger.postings import Entry
from satmachine.reports.summary import Report, make_report
from satmachine.store import ledger
from satmachine.store.ledger import Span


def report(
    conn: sqlite3.Connection,
    span: Span,
    *,
    seen: Callable[[], object] = lambda: None,
) -> Report:
    """The report of a span; `seen` is called for each entry."""
    opening = balances(conn, span.since, scope=span.scope, machine_id=span.machine_id)
    ends: Balances = Counter(opening)

    def read() -> Iterator[Entry]:
        for entry in entries(conn, span):
            add(ends, entry.postings)
            seen()
            yield entry

    return make_report(
        read(),
        ledger.machines(conn, span.scope, span.machine_id),
        ledger.lps(conn, span.scope, span.machine_id),
        opening,
        lambda: ends,
        since=span.since,
        until=span.until,
    )
