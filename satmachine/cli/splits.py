"""`satmachine splits`: how the commission is shared, as the daemon has loaded it (SPEC section 3)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import typer

from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import ON_A_SCREEN, reading
from satmachine.cli.kit.options import AsCsv, AsJson, Limit, OfMachine
from satmachine.cli.kit.output import emit_table, print_line
from satmachine.cli.kit.values import Column, Row, format_pct, is_terminal
from satmachine.store import list_queries

app = typer.Typer(no_args_is_help=True, help="How the commission is shared.")

_SOURCES = {"machine": "its own", "operator": "default", "none": "none: stays in the wallet"}


def _owner(row: Row) -> str:
    return row["machine_id"] or "(default)"


def _pct(row: Row) -> str:
    return "" if row["pct"] is None else format_pct(row["pct"])


def _whole(row: Row) -> str:
    return format_pct(row["commission_pct"])


_COLUMNS = (
    Column("operator_id", "Operator"),
    Column("machine_id", "Machine", show=_owner),
    Column("label", "Label"),
    Column("pct", "Share", show=_pct),
    Column("payee", "Payee", fold=True),
)

_EFFECTIVE_COLUMNS = (
    Column("machine_id", "Machine"),
    Column("ruleset_source", "Rules", fold=True, show=lambda row: _SOURCES.get(row["ruleset_source"], "platform")),
    Column("label", "Label"),
    Column("commission_pct", "Part", show=_whole),
    Column("payee", "Payee", fold=True),
)


@reading(app, "show")
def show(
    books: Books,
    machine: OfMachine = None,
    effective: Annotated[bool, typer.Option("--effective", help="Show what is in force for each machine.")] = False,
    limit: Limit = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show the rules by which the commission is shared, as the daemon has last loaded them.

    The platform gets its part first; the rest is shared by the machine's own splits, or else its operator's. With
    --effective: what is in force for each machine, as parts of the whole commission.

    Examples:

        satmachine splits show

        satmachine splits show --machine panajachel-1 --effective
    """
    terms = list_queries.super_fee(books.conn) or {"fee_pct": "0", "payee": None}
    read = list_queries.effective_splits if effective else list_queries.splits
    rows = read(books.conn, books.scope, machine)
    rows = _with_platform(rows, terms) if effective else rows
    for_people = is_terminal() and not (as_json or as_csv)
    most = limit or (ON_A_SCREEN if for_people else len(rows))
    emit_table(
        rows[:most],
        _EFFECTIVE_COLUMNS if effective else _COLUMNS,
        json=as_json,
        csv=as_csv,
        title="Who gets what of the commission" if effective else "Splits of the operator's part",
        empty="No splits: the operator's part of the commission stays in the machine's wallet.",
        more="There are more: show them with --limit." if len(rows) > most else "",
    )
    if for_people and not effective:
        payee = terms["payee"] or "nobody: it stays in the machine's wallet"
        print_line(f"The platform takes {format_pct(terms['fee_pct'])} of every commission first, paid to {payee}.")


def _with_platform(rows: list[list_queries.Record], terms: list_queries.Record) -> list[list_queries.Record]:
    """Put the platform's part before each machine's rules, and show every part in relation to the whole."""
    platform = Decimal(terms["fee_pct"])
    found: list[list_queries.Record] = []
    for row in rows:
        if not found or found[-1]["machine_id"] != row["machine_id"]:
            head = {"ruleset_source": None, "position": None, "label": "platform", "pct": terms["fee_pct"]}
            found.append({**row, **head, "commission_pct": f"{platform:f}", "payee": terms["payee"]})
        share = (1 - platform) * (1 if row["pct"] is None else Decimal(row["pct"]))
        found.append({**row, "commission_pct": f"{share.normalize():f}"})
    return found
