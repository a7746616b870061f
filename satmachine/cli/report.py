"""`satmachine report`: what came in, who got it, what is there now (SPEC section 13). Thin: parse, call, print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine.attention import words
from satmachine.cli.kit.books import Books, open_books
from satmachine.cli.kit.options import AsCsv, AsJson, Since, Until
from satmachine.cli.kit.output import emit_table, print_json, print_line
from satmachine.cli.kit.output import to_json as as_json_row
from satmachine.cli.kit.values import Column, format_fiat, format_sats, format_time, iso
from satmachine.cli.progress import stepwise
from satmachine.cli.spans import Machine, Month, span_of

if TYPE_CHECKING:
    from satmachine.reports.summary import Report

#: The tables for people: what each row adds up, from the first moment to the last.
_MACHINE = (
    Column("opening_sats", "In the wallet before"),
    Column("sales", "Sales"),
    Column("gross_sats", "Came in"),
    Column("gross_minor", "worth", wide=True),
    Column("platform_sats", "Platform"),
    Column("splits_sats", "Partners"),
    Column("purchases_sats", "LPs"),
    Column("payouts_sats", "Balances paid out", wide=True),
    Column("refunds_sats", "Refunds", wide=True),
    Column("fees_sats", "Routing", wide=True),
    Column("other_sats", "Other", wide=True),
    Column("closing_sats", "After"),
)
COLUMNS: Mapping[str, Sequence[Column]] = {
    "machine": (Column("machine_id", "Machine"), *_MACHINE),
    "operator": (Column("operator_id", "Operator"), Column("currency", "Currency", wide=True), *_MACHINE),
    "payee": (
        Column("stage", "Stage"),
        Column("payee", "Payee"),
        Column("machine_id", "Machine"),
        Column("payments", "Payments"),
        Column("sent_sats", "Got"),
        Column("sent_minor", "worth"),
        Column("fee_sats", "Routing", wide=True),
    ),
    "client": (
        Column("client", "LP"),
        Column("machine_id", "Machine"),
        Column("opening_minor", "Cash before", wide=True),
        Column("brought_minor", "Brought"),
        Column("taken_minor", "Taken back", wide=True),
        Column("bought_minor", "Sold"),
        Column("bought_sats", "for sats"),
        Column("paid_out_minor", "Paid out", wide=True),
        Column("paid_out_sats", "in sats", wide=True),
        Column("closing_minor", "Cash after"),
    ),
}
_KEPT = (
    Column("machine_id", "Machine"),
    Column("reason", "Reason", show=lambda row: words.retained(row["reason"])),
    Column("opening_sats", "Before", wide=True),
    Column("more_sats", "More"),
    Column("used_sats", "Used later"),
    Column("closing_sats", "After"),
)
_TITLES = {
    "machine": "By machine, in sats",
    "operator": "By operator, in sats",
    "payee": "The commission, and refunds, by payee",
    "client": "Liquidity providers",
}


def report(
    ctx: typer.Context,
    month: Month = None,
    since: Since = None,
    until: Until = None,
    by: Annotated[
        str | None, typer.Option(metavar="WHAT", help="machine, operator, payee or client: only these rows.")
    ] = None,
    machine: Machine = None,
    rate: Annotated[
        str | None, typer.Option(metavar="SATS", help="Show what is there at this rate: sats for one unit of fiat.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Print one HTML page, to read or to put on paper.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what came in, who got it, what it was worth at the time, and what is there now.

    Sats are exact. Fiat is the value at each sale's own rate; nothing is valued again. With --rate, the report also
    shows what is in the wallets at the end at a rate of your own.

    With --csv: the rows that --by names. With --json: everything.

    Examples:

        satmachine report --month 2026-11

        satmachine report --since 2026-11-01 --until 2026-11-15 --by payee --csv

        satmachine --tz America/Guatemala report --month 2026-11 --html > november.html
    """
    if by is not None and by not in COLUMNS:
        raise typer.BadParameter("--by must be machine, operator, payee or client")
    if html + as_json + as_csv > 1:
        raise typer.BadParameter("choose one of --html, --json and --csv")
    market = None if rate is None else _rate(rate)
    with open_books(ctx) as books:
        made = make(books, month, since, until, machine)
        if market is not None:
            _require_one_currency(made)
        if html:
            from satmachine.reports.html import report_page

            typer.echo(report_page(made, books.tz, books.now, market=market), nl=False)
        elif as_json:
            print_json(_document(made, market))
        else:
            _print(books, made, by, market, as_csv=as_csv)
            if not as_csv and by is None:
                _print_differences(books, made)


def make(books: Books, month: str | None, since: str | None, until: str | None, machine: str | None) -> Report:
    """The report that was asked for, with a progress bar if it takes long."""
    from satmachine.reports import reading

    span = span_of(books, month, since, until, machine)
    with stepwise("Reading the books", reading.steps(books.conn, span)) as seen:
        return reading.report(books.conn, span, seen=seen)


def _rate(text: str) -> Decimal:
    from satmachine.clients.terms import parse_rate

    try:
        return parse_rate(text)
    except ValueError as error:
        raise typer.BadParameter(f"--rate: {error}") from None


def _require_one_currency(made: Report) -> None:
    """A rate is for one currency. Raises BadParameter."""
    currencies = sorted({row["currency"] for row in made.machines})
    if len(currencies) > 1:
        raise typer.BadParameter(
            f"--rate is how many sats one unit buys, and these machines count in {' and '.join(currencies)}: "
            "name one of them with --machine"
        )


def _document(made: Report, market: Decimal | None) -> dict[str, Any]:
    names = ("machines", "operators", "payees", "clients", "retained")
    document: dict[str, Any] = {"since_at": iso(made.since), "until_at": iso(made.until)}
    document |= {name: [as_json_row(row) for row in getattr(made, name)] for name in names}
    if market is not None:
        document["market"] = {"exchange_rate": f"{market:f}", "wallets": [as_json_row(row) for row in made.at(market)]}
    return document


def _print(books: Books, made: Report, by: str | None, market: Decimal | None, *, as_csv: bool) -> None:
    chosen = [by] if by is not None else ["machine"] if as_csv else ["machine", "payee", "client"]
    if not as_csv:
        begin, end = format_time(made.since, books.tz), format_time(made.until, books.tz)
        print_line(f"From {begin} up to {end}; fiat at each sale's own rate", style="bold")
    for name in chosen:
        rows = made.by(name)
        keys = list(rows[0]) if rows else [column.key for column in COLUMNS[name]]
        emit_table(rows, COLUMNS[name], csv=as_csv, title=_TITLES[name], empty=_EMPTY[name], tz=books.tz, keys=keys)
    if by is None and not as_csv:
        empty = "Nothing stays in the wallets."
        emit_table(made.retained, _KEPT, title="Sats of sales that stay in the wallets, by reason", empty=empty)
        if market is not None:
            _print_market(made, market)


_EMPTY = {
    "machine": "Nothing moved.",
    "operator": "Nothing moved.",
    "payee": "Nobody got any commission.",
    "client": "No liquidity provider had or brought anything.",
}


def _print_market(made: Report, market: Decimal) -> None:
    for row in made.at(market):
        worth = format_fiat(row["closing_minor"], row["currency"])
        print_line(f"{row['machine_id']}: {format_sats(row['closing_sats'])} sats at {market:f} are {worth}.")


def _print_differences(books: Books, made: Report) -> None:
    """Say where a wallet's balance was not what the books explain; useful only if the report goes up to now."""
    from satmachine.reports.reading import wallet_differences

    if made.until <= books.now:
        return
    for machine_id, read_at, wallet_sats, books_sats in wallet_differences(books.conn, made):
        print_line(
            f"{machine_id}: its wallet had {format_sats(wallet_sats)} sats at {format_time(read_at, books.tz)}; the "
            f"books explain {format_sats(books_sats)} for that time. What was there before, and what you took out "
            "yourself, is not in these books."
        )
