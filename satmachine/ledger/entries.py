"""The ledger of these books: entries in order, and the balances of the accounts at a moment. Only reads."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from satmachine.ledger.postings import Entry, Posting, entry_of, postings_of
from satmachine.store import ledger, ledger_sums, period_rows
from satmachine.store.ledger import Span

#: Balances: (account, unit) -> amount. Those that are zero may be missing.
Balances = Counter[tuple[str, str]]


def entries(conn: sqlite3.Connection, span: Span) -> Iterator[Entry]:
    """The entries of a period, in the order in which they are posted."""
    return map(entry_of, ledger.facts(conn, span))


def balances(
    conn: sqlite3.Connection,
    at: int,
    *,
    scope: str | None = None,
    machine_id: str | None = None,
    seen: Callable[[], object] = lambda: None,
) -> Balances:
    """The balance of every account right before `at` (Unix seconds), without those that are zero.

    Starts from the last month that was closed before, so that closed years need not be added up again. `seen` is
    called for each of `steps_before`.
    """
    found: Balances = Counter()
    since = 0
    closed = period_rows.last_before(conn, at)
    if closed is not None:
        since = closed.end_at
        wanted = ledger.machines(conn, scope, machine_id).keys()
        found.update(restricted(closed.totals, wanted))
    return totals_of(conn, found, Span(since, at, scope, machine_id), seen)


def steps_before(conn: sqlite3.Connection, at: int, *, scope: str | None = None, machine_id: str | None = None) -> int:
    """In how many steps `balances` reads."""
    closed = period_rows.last_before(conn, at)
    return ledger_sums.steps(conn, Span(0 if closed is None else closed.end_at, at, scope, machine_id))


def totals_of(
    conn: sqlite3.Connection, begun: Balances, span: Span, seen: Callable[[], object] = lambda: None
) -> Balances:
    """The balance of every account at the end of a period, from the balances at its beginning."""
    found = Balances(begun)
    add(found, (posting for fact in ledger_sums.sums(conn, span, seen) for posting in postings_of(fact)))
    return nonzero(found)


def add(found: Balances, postings: Iterable[Posting]) -> None:
    """Post them."""
    for posting in postings:
        found[posting.account, posting.unit] += posting.amount


def nonzero(found: Balances) -> Balances:
    """Without the accounts that are empty."""
    return Counter({key: amount for key, amount in found.items() if amount})


def restricted(totals: Balances, machine_ids: Iterable[str]) -> Balances:
    """Only the accounts of these machines: the third part of an account's name is the machine's."""
    wanted = {machine_id[:1].upper() + machine_id[1:] for machine_id in machine_ids}
    return Counter({key: amount for key, amount in totals.items() if key[0].split(":")[2] in wanted})
