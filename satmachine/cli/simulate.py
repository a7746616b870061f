"""`satmachine simulate`: last month's sales under other rules (SPEC section 13). Pays nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine.cli.kit.books import Books, open_books
from satmachine.cli.kit.options import AsCsv, AsJson, Since, Until
from satmachine.cli.kit.output import emit_table, print_json, print_line, to_json
from satmachine.cli.kit.values import Column
from satmachine.cli.progress import progress
from satmachine.cli.spans import Machine, Month, span_of
from satmachine.errors import NotFound
from satmachine.store import history, ledger

if TYPE_CHECKING:
    from satmachine.config import Config
    from satmachine.reports.whatif import LpTerms, WhatIf
    from satmachine.settlements.plan.amounts import Terms

_COLUMNS = (
    Column("machine_id", "Machine"),
    Column("part", "Part"),
    Column("who", "Who"),
    Column("planned_sats", "Was planned"),
    Column("would_be_sats", "Would have been"),
    Column("difference_sats", "Difference"),
)
_SHOWN = 8


def simulate(
    ctx: typer.Context,
    rules: Annotated[
        Path,
        typer.Option(metavar="FILE", help="A configuration file whose fees and splits are tried; no key is read."),
    ],
    month: Month = None,
    since: Since = None,
    until: Until = None,
    machine: Machine = None,
    lp: Annotated[
        list[str] | None,
        typer.Option(metavar="MACHINE/LP=TERMS", help="Other terms of an LP: flow, fixed:500 (a day) or paused."),
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Plan the sales of a period again under other rules, and show who would have got what. Nothing is paid or written.

    FILE is a configuration file like the one in force, with other fees or splits. What people did to single sales
    afterwards (refunds, closing them) is not repeated. Under the present rules nothing differs.

    Examples:

        satmachine simulate --rules other.toml --month 2026-11

        satmachine simulate --rules other.toml --since 30d --lp panajachel-1/maria=fixed:500
    """
    from satmachine.config import load
    from satmachine.reports.whatif import simulate as plan_again

    tried = load(rules)
    with open_books(ctx) as books:
        span = span_of(books, month, since, until, machine)
        machines = ledger.machines(books.conn, span.scope, span.machine_id)
        terms = {machine_id: _terms(tried, machine_id) for machine_id in machines}
        lp_terms = dict(_lp_terms(books, text) for text in lp or ())
        with progress("Planning again", history.count(books.conn, span.since, span.until)) as seen:
            found = plan_again(books.conn, terms, span.since, span.until, lp_terms=lp_terms, seen=seen)
    rows = found.rows(machines)
    if as_json:
        print_json(_document(found, rows))
        return
    emit_table(rows, _COLUMNS, csv=as_csv, title="Who would have got what, in sats", keys=[c.key for c in _COLUMNS])
    if not as_csv:
        _tell(found)


def _terms(config: Config, machine_id: str) -> Callable[[], Terms]:
    from satmachine.settlements.plan.planning import terms_for

    def terms() -> Terms:
        if config.machine(machine_id) is None:
            raise NotFound(f"{config.path} has no machine {machine_id}, which had sales in this period")
        return terms_for(config, machine_id)

    return terms


def _lp_terms(books: Books, text: str) -> tuple[tuple[str, str], LpTerms]:
    """`panajachel-1/maria=fixed:500`. Raises BadParameter, NotFound."""
    from satmachine.clients.terms import parse_fiat
    from satmachine.reports.whatif import LpTerms

    place, _, said = text.partition("=")
    machine_id, _, label = place.partition("/")
    mode, _, limit = said.partition(":")
    if not label or mode not in ("flow", "fixed", "paused") or (mode == "fixed") != bool(limit):
        raise typer.BadParameter(f"--lp {text}: write it like panajachel-1/maria=flow, =fixed:500 or =paused")
    books.require_machine(machine_id)
    if (machine_id, label) not in ledger.lps(books.conn, books.scope, machine_id):
        raise NotFound(f"there is no LP {label} at {machine_id}; `satmachine clients list` shows them")
    currency = ledger.machines(books.conn, books.scope, machine_id)[machine_id][1]
    try:
        limit_minor = parse_fiat(limit, currency) if limit else None
    except ValueError as error:
        raise typer.BadParameter(f"--lp {text}: {error}") from None
    return (machine_id, label), LpTerms(mode, limit_minor)


def _document(found: WhatIf, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "sales": found.sales,
        "differ": found.differ,
        "left_out": found.left_out,
        "rows": [to_json(row) for row in rows],
    }


def _tell(found: WhatIf) -> None:
    if not found.sales:
        print_line("No sale was planned in this period.")
    elif not found.differ:
        print_line(f"{found.sales} sale(s): each has the same result as planned, to the sat.")
    else:
        named = ", ".join(map(str, found.differ[:_SHOWN])) + (" .." if len(found.differ) > _SHOWN else "")
        print_line(f"{found.sales} sale(s), of which {len(found.differ)} have another result: {named}.")
    if found.left_out:
        print_line(f"{len(found.left_out)} sale(s) were reconciled from a wallet, and are left out.")
    print_line("Nothing was paid, and nothing was written.")
