"""`satmachine cash ...` (SPEC section 12): what people do with a machine's banknotes. Thin: parse, call, print."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from satmachine.cash import book, outlook, shown
from satmachine.cli.cash_list import LIST_COLUMNS, listed
from satmachine.cli.kit.books import Books, open_books
from satmachine.cli.kit.commands import Asked, listing
from satmachine.cli.kit.options import AsCsv, AsJson, DryRun, OfMachine, Reason, Yes
from satmachine.cli.kit.output import print_json, to_json
from satmachine.cli.kit.requests import confirm, reason_of
from satmachine.cli.kit.values import format_fiat
from satmachine.errors import NotFound, Refused
from satmachine.models.banknotes import short, typed
from satmachine.models.cash_values import CLOSING, CashEntry, EntryKind, NoteLine
from satmachine.store import cash_rows
from satmachine.store.database import atomic, rehearsed
from satmachine.store.pages import Page

if TYPE_CHECKING:
    from satmachine.cash.shown import CycleReport

app = typer.Typer(
    no_args_is_help=True,
    help="The banknotes in the machines: loaded, counted, collected, and what is missing.",
)

MachineId = Annotated[str, typer.Argument(metavar="MACHINE", help="The machine's id.")]
Cassettes = Annotated[
    list[int] | None,
    typer.Option(
        "--cassette", metavar="N", min=1, max=64, help="A cassette, counted from 1; its --notes come after it."
    ),
]
Notes = Annotated[
    list[int] | None, typer.Option("--notes", metavar="COUNT", min=0, help="How many notes; once for each --cassette.")
]
Denominations = Annotated[
    list[str] | None,
    typer.Option("--denomination", metavar="VALUE", help="The value of its notes; needed once, for new cassettes."),
]
Amount = Annotated[
    str | None,
    typer.Option("--amount", metavar="AMOUNT", help="The sum, if notes were not counted by cassette; or the rest."),
]
At = Annotated[str | None, typer.Option("--at", metavar="TIME", help="When it was done; without it, now.")]
Note = Annotated[str, typer.Option("--note", metavar="TEXT", help="What the books should say about it.")]
Corrects = Annotated[
    int | None,
    typer.Option("--corrects", metavar="ID", min=1, help="The entry that was wrong: this one replaces it."),
]
ForClients = Annotated[
    list[str] | None,
    typer.Option("--for", metavar="CLIENT_ID=AMOUNT", help="Whose cash it is, and how much; once for each LP."),
]
EntryId = Annotated[int, typer.Argument(metavar="ID", help="The entry's id, as `cash list` shows it.")]


@app.command("load")
def load(
    ctx: typer.Context,
    machine: MachineId,
    cassette: Cassettes = None,
    notes: Notes = None,
    denomination: Denominations = None,
    amount: Amount = None,
    for_: ForClients = None,
    at: At = None,
    note: Note = "",
    corrects: Corrects = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Record banknotes that were put into a machine. On a terminal it asks for what you do not give.

    With --for, deposits of these LPs are proposed: they count once they are confirmed.

    Examples:

        satmachine cash load panajachel-1 --cassette 1 --notes 200 --cassette 2 --notes 100

        satmachine cash load panajachel-1 --amount 25000 --for 3=20000 --note "from the bank"
    """
    with _recording(ctx, machine, EntryKind.LOAD, at, note, corrects) as desk:
        desk.lines = desk.read(cassette, notes, denomination, amount)
        desk.parts = desk.read_parts(for_)
        desk.carry_out(yes=yes, dry_run=dry_run, as_json=as_json)


@app.command("collect")
def collect(
    ctx: typer.Context,
    machine: MachineId,
    cassette: Cassettes = None,
    notes: Notes = None,
    denomination: Denominations = None,
    amount: Amount = None,
    part: Annotated[
        bool, typer.Option("--part", help="Only some of the notes were taken out; the rest was not counted.")
    ] = False,
    for_: ForClients = None,
    at: At = None,
    note: Note = "",
    corrects: Corrects = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Record that all notes were taken out of a machine and counted; it is now empty. This ends a cycle, unless --part.

    With --for, it shows the commands that take these LPs' parts off their balances.

    Examples:

        satmachine cash collect panajachel-1 --cassette 1 --notes 37 --cassette 2 --notes 112

        satmachine cash collect panajachel-1 --part --amount 5000 --for 3=5000 --note "Maria takes home a part"
    """
    kind = EntryKind.TAKE if part else EntryKind.COLLECT
    with _recording(ctx, machine, kind, at, note, corrects) as desk:
        desk.lines = desk.read(cassette, notes, denomination, amount)
        desk.parts = desk.read_parts(for_)
        desk.carry_out(yes=yes, dry_run=dry_run, as_json=as_json)


@app.command("count")
def count(
    ctx: typer.Context,
    machine: MachineId,
    cassette: Cassettes = None,
    notes: Notes = None,
    denomination: Denominations = None,
    amount: Amount = None,
    at: At = None,
    note: Note = "",
    corrects: Corrects = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Record how many notes are in a machine, counted by hand; they stay in it. This ends a cycle.

    Name every cassette, an empty one with --notes 0. To correct a wrong count, enter another one with --corrects.

    Examples:

        satmachine cash count panajachel-1 --cassette 1 --notes 37 --cassette 2 --notes 112

        satmachine cash count panajachel-1 --amount 9300 --at 2026-11-24T18:30

        satmachine cash count panajachel-1 --cassette 1 --notes 73 --cassette 2 --notes 112 --corrects 12
    """
    with _recording(ctx, machine, EntryKind.COUNT, at, note, corrects) as desk:
        desk.lines = desk.read(cassette, notes, denomination, amount)
        desk.carry_out(yes=yes, dry_run=dry_run, as_json=as_json)


@app.command("void")
def void(ctx: typer.Context, entry_id: EntryId, reason: Reason = "", yes: Yes = False, as_json: AsJson = False) -> None:
    """Take back a whole entry: it was never done, or at another machine. A row says so; nothing is deleted.

    Examples:

        satmachine cash void 12 --reason "typed at the wrong machine" --yes
    """
    with open_books(ctx, write=True) as books:
        entry = cash_rows.get(books.conn, entry_id, operator=books.scope)
        why = reason_of(reason)
        confirm(f"Take back cash entry {entry.id}, {_named(entry)}?", yes=yes)
        with atomic(books.conn) as conn:
            taken = book.void(conn, entry.id, reason=why, actor=books.actor, now=books.now)
            outlook.refresh(conn, entry.machine_id, books.now)
        _show(books, taken, [], as_json)


@app.command("book")
def book_(
    ctx: typer.Context,
    entry_id: Annotated[int, typer.Argument(metavar="ID", help="The count or collection that showed the difference.")],
    reason: Reason = "",
    amount: Annotated[
        str | None,
        typer.Option(metavar="AMOUNT", help="Only this much of it; below 0 if cash is missing. Without it, all."),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Say why there was too little or too much cash at a count. To take back what was booked, book the opposite amount.

    Examples:

        satmachine cash book 12 --reason "stolen: police report 4711"

        satmachine cash book 12 --amount -200 --reason "jam, found behind the feeder" --yes
    """
    from satmachine.cli.cash_view import finding_for, window_of

    with open_books(ctx, write=True) as books:
        entry = cash_rows.get(books.conn, entry_id, operator=books.scope)
        report = _closed(books, entry)
        cycle = report.cycle
        amount_minor = cycle.open_minor if amount is None else _signed(amount, entry.currency)
        if amount_minor == 0:
            raise Refused(
                f"the cash was as expected at entry {entry.id}, or the difference is already booked: there is "
                "nothing to do"
            )
        why = reason_of(reason)
        finding = finding_for(report, amount_minor)
        window = window_of(report, finding)
        question = f"{format_fiat(amount_minor, entry.currency)} at {entry.machine_id}, counted with entry {entry.id}"
        if dry_run:
            typer.echo(f"Would book {question}: {why}")
            return
        confirm(f"Book {question}?", yes=yes)
        with atomic(books.conn) as conn:
            booked_id = book.book_difference(
                conn, cycle, amount_minor, window=window, reason=why, actor=books.actor, now=books.now
            )
            outlook.refresh(conn, entry.machine_id, books.now)
        left_minor = cycle.open_minor - amount_minor
        if as_json:
            rows = cash_rows.bookings(books.conn, entry.root_id)
            print_json(to_json(next(row for row in rows if row["id"] == booked_id)))
            return
        typer.echo(f"Booked {format_fiat(amount_minor, entry.currency)}: {why}")
        if left_minor:
            typer.echo(f"{format_fiat(left_minor, entry.currency)} of it are still open.")


@listing(
    app,
    "list",
    LIST_COLUMNS,
    title="Cash",
    empty="There are no entries yet: `satmachine cash load MACHINE --amount FIAT` (or collect, or count).",
    span=True,
    below="cash_entry",
)
def list_entries(
    books: Books,
    asked: Asked,
    machine: OfMachine = None,
    kind: Annotated[EntryKind | None, typer.Option(help="Only entries of this kind.")] = None,
) -> Page:
    """List what people did with the notes, the latest entry first; also what was corrected since.

    Examples:

        satmachine cash list --machine panajachel-1

        satmachine cash list --kind count --since 2026-11-01 --csv
    """
    page = cash_rows.find(
        books.conn,
        books.scope,
        machine=machine,
        kind=kind,
        since=asked.since,
        until=asked.until,
        before_id=asked.before,
        limit=asked.limit,
    )
    return replace(page, rows=[listed(row) for row in page.rows])


@app.command("report")
def report(
    ctx: typer.Context,
    machine: Annotated[str | None, typer.Argument(metavar="[MACHINE]", help="This machine in full.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many rows, or cycles of a machine, are shown.")
    ] = 12,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show the cash that should be in each machine, what the machine says, and whose it is; for one machine, every
    cycle.

    A cycle goes from one count or collection to the next: opening + loaded - sold = expected, beside what was counted.

    Examples:

        satmachine cash report

        satmachine cash report panajachel-1

        satmachine cash report panajachel-1 --json
    """
    from satmachine.cli import cash_view

    with open_books(ctx) as books:
        if machine is None:
            cash_view.print_fleet(books, limit, as_json=as_json, as_csv=as_csv)
            return
        books.require_machine(machine)
        cash_view.print_machine(books, machine, limit, as_json=as_json, as_csv=as_csv)


# --- one entry, from what was typed to what is shown


class _Desk:
    """An entry that is being made."""

    def __init__(self, books: Books, draft: cash_rows.Draft) -> None:
        self._books = books
        self._draft = draft
        self.lines: tuple[NoteLine, ...] = ()
        self.parts: dict[int, int] = {}
        self._asked = False

    def read(
        self,
        cassettes: list[int] | None,
        notes: list[int] | None,
        denominations: list[str] | None,
        amount: str | None,
    ) -> tuple[NoteLine, ...]:
        """The notes, as options or answers. Raises BadParameter."""
        draft = self._draft
        known = cash_rows.known_cassettes(self._books.conn, draft.machine_id)
        if not cassettes and not notes and amount is None:
            cassettes, notes, amount = self._ask(known)
        values = [_amount(one, draft.currency) for one in denominations or []]
        loose_minor = 0 if amount is None else _amount(amount, draft.currency, zero=draft.kind in CLOSING)
        try:
            return typed(cassettes or [], notes or [], values, known, loose_minor)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    def read_parts(self, parts: list[str] | None) -> dict[int, int]:
        """`--for 3=1000 --for 4=500`. Raises BadParameter, NotFound, Refused."""
        found: dict[int, int] = {}
        for text in parts or []:
            number, equals, amount = text.partition("=")
            if not equals or not number.strip().isdecimal() or len(number) > 18:
                raise typer.BadParameter("--for is an LP's id and an amount, like --for 3=1000")
            client_id = int(number)
            if client_id in found:
                raise typer.BadParameter(f"LP {client_id} is named twice")
            book.parse_part(self._books.conn, client_id, self._draft.machine_id, operator=self._books.scope)
            found[client_id] = _amount(amount, self._draft.currency)
        return found

    def carry_out(self, *, yes: bool, dry_run: bool, as_json: bool) -> None:
        """Record it, or show what would be recorded, and what follows."""
        books, asks = self._books, False
        if dry_run or (not yes and sys.stdin.isatty()):
            with rehearsed(books.conn):
                entry, added = self._record(books.conn)
                asks = not dry_run and (self._asked or _differs(books.conn, entry))
                if dry_run or asks:
                    _show(books, entry, added, as_json and dry_run, self.parts, planned=True)
        if dry_run:
            return
        if asks:
            confirm("Is this right? Record it?", yes=False)
        with atomic(books.conn) as conn:
            entry, added = self._record(conn)
            outlook.refresh(conn, entry.machine_id, books.now)
        _show(books, entry, added, as_json, self.parts)

    def _record(self, conn: sqlite3.Connection) -> tuple[CashEntry, list[int]]:
        draft = replace(self._draft, lines=self.lines)
        taken_minor, parts_minor = sum(line.amount_minor for line in draft.lines), sum(self.parts.values())
        if draft.kind is not EntryKind.LOAD and parts_minor > taken_minor:
            taken, parts = format_fiat(taken_minor, draft.currency), format_fiat(parts_minor, draft.currency)
            raise Refused(f"{taken} are taken out, but the LPs' parts are {parts}")
        for_clients = self.parts if draft.kind is EntryKind.LOAD else {}
        return book.record(conn, draft, for_clients=for_clients, actor=self._books.actor, now=self._books.now)

    def _ask(self, known: dict[int, int]) -> tuple[list[int], list[int], str | None]:
        """Cassette by cassette, on a terminal; otherwise say what is missing."""
        draft = self._draft
        if not sys.stdin.isatty():
            raise typer.BadParameter("say how much: --cassette 1 --notes 200, for each cassette, or --amount 20000")
        self._asked = True
        if not known:
            return [], [], typer.prompt(f"How much, in {draft.currency}", err=True)
        cassettes, notes = sorted(known), []
        for cassette in cassettes:
            value = f"{short(known[cassette], draft.currency)} {draft.currency}"
            notes.append(typer.prompt(f"Cassette {cassette}, notes of {value}: how many", type=int, err=True))
        return cassettes, notes, None


@contextmanager
def _recording(
    ctx: typer.Context, machine: str, kind: EntryKind, at: str | None, note: str, corrects: int | None
) -> Iterator[_Desk]:
    """The books, and an entry whose notes are still to be read. A correction has the time of what it corrects."""
    with open_books(ctx, write=True) as books:
        books.require_machine(machine)
        currency = cash_rows.currency_of(books.conn, machine)
        old = None if corrects is None else cash_rows.get(books.conn, corrects, operator=books.scope)
        moment = books.when(at)
        if moment is None:
            moment = books.now if old is None else old.at
        yield _Desk(books, cash_rows.Draft(machine, kind, moment, currency, (), note, corrects))


def _differs(conn: sqlite3.Connection, entry: CashEntry) -> bool:
    """Whether this count is not as expected: then a person checks it once more."""
    report = shown.closed_cycle(conn, entry.machine_id, entry.id) if entry.kind in CLOSING else None
    return report is not None and bool(report.cycle.difference_minor)


def _closed(books: Books, entry: CashEntry) -> CycleReport:
    report = shown.closed_cycle(books.conn, entry.machine_id, entry.id)
    if report is None or report.cycle.difference_minor is None:
        raise NotFound(
            f"cash entry {entry.id} closed no cycle whose cash can be compared; "
            f"`satmachine cash report {entry.machine_id}` shows the entries that did"
        )
    return report


def _show(
    books: Books,
    entry: CashEntry,
    added: list[int],
    as_json: bool,
    parts: dict[int, int] | None = None,
    *,
    planned: bool = False,
) -> None:
    from satmachine.cli.cash_view import entry_json, print_entry

    report = shown.closed_cycle(books.conn, entry.machine_id, entry.id) if entry.kind in CLOSING else None
    proposed = [] if entry.kind is EntryKind.LOAD else list((parts or {}).items())
    if as_json:
        print_json(entry_json(entry, report, added, proposed))
    else:
        print_entry(entry, report, added, proposed, books, planned=planned)


def _named(entry: CashEntry) -> str:
    return f"a {entry.kind} of {format_fiat(entry.amount_minor, entry.currency)} at {entry.machine_id}"


def _amount(text: str, currency: str, *, zero: bool = False) -> int:
    from satmachine.cli.kit import numbers

    if zero and numbers.plain(text).strip("0") in ("", "."):
        return 0
    try:
        return numbers.fiat(text, currency)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _signed(text: str, currency: str) -> int:
    negative = text.strip().startswith(("-", "\N{MINUS SIGN}"))
    amount_minor = _amount(text.strip().lstrip("-+\N{MINUS SIGN}"), currency)
    return -amount_minor if negative else amount_minor
