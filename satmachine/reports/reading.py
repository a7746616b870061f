"""A report, read out of the ledger of these books, and where a wallet has another balance. Reads only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import NamedTuple

from satmachine.ledger.entries import Balances, add, balances, entries, steps_before
from satmachine.ledger.postings import account, postings_of, value_minor
from satmachine.models.facts import Moved
from satmachine.reports.summary import Report, make_report
from satmachine.store import ledger, ledger_sums
from satmachine.store.ledger import Span

#: What LNbits said of a wallet longer ago is compared with nothing: too much may have moved since.
_RECENT_S = 86_400


class Difference(NamedTuple):
    """A wallet whose balance, when it was last read (Unix seconds), was not what the books explain of that moment."""

    machine_id: str
    read_at: int
    wallet_sats: int
    books_sats: int


def steps(conn: sqlite3.Connection, span: Span) -> int:
    """In how many steps `report` reads."""
    before = steps_before(conn, span.since, scope=span.scope, machine_id=span.machine_id)
    return before + ledger_sums.steps_of_time(conn, span)


def report(conn: sqlite3.Connection, span: Span, *, seen: Callable[[], object] = lambda: None) -> Report:
    """The report of a span; `seen` is called for each of `steps`."""
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


def wallet_differences(conn: sqlite3.Connection, made: Report) -> list[Difference]:
    """Of a report that goes up to now: the wallets that have another balance than the books explain."""
    closing = {row["machine_id"]: row["closing_sats"] for row in made.machines}
    read = {
        machine_id: balance
        for machine_id, balance in ledger.wallet_balances(conn).items()
        if machine_id in closing and balance[1] > made.until - _RECENT_S
    }
    wallets = {account("Assets", "Wallet", machine_id): machine_id for machine_id in read}
    for entry in entries(conn, Span(min((at for _, at in read.values()), default=made.until), made.until)):
        for posting in entry.postings:
            machine_id = wallets.get(posting.account)
            if machine_id is not None and entry.posted_at > read[machine_id][1]:
                closing[machine_id] -= posting.amount
    return [
        Difference(machine_id, at, sats, closing[machine_id])
        for machine_id, (sats, at) in sorted(read.items())
        if sats != closing[machine_id]
    ]
