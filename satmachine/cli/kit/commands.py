"""The three kinds of command, as decorators. A command's docstring is its help.

    @listing(app, "list", COLUMNS, title="Sales", empty="No such sales.", span=True, below="sale")
    def list_sales(books: Books, asked: Asked, machine: OfMachine = None) -> Page: ...

    @reading(app, "show")
    def show(books: Books, sale: Sale, as_json: AsJson = False) -> None: ...

    @acting(app, "hold")
    def hold(act: Act, sale: Sale) -> Done: ...

A list returns its rows; they are printed as a table, plain text, JSON or CSV, with pages, `--columns`, `--since` and so
on. A change says what it is about to do and does it through `Act`: shown with --dry-run, asked about, done in one
transaction, printed. Parameters with a name from `books.NAMED` (machine, client, sale ..) are first looked up in the
caller's scope.
"""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar, get_args

import typer

from satmachine.cli.kit import options
from satmachine.cli.kit.books import NAMED, Books, open_books
from satmachine.cli.kit.output import as_row, emit_record, emit_table, print_json, print_line, to_json
from satmachine.cli.kit.requests import answer_of, confirm, reason_of, request
from satmachine.cli.kit.values import Column, Row, grouped, is_terminal
from satmachine.orders import Order
from satmachine.store.database import atomic
from satmachine.store.intent_rows import Intent
from satmachine.store.list_queries import ListFilter
from satmachine.store.pages import Page

P = ParamSpec("P")
T = TypeVar("T")

#: How many rows of a list people see, unless they say otherwise; a list that is not on a terminal is complete.
ON_A_SCREEN = 50
_ALL = 10**9


@dataclass(frozen=True, slots=True)
class Asked:
    """Which part of a list is wanted: times are Unix seconds, `before` an id, `limit` a number of rows."""

    since: int | None
    until: int | None
    before: int | None
    limit: int
    for_people: bool

    def filter(self, **named: Any) -> ListFilter:
        """The same for a query, with whatever else limits it."""
        return ListFilter(since=self.since, until=self.until, before_id=self.before, limit=self.limit, **named)


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a change: words for people, a row for programs; with `fields` people see the row too."""

    row: Mapping[str, Any]
    words: str = ""
    fields: Sequence[Column] = ()
    title: str = ""


def listing(
    app: typer.Typer,
    name: str,
    columns: Sequence[Column],
    *,
    title: str = "",
    empty: str,
    keys: Sequence[str] = (),
    span: bool = False,
    below: str | None = None,
    single: str | None = None,
) -> Callable[[Callable[Concatenate[Books, Asked, P], Page | Sequence[Row]]], None]:
    """A list: `span` gives it --since and --until, `below` (what its ids name) gives it --before; `keys` are those of
    its CSV.

    If the parameter `single` is given, there is one row, and the JSON is that object.
    """

    def declare(function: Callable[Concatenate[Books, Asked, P], Page | Sequence[Row]]) -> None:
        @wraps(function)
        def command(ctx: typer.Context, **given: Any) -> None:
            json, csv, chosen = given.pop("as_json"), given.pop("as_csv"), given.pop("chosen")
            since, until, before, limit = (given.pop(key, None) for key in ("since", "until", "before", "limit"))
            for_people = is_terminal() and not json and not csv
            with open_books(ctx) as books:
                asked = Asked(
                    since=books.when(since),
                    until=books.when(until, end=True),
                    before=None if before is None else int(_id_of(books, below, before)),
                    limit=limit or (ON_A_SCREEN if for_people else _ALL),
                    for_people=for_people,
                )
                named = {key: books.meant(key, value) for key, value in given.items()}
                found = function(books, asked, **named)  # type: ignore[call-arg]
            page = found if isinstance(found, Page) else _first(found, keys, asked.limit)
            if json and not csv and single is not None and given[single] is not None:
                print_json(to_json(page.rows[0]))
                return
            emit_table(
                page.rows,
                columns,
                json=json,
                csv=csv,
                title=title,
                empty=empty,
                tz=books.tz,
                keys=page.keys,
                more="\n".join(part for part in (_more(page, below, span), *page.hints) if part),
                only=None if chosen is None else [key.strip() for key in chosen.split(",")],
            )

        extra = {"since": options.Since, "until": options.Until} if span else {}
        extra |= {"before": options.Before} if below else {}
        extra |= {"limit": options.Limit, "chosen": options.Columns}
        _register(app, name, command, function, extra | {"as_json": options.AsJson, "as_csv": options.AsCsv})

    return declare


def reading(app: typer.Typer, name: str) -> Callable[[Callable[Concatenate[Books, P], None]], None]:
    """A command that reads the books and prints by itself."""

    def declare(function: Callable[Concatenate[Books, P], None]) -> None:
        @wraps(function)
        def command(ctx: typer.Context, **given: Any) -> None:
            with open_books(ctx) as books:
                function(books, **{key: books.meant(key, value) for key, value in given.items()})  # type: ignore[call-arg]

        _register(app, name, command, function, {})

    return declare


@dataclass(slots=True)
class Act:
    """A change that is being made: the books, opened for writing, and how to do it."""

    books: Books
    yes: bool
    dry_run: bool
    as_json: bool
    _reason: str = ""
    _shown: bool = field(default=False)

    @property
    def conn(self) -> sqlite3.Connection:
        return self.books.conn

    @property
    def reason(self) -> str:
        """Why, on one line; asked for if it is missing. Raises BadParameter."""
        self._reason = reason_of(self._reason)
        return self._reason

    @property
    def by(self) -> Any:
        """Who does it, why and when, for the transactions of settlements/correct."""
        from satmachine.models import By

        return By(self.books.actor, self.reason, self.books.now)

    @property
    def reason_given(self) -> str:
        """The same if nobody has to say why: it may be empty."""
        return reason_of(self._reason) if self._reason else ""

    def ask(self, what: str, *, dry: str = "", sure: bool = False) -> None:
        """Say what is about to be done and ask; with --dry-run say it and end here. `sure`: there is nothing to ask.

        `what` is a sentence that begins with a verb, like "hold sale 12 (266 800 sats)".
        """
        if self.dry_run:
            if not self._shown:
                text = grouped(f"Would {what}.{' ' + dry if dry else ''} Nothing was done.")
                print_line(text) if not self.as_json else print_json({"dry_run": True, "would": what})
            raise typer.Exit
        if not sure:
            confirm(f"{what[0].upper()}{what[1:]}?", yes=self.yes)

    def preview(self, row: Mapping[str, Any], show: Callable[[], None]) -> None:
        """Show figures before asking about them: to people, and to programs with --dry-run."""
        self._shown = True
        if self.as_json and self.dry_run:
            print_json({"dry_run": True, **row})
        elif self.dry_run or not (self.as_json or self.yes):
            show()

    def write(self, change: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        """One transaction."""
        with atomic(self.conn) as conn:
            return change(conn, *args, **named)

    def order(self, order: Order) -> str:
        """Let the daemon do it; returns the result as a sentence. Raises Refused."""
        return self.order_and_intent(order)[0]

    def order_and_intent(self, order: Order) -> tuple[str, Intent]:
        """The same, with the request as it is now."""
        intent = request(self.books, order)
        answer = answer_of(self.books, intent)
        return answer[0].upper() + answer[1:], intent


def acting(
    app: typer.Typer, name: str, *, reason: bool | str = False, asks: bool = True
) -> Callable[[Callable[Concatenate[Act, P], Done | None]], None]:
    """A command that changes something: it takes --dry-run, --yes, --json, and --reason if a reason is kept.

    `reason`: True if it is asked for when it is missing, or the text that is used if nobody gives one. `asks=False`:
    the change can be taken back, so the command does not ask; it takes --yes anyway.
    """

    def declare(function: Callable[Concatenate[Act, P], Done | None]) -> None:
        @wraps(function)
        def command(ctx: typer.Context, **given: Any) -> None:
            modes = {key: given.pop(key) for key in ("yes", "dry_run", "as_json")}
            why = given.pop("why", None) or (reason if isinstance(reason, str) else "")
            with open_books(ctx, write=True) as books:
                act = Act(books, modes["yes"] or not asks, modes["dry_run"], modes["as_json"], why)
                named = {key: books.meant(key, value) for key, value in given.items()}
                done = function(act, **named)  # type: ignore[call-arg]
                if done is not None:
                    _tell(done, act)

        extra: dict[str, Any] = {}
        if reason is not False:
            extra["why"] = options.Reason if reason is True else options.Why
        extra |= {"dry_run": options.DryRun, "yes": options.Yes, "as_json": options.AsJson}
        _register(app, name, command, function, extra)

    return declare


def usage(parse: Callable[[], T], option: str = "") -> T:
    """Read what a person typed; a ValueError is their mistake: exit code 2."""
    try:
        return parse()
    except ValueError as error:
        raise typer.BadParameter(f"{option}{': ' if option else ''}{error}") from None


# --- helpers


def _tell(done: Done, act: Act) -> None:
    if act.as_json:
        if done.words and not done.fields:
            typer.echo(done.words, err=True)
        print_json(to_json(done.row))
        return
    if done.fields:
        emit_record(done.row, done.fields, title=done.title, tz=act.books.tz)
    if done.words:
        print_line(grouped(done.words))


def _register(
    app: typer.Typer, name: str, command: Callable[..., None], function: Callable[..., Any], extra: Mapping[str, Any]
) -> None:
    """Give a command to typer, with the parameters of the function and those that its kind adds."""
    own = [*inspect.signature(function, eval_str=True).parameters.values()]
    own = [_as_typed(one) for one in own if one.annotation not in (Books, Asked, Act)]
    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", kind, annotation=typer.Context), *(one.replace(kind=kind) for one in own)]
    taken = {one.name for one in own}
    for key, annotation in extra.items():
        default: object = False if key in ("as_json", "as_csv", "yes", "dry_run") else None
        if key not in taken:
            parameters.append(inspect.Parameter(key, kind, default=default, annotation=annotation))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {}
    app.command(name)(command)


def _as_typed(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter as typer sees it: a name of something is text until it is looked up."""
    if parameter.name not in NAMED:
        return parameter
    _, info = get_args(parameter.annotation)
    required = parameter.default is inspect.Parameter.empty
    return parameter.replace(annotation=Annotated[str if required else str | None, info])


def _id_of(books: Books, kind: str | None, text: str) -> Any:
    found = books.meant(str(kind), text)
    return found["id"] if isinstance(found, dict) else found


def _first(rows: Sequence[Row], keys: Sequence[str], limit: int) -> Page:
    names = tuple(keys) or tuple(rows[0] if rows else ())
    return Page([dict(row) for row in rows[:limit]], names, len(rows) > limit)


def _more(page: Page, below: str | None, span: bool) -> str:
    """What to tell people below a page that does not show everything."""
    if not page.more:
        return ""
    if below and "id" in page.rows[-1]:
        return f"There are more: continue with --before {page.rows[-1]['id']}, or show more at once with --limit."
    return f"There are more: show them with --limit{', or continue with --until' if span else ''}."


def row_of(record: Any) -> dict[str, Any]:
    """A dataclass as a row, without its operator: the scope has decided that."""
    return {key: value for key, value in as_row(record).items() if key != "operator_id"}
