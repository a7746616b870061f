"""Closing a month: its totals are stored, with a digest of its entries, chained to the month before.

After that nothing more is posted in it: what the books learn later counts in the open month (store/ledger.py). So the
digest can be computed again at any time and must be the same; if it is not, a row of the past was altered.

Closing reads, and then writes one row. Facts that the daemon commits meanwhile are not part of it: `closed_at` is so
far in the past that everything which the books knew by then was committed when the reading began.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from hashlib import sha256

from satmachine.errors import Refused
from satmachine.ledger.entries import Balances, add, balances, nonzero, totals_of
from satmachine.ledger.postings import postings_of
from satmachine.models.facts import Fact
from satmachine.store import ledger, period_rows
from satmachine.store.ledger import Span
from satmachine.store.period_rows import Period

#: Longer than any write waits for its turn, and (store/ledger.py, LATE) than a fact is behind its time before it counts
#: as late. A month can be closed when twice that has passed since its end: what is not late is then known.
GRACE_S = 300


def month_span(name: str, tz: tzinfo) -> tuple[int, int]:
    """The first second of a month like 2026-11, and of the one after it, in Unix seconds. Raises ValueError."""
    try:
        first: datetime | None = datetime.strptime(name, "%Y-%m").replace(tzinfo=tz)
    except ValueError:
        first = None
    if first is None or f"{first:%Y-%m}" != name:  # strptime also takes 2026-1, which would be another name of a month
        raise ValueError(f"{name!r} is not a month; write it like 2026-11")
    after = (first + timedelta(days=32)).replace(day=1)
    return int(first.timestamp()), int(after.timestamp())


def month_of(at: int, tz: tzinfo) -> str:
    """The month of a moment, like 2026-11."""
    return f"{datetime.fromtimestamp(at, tz):%Y-%m}"


def span_to_close(conn: sqlite3.Connection, name: str, tz: tzinfo, now: int) -> Span:
    """What closing a month includes, as the books knew it at its `known_by`. Raises Refused, ValueError.

    It begins where the last closed month ended. Of the first one only its own entries are taken in: what was before is
    in its totals. Whoever wants those months proven too closes them first.
    """
    start_at, end_at = month_span(name, tz)
    before, closed_at = period_rows.last(conn), now - GRACE_S
    if end_at + GRACE_S > closed_at:
        raise Refused(f"{name} is not over yet; a month can be closed {2 * GRACE_S // 60} minutes after its end")
    if before is None:
        first_at = ledger.first_at(conn)
        if first_at is None or first_at >= end_at:
            raise Refused(f"these books have nothing from {name}: {beginning(first_at, tz)}")
        return Span(start_at, end_at, known_by=closed_at)
    if end_at <= before.end_at:
        raise Refused(f"{name} is closed: the last month that was closed is {before.name}")
    if str(tz) != before.tz and month_span(before.name, tz)[1] != before.end_at:
        raise Refused(f"{before.name} was closed in the zone {before.tz}: close {name} with --tz {before.tz} too")
    return Span(before.end_at, end_at, known_by=closed_at)


def beginning(first_at: int | None, tz: tzinfo) -> str:
    """When books begin whose first fact is of `first_at`, for whoever asked for an earlier time."""
    return "nothing has happened yet" if first_at is None else f"they begin in {month_of(first_at, tz)}"


def totals_before(conn: sqlite3.Connection, span: Span, seen: Callable[[], object] = lambda: None) -> Balances:
    """The balance of every account before a period that will be closed: for the first one added up, in `seen` steps."""
    before = period_rows.last(conn)
    return before.totals if before else totals_of(conn, Balances(), replace(span, since=0, until=span.since), seen)


def make_period(
    conn: sqlite3.Connection,
    name: str,
    tz: tzinfo,
    *,
    actor: str,
    reason: str,
    now: int,
    begun: Balances | None = None,
    seen: Callable[[], object] = lambda: None,
) -> Period:
    """What closing a month would write. Raises Refused, ValueError.

    `begun` is what `totals_before` says, where the caller has asked already; `seen` is called for each entry.
    """
    span, before = span_to_close(conn, name, tz, now), period_rows.last(conn)
    begun = totals_before(conn, span) if begun is None else begun
    digest, entries, totals = _digest(ledger.facts(conn, span), begun, seen)
    period = Period(
        name=name,
        start_at=span.since,
        end_at=span.until,
        tz=str(tz),
        closed_at=span.known_by,
        actor=actor,
        reason=reason,
        entries=entries,
        totals=totals,
        digest=digest,
        previous=before.hash if before else "",
        hash="",
    )
    return replace(period, hash=hash_of(period))


def hash_of(period: Period) -> str:
    """SHA-256 over everything that a closed month says, including the hash of the month before."""
    said = {
        "actor": period.actor,
        "closed_at": period.closed_at,
        "digest": period.digest,
        "end_at": period.end_at,
        "entries": period.entries,
        "name": period.name,
        "previous": period.previous,
        "reason": period.reason,
        "start_at": period.start_at,
        "totals": period_rows.nested(period.totals),
        "tz": period.tz,
    }
    return sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def broken_links(conn: sqlite3.Connection) -> Iterator[tuple[Period, str]]:
    """Closed months whose own row was altered, or whose predecessor is not the month after which it was closed.
    Quick."""
    before: Period | None = None
    for period in period_rows.all_of(conn):
        if hash_of(period) != period.hash:
            yield period, "its own row was altered: its hash is different"
        hash_before, ended_at = ("", period.start_at) if before is None else (before.hash, before.end_at)
        if (period.previous, period.start_at) != (hash_before, ended_at):
            yield period, "the month before it is not the one after which it was closed"
        before = period


def off_totals(conn: sqlite3.Connection, *, since: int = 0) -> Iterator[tuple[Period, str]]:
    """Closed months (that ended after `since`) whose accounts have other balances now. Adds up in SQL, so it takes a
    fraction of the time of `altered`; only `altered` finds what cancels out within a month."""
    begun, summed_to = Balances(), 0
    for period in period_rows.all_of(conn):
        if period.end_at > since and totals_of(conn, begun, Span(summed_to, period.end_at)) != period.totals:
            yield period, "its entries have another sum now than when it was closed"
        begun, summed_to = period.totals, period.end_at


def altered(
    conn: sqlite3.Connection, *, since: int = 0, seen: Callable[[], object] = lambda: None
) -> Iterator[tuple[Period, str]]:
    """Closed months (that ended after `since`) whose entries are not what they were. Reads all of their entries."""
    totals: Balances | None = None
    for period in period_rows.all_of(conn):
        if period.end_at > since:
            begun = balances(conn, period.start_at) if totals is None else totals
            facts = ledger.facts(conn, Span(period.start_at, period.end_at))
            digest, entries, totals = _digest(facts, begun, seen)
            if (digest, entries) != (period.digest, period.entries):
                yield period, f"it had {period.entries} entries and has {entries} now, or they say something else"
            elif totals != period.totals:
                yield period, "its accounts are not what its entries say"
        totals = period.totals


def _digest(facts: Iterator[Fact], begun: Balances, seen: Callable[[], object]) -> tuple[str, int, Balances]:
    """Digest and number of facts, and the balances of the accounts after them. What may still change (a rate that a
    person gives later, and a sale's number in these books) is not part of the digest."""
    hashed, entries, totals = sha256(), 0, Balances(begun)
    for fact in facts:
        postings = tuple(postings_of(fact))
        moved = "".join(f" {posting.account} {posting.amount} {posting.unit}" for posting in postings)
        hashed.update(f"{fact.posted_at} {fact.key}{moved}\n".encode())
        add(totals, postings)
        entries += 1
        seen()
    return hashed.hexdigest(), entries, nonzero(totals)
