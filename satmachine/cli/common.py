"""What every command needs: the books in the caller's scope, options that recur, and requests to the daemon.

Imports are light on purpose: pydantic is loaded only where a command asks for `Books.config`.
"""

from __future__ import annotations

import getpass
import os
import re
import sqlite3
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from satmachine import orders
from satmachine.cli.options import Options
from satmachine.errors import NotFound, Refused
from satmachine.orders import Order
from satmachine.store import intents, notes, reports
from satmachine.store.database import atomic, connect, daemon_is_running
from satmachine.store.intents import Intent

if TYPE_CHECKING:
    from satmachine.config import Config

#: The largest id that SQLite can hold.
MAX_ID = 2**63 - 1

#: Options that recur. A command takes them as `as_json: AsJson = False`.
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="How many rows at the most.")]
Shown = Annotated[
    int, typer.Option("--limit", min=1, max=100_000, help="How many rows people see; --json and --csv give all.")
]
Before = Annotated[
    int | None, typer.Option(min=1, max=MAX_ID, metavar="ID", help="Go on below this id, the last of a page.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Since = Annotated[
    str | None, typer.Option(metavar="WHEN", help="From then on: 2026-11-22, 2026-11-22T10:00, 7d, 24h or today.")
]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Up to then; a date alone counts to its end.")]

#: Why something is done. On a terminal it is asked for where it is missing: what a message suggests runs as it stands.
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the audit log. Asked for if it is missing.")
]
#: A reason goes into the notes, together with the figures.
MAX_REASON_CHARS = 500

DEFAULT_LIMIT = 50
#: How long a command waits for the daemon to carry out what it asked for.
WAIT_S = 10.0
#: Before a payment is stopped or redirected, the daemon waits until no other one can be paying it (the pay timeout).
WAIT_WITHDRAWN_S = 180.0
#: After so long a person is told what is waited for.
_TELL_AFTER_S = 5.0

_DEFAULT_CONFIG = "/etc/satmachine/config.toml"
_POLL_S = 0.1
_LIST_OF_TABLES = re.compile(r"^\s*\[\[", re.MULTILINE)
_AGO = re.compile(r"(\d{1,6})\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class Books:
    """The database as one caller sees it: `scope` is an operator's id, or None for all of them."""

    conn: sqlite3.Connection
    path: Path
    scope: str | None
    actor: str
    tz: tzinfo
    now: int
    config_path: Path | None

    @cached_property
    def config(self) -> Config:
        """The whole configuration, validated (0.3 s); its secrets stay unread. Raises ConfigError."""
        from satmachine.config import find_config, load

        return load(find_config(self.config_path))

    @property
    def daemon_runs(self) -> bool:
        """Whether a daemon works on these books right now."""
        return daemon_is_running(self.path)

    def when(self, text: str | None, *, end: bool = False) -> int | None:
        """What `--since` (or, with `end`, `--until`) says, as Unix seconds."""
        return None if text is None else parse_when(text, self.tz, self.now, end=end)

    def sees(self, machine_id: str) -> bool:
        """Whether this machine exists and is in scope."""
        return reports.sees(self.conn, self.scope, machine_id)

    def require_machine(self, machine_id: str | None) -> str | None:
        """Pass a machine's id (or None) through. Raises NotFound where it is unknown or another operator's."""
        if machine_id is not None and not self.sees(machine_id):
            raise not_found("machine", machine_id)
        return machine_id

    def require_row(self, kind: str, table: reports.Table, row_id: int | None) -> None:
        """Raise NotFound where a row was named (not None) and is missing, or another operator's."""
        if row_id is not None:
            self.require(kind, row_id, reports.machine_of(self.conn, table, row_id))

    def require(self, kind: str, record_id: object, machine_id: str | None) -> None:
        """Raise NotFound unless the record exists (`machine_id` is not None) and its machine is in scope.

        Another operator's record is answered exactly like one that does not exist (SPEC section 9).
        """
        if machine_id is None or not self.sees(machine_id):
            raise not_found(kind, record_id)


@contextmanager
def open_books(ctx: typer.Context, *, write: bool = False) -> Iterator[Books]:
    """Open the database that the configuration names; read-only unless `write`.

    Raises ConfigError, StoreError, and NotFound for an unknown `--operator`.
    """
    options = ctx.obj if isinstance(ctx.obj, Options) else Options()
    path = database_path(options.config_path)
    conn = connect(path, read_only=not write)
    try:
        if options.operator is not None and not reports.operator_exists(conn, options.operator):
            raise NotFound(f"there is no operator {options.operator}; `satmachine config show` lists them")
        yield Books(
            conn, path, options.operator, options.actor or login(), options.tz, int(time.time()), options.config_path
        )
    finally:
        conn.close()


def database_path(config_path: Path | None) -> Path:
    """`[database] path` without the 0.3 s that a whole validation takes; a file that is not plain gets it.

    Only what stands before the first operator or machine is read: of these there may be thousands.
    """
    named = config_path or Path(os.environ.get("SATMACHINE_CONFIG") or _DEFAULT_CONFIG)
    try:
        head = _LIST_OF_TABLES.split(named.read_text("utf-8"), maxsplit=1)[0]
        table = tomllib.loads(head).get("database")
    except (OSError, ValueError, RecursionError):
        table = None  # The full validation below finds the words for it.
    path = table.get("path") if isinstance(table, dict) else None
    if isinstance(path, str) and path.strip() and "\0" not in path:
        return named.absolute().parent / path
    from satmachine.config import find_config, load

    return load(find_config(config_path)).database.path


def not_found(kind: str, record_id: object) -> NotFound:
    """The one answer for what is missing and for what is another operator's."""
    return NotFound(f"there is no {kind} {record_id}")


def more_hint(page: reports.Page) -> str:
    """What to tell people below a page that does not show everything."""
    if not page.more:
        return ""
    last = page.rows[-1].get("id")
    below = f"--before {last}" if last is not None else "--until"
    return f"There are more; go on with {below}, or show more at once with --limit."


def login() -> str:
    """Who types: the person behind sudo, else the login name, else the number of the user."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def confirm(question: str, *, yes: bool) -> None:
    """Ask on stderr, unless `--yes` was given; "no" leaves with 1."""
    if not yes:
        typer.confirm(question, abort=True, err=True)


def reason_of(text: str) -> str:
    """A reason on one line, asked for on a terminal where it was not given. Raises BadParameter."""
    if not text and sys.stdin.isatty():
        text = typer.prompt("Why", err=True)
    try:
        reason = notes.cleaned(text)
    except ValueError:
        raise typer.BadParameter("--reason says in plain words why; it cannot be empty") from None
    if len(reason) > MAX_REASON_CHARS:
        raise typer.BadParameter(f"--reason has at most {MAX_REASON_CHARS} characters; add a note for more")
    return reason


#: Orders that stop, reduce or redirect a payment.
_STOPS = (
    orders.PartialDispense,
    orders.Close,
    orders.Repoint,
    orders.CancelPayout,
    orders.DeclarePaid,
    orders.DeclareUnpaid,
)


def request(books: Books, order: Order) -> Intent:
    """Order something of the daemon, and wait a while for its answer if it runs (SPEC section 6.5).

    Needs books that were opened to write. The answer may still be open; raises Refused where it was refused, and
    ConfigError for who cannot read the orders' key, where there is one.
    """
    secret = books.config.payouts.order_key
    order_key = None if secret is None else secret.resolve(books.config.environ)
    with atomic(books.conn) as conn:
        intent_id = intents.add(conn, books.now, books.actor, order, order_key=order_key)
    intent = intents.get(books.conn, intent_id)
    began, told = time.monotonic(), False
    wait_s = WAIT_WITHDRAWN_S if isinstance(order, _STOPS) else WAIT_S
    while intent.status == "open" and books.daemon_runs and time.monotonic() < began + wait_s:
        if not told and isinstance(order, _STOPS) and time.monotonic() > began + _TELL_AFTER_S:
            told = True
            typer.echo(
                f"Request {intent_id}: the daemon waits until no other one can be paying this, for a minute or two. "
                "Leaving here does not take the request back.",
                err=True,
            )
        time.sleep(_POLL_S)
        intent = intents.get(books.conn, intent_id)
    if intent.status == "refused":
        raise Refused(intent.result or f"the daemon refused {order.action} of {order.subject}")
    return intent


def answer_of(books: Books, intent: Intent) -> str:
    """What came of a request, in a sentence."""
    if intent.status != "open":
        from satmachine.cli.output import printable

        return printable(intent.result or "Done.")
    if books.daemon_runs:
        return f"Request {intent.id} is noted; the daemon is busy and carries it out soon."
    return f"Request {intent.id} is noted; it is carried out when the daemon runs."


def parse_when(text: str, tz: tzinfo, now: int, *, end: bool = False) -> int:
    """A moment as people write it, in Unix seconds: ISO date or time (in `tz` unless it says its own), 7d, 24h, today.

    With `end`, a day means its end: the first moment that is no longer in it. Raises BadParameter (exit code 2).
    """
    word = text.strip().lower()
    try:
        if ago := _AGO.fullmatch(word):
            at = now - int(timedelta(**{_UNITS[ago[2]]: int(ago[1])}).total_seconds())
        else:
            at = int(_moment(word, tz, now, end=end).timestamp())
    except (ValueError, OverflowError):
        at = -1
    if at < 0:
        raise typer.BadParameter(
            f"{text!r} is no time; write 2026-11-22, 2026-11-22T10:00, 7d, 24h, today or yesterday"
        )
    return at


def _moment(word: str, tz: tzinfo, now: int, *, end: bool) -> datetime:
    if word == "now":
        return datetime.fromtimestamp(now, tz)
    today = datetime.fromtimestamp(now, tz).replace(hour=0, minute=0, second=0)
    days = {"today": today, "yesterday": today - timedelta(days=1)}
    moment = days.get(word) or datetime.fromisoformat(word.upper())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=tz)
    is_day = word in days or re.fullmatch(r"\d{4}-\d{2}-\d{2}|\d{8}", word) is not None
    return moment + timedelta(days=1) if end and is_day else moment
