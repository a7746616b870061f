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
from satmachine.store import ledger, periods
from satmachine.store.ledger import Span
from satmachine.store.periods import Period

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


def make_period(
    conn: sqlite3.Connection,
    name: str,
    tz: tzinfo,
    *,
    actor: str,
    reason: str,
    now: int,
    seen: Callable[[], object] = lambda: None,
) -> Period:
    """What closing a month would write; `seen` is called for each fact. Raises Refused, ValueError.

    The first month that is closed takes in everything before it.
    """
    _, end_at = month_span(name, tz)
    before = periods.last(conn)
    closed_at = now - GRACE_S
    if end_at + GRACE_S > closed_at:
        raise Refused(f"{name} is not over yet; a month can be closed {2 * GRACE_S // 60} minutes after its end")
    if before is not None and end_at <= before.end_at:
        raise Refused(f"{name} is closed: the last month that was closed is {before.name}")
    if before is not None and str(tz) != before.tz and month_span(before.name, tz)[1] != before.end_at:
        raise Refused(f"{before.name} was closed in the zone {before.tz}: close {name} with --tz {before.tz} too")
    start_at = before.end_at if before else 0
    facts = ledger.facts(conn, Span(start_at, end_at, known_by=closed_at))
    digest, entries, totals = _digest(facts, balances(conn, start_at), seen)
    period = Period(
        name=name,
        start_at=start_at,
        end_at=end_at,
        tz=str(tz),
        closed_at=closed_at,
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
        "totals": periods.nested(period.totals),
        "tz": period.tz,
    }
    return sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def broken_links(conn: sqlite3.Connection) -> Iterator[tuple[Period, str]]:
    """Closed months whose own row was altered, or whose predecessor is not the month after which it was closed.
    Quick."""
    previous, end_at = "", 0
    for period in periods.all_of(conn):
        if hash_of(period) != period.hash:
            yield period, "its own row was altered: its hash is different"
        if period.previous != previous or period.start_at != end_at:
            yield period, "the month before it is not the one after which it was closed"
        previous, end_at = period.hash, period.end_at


def off_totals(conn: sqlite3.Connection, *, since: int = 0) -> Iterator[tuple[Period, str]]:
    """Closed months (that ended after `since`) whose accounts have other balances now. Adds up in SQL, so it takes a
    fraction of the time of `altered`; only `altered` finds what cancels out within a month."""
    begun = Balances()
    for period in periods.all_of(conn):
        if period.end_at > since and totals_of(conn, begun, Span(period.start_at, period.end_at)) != period.totals:
            yield period, "its entries have another sum now than when it was closed"
        begun = period.totals


def altered(
    conn: sqlite3.Connection, *, since: int = 0, seen: Callable[[], object] = lambda: None
) -> Iterator[tuple[Period, str]]:
    """Closed months (that ended after `since`) whose entries are not what they were. Reads all of their entries."""
    totals: Balances | None = None
    for period in periods.all_of(conn):
        if period.end_at > since:
            begun = _totals_before(conn, period) if totals is None else totals
            facts = ledger.facts(conn, Span(period.start_at, period.end_at))
            digest, entries, totals = _digest(facts, begun, seen)
            if (digest, entries) != (period.digest, period.entries):
                yield period, f"it had {period.entries} entries and has {entries} now, or they say something else"
            elif totals != period.totals:
                yield period, "its accounts are not what its entries say"
        totals = period.totals


def _totals_before(conn: sqlite3.Connection, period: Period) -> Balances:
    before = periods.last_before(conn, period.start_at) if period.start_at else None
    return Balances() if before is None else before.totals


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
