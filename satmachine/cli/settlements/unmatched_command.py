"""`settlements unmatched/land/dismiss`: payments into the machines' wallets that are not a sale (yet).

Each of them is one transaction with its audit row (settlements/correct/unmatched.py); none of them pays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satmachine.cli.kit import numbers
from satmachine.cli.kit.books import Books
from satmachine.cli.kit.commands import Act, Asked, Done, acting, listing, usage
from satmachine.cli.kit.options import OfMachine, Since, Until
from satmachine.cli.kit.output import print_json, print_line, to_json
from satmachine.cli.kit.values import Column, Row, format_sats
from satmachine.cli.settlements import app
from satmachine.errors import NotFound, Refused
from satmachine.plain_text import printable
from satmachine.store import incoming, list_queries
from satmachine.store.incoming import Listed
from satmachine.store.pages import Page

if TYPE_CHECKING:
    from satmachine.config import Machine

Hashes = Annotated[
    list[str] | None, typer.Argument(metavar="[PAYMENT_HASH]...", help="The payment hashes of the customers' payments.")
]
All = Annotated[bool, typer.Option("--all", help="All that wait; --machine, --since and --until limit them.")]

#: At most so many are landed or dismissed at a time.
_MOST = 10_000


def _kind(row: Row) -> str:
    return "dismissed" if row["dismissed_at"] is not None else str(row["kind"]).replace("_", "-")


def _why(row: Row) -> str:
    if row["dismissed_at"] is None:
        return str(row["reason"])
    return f"{row['dismissed_by']}: {row['dismissed_reason']}"


_UNMATCHED = (
    Column("settled_at", "Paid"),
    Column("machine_id", "Machine"),
    Column("amount_sats", "Sats"),
    Column("kind", "Kind", wide=True, show=_kind),
    Column("reason", "Why", fold=True, show=_why),
    Column("memo", "Memo", wide=True, fold=True),
    Column("payment_hash", "Hash", fold=True),
)


_WHAT_TO_DO = (
    "Is it a top-up, or other money of yours?  `satmachine settlements dismiss HASH`",
    "Is it a customer's, whose sale nobody announced?  `satmachine settlements land HASH`",
)


@listing(
    app,
    "unmatched",
    _UNMATCHED,
    title="Payments without a sale",
    empty="Every incoming payment belongs to a sale, or is explained.",
    span=True,
)
def unmatched(
    books: Books,
    asked: Asked,
    machine: OfMachine = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are explained or dismissed.")] = False,
) -> Page:
    """List payments into the machines' wallets that belong to no sale: top-ups, or sales that nobody reported.

    With --all also those that are explained (top-ups, transfers between your wallets) or were dismissed.

    Examples:

        satmachine settlements unmatched

        satmachine settlements unmatched --machine panajachel-1 --since 30d --csv
    """
    page = list_queries.unmatched(books.conn, books.scope, asked.filter(machine_id=machine), everything=everything)
    if not any(row["dismissed_at"] is None and row["kind"] == "unknown" for row in page.rows):
        return page
    return replace(page, hints=_WHAT_TO_DO)


@acting(app, "land", reason="landed by hand")
def land(
    act: Act,
    payment_hashes: Hashes = None,
    machine: OfMachine = None,
    everything: All = False,
    since: Since = None,
    until: Until = None,
    rate: Annotated[str | None, typer.Option(metavar="SATS", help="Sats for one unit of the currency.")] = None,
    fiat: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="The cash that was handed out; only for one sale.")
    ] = None,
    another_sale: Annotated[
        bool,
        typer.Option("--another-sale", help="It is not the sale that was paid on the machine's word, or was stopped."),
    ] = False,
) -> None:
    """Enter payments that nobody announced as sales, split by the machine's fallback commission.

    `settlements unmatched` lists them. The rate is the one that LNbits or a beacon of the machine had at that time,
    unless you give --rate. Without a rate, the LPs' part stays in the wallet, for `settlements redistribute`.

    Examples:

        satmachine settlements land 5f3c... --machine panajachel-1 --rate 143.797 --fiat 1800 --dry-run

        satmachine settlements land 5f3c... --reason "event lost, see the machine's log" --yes

        satmachine settlements land --all --machine panajachel-1 --since 7d --reason "it announces nothing" --yes
    """
    if not act.books.config.payouts.require_payment_proof:
        raise Refused("require_payment_proof is false: sales are entered only from events, so that none is paid twice")
    chosen = _chosen(act.books, payment_hashes, machine, since, until, everything=everything)
    if fiat is not None and len(chosen) != 1:
        raise typer.BadParameter("--fiat is the cash of one sale: name exactly one payment")
    exchange_rate = Decimal(0) if rate is None else usage(lambda: numbers.rate(rate), "--rate")
    found = [(payment, act.books.config.required_machine(payment.machine_id)) for payment in chosen]
    currency = found[0][1].currency
    fiat_minor = None if fiat is None else usage(lambda: numbers.fiat(fiat, currency), "--fiat")
    act.ask(f"land {_sale(*found[0]) if len(found) == 1 else _total(chosen, 'sales')}")
    ids = act.write(
        _land_all, found, act.by, exchange_rate=exchange_rate, fiat_minor=fiat_minor, another_sale=another_sale
    )
    _show(act, ids)


@acting(app, "dismiss", reason=True)
def dismiss(
    act: Act,
    payment_hashes: Hashes = None,
    machine: OfMachine = None,
    everything: All = False,
    since: Since = None,
    until: Until = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take back the dismissal of these payments.")] = False,
) -> Done | None:
    """Say that payments are not sales: they are never entered as sales, and no event pays them out.

    Examples:

        satmachine settlements dismiss 5f3c... --reason "the owner topped the wallet up from his phone"

        satmachine settlements dismiss --all --machine panajachel-1 --since 7d --reason "tests before opening" --yes

        satmachine settlements dismiss --undo 5f3c... --reason "it was a customer after all" --yes
    """
    if undo and everything:
        raise typer.BadParameter(
            "--undo needs the payments by name; `satmachine settlements unmatched --all` lists them"
        )
    chosen = _chosen(act.books, payment_hashes, machine, since, until, everything=everything)
    what = _total(chosen, "payments")
    act.ask(f"{'take back the dismissal of' if undo else 'dismiss'} {what}")
    act.write(_dismiss_all, chosen, act.by, undo=undo)
    if act.as_json:
        print_json([_row(act.books, payment) for payment in chosen])
    else:
        print_line(f"{what} {'may be sales again' if undo else 'are dismissed'}.".capitalize())
    return None


# --- helpers


def _chosen(
    books: Books,
    hashes: Sequence[str] | None,
    machine: str | None,
    since: str | None,
    until: str | None,
    *,
    everything: bool,
) -> list[Listed]:
    """The payments that a person means, oldest first. Raises NotFound, BadParameter, Refused."""
    if bool(hashes) == everything:
        raise typer.BadParameter("name the payments by their hash, or use --all")
    if hashes:
        return [_one(books, payment_hash.strip().lower(), machine) for payment_hash in dict.fromkeys(hashes)]
    wanted = list_queries.ListFilter(
        machine_id=machine, since=books.when(since), until=books.when(until, end=True), limit=_MOST
    )
    page = list_queries.unmatched(books.conn, books.scope, wanted)
    if not page.rows:
        raise NotFound("there is no such payment; `satmachine settlements unmatched` lists them")
    if page.more:
        raise Refused(f"there are more than {_MOST}: take them in parts, with --since and --until")
    found = [incoming.get(books.conn, row["machine_id"], row["payment_hash"]) for row in reversed(page.rows)]
    return [payment for payment in found if payment is not None]


def _one(books: Books, payment_hash: str, machine: str | None) -> Listed:
    found = [
        payment
        for payment in incoming.find(books.conn, payment_hash)
        if books.sees(payment.machine_id) and machine in (None, payment.machine_id)
    ]
    if not found:
        at = f" at {machine}" if machine else ""
        raise NotFound(f"there is no unmatched payment {payment_hash}{at}; see `satmachine settlements unmatched`")
    if len(found) > 1:
        raise Refused(f"several machines have payment {payment_hash}: say which one with --machine")
    return found[0]


def _land_all(
    conn: sqlite3.Connection,
    found: Sequence[tuple[Listed, Machine]],
    by: Any,
    *,
    exchange_rate: Decimal,
    fiat_minor: int | None,
    another_sale: bool,
) -> list[int]:
    """All or none. Returns the ids of the new sales."""
    from satmachine.settlements.correct import unmatched

    ids = []
    for payment, machine in found:
        landing = unmatched.land(
            conn,
            machine,
            payment.payment_hash,
            by,
            exchange_rate=exchange_rate,
            fiat_amount_minor=fiat_minor,
            another_sale=another_sale,
        )
        assert landing.settlement_id is not None
        ids.append(landing.settlement_id)
    return ids


def _dismiss_all(conn: sqlite3.Connection, chosen: Sequence[Listed], by: Any, *, undo: bool) -> None:
    from satmachine.settlements.correct import unmatched

    change = unmatched.undo_dismissal if undo else unmatched.dismiss
    for payment in chosen:
        change(conn, payment.machine_id, payment.payment_hash, by)


def _show(act: Act, ids: Sequence[int]) -> None:
    rows = [act.books.sale(str(settlement_id)) for settlement_id in ids]
    if act.as_json:
        print_json(to_json(rows[0]) if len(rows) == 1 else [to_json(row) for row in rows])
        return
    for row in rows:
        unknown = "; its exchange rate is not known, so the LPs' part stays in the wallet"
        print_line(
            f"Sale {row['id']} of {row['machine_id']} is entered; the daemon proves and pays it (now "
            f"{row['status']}){'' if row['exchange_rate'] != '0' else unknown}."
        )


def _sale(payment: Listed, machine: Machine) -> str:
    pct = f"{machine.fallback_commission_pct:f}"
    return f"a sale of {format_sats(payment.amount_sats)} sats at {payment.machine_id}, by fallback commission {pct}"


def _total(chosen: Sequence[Listed], what: str) -> str:
    sats = format_sats(sum(payment.amount_sats for payment in chosen))
    machines = sorted({payment.machine_id for payment in chosen})
    at = machines[0] if len(machines) == 1 else f"{len(machines)} machines"
    memo = f' ("{printable(chosen[0].memo)[:60]}")' if len(chosen) == 1 and chosen[0].memo else ""
    return f"{len(chosen)} {what if len(chosen) != 1 else what[:-1]} of {sats} sats at {at}{memo}"


def _row(books: Books, payment: Listed) -> dict[str, Any]:
    everything = list_queries.ListFilter(machine_id=payment.machine_id, limit=_MOST)
    rows = list_queries.unmatched(books.conn, books.scope, everything, everything=True).rows
    return next(to_json(row) for row in rows if row["payment_hash"] == payment.payment_hash)
