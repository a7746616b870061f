"""The proof from the database alone: every settlement conserves, every leg has its evidence, statuses agree with
legs, balances recompute (SPEC sections 5, 8 and 9). Each rule is one query, so a daemon may go on writing meanwhile.

Also run after store tests."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from satmachine.audit.breaks import Break, Kind, make_break
from satmachine.ledger import periods
from satmachine.money import sats_to_minor, split_two_stage_commission
from satmachine.store import balances, cash, clients, lists
from satmachine.store import breaks as books

Record = dict[str, Any]


def check_books(
    conn: sqlite3.Connection,
    *,
    scope: str | None = None,
    since: int = 0,
    read_again: Callable[[], object] | None = None,
) -> list[Break]:
    """Every break in the books, of one operator's machines (None: all) and of what happened `since` then.

    Closed months, which are all operators', are added up again; where `read_again` is given, their entries are read one
    by one, and it is called for each.
    """
    found: list[Break] = []
    for kind in books.BREAKS:
        found += [make_break(Kind(kind), row) for row in books.breaking(conn, kind) if row["at"] >= since]
    for kind, rows in (
        (Kind.FIRST_STAGE, _first_stage(conn)),
        (Kind.BAD_PREIMAGE, _bad_preimages(conn)),
        (Kind.LEG_FIAT, _leg_fiat(conn)),
    ):
        found += [make_break(kind, row) for row in rows if row["at"] >= since]
    found += _balances(conn)
    found += _cash(conn, since)
    found += [make_break(Kind.CHANGED_OUTSIDE, row) for row in clients.changed_outside(conn)]
    mine = set(lists.machine_ids(conn, scope))
    found = [broken for broken in found if broken.machine_id in mine]
    return [*found, *_closed_months(conn, since, read_again)]


def _closed_months(conn: sqlite3.Connection, since: int, read_again: Callable[[], object] | None) -> Iterator[Break]:
    """Months that were closed are what they were then (SPEC section 13): one break for each that is not."""
    links = [(period, why) for period, why in periods.broken_links(conn) if period.end_at > since]
    if read_again is None:
        wrong = [*links, *periods.off_totals(conn, since=since)]
    else:
        wrong = [*links, *periods.altered(conn, since=since, seen=read_again)]
    reasons: dict[str, list[str]] = {}
    zones = {period.name: period.tz for period, _ in wrong}
    for period, why in wrong:
        reasons.setdefault(period.name, []).append(why)
    for name, whys in reasons.items():
        facts = {"subject": f"month {name}", "machine_id": "", "name": name, "tz": zones[name], "why": "; ".join(whys)}
        yield make_break(Kind.CLOSED_MONTH, facts)


def _cash(conn: sqlite3.Connection, since: int) -> Iterator[Break]:
    """The cash book: its sums and chains, and what was booked and deposited by it (SPEC section 12). An entry that was
    taken back or corrected counts for nothing any more, so that to void a wrong one ends its break."""
    for kind in cash.BREAKS:
        for row in cash.breaking(conn, kind):
            replaced = kind == Kind.CASH_SUM and cash.replaced_by(conn, row["entry_id"]) is not None
            if row["at"] >= since and not replaced:
                yield make_break(Kind(kind), row)


def _first_stage(conn: sqlite3.Connection) -> Iterator[Record]:
    """The platform's part must follow from the commission and the pct that are recorded."""
    for sale in books.planned_sales(conn):
        expected_sats, _ = split_two_stage_commission(sale["commission_sats"], Decimal(sale["super_fee_pct"]))
        if expected_sats != sale["platform_fee_sats"]:
            yield {**sale, "expected_sats": expected_sats, "found_sats": sale["platform_fee_sats"]}


def _bad_preimages(conn: sqlite3.Connection) -> Iterator[Record]:
    for leg in books.external_legs(conn):
        try:
            fits = hashlib.sha256(bytes.fromhex(leg["preimage"] or "")).hexdigest() == leg["payment_hash"]
        except ValueError:
            fits = False
        if not fits:
            yield leg


def _leg_fiat(conn: sqlite3.Connection) -> Iterator[Record]:
    """A share's fiat value is sats / rate, rounded half up, and never above its cap (SPEC section 8)."""
    for leg in books.share_legs(conn):
        expected_minor = sats_to_minor(leg["amount_sats"], Decimal(leg["exchange_rate"]), leg["currency"])
        if leg["explain"] is not None:
            expected_minor = min(expected_minor, json.loads(leg["explain"])["cap_minor"])
        if expected_minor != leg["fiat_amount_minor"]:
            yield {**leg, "expected_minor": expected_minor, "found_minor": leg["fiat_amount_minor"]}


def _balances(conn: sqlite3.Connection) -> Iterator[Break]:
    """Balances recompute from their rows, and no LP has been given more than was confirmed."""
    wrong = set(balances.wrong_totals(conn))
    for balance in balances.find(conn, removed=True):
        facts = {
            "subject": f"client {balance.client_id}",
            "machine_id": balance.machine_id,
            "client_id": balance.client_id,
            "label": balance.label,
            "confirmed_minor": balance.confirmed_minor,
            "used_minor": balance.spent_minor + balance.reserved_minor,
        }
        if balance.client_id in wrong:
            yield make_break(Kind.BALANCE, facts)
        if balance.available_minor < 0:
            yield make_break(Kind.OVERDRAWN, facts)
