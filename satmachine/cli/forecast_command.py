"""`satmachine forecast`: how long the cash lasts, what to load, when each balance ends (SPEC section 12)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine.cash import outlook
from satmachine.cash.forecast import Sure
from satmachine.cash.outlook import NotesOutlook, Outlook
from satmachine.cli.cash_view import bare
from satmachine.cli.kit.books import Books, open_books
from satmachine.cli.kit.options import AsCsv, AsJson
from satmachine.cli.kit.output import emit_table, print_json, print_line, to_json
from satmachine.cli.kit.values import Column, Row, format_fiat, iso
from satmachine.models.banknotes import short
from satmachine.store import list_queries

if TYPE_CHECKING:
    from satmachine.cash.forecast import Profile, RunOut

_WEEKDAYS = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")  # of day numbers since 1970, a Thursday

_HOW_SURE = {
    Sure.GOOD: "good: in 8 of 10 cases the result is within the range",
    Sure.FAIR: "fair: only some weeks of sales; the range is roughly right",
    Sure.POOR: "poor: few days of sales; the range is only a hint",
    Sure.NONE: "not at all: there are too few days of sales to say anything",
}


def forecast(
    ctx: typer.Context,
    machine: Annotated[str | None, typer.Argument(metavar="[MACHINE]", help="This machine in full.")] = None,
    days: Annotated[int, typer.Option(min=1, max=90, help="For how many days the notes should last.")] = 14,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="For how many machines it is computed.")] = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show when the cash runs out and what to load, from the sales of the last weeks, weekday by weekday.

    The range shows how wrong the same forecast was in the past: in 8 of 10 cases the result is within it. Days are UTC
    days.

    Examples:

        satmachine forecast

        satmachine forecast panajachel-1 --days 7
    """
    with open_books(ctx) as books:
        if machine is None:
            _print_fleet(books, days, limit, as_json=as_json, as_csv=as_csv)
            return
        books.require_machine(machine)
        found = outlook.whole(books.conn, machine, books.now, days)
        if found is None:
            typer.echo(f"{machine} is no longer in the configuration.")
            raise typer.Exit(1)
        if as_json:
            print_json(_json(found, days, whole=True))
        elif as_csv:
            emit_table(_ahead_rows(found, days), (), csv=True, keys=_AHEAD_KEYS)
        else:
            _print_machine(found, days, books)


def _print_fleet(books: Books, days: int, limit: int, *, as_json: bool, as_csv: bool) -> None:
    ids = list_queries.machine_ids(books.conn, books.scope)
    found = [outlook.of_machine(books.conn, one, books.now) for one in ids[:limit]]
    if as_json:
        print_json([_json(one, days, whole=False) for one in found if one is not None])
        return
    rows = [_row(one, days) for one in found if one is not None]
    rows.sort(key=lambda row: (row["likely_at"] is None, row["likely_at"] or 0))
    columns = [
        Column("machine_id", "Machine"),
        Column("cash_minor", "Cash"),
        Column("likely_at", "Runs out", show=lambda row: _day(row["likely_at"], books)),
        Column("early_at", "Between", show=lambda row: _between(row, books)),
        Column("load_minor", f"Load for {days} d", wide=True),
        Column("per_day_minor", "A day", wide=True),
        Column("sure", "Sure"),
    ]
    emit_table(
        rows,
        columns,
        csv=as_csv,
        keys=_KEYS,
        empty="No machines yet.",
        more=f"These are {limit} of {len(ids)} machines: --limit shows more." if len(ids) > limit else "",
    )


def _print_machine(found: Outlook, days: int, books: Books) -> None:
    unit, made = found.currency, found.forecast
    print_line(f"Forecast for {found.machine_id}, from {made.days_known} day(s) of sales", style="bold")
    if found.cash_minor is None:
        print_line(f"Nobody has said what is in it: `satmachine cash count {found.machine_id}`")
    else:
        by = "by the cash book" if found.source == "book" else "as the machine reports"
        print_line(f"In it now, {by}: {format_fiat(found.cash_minor, unit)}")
    print_line(f"How sure: {_HOW_SURE[made.sure]}.")
    if made.profile is None:
        return
    print_line(f"An average day of the last four weeks: {format_fiat(made.profile.per_day, unit)}")
    print_line(f"Weekdays, of an average day: {_weekdays(made.profile)}")
    typer.echo()
    if found.cash_minor is not None:
        _print_run_out(found, days, books)
    _print_ahead(found, days)
    _print_notes(found, days, books)
    _print_clients(found, books)


def _print_run_out(found: Outlook, days: int, books: Books) -> None:
    print_line(_sentence(found.run_out, books), style="bold")
    load = found.load_minor(days)
    if load == 0:
        print_line(f"What is in it will last {days} days in 9 of 10 cases.")
    elif load is not None:
        print_line(f"To last {days} days in 9 of 10 cases, load {format_fiat(load, found.currency)}.")
    typer.echo()


def _sentence(run_out: RunOut, books: Books) -> str:
    if run_out.likely_at is None:
        early = "" if run_out.early_at is None else f", but it may be empty on {_day(run_out.early_at, books)}"
        return f"It will probably last for 90 days{early}."
    if run_out.early_at is None:
        return f"Empty about {_day(run_out.likely_at, books)}, if sales go on as before."
    late = "" if run_out.late_at is None else f" and {_day(run_out.late_at, books)}"
    until = f"between {_day(run_out.early_at, books)}{late}" if late else f"from {_day(run_out.early_at, books)} on"
    return f"Empty about {_day(run_out.likely_at, books)}, likely {until}."


def _weekdays(profile: Profile) -> str:
    order = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    parts = []
    for name in order:
        mille = profile.weekday_mille[_WEEKDAYS.index(name)]
        parts.append(f"{name} {(mille + 50) // 1000}.{(mille + 50) % 1000 // 100}")
    return ", ".join(parts)


def _print_ahead(found: Outlook, days: int) -> None:
    columns = (
        Column("day", "Up to the end of"),
        Column("low_minor", "At least", show=lambda row: bare(row, "low_minor")),
        Column("likely_minor", "Likely", show=lambda row: bare(row, "likely_minor")),
        Column("high_minor", "At most", show=lambda row: bare(row, "high_minor")),
    )
    rows = _ahead_rows(found, days)
    shown = rows if len(rows) <= 8 else [*rows[:7], rows[-1]]
    emit_table(shown, columns, title=f"Sold from now on, in {found.currency}")


def _ahead_rows(found: Outlook, days: int) -> list[dict[str, Any]]:
    return [
        {
            "machine_id": found.machine_id,
            "day": f"{datetime.fromtimestamp(one.until - 1, UTC):%a %Y-%m-%d}",
            "low_minor": one.low,
            "likely_minor": one.likely,
            "high_minor": one.high,
            "currency": found.currency,
        }
        for one in found.forecast.ahead[: days + 1]
    ]


def _print_notes(found: Outlook, days: int, books: Books) -> None:
    columns = (
        Column("cassettes", "Cassette"),
        Column("denomination", "Notes of"),
        Column("notes", "In it"),
        Column("likely_at", "Empty about", show=lambda row: _day(row["likely_at"], books)),
        Column("early_at", "Between", show=lambda row: _between(row, books), wide=True),
        Column("load_notes", f"Load for {days} d"),
    )
    if not found.notes:
        return
    emit_table([_notes_row(one, found.currency) for one in found.notes], columns, title="Notes")
    if any(not one.known for one in found.notes):
        print_line(
            "The sales do not say which notes were handed out, so it is not known when each cassette will be empty."
        )


def _notes_row(one: NotesOutlook, unit: str) -> dict[str, Any]:
    high = None if one.within is None else one.within.high
    return {
        "cassettes": ", ".join(map(str, one.cassettes)) or "?",
        "denomination": f"{short(one.denomination_minor, unit)} {unit}",
        "notes": one.notes,
        "early_at": one.run_out.early_at,
        "likely_at": one.run_out.likely_at,
        "late_at": one.run_out.late_at,
        "load_notes": None if high is None else max(0, high - one.notes),
    }


def _print_clients(found: Outlook, books: Books) -> None:
    rows = [
        {
            "client_id": one.holding.client_id,
            "label": one.holding.label,
            "balance_minor": one.holding.balance_minor,
            "currency": found.currency,
            "early_at": one.run_out.early_at,
            "likely_at": one.run_out.likely_at,
            "late_at": one.run_out.late_at,
        }
        for one in found.clients
    ]
    columns = (
        Column("client_id", "Id"),
        Column("label", "LP"),
        Column("balance_minor", "Balance"),
        Column("likely_at", "Spent about", show=lambda row: _day(row["likely_at"], books)),
        Column("early_at", "Between", show=lambda row: _between(row, books), wide=True),
    )
    if rows:
        emit_table(rows, columns, title="LPs' balances")


def _between(row: Row, books: Books) -> str:
    if row["early_at"] is None:
        return ""
    early = f"{datetime.fromtimestamp(row['early_at'], books.tz):%m-%d}"
    return f"{early} and later" if row["late_at"] is None else f"{early} .. {_short(row['late_at'], books)}"


def _short(at: int, books: Books) -> str:
    return f"{datetime.fromtimestamp(at, books.tz):%m-%d}"


def _day(at: int | None, books: Books) -> str:
    if at is None:
        return ""
    return "now" if at <= books.now else f"{datetime.fromtimestamp(at, books.tz):%a %Y-%m-%d}"


# --- for programs

_KEYS = (
    *("machine_id", "source", "cash_minor", "currency", "days_known", "sure", "per_day_minor", "early_at", "likely_at"),
    *("late_at", "load_minor"),
)
_AHEAD_KEYS = ("machine_id", "day", "low_minor", "likely_minor", "high_minor", "currency")


def _row(found: Outlook, days: int) -> dict[str, Any]:
    profile = found.forecast.profile
    return {
        "machine_id": found.machine_id,
        "source": found.source,
        "cash_minor": found.cash_minor,
        "currency": found.currency,
        "days_known": found.forecast.days_known,
        "sure": str(found.forecast.sure),
        "per_day_minor": None if profile is None else profile.per_day,
        "early_at": found.run_out.early_at,
        "likely_at": found.run_out.likely_at,
        "late_at": found.run_out.late_at,
        "load_minor": found.load_minor(days),
    }


def _json(found: Outlook, days: int, *, whole: bool) -> dict[str, Any]:
    row = to_json(_row(found, days))
    if not whole:
        return row
    profile = found.forecast.profile
    row["weekdays"] = (
        None
        if profile is None
        else {name: f"{mille / 1000:.3f}" for name, mille in zip(_WEEKDAYS, profile.weekday_mille, strict=True)}
    )
    row["ahead"] = [
        {**to_json(one), "until": iso(ahead.until)}
        for one, ahead in zip(_ahead_rows(found, days), found.forecast.ahead, strict=False)
    ]
    row["notes"] = [
        to_json(
            {**_notes_row(one, found.currency), "cassettes": None, "denomination_minor": one.denomination_minor}
            | {"currency": found.currency}
        )
        | {"cassettes": list(one.cassettes)}
        for one in found.notes
    ]
    row["clients"] = [
        to_json(
            {
                "client_id": one.holding.client_id,
                "label": one.holding.label,
                "balance_minor": one.holding.balance_minor,
                "currency": found.currency,
                "early_at": one.run_out.early_at,
                "likely_at": one.run_out.likely_at,
                "late_at": one.run_out.late_at,
            }
        )
        for one in found.clients
    ]
    return row
