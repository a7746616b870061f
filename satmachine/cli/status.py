"""`satmachine status`: what is going on and what needs a person, from the books alone. Calls nobody."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from satmachine.cli import words
from satmachine.cli.common import AsJson, Books, open_books
from satmachine.cli.machine_view import balance, mode, way_out
from satmachine.cli.output import Column, Row, emit_table, format_age, iso, print_item, print_json, print_line, to_json
from satmachine.cli.settlement_view import sale_trouble
from satmachine.store import reports
from satmachine.store.database import daemon_is_running

#: How many troubled sales, and how many machines in trouble, are told of one by one.
_SHOWN = 10
#: How many machines are listed; of more, those that need somebody come first.
_MACHINES = 30


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that the screen tells, in the order of the screen."""

    now: int
    daemon_runs: bool
    database: str
    relays: list[reports.Record]
    machines: list[reports.Record]
    counts: dict[str, int]
    oldest_pending: list[reports.Record]
    trouble: list[reports.Record]
    pauses: list[reports.Record]
    quarantine: int
    unmatched: int


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """What is going on, and what needs you: relays, machines, wallets, open work.

    Tells what the books know and calls nobody; always leaves with 0 when it could read them.

    Examples:

        satmachine status

        satmachine --operator atitlan status --json
    """
    with open_books(ctx) as books:
        found = _read(books)
    if as_json:
        print_json(_as_json(found))
        return
    _print_daemon(found)
    _print_relays(found)
    _print_machines(found, books)
    _print_work(found)


def needs(conn: sqlite3.Connection, scope: str | None, now: int, path: Path) -> list[tuple[str, str]]:
    """What needs a person: each with what is wrong, and the command that helps."""
    found = _found(conn, scope, now, path)
    stopped = [] if found.daemon_runs else [("The daemon does not run: nothing is received or paid.", "")]
    return [*stopped, *_machine_lines(found), *_sale_lines(found), *_count_lines(found)]


def _read(books: Books) -> Status:
    return _found(books.conn, books.scope, books.now, books.path)


def _found(conn: sqlite3.Connection, scope: str | None, now: int, path: Path) -> Status:
    errored = reports.open_settlements(conn, scope, "errored", _SHOWN)
    held = reports.open_settlements(conn, scope, "held", _SHOWN)
    legs = reports.lone_legs(conn, scope, _SHOWN)
    return Status(
        now=now,
        daemon_runs=daemon_is_running(path),
        database=str(path),
        relays=reports.relays(conn),
        machines=reports.machines(conn, scope),
        counts=dict.fromkeys(("pending", "held", "errored"), 0) | reports.open_counts(conn, scope),
        oldest_pending=reports.open_settlements(conn, scope, "pending", 1),
        trouble=[_explained(conn, row) for row in (*held, *errored, *legs)],
        pauses=reports.pauses(conn, scope),
        quarantine=reports.quarantine_count(conn, scope),
        unmatched=reports.unmatched_count(conn, scope),
    )


def _explained(conn: sqlite3.Connection, row: reports.Record) -> reports.Record:
    """Add the reason in words and the command that helps."""
    if row["status"] == "held":
        reason = ": ".join(part for part in (words.hold(row["hold_reason"]), row["error"]) if part)
    else:
        reason = row["error"] or ""
    if "payment_id" not in row:
        return {**row, "reason": reason, "help": words.advice(sale_trouble(conn, row["settlement_id"], row))}
    found = words.Trouble(row["status"], row["hold_reason"], row["cause"], row["machine_id"], None, row["payment_id"])
    return {**row, "reason": reason, "help": words.advice(found)}


def _as_json(found: Status) -> dict[str, Any]:
    return {
        "daemon": {"running": found.daemon_runs, "database": found.database},
        "relays": [to_json(row) for row in found.relays],
        "machines": [to_json(row) for row in found.machines],
        "settlements": found.counts,
        "trouble": [to_json(row) for row in found.trouble],
        "pauses": [to_json(row) for row in found.pauses],
        "quarantine": found.quarantine,
        "unmatched": found.unmatched,
        "at": iso(found.now),
    }


def _print_daemon(found: Status) -> None:
    if found.daemon_runs:
        print_line("The daemon runs.", style="green")
    else:
        print_line("The daemon does not run: nothing is received or paid.", style="red")


def _print_relays(found: Status) -> None:
    def ago(at: int | None) -> str:
        return "never" if at is None else f"{format_age(found.now - at)} ago"

    def state(row: Row) -> str:
        word = str(row["state"]).replace("_", " ") + (", but quiet" if row["quiet"] else "")
        return word if found.daemon_runs else f"was {word}"

    columns = (
        Column("url", "Relay", fold=True),
        Column("state", "State", show=state),
        Column("state_since", "Since", show=lambda row: ago(row["state_since"])),
        Column("last_event_at", "Last event", show=lambda row: ago(row["last_event_at"])),
        Column("latency_ms", "Latency, ms", wide=True),
        Column("events", "Events", wide=True),
        Column("error", "Error", fold=True),
    )
    emit_table(found.relays, columns, empty="No relay was connected to yet.")


def _print_machines(found: Status, books: Books) -> None:
    columns = (
        Column("id", "Machine"),
        Column("mode", "Is", show=mode),
        Column("balance_sats", "Wallet, sats", show=balance),
        Column("checked_at", "Asked", wide=True),
        Column("last_event_at", "Last heard of"),
        Column("last_sale_at", "Last sale"),
    )
    rows = found.machines
    shown = rows if len(rows) <= _MACHINES else sorted(rows, key=_is_well)[:_MACHINES]
    emit_table(shown, columns, empty="No machines yet: the daemon takes them from the configuration.", tz=books.tz)
    if hidden := len(rows) - len(shown):
        print_line(f"There are {hidden} more machine(s); satmachine machines list shows them.")


def _is_well(row: Row) -> bool:
    return mode(row) == "active" and bool(row["reachable"])


def _print_work(found: Status) -> None:
    lines = [*_machine_lines(found), *_sale_lines(found), *_count_lines(found)]
    if found.counts["pending"]:
        [oldest] = found.oldest_pending
        age = format_age(found.now - oldest["landed_at"])
        print_line(f"{found.counts['pending']} sale(s) in work, the oldest is {oldest['settlement_id']}, {age} old.")
    for line, advice in lines:
        print_item("!", line, advice)
    if not lines:
        print_line("Nothing needs you.", style="green")


def _machine_lines(found: Status) -> list[tuple[str, str]]:
    """Pauses, safe mode and wallets that do not answer, each with what helps."""
    lines = []
    for pause in found.pauses:
        where = "for all machines" if pause["scope"] == "*" else f"of {pause['scope']}"
        age = format_age(found.now - pause["paused_at"])
        lines.append((f"Payouts {where} are paused: {pause['reason']}", f"by {pause['actor']}, {age} ago"))
    for row in found.machines:
        show = f"satmachine machines show {row['id']}"
        if row["safe_mode"]:
            lines.append((f"{row['id']} pays nothing: {row['safe_mode']}", way_out(row)))
        if row["in_config"] and row["checked_at"] is not None and not row["reachable"]:
            lines.append((f"The wallet of {row['id']} does not answer: {row['wallet_error']}", show))
    if hidden := len(lines[_SHOWN:]):
        lines[_SHOWN:] = [(f"{hidden} more like these, of other machines.", "satmachine machines list")]
    return lines


def _sale_lines(found: Status) -> list[tuple[str, str]]:
    """Held and errored work, and how much more there is of it."""
    lines = []
    for row in found.trouble:
        leg = f"payment {row['payment_id']} ({row['leg']})" if "payment_id" in row else f"sale {row['settlement_id']}"
        lines.append((f"{row['machine_id']}, {leg} is {row['status']}: {row['reason']}", row["help"]))
    for state in ("held", "errored"):
        hidden = found.counts[state] - _SHOWN
        if hidden > 0:
            lines.append((f"{hidden} more sale(s) are {state}.", f"satmachine settlements list --status {state}"))
    return lines


def _count_lines(found: Status) -> list[tuple[str, str]]:
    lines = []
    if found.quarantine:
        lines.append((f"{found.quarantine} message(s) could not be used.", "satmachine quarantine list"))
    if found.unmatched:
        lines.append((f"{found.unmatched} incoming payment(s) belong to no sale.", "satmachine settlements unmatched"))
    return lines
