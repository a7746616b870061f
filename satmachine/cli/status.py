"""`satmachine status`: what is going on and what needs a person, from the books only. Calls nobody."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from satmachine.attention.items import Attention
from satmachine.cli.fleet_table import lasts
from satmachine.cli.kit.books import Books, open_books
from satmachine.cli.kit.options import AsJson
from satmachine.cli.kit.output import emit_table, print_json, print_line, to_json
from satmachine.cli.kit.values import Column, Row, format_age, iso, make_console
from satmachine.cli.machines.stand import balance, mode
from satmachine.cli.needs import as_json as item_as_json
from satmachine.cli.needs import print_items
from satmachine.store import attention as signs
from satmachine.store import list_queries

#: How many machines are listed; if there are more, those that need somebody come first.
_MACHINES = 30


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that the screen shows, in the order of the screen."""

    now: int
    daemon_runs: bool
    alive_at: int | None
    database: str
    relays: list[list_queries.Record]
    machines: list[list_queries.Record]
    counts: dict[str, int]
    oldest_pending: list[list_queries.Record]
    attention: Attention


def status(
    ctx: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh in place until Ctrl-C.")] = False,
    every: Annotated[int, typer.Option(min=1, max=3600, help="Seconds between two refreshes of --watch.")] = 5,
    as_json: AsJson = False,
) -> None:
    """What is going on, and what needs you: relays, machines, wallets, open work.

    Shows what the books know, and calls nobody. Exits with 1 if something needs you, with 0 if nothing does.

    Examples:

        satmachine status

        satmachine status --watch

        satmachine --operator atitlan status --json
    """
    if watch and as_json:
        raise typer.BadParameter("--watch is for people; leave out --json")
    while watch:
        _watch_once(ctx, every)
    with open_books(ctx) as books:
        found = _read(books)
    if as_json:
        print_json(_as_json(found))
    else:
        _print(found, books)
    raise typer.Exit(1 if found.attention.items else 0)


def _watch_once(ctx: typer.Context, every_s: int) -> None:
    """Draw the screen again; Ctrl-C, by which a person ends it, is not a failure."""
    console = make_console()
    try:
        with open_books(ctx) as books:
            found = _read(books)
            console.clear()
            _print(found, books)
        time.sleep(every_s)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _read(books: Books) -> Status:
    conn, scope = books.conn, books.scope
    return Status(
        now=books.now,
        daemon_runs=books.daemon_runs,
        alive_at=signs.alive_at(conn),
        database=str(books.path),
        relays=list_queries.relays(conn),
        machines=list_queries.machines(conn, scope),
        counts=dict.fromkeys(("pending", "held", "errored"), 0) | list_queries.open_counts(conn, scope),
        oldest_pending=list_queries.open_settlements(conn, scope, "pending", 1),
        attention=books.attention,
    )


def _as_json(found: Status) -> dict[str, Any]:
    return {
        "daemon": {
            "running": found.daemon_runs,
            "alive_at": None if found.alive_at is None else iso(found.alive_at),
            "database": found.database,
        },
        "relays": [to_json(row) for row in found.relays],
        "machines": [to_json(row) for row in found.machines],
        "settlements": found.counts,
        "attention": [item_as_json(item) for item in found.attention.items],
        "silenced": [item_as_json(item) for item in found.attention.silenced],
        "at": iso(found.now),
    }


def _print(found: Status, books: Books) -> None:
    if found.daemon_runs and not found.attention.counts["daemon_frozen"]:
        print_line("The daemon runs.", style="green")
    _print_relays(found)
    _print_machines(found, books)
    if found.counts["pending"]:
        [oldest] = found.oldest_pending
        age = format_age(found.now - oldest["landed_at"])
        number = found.counts["pending"]
        print_line(f"{number} sale(s) under way; the oldest is sale {oldest['settlement_id']}, since {age}.")
    print_items(found.attention, found.now)


def _print_relays(found: Status) -> None:
    def ago(at: int | None) -> str:
        return _ago(at, found.now)

    def state(row: Row) -> str:
        word = str(row["state"]).replace("_", " ") + (", but quiet" if row["quiet"] else "")
        word += ", a machine's own" if row["named"] else ""
        fresh = found.daemon_runs and not found.attention.counts["daemon_frozen"]
        return word if fresh else f"was {word}"

    columns = (
        Column("url", "Relay"),
        Column("state", "State", show=state),
        Column("state_since", "Since", show=lambda row: ago(row["state_since"])),
        Column("last_event_at", "Last event", show=lambda row: ago(row["last_event_at"])),
        Column("latency_ms", "Latency, ms", wide=True),
        Column("events", "Events", wide=True),
        Column("error", "Error", fold=True),
    )
    emit_table(found.relays, columns, empty="No relay has been connected yet.")


def _print_machines(found: Status, books: Books) -> None:
    needy = {name for item in found.attention.items for name in (item.subject, item.machine_id)}
    columns = (
        Column("id", "Machine"),
        Column("mode", "State", show=mode),
        Column("balance_sats", "Wallet, sats", show=balance),
        Column("checked_at", "Checked", wide=True, show=lambda row: _ago(row["checked_at"], found.now)),
        Column("last_event_at", "Last heard", show=lambda row: _ago(row["last_event_at"], found.now)),
        Column("last_sale_at", "Last sale", show=lambda row: _ago(row["last_sale_at"], found.now)),
        Column("cash_out_at", "Cash lasts", show=lambda row: lasts(row, found.now)),
        Column("needs", "Needs", show=lambda row: "you" if row["id"] in needy else ""),
    )
    rows: Sequence[Row] = found.machines
    shown = rows if len(rows) <= _MACHINES else sorted(rows, key=lambda row: row["id"] not in needy)[:_MACHINES]
    emit_table(shown, columns, empty="No machines yet: the daemon reads them from the configuration.", tz=books.tz)
    if hidden := len(rows) - len(shown):
        print_line(f"{hidden} more machine(s): `satmachine machines list` shows them.")


def _ago(at: int | None, now: int) -> str:
    return "never" if at is None else f"{format_age(now - at)} ago"
