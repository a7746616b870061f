"""How cash looks on a screen, from 60 columns up, and as JSON: entries, cycles, differences, and whose it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from satmachine.cash import shown
from satmachine.cash.cycles import notes_difference
from satmachine.cash.narrow import CashDifference
from satmachine.cash.shown import CycleReport
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.output import emit_table, print_item, print_json, print_line, to_json
from satmachine.cli.kit.values import Column, Row, format_age, format_fiat, format_time, is_terminal, iso, make_console
from satmachine.models.banknotes import in_words, short
from satmachine.models.cash_values import CashEntry, Cycle, EntryKind
from satmachine.money import minor_to_fiat
from satmachine.store import cash_rows

#: How many sales of a window are named one by one.
_NAMED = 5

_WORDS = {
    EntryKind.LOAD: "Loaded into",
    EntryKind.TAKE: "Taken out of",
    EntryKind.COLLECT: "Collected (all of it) from",
    EntryKind.COUNT: "Counted in",
    EntryKind.VOID: "Taken back, at",
}


# --- one entry


def print_entry(
    entry: CashEntry,
    report: CycleReport | None,
    added: Sequence[int],
    proposed: Sequence[tuple[int, int]],
    books: Books,
    *,
    planned: bool = False,
) -> None:
    """An entry, what it shows, and what to do next."""
    number = "" if planned else f"Entry {entry.id}. "
    print_line(f"{number}{_WORDS[entry.kind]} {entry.machine_id}, {format_time(entry.at, books.tz)}", style="bold")
    if entry.kind is not EntryKind.VOID:
        _print_amounts(_entry_lines(entry))
    if entry.corrects is not None:
        print_line(f"It replaces entry {entry.corrects}.")
    if report is not None:
        _print_result(report, planned=planned)
    if planned:
        return
    for deposit_id in added:
        print_line(f"Proposed: deposit {deposit_id}. It counts once it is confirmed:")
        print_line(f"  satmachine deposits confirm {deposit_id}", style="cyan")
    for client_id, amount_minor in proposed:
        print_line(f"To take it off the balance of LP {client_id}:")
        amount = f"{minor_to_fiat(amount_minor, entry.currency):f}"
        print_line(f'  satmachine deposits withdraw {client_id} {amount} --note "cash entry {entry.id}"', style="cyan")


def entry_json(
    entry: CashEntry, report: CycleReport | None, added: Sequence[int], proposed: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """The entry as programs get it."""
    found = to_json(
        {
            **{name: getattr(entry, name) for name in entry.__dataclass_fields__ if name != "lines"},
            "kind": str(entry.kind),
        }
    )
    found["notes"] = [_line_json(line, entry.currency) for line in entry.lines]
    found["deposits"] = list(added)
    found["proposed"] = [
        to_json({"client_id": client_id, "amount_minor": amount, "currency": entry.currency})
        for client_id, amount in proposed
    ]
    found["cycle"] = None if report is None else cycle_json(report)
    return found


def _entry_lines(entry: CashEntry) -> list[tuple[str, str]]:
    unit = entry.currency
    lines = []
    for line in entry.lines:
        where = "Not by cassette" if line.cassette is None else f"Cassette {line.cassette}"
        if line.denomination_minor is not None:
            where += f": {line.notes} x {short(line.denomination_minor, unit)}"
        lines.append((where, format_fiat(line.amount_minor, unit)))
    return [*lines, ("Together", format_fiat(entry.amount_minor, unit))] if len(lines) != 1 else lines


def _print_result(report: CycleReport, *, planned: bool) -> None:
    """What a count shows, in a sentence, and what to do next."""
    cycle = report.cycle
    assert cycle.closing is not None
    unit = cycle.closing.currency
    if cycle.expected_minor is None:
        print_line("From now on the books know what is in the machine; the next count is compared with this one.")
        return
    expected = format_fiat(cycle.expected_minor, unit)
    if not cycle.difference_minor:
        print_line(f"As expected: {expected}.", style="green")
        return
    print_line(f"Expected: {expected}. {_off(cycle.difference_minor, unit)}.", style="red")
    if notes := notes_difference(cycle):
        print_line(f"In notes: {in_words(notes, unit, signed=True)}")
    if cycle.unknown_sales:
        print_line(_unknown(cycle, unit))
    if not planned:
        print_line(f"  satmachine cash report {cycle.closing.machine_id}", style="cyan")


# --- a machine


def print_machine(books: Books, machine_id: str, limit: int, *, as_json: bool, as_csv: bool) -> None:
    """Everything about one machine's cash; CSV has its cycles."""
    reports = shown.reports(books.conn, machine_id, limit=limit)
    rows = cash_rows.now_rows(books.conn, None, [machine_id])
    if as_csv:
        emit_table([cycle_row(report, machine_id) for report in reports], _CYCLE_COLUMNS, csv=True, keys=_CYCLE_KEYS)
        return
    if as_json:
        print_json(
            {
                "now": to_json(rows[0]) if rows else None,
                "cycles": [cycle_json(report) for report in reports],
            }
        )
        return
    if not rows:
        raise_unconfigured(machine_id)
    row = rows[0]
    print_line(f"Cash of {machine_id} ({row['machine']})", style="bold")
    if not reports:
        print_line("Nobody has counted it yet. First enter what is in it now:")
        print_line(f"  satmachine cash count {machine_id}", style="cyan")
        typer.echo()
    _print_now(row, reports, books)
    _print_owners(row)
    _print_lasting(row, books)
    _print_cycles(reports, row["currency"], books)
    _print_differences(reports, books)


def raise_unconfigured(machine_id: str) -> None:
    """A machine that the configuration no longer names has entries, but no present state."""
    typer.echo(
        f"{machine_id} is no longer in the configuration; `satmachine cash list --machine {machine_id}` shows its "
        "entries"
    )
    raise typer.Exit


def print_fleet(books: Books, limit: int, *, as_json: bool, as_csv: bool) -> None:
    """Each machine of the scope on one line."""
    rows = cash_rows.now_rows(books.conn, books.scope)
    columns = (
        Column("machine_id", "Machine"),
        Column("cash_minor", "Cash"),
        Column("counted_at", "Counted", wide=True),
        Column("told_minor", "Machine says", wide=True),
        Column("providers_minor", "LPs' balances", wide=True),
        Column("own_minor", "Own or missing"),
        Column("likely_at", "Runs out", show=lambda row: in_days(row["likely_at"], books.now)),
        Column("open_differences", "Differs", show=lambda row: str(row["open_differences"] or "")),
    )
    known = rows if as_json or as_csv else [row for row in rows if row["cash_minor"] is not None]
    shown = known if as_json or as_csv or not is_terminal() else known[:limit]
    emit_table(
        shown,
        columns,
        json=as_json,
        csv=as_csv,
        tz=books.tz,
        keys=_NOW_KEYS,
        empty="No machine's cash is known: it comes from beacons, or from `satmachine cash count MACHINE`.",
        more=f"{len(known) - len(shown)} more: --limit shows them." if len(shown) < len(known) else "",
    )
    if not (as_json or as_csv):
        for row in _open_differences(books, shown)[:_NAMED]:
            off = _off(row["open_minor"], row["currency"])
            print_item("!", f"{row['machine_id']}: {off} (entry {row['closed_id']})", _report_command(row))


def _open_differences(books: Books, rows: Sequence[Row]) -> list[cash_rows.Record]:
    """The newest one of each machine that has any."""
    differing = [row["machine_id"] for row in rows if row["open_differences"]]
    found = [one for machine_id in differing for one in cash_rows.open_differences(books.conn, machine_id)]
    return sorted(found, key=lambda row: -row["closed_at"])


def in_days(at: int | None, now: int) -> str:
    """When something is used up, in short: "in 9 d"."""
    if at is None:
        return ""
    return "now" if at - now < 3_600 else f"in {format_age(at - now)}"


def _print_now(row: Row, reports: Sequence[CycleReport], books: Books) -> None:
    unit = row["currency"]
    lines: list[tuple[str, str]] = []
    if reports:
        cycle = reports[0].cycle
        opening = "Before the first load" if cycle.closing is None and not _has_opening(reports) else "Counted"
        when = format_time(cycle.opened_at, books.tz)
        lines = [(f"{opening}, {when}", format_fiat(cycle.opening_minor or 0, unit))]
        if cycle.loaded_minor:
            lines.append(("+ loaded since", format_fiat(cycle.loaded_minor, unit)))
        if cycle.taken_minor:
            lines.append(("- taken out since", format_fiat(cycle.taken_minor, unit)))
        lines.append((f"- sold since, {len(cycle.sales)} sale(s)", format_fiat(cycle.sold_minor, unit)))
        lines.append(("= should be in it now", format_fiat(cycle.expected_minor or 0, unit)))
    if row["told_minor"] is not None:
        lines.append((f"The machine said {format_age(row['told_age_s'])} ago", format_fiat(row["told_minor"], unit)))
    _print_amounts(lines)
    if not reports:
        return
    cycle = reports[0].cycle
    if notes := cycle.expected_notes:
        print_line(f"In notes: {in_words(notes, unit) or 'none'}")
    if (cycle.expected_minor or 0) < 0:
        print_line("Below 0: a load was not entered, or a count is wrong.", style="red")
    if reports[0].distance_minor:
        distance = reports[0].distance_minor
        print_line(
            f"The machine's own count is {format_fiat(abs(distance), unit)} {'above' if distance > 0 else 'below'} "
            "this. Only a count by hand shows which is right.",
            style="yellow",
        )
    if cycle.unknown_sales:
        print_line(_unknown(cycle, unit), style="yellow")
    waiting = cash_rows.unproven(books.conn, row["machine_id"], cycle.opened_at)
    if waiting["sales"]:
        print_line(
            f"{waiting['sales']} sale(s) of {format_fiat(waiting['sold_minor'], unit)} are not proven yet, and not "
            "counted."
        )
    typer.echo()


def _has_opening(reports: Sequence[CycleReport]) -> bool:
    return len(reports) > 1


def _print_owners(row: Row) -> None:
    if row["cash_minor"] is None:
        return
    unit, own = row["currency"], row["own_minor"]
    print_line("Whose it is", style="bold")
    lines = [("LPs' balances", format_fiat(row["providers_minor"], unit))]
    if row["unshared_minor"]:
        lines.append(("- sold, not shared out yet", format_fiat(row["unshared_minor"], unit)))
    lines.append(("The operator's own" if own >= 0 else "MISSING for the LPs' balances", format_fiat(abs(own), unit)))
    _print_amounts(lines)
    if row["pending_minor"]:
        print_line(f"Deposits that are not confirmed yet: {format_fiat(row['pending_minor'], unit)}")
        print_line(f"  satmachine deposits list --status pending --machine {row['machine_id']}", style="cyan")
    typer.echo()


def _print_lasting(row: Row, books: Books) -> None:
    if row["likely_at"] is None:
        return
    between = ""
    if row["early_at"] is not None and row["late_at"] is not None:
        between = f", likely between {_day(row['early_at'], books)} and {_day(row['late_at'], books)}"
    print_line(f"Runs out about {_day(row['likely_at'], books)}{between}.")
    print_line(f"  satmachine forecast {row['machine_id']}", style="cyan")
    typer.echo()


def _print_cycles(reports: Sequence[CycleReport], unit: str, books: Books) -> None:
    closed = [cycle_row(report, "") | {"currency": unit} for report in reports if report.cycle.closing is not None]
    if not closed:
        return

    columns = [
        Column("closed_id", "Id"),
        Column("closed_at", "Until", show=lambda row: _short_time(row["closed_at"], books)),
        Column("expected_minor", "Expected", show=lambda row: bare(row, "expected_minor")),
        Column("told_minor", "Machine said", show=lambda row: bare(row, "told_minor"), wide=True),
        Column("counted_minor", "Counted", show=lambda row: bare(row, "counted_minor")),
        Column("difference_minor", "Off by", show=lambda row: bare(row, "difference_minor")),
        Column("state", "State", show=_how_it_is),
    ]
    emit_table(closed, columns, title=f"Cycles, in {unit}", tz=books.tz)


def _how_it_is(row: Row) -> str:
    """A difference that is booked is not called `even` beside its amount."""
    return "booked" if row["state"] == "even" and row["difference_minor"] else str(row["state"])


def _print_differences(reports: Sequence[CycleReport], books: Books) -> None:
    told = False
    newer: Cycle | None = None
    for report in reports:
        cycle = report.cycle
        if cycle.closing is not None and cycle.open_minor:
            told = True
            _print_difference(report, newer, books)
        newer = cycle
    if not told and any(report.cycle.closing is not None for report in reports):
        print_line("Every count was as expected, or is booked.", style="green")


def _print_difference(report: CycleReport, newer: Cycle | None, books: Books) -> None:
    cycle = report.cycle
    assert cycle.closing is not None
    unit, entry = cycle.closing.currency, cycle.closing
    command = f"satmachine cash book {entry.id}"
    for finding in report.findings:
        since, until = (_short_time(at, books) for at in (finding.since_at, finding.until_at))
        how = "the machine's own count changed then" if finding.noticed else "the machine did not notice"
        text = f"Entry {entry.id}: {_off(finding.amount_minor, unit)}. It began after {since}, and before {until}"
        print_item("!", f"{text}, {_sales(finding)}; {how}.", _book_command(command, report, finding, unit))
    if cycle.booked_minor:
        print_line(f"Already booked: {format_fiat(cycle.booked_minor, unit)}.")
    if notes := notes_difference(cycle):
        print_line(f"In notes: {in_words(notes, unit, signed=True)}")
    if cycle.unknown_sales:
        print_line(_unknown(cycle, unit))
    if newer is not None and newer.difference_minor == -(cycle.difference_minor or 0):
        assert newer.closing is not None
        print_line(f"Entry {newer.closing.id} shows the opposite: is entry {entry.id}, or its time, wrong? Correct it:")
        print_line(f"  satmachine cash {entry.kind} {entry.machine_id} --corrects {entry.id}", style="cyan")


def _book_command(command: str, report: CycleReport, finding: CashDifference, unit: str) -> str:
    """All of it, or this part."""
    if finding.amount_minor == report.cycle.open_minor:
        return command
    return f"{command} --amount {minor_to_fiat(finding.amount_minor, unit):f}"


def finding_for(report: CycleReport, amount_minor: int) -> CashDifference | None:
    """The finding to which an amount belongs that is to be booked."""
    return next((one for one in report.findings if one.amount_minor == amount_minor), None)


def window_of(report: CycleReport, finding: CashDifference | None) -> tuple[int, int]:
    """When it can have begun: the finding's window, else the whole cycle."""
    cycle = report.cycle
    assert cycle.closing is not None
    if finding is None:
        return cycle.opened_at, cycle.closing.at
    return finding.since_at, finding.until_at


def _sales(finding: CashDifference) -> str:
    if not finding.sales:
        return "while nothing was sold"
    ids = [str(sale.settlement_id) for sale in finding.sales]
    if len(ids) <= _NAMED:
        return f"with sale {', '.join(ids)}"
    return f"since sale {ids[0]}, up to {ids[-1]} ({len(ids)} sales)"


def _off(amount_minor: int, unit: str) -> str:
    return f"{format_fiat(abs(amount_minor), unit)} {'are missing' if amount_minor < 0 else 'are too much'}"


def _unknown(cycle: Cycle, unit: str) -> str:
    ids = ", ".join(str(sale.settlement_id) for sale in cycle.unknown_sales[:_NAMED])
    estimated = sum(sale.estimated_minor or 0 for sale in cycle.unknown_sales)
    about = f"; by their sats about {format_fiat(estimated, unit)}" if estimated else ""
    return f"{len(cycle.unknown_sales)} sale(s) do not say how much cash they took ({ids}){about}."


def _print_amounts(lines: Sequence[tuple[str, str]]) -> None:
    """Names and amounts in two columns, aligned."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold")
    grid.add_column(justify="right", no_wrap=True)
    for name, amount in lines:
        grid.add_row(f"  {name}", amount)
    make_console().print(grid)


def _day(at: int, books: Books) -> str:
    from datetime import datetime

    return f"{datetime.fromtimestamp(at, books.tz):%a %Y-%m-%d}"


def _short_time(at: int, books: Books) -> str:
    return format_time(at, books.tz)


def bare(row: Row, key: str) -> str:
    """An amount without its currency, which the title of the table says."""
    value = row[key]
    return "" if value is None else format_fiat(value, row["currency"]).removesuffix(f" {row['currency']}")


def _report_command(row: Row) -> str:
    return f"satmachine cash report {row['machine_id']}"


# --- for programs


def cycle_row(report: CycleReport, machine_id: str) -> dict[str, Any]:
    """A cycle as a flat row; the keys are those of the view `cash_cycles`."""
    cycle, closing = report.cycle, report.cycle.closing
    return {
        "machine_id": machine_id or (closing.machine_id if closing else None),
        "closed_id": closing.id if closing else None,
        "opened_at": cycle.opened_at,
        "closed_at": closing.at if closing else None,
        "opening_minor": cycle.opening_minor,
        "loaded_minor": cycle.loaded_minor,
        "taken_minor": cycle.taken_minor,
        "sold_minor": cycle.sold_minor,
        "sales": len(cycle.sales),
        "unknown_sales": len(cycle.unknown_sales),
        "expected_minor": cycle.expected_minor,
        "told_minor": closing.told_minor if closing else None,
        "told_at": closing.told_at if closing else None,
        "counted_minor": cycle.counted_minor,
        "difference_minor": cycle.difference_minor,
        "booked_minor": cycle.booked_minor,
        "open_minor": cycle.open_minor,
        "state": cycle.state,
        "currency": cycle.currency,
    }


def cycle_json(report: CycleReport) -> dict[str, Any]:
    """A cycle with its notes and findings."""
    unit = report.cycle.currency
    notes = notes_difference(report.cycle)
    found = to_json(cycle_row(report, ""))
    found["expected_notes"] = _notes_json(report.cycle.expected_notes, unit)
    found["notes_difference"] = _notes_json(notes, unit)
    found["findings"] = [
        to_json({"amount_minor": one.amount_minor, "currency": unit})
        | {
            "since_at": iso(one.since_at),
            "until_at": iso(one.until_at),
            "noticed": one.noticed,
            "settlement_ids": [sale.settlement_id for sale in one.sales],
        }
        for one in report.findings
    ]
    return found


def _notes_json(notes: Any, unit: str) -> Any:
    return None if notes is None else {f"{minor_to_fiat(one, unit):f}": number for one, number in sorted(notes.items())}


def _line_json(line: Any, unit: str) -> dict[str, Any]:
    row = {name: getattr(line, name) for name in line.__dataclass_fields__}
    found = to_json({**row, "currency": unit})
    del found["currency"]
    return found


_CYCLE_COLUMNS = (Column("closed_id", "Entry"),)
_CYCLE_KEYS = (
    *(
        "machine_id",
        "closed_id",
        "opened_at",
        "closed_at",
        "opening_minor",
        "loaded_minor",
        "taken_minor",
        "sold_minor",
    ),
    *("sales", "unknown_sales", "expected_minor", "told_minor", "told_at", "counted_minor", "difference_minor"),
    *("booked_minor", "open_minor", "state", "currency"),
)
_NOW_KEYS = (
    *("machine_id", "operator_id", "machine", "cash_minor", "cash", "source", "counted_at", "unknown_sales"),
    *("expected_minor", "told_minor", "told_age_s", "providers_minor", "pending_minor", "unshared_minor", "own_minor"),
    *("currency", "early_at", "likely_at", "late_at", "sure", "computed_at", "open_differences"),
)
