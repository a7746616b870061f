"""`satmachine telemetry`: the fleet at a glance, what each machine reported last, and its history (SPEC section 7)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine.cli.fleet_table import SPAN_S, fleet_points, fleet_table, percent_full
from satmachine.cli.kit import complete
from satmachine.cli.kit.books import Books, open_books
from satmachine.cli.kit.commands import ON_A_SCREEN, Asked, listing
from satmachine.cli.kit.options import AsCsv, AsJson, Limit, Machine
from satmachine.cli.kit.output import emit_record, emit_section, emit_table, print_line
from satmachine.cli.kit.values import Column, Row, format_age, format_fiat, is_terminal, make_console
from satmachine.plain_text import printable
from satmachine.store import telemetry_rows
from satmachine.store.pages import Page
from satmachine.telemetry.beacons import MAX_FUTURE_S
from satmachine.telemetry.draw import bar, sparkline
from satmachine.telemetry.parse import Fields, parse_beacon
from satmachine.telemetry.trouble import says_broken

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

app = typer.Typer(no_args_is_help=True, help="What the machines report.")


# --- columns


def _age(row: Row) -> str:
    return "" if row["age_s"] is None else format_age(row["age_s"])


def _uptime(row: Row) -> str:
    return "" if row["uptime_s"] is None else format_age(row["uptime_s"])


_LATEST_COLUMNS = (
    Column("machine_id", "Machine"),
    Column("status", "Status"),
    Column("age_s", "Age", show=_age),
    Column("cash_left_minor", "Cash left"),
    Column("exchange_rate", "Rate", wide=True),
    Column("software_version", "Software"),
    Column("uptime_s", "Up for", wide=True, show=_uptime),
    Column("location", "Location", wide=True),
    Column("last_error", "Last error"),
)

_MACHINE_FIELDS = (
    Column("name", "Name"),
    Column("location", "Location"),
    Column("status", "Status"),
    Column("software_version", "Software"),
    Column("uptime_s", "Up for", show=_uptime),
    Column("cash_left_minor", "Cash left"),
    Column("cash_total_minor", "Cash total reported"),
    Column("told_currency", "Currency reported"),
    Column("exchange_rate", "Rate, sats"),
    Column("fee_pct", "Fee"),
    Column("last_error", "Last error"),
    Column("beacon_at", "Reported at"),
    Column("age_s", "Age", show=_age),
    Column("beacon_id", "Beacon"),
)

_CASSETTE_COLUMNS = (
    Column("id", "Cassette"),
    Column("denomination_minor", "Denomination"),
    Column("count", "Notes"),
    Column("capacity", "Capacity"),
    Column("full", "Full"),
)

_HISTORY_COLUMNS = (
    Column("created_at", "Reported at"),
    Column("received_at", "Received", wide=True),
    Column("status", "Status"),
    Column("cash_left_minor", "Cash left"),
    Column("d_tag", "d tag"),
    Column("raw", "Beacon", wide=True),
)

_SNAPSHOT_COLUMNS = (
    Column("created_at", "Made at"),
    Column("machine_id", "Machine"),
    Column("d_tag", "d tag"),
    Column("raw", "Snapshot", fold=True),
)

#: The keys of CSV if there is no row to take them from.
_LATEST_KEYS = tuple(column.key for column in _LATEST_COLUMNS)
_HISTORY_KEYS = ("machine_id", "created_at", "event_id", "d_tag", "received_at", "status", "cash_left_minor", "raw")
_SNAPSHOT_KEYS = ("machine_id", "created_at", "event_id", "d_tag", "received_at", "raw")

_FLEET = (
    Column("machine_id", "Machine"),
    Column("state", "State"),
    Column("age_s", "Age", show=_age),
    Column("cash_left_minor", "Cash left"),
    Column("status", "Status"),
    Column("last_error", "Last error"),
)


# --- commands

OneMachine = Annotated[
    str | None,
    typer.Argument(metavar="[MACHINE]", help="Only this machine.", autocompletion=complete.machines),
]


@app.command("fleet")
def fleet(
    ctx: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh in place until Ctrl-C.")] = False,
    every: Annotated[int, typer.Option(min=1, max=3600, help="Seconds between two refreshes of --watch.")] = 5,
    limit: Limit = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show every machine: whether it is there, how much cash is left, when it last sold.

    The cassettes are drawn as bars, red below 20 percent; the curve is the cash of the last 24 hours.
    If there are more machines than --limit, those that are silent or reported an error come first.
    --watch refreshes the screen in place until Ctrl-C.

    Examples:

        satmachine telemetry fleet

        satmachine telemetry fleet --watch --every 10

        satmachine --operator atitlan telemetry fleet --json
    """
    if watch and (as_json or as_csv):
        raise typer.BadParameter("--watch is for people; leave out --json and --csv")
    most = limit or ON_A_SCREEN
    with open_books(ctx) as books:
        if watch:
            watch_screen(lambda: _fleet_screen(books, most), every)
        elif as_json or as_csv or not is_terminal():
            rows = telemetry_rows.fleet(books.conn, books.scope)[:limit]
            emit_table(rows, _FLEET, json=as_json, csv=as_csv, empty="No machines yet.", tz=books.tz)
        else:
            make_console().print(_fleet_screen(books, most))


@app.command("latest")
def latest(
    ctx: typer.Context,
    machine: OneMachine = None,
    limit: Limit = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what each machine reported last: every field comes from the newest beacon that has it.

    With a machine's id: everything about that machine, including fields that satmachine does not know yet.

    Examples:

        satmachine telemetry latest

        satmachine telemetry latest panajachel-1

        satmachine telemetry latest --json
    """
    with open_books(ctx) as books:
        machine = None if machine is None else books.machine(machine)
        rows = telemetry_rows.latest(books.conn, books.scope, machine)
        if machine is not None and rows and not (as_json or as_csv):
            _print_machine(rows[0], books)
            _print_next(machine, books)
            return
    for_people = is_terminal() and not (as_json or as_csv)
    most = limit or (ON_A_SCREEN if for_people else len(rows))
    emit_table(
        rows[:most],
        _LATEST_COLUMNS,
        json=as_json,
        csv=as_csv,
        title="Telemetry",
        empty="No beacon has arrived yet.",
        tz=books.tz,
        keys=_LATEST_KEYS,
        more="There are more: show them with --limit." if len(rows) > most else "",
    )


@listing(app, "history", _HISTORY_COLUMNS, title="Beacons", empty="No beacon from it in this period.", span=True)
def history(books: Books, asked: Asked, machine: Machine) -> Page:
    """Show a machine's beacons, newest first, and its cash over time.

    They are kept for `[telemetry] keep_days`. Without --since: the last 24 hours.

    Examples:

        satmachine telemetry history panajachel-1

        satmachine telemetry history panajachel-1 --since 7d --csv
    """
    start, end = _span(books, asked)
    rows = telemetry_rows.history(books.conn, machine, since=start, until=end, limit=asked.limit + 1)
    points = telemetry_rows.cash_points(books.conn, [machine], since=start, until=end, points=60)[machine]
    if asked.for_people and any(point is not None for point in points):
        _print_curve(points, rows, end - start)
    return Page([dict(row) for row in rows[: asked.limit]], _HISTORY_KEYS, len(rows) > asked.limit)


@listing(
    app, "snapshots", _SNAPSHOT_COLUMNS, title="Fleet snapshots", empty="No fleet snapshot in this period.", span=True
)
def snapshots(books: Books, asked: Asked, machine: OneMachine = None) -> Page:
    """Show the fleet snapshots (kind 30079) as they arrived, newest first.

    Example:

        satmachine telemetry snapshots --since 24h --json
    """
    since, until = asked.since or 0, asked.until or books.now + 86_400
    rows = telemetry_rows.snapshots(books.conn, books.scope, machine, since=since, until=until, limit=asked.limit + 1)
    return Page([dict(row) for row in rows[: asked.limit]], _SNAPSHOT_KEYS, len(rows) > asked.limit)


# --- the fleet on the screen


def _fleet_screen(books: Books, limit: int) -> Table:
    width = make_console().width
    rows = telemetry_rows.fleet(books.conn, books.scope)
    shown = rows if len(rows) <= limit else sorted(rows, key=_is_well)[:limit]
    now = int(time.time())
    points = telemetry_rows.cash_points(
        books.conn,
        [row["machine_id"] for row in shown],
        since=now - SPAN_S,
        until=now + 1,
        points=fleet_points(width),
    )
    return fleet_table(rows, shown, points, width)


def _is_well(row: Row) -> bool:
    return row["state"] == "online" and not says_broken(row["status"])


def watch_screen(screen: Callable[[], RenderableType], every_s: int) -> None:
    """Draw again and again until Ctrl-C, by which a person ends it; that is not a failure."""
    from rich.live import Live

    console = make_console()
    try:
        with Live(screen(), console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while True:
                time.sleep(every_s)
                live.update(screen(), refresh=True)
    except KeyboardInterrupt:
        return


# --- one machine


def _print_machine(row: Row, books: Books) -> None:
    """Everything that a machine reported, and what in its newest beacon could not be used."""
    emit_record(row, _MACHINE_FIELDS, title=f"Telemetry of {row['machine_id']} ({row['machine']})", tz=books.tz)
    cassettes = json.loads(row["cassettes"] or "[]")
    if cassettes:
        emit_section(
            [_cassette_row(n, c, row) for n, c in enumerate(cassettes, 1)], _CASSETTE_COLUMNS, title="Cassettes"
        )
    extra = json.loads(row["extra"])
    if extra:
        print_line("Also reported", style="bold")
        emit_record(extra, [Column(key, key, show=_as_json(key)) for key in sorted(extra)])
    fields = parse_beacon(row["raw"], row["currency"])
    if isinstance(fields, Fields) and fields.problems:
        print_line("Not used from the newest beacon", style="bold")
        for problem in fields.problems:
            typer.echo(f"  {printable(problem)}")


#: What to do about what a machine tells, by the condition of the list.
_NEXT = {
    "machine_error": "Somebody has to go there. Was a customer at it? `satmachine settlements list --machine {machine} "
    "--since 24h`",
    "cassette_low": "When you have refilled it: `satmachine cash load {machine}`",
}


def _print_next(machine_id: str, books: Books) -> None:
    """What to do about it, and how to say that one knows of it."""
    for item in books.attention.items:
        if item.subject == machine_id and item.condition in _NEXT:
            print_line(_NEXT[item.condition].format(machine=machine_id))
            print_line(f"If you know of it, silence it: `satmachine alerts silence {item.id} --for 2d`")


def _cassette_row(number: int, cassette: Row, row: Row) -> dict[str, Any]:
    percent = percent_full(cassette)
    return {
        **{key: cassette[key] for key in ("denomination_minor", "count", "capacity")},
        "id": number,
        "currency": row["currency"],
        "full": "" if percent is None else f"{bar(percent, 20)} {percent:>3} %",
    }


def _as_json(key: str) -> Callable[[Row], str]:
    return lambda extra: extra[key] if isinstance(extra[key], str) else json.dumps(extra[key], ensure_ascii=False)


def _print_curve(points: Sequence[int | None], rows: Sequence[Row], span_s: int) -> None:
    """The cash over a period in one line, between its lowest and highest value."""
    known = [point for point in points if point is not None]
    currency = rows[0]["currency"]
    print_line(f"Cash over {format_age(span_s)}", style="bold")
    low, high = format_fiat(min(known), currency), format_fiat(max(known), currency)
    typer.echo(f"  {sparkline(points)}  {low} to {high}")


def _span(books: Books, asked: Asked) -> tuple[int, int]:
    """The seconds that were asked for; a machine's clock may be ahead of ours, so "until now" allows for that."""
    end = asked.until or books.now + MAX_FUTURE_S
    return asked.since or min(books.now, end) - SPAN_S, end
