"""How long a machine's cash lasts, from the books: what `forecast` shows and the daemon stores. Only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from satmachine.cash import cycles
from satmachine.cash.balance_end import Holding, ends
from satmachine.cash.forecast import (
    DAY_S,
    HISTORY_DAYS,
    HORIZON_DAYS,
    Ahead,
    Forecast,
    RunOut,
    daily_history,
    forecast,
)
from satmachine.store import balances, cash_rows, clients


@dataclass(frozen=True, slots=True)
class NotesOutlook:
    """One denomination: how many notes there are and in which cassettes, and when they are used up. `known` False: too
    few sales report their notes."""

    denomination_minor: int
    cassettes: tuple[int, ...]
    notes: int
    known: bool
    run_out: RunOut
    within: Ahead | None


@dataclass(frozen=True, slots=True)
class ClientOutlook:
    """When an LP's balance ends."""

    holding: Holding
    run_out: RunOut


@dataclass(frozen=True, slots=True)
class Outlook:
    """A machine's days ahead. `cash_minor` None: nobody says what is in it; `source`: 'book', 'beacon' or 'none'."""

    machine_id: str
    currency: str
    source: str
    cash_minor: int | None
    forecast: Forecast
    run_out: RunOut
    notes: tuple[NotesOutlook, ...] = ()
    clients: tuple[ClientOutlook, ...] = ()

    def load_minor(self, days: int) -> int | None:
        """What to add so that the cash lasts `days` days in nine of ten cases; None if no range is known."""
        within = self.forecast.sold_within(days)
        if within is None or within.high is None or self.cash_minor is None:
            return None
        return max(0, within.high - self.cash_minor)


def of_machine(conn: sqlite3.Connection, machine_id: str, now: int) -> Outlook | None:
    """The cash of a configured machine; None for one that the configuration does not name."""
    rows = cash_rows.now_rows(conn, None, [machine_id])
    return _outlook(conn, rows[0], now) if rows else None


def row(conn: sqlite3.Connection, machine_id: str, now: int) -> dict[str, object] | None:
    """A machine's forecast as the table `dca_cash_forecasts` has it; None for one that is not configured."""
    found = of_machine(conn, machine_id, now)
    if found is None:
        return None
    return {
        "machine_id": machine_id,
        "computed_at": now,
        "source": found.source,
        "cash_minor": found.cash_minor,
        "currency": found.currency,
        "days_known": found.forecast.days_known,
        "sure": str(found.forecast.sure),
        "horizon_days": len(found.forecast.ahead),
        "open_differences": cash_rows.count_differing(conn, machine_id),
        "early_at": found.run_out.early_at,
        "likely_at": found.run_out.likely_at,
        "late_at": found.run_out.late_at,
    }


def refresh(conn: sqlite3.Connection, machine_id: str, now: int) -> None:
    """Store a machine's forecast at once, because its cash was changed or counted. Call it inside `atomic()`."""
    found = row(conn, machine_id, now)
    if found is not None:
        cash_rows.save_forecast(conn, found)


def whole(conn: sqlite3.Connection, machine_id: str, now: int, days: int) -> Outlook | None:
    """The same with every denomination and every LP; `days`: for how many days each should last."""
    found = of_machine(conn, machine_id, now)
    if found is None:
        return None
    return Outlook(
        found.machine_id,
        found.currency,
        found.source,
        found.cash_minor,
        found.forecast,
        found.run_out,
        tuple(_notes(conn, found, now, days)),
        tuple(_clients(conn, found)),
    )


def _outlook(conn: sqlite3.Connection, row: cash_rows.Record, now: int) -> Outlook:
    machine_id = row["machine_id"]
    today = now // DAY_S
    first_day = _first_day(conn, machine_id, today)
    sold = cash_rows.sold_at(conn, machine_id, first_day * DAY_S, today * DAY_S)
    smallest = min(cash_rows.known_cassettes(conn, machine_id).values(), default=1)
    history = daily_history(sold, _levels(conn, machine_id, sold), first_day, today, empty_below=smallest)
    made = forecast(history, first_day, now, days=HORIZON_DAYS)
    amount = row["cash_minor"]
    run_out = RunOut(None, None, None) if amount is None else made.run_out(amount)
    return Outlook(machine_id, row["currency"], row["source"] or "none", amount, made, run_out)


def _first_day(conn: sqlite3.Connection, machine_id: str, today: int) -> int:
    """No day before the first sale: the machine was not there."""
    first = cash_rows.first_sale_day(conn, machine_id)
    return today if first is None else min(today, max(first, today - HISTORY_DAYS))


def _levels(conn: sqlite3.Connection, machine_id: str, sold: Sequence[tuple[int, int | None]]) -> list[tuple[int, int]]:
    """From the last count before the sales on; if nobody keeps a cash book, none."""
    since = cash_rows.last_closing_before(conn, machine_id, sold[0][0]) if sold else 0
    entries = cash_rows.standing(conn, machine_id, since=since)
    return cycles.levels(entries, [one for one in sold if not entries or one[0] >= entries[0].at]) if entries else []


def _notes(conn: sqlite3.Connection, found: Outlook, now: int, days: int) -> list[NotesOutlook]:
    """By denomination, if the books or the machine know the notes in it."""
    held, cassettes = _held_notes(conn, found.machine_id)
    if not held:
        return []
    today = now // DAY_S
    first_day = _first_day(conn, found.machine_id, today)
    sales = cash_rows.sales(conn, found.machine_id, first_day * DAY_S - 1, today * DAY_S - 1)
    only = next(iter(held)) if len(held) == 1 else None
    known = bool(sales) and sum(cycles.given_notes(sale, only) is not None for sale in sales) * 10 >= len(sales) * 8
    rows = []
    for denomination, number in sorted(held.items(), reverse=True):
        made = Forecast(now, 0, found.forecast.sure, None, ())
        if known:
            given = [(sale.at, _number(cycles.given_notes(sale, only), denomination)) for sale in sales]
            made = forecast(daily_history(given, (), first_day, today, empty_below=0), first_day, now)
        rows.append(
            NotesOutlook(
                denomination,
                tuple(cassettes.get(denomination, ())),
                number,
                known,
                made.run_out(number),
                made.sold_within(days),
            )
        )
    return rows


def _held_notes(conn: sqlite3.Connection, machine_id: str) -> tuple[Mapping[int, int], Mapping[int, Sequence[int]]]:
    """{denomination: notes} now, and {denomination: cassettes}: by the cash book, else as the machine reported."""
    told = cash_rows.told_notes(conn, machine_id)
    cassettes: dict[int, list[int]] = {}
    for cassette, denomination in sorted(cash_rows.known_cassettes(conn, machine_id).items()):
        cassettes.setdefault(denomination, []).append(cassette)
    last = cash_rows.closings(conn, machine_id, 1)
    entries = cash_rows.standing(conn, machine_id, since=last[0].at if last else 0)
    if entries:
        sales = cash_rows.sales(conn, machine_id, entries[0].at, 2**62)
        notes = cycles.build(entries, sales, {})[-1].expected_notes
        if notes is not None:
            return {one: max(0, number) for one, number in notes.items()}, cassettes
    return {denomination: number for denomination, (number, _) in told.items()}, cassettes


def _number(notes: Mapping[int, int] | None, denomination: int) -> int | None:
    return None if notes is None else notes.get(denomination, 0)


def _clients(conn: sqlite3.Connection, found: Outlook) -> list[ClientOutlook]:
    holdings = []
    for balance in balances.find(conn, machine=found.machine_id):
        client = clients.get(conn, balance.client_id)
        if client.status == "active" and balance.available_minor > 0:
            holdings.append(Holding(client.id, client.label, balance.available_minor, client.daily_limit_minor))
    ended = ends(holdings, found.forecast)
    return [ClientOutlook(one, ended[one.client_id]) for one in holdings]
