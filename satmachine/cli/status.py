"""`satmachine status`: what is going on and what needs a person, from the books alone. Calls nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import typer

from satmachine.cli import words
from satmachine.cli.common import AsJson, Books, open_books
from satmachine.cli.machines import balance, mode
from satmachine.cli.output import Column, Row, emit_table, format_age, iso, print_json, print_line, to_json
from satmachine.store import reports

#: How many troubled sales are told of one by one.
_SHOWN = 10


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


def _read(books: Books) -> Status:
    conn, scope = books.conn, books.scope
    errored = reports.open_settlements(conn, scope, "errored", _SHOWN)
    held = reports.open_settlements(conn, scope, "held", _SHOWN)
    legs = reports.lone_legs(conn, scope, _SHOWN)
    return Status(
        now=books.now,
        daemon_runs=books.daemon_runs,
        database=str(books.path),
        relays=reports.relays(conn),
        machines=reports.machines(conn, scope),
        counts={status: 0 for status in ("pending", "held", "errored")} | reports.open_counts(conn, scope),
        oldest_pending=reports.open_settlements(conn, scope, "pending", 1),
        trouble=[_explained(row) for row in (*held, *errored, *legs)],
        pauses=reports.pauses(conn, scope),
        quarantine=reports.quarantine_count(conn, scope),
        unmatched=reports.unmatched_count(conn, scope),
    )


def _explained(row: reports.Record) -> reports.Record:
    """Add the reason in words and the command that helps."""
    if "payment_id" in row:
        help_ = f"satmachine payments list --client .. --status {row['status']}"
        help_ = f"satmachine payments list --status {row['status']} --type {row['leg_type']}"
        return {**row, "reason": row["error"] or words.hold(row["hold_reason"] or row["status"]), "help": help_}
    settlement_id = row["settlement_id"]
    if row["status"] == "held":
        reason, help_ = words.hold(row["hold_reason"]), words.hold_advice(row["hold_reason"], settlement_id)
        return {**row, "reason": f"{reason}: {row['error']}" if row["error"] else reason, "help": help_}
    return {**row, "reason": row["error"] or "", "help": words.ERRORED_ADVICE.format(id=settlement_id)}
