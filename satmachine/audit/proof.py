"""The proof from the database alone: every settlement conserves, every leg has its evidence, statuses agree with
legs, balances recompute (SPEC sections 5, 8 and 9). Each rule is one query, so a daemon can write meanwhile.

Also run after store tests."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from functools import lru_cache, partial
from typing import Any, Protocol

from satmachine.audit.remedies import Break, BreakKind, make_break
from satmachine.ledger import periods
from satmachine.money import sats_to_minor, split_two_stage_commission
from satmachine.store import balances, cash_rows, clients, list_queries
from satmachine.store import breaks as books

Record = dict[str, Any]


class Breaking(Protocol):
    """What gives the rows that break a rule, of what happened since then."""

    def __call__(self, conn: sqlite3.Connection, *, since: int) -> Iterator[Record]: ...


def check_books(
    conn: sqlite3.Connection, *, scope: str | None = None, since: int = 0, seen: Callable[[], object] = lambda: None
) -> list[Break]:
    """Every break in the books, of one operator's machines (None: all) and of what happened `since` then.

    Closed months, which are all operators', are added up again. `seen` is called STEPS times.
    """
    return [*check_rules(conn, scope=scope, since=since, seen=seen), *check_closed_months(conn, since=since)]


def check_rules(
    conn: sqlite3.Connection, *, scope: str | None = None, since: int = 0, seen: Callable[[], object] = lambda: None
) -> list[Break]:
    """The same without closed months."""
    found: list[Break] = []
    of_sql: list[tuple[BreakKind, Breaking]] = [
        (BreakKind(kind), partial(books.breaking, kind=kind)) for kind in books.BREAKS
    ]
    for kind, breaking in (*of_sql, *_RECKONED):
        found += [make_break(kind, row) for row in breaking(conn, since=since)]
        seen()
    found += _balances(conn)
    seen()
    found += _cash(conn, since)
    found += [make_break(BreakKind.CHANGED_OUTSIDE, row) for row in clients.changed_outside(conn)]
    mine = set(list_queries.machine_ids(conn, scope))
    return [broken for broken in found if broken.machine_id in mine]


def check_closed_months(
    conn: sqlite3.Connection, *, since: int = 0, read_again: Callable[[], object] | None = None
) -> list[Break]:
    """Closed months that are not what they were when they were closed (SPEC section 13): one break for each.

    They are added up again; if `read_again` is given, their entries are read one by one, and it is called for each.
    """
    links = [(period, why) for period, why in periods.broken_links(conn) if period.end_at > since]
    if read_again is None:
        wrong = [*links, *periods.off_totals(conn, since=since)]
    else:
        wrong = [*links, *periods.altered(conn, since=since, seen=read_again)]
    reasons: dict[str, list[str]] = {}
    zones = {period.name: period.tz for period, _ in wrong}
    for period, why in wrong:
        reasons.setdefault(period.name, []).append(why)
    return [
        make_break(
            BreakKind.CLOSED_MONTH,
            {"subject": f"month {name}", "machine_id": "", "name": name, "tz": zones[name], "why": "; ".join(whys)},
        )
        for name, whys in reasons.items()
    ]


def _cash(conn: sqlite3.Connection, since: int) -> Iterator[Break]:
    """The cash book: its sums and chains, and what was booked and deposited from it (SPEC section 12). An entry that
    was taken back or corrected no longer counts, so taking back a wrong one ends its break."""
    for kind in cash_rows.BREAKS:
        for row in cash_rows.breaking(conn, kind):
            replaced = kind == BreakKind.CASH_SUM and cash_rows.replaced_by(conn, row["entry_id"]) is not None
            if row["at"] >= since and not replaced:
                yield make_break(BreakKind(kind), row)


def _platform_part(commission_sats: int, super_fee_pct: str) -> int | None:
    """What the platform gets of a commission; None if nothing follows from the recorded figures."""
    try:
        return split_two_stage_commission(commission_sats, _decimal(super_fee_pct))[0]
    except (ValueError, TypeError):
        return None


def _bad_preimages(conn: sqlite3.Connection, *, since: int) -> Iterator[Record]:
    for leg in books.external_legs(conn, since):
        try:
            fits = hashlib.sha256(bytes.fromhex(leg["preimage"] or "")).hexdigest() == leg["payment_hash"]
        except ValueError:
            fits = False
        if not fits:
            yield leg


def _worth_minor(amount_sats: int, exchange_rate: str, currency: str) -> int | None:
    """What a share is worth: sats / rate, rounded half up (SPEC section 8); None if no rate is recorded."""
    try:
        return sats_to_minor(amount_sats, _decimal(exchange_rate), currency)
    except (ValueError, TypeError):
        return None


@lru_cache(maxsize=65_536)
def _decimal(text: str) -> Decimal:
    """Raises ValueError, TypeError."""
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None


#: Rules that SQL alone cannot check.
_RECKONED: tuple[tuple[BreakKind, Breaking], ...] = (
    (BreakKind.FIRST_STAGE, partial(books.wrong_first_stages, platform_part=_platform_part)),
    (BreakKind.BAD_PREIMAGE, _bad_preimages),
    (BreakKind.LEG_FIAT, partial(books.wrong_shares, worth=_worth_minor)),
)
#: In how many steps the rules are checked: each of them, and then the balances.
STEPS = len(books.BREAKS) + len(_RECKONED) + 1


def _balances(conn: sqlite3.Connection) -> Iterator[Break]:
    """Balances are right when computed again from their rows, and no LP has been given more than was confirmed."""
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
            yield make_break(BreakKind.BALANCE, facts)
        if balance.available_minor < 0:
            yield make_break(BreakKind.OVERDRAWN, facts)
