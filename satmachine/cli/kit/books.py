"""The books as one caller sees them: where they are, whose they are, what time it is there, and how things are named.

The operator's scope is decided here and nowhere else: `machine`, `client`, `sale` and the others take what a person
typed and return what is meant, or raise NotFound, which is the same for what does not exist and for what belongs to
another operator. Imports are light on purpose: pydantic is loaded only where a command asks for `Books.config`.
"""

from __future__ import annotations

import getpass
import os
import re
import sqlite3
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from satmachine.attention.items import Attention, Thresholds
from satmachine.attention.look import Viewpoint, look
from satmachine.cli.kit.root import Options, parse_tz
from satmachine.errors import NotFound, Refused
from satmachine.ops.service import starts
from satmachine.store import audit_log as audit
from satmachine.store import cash_rows, list_queries
from satmachine.store.database import connect, daemon_is_running

if TYPE_CHECKING:
    from satmachine.config import Config

#: The largest id that SQLite can hold.
MAX_ID = 2**63 - 1

_DEFAULT_CONFIG = "/etc/satmachine/config.toml"
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
    limits: Thresholds

    @cached_property
    def config(self) -> Config:
        """The whole configuration, validated (0.3 s); its secrets stay unread. Raises ConfigError."""
        from satmachine.config import find_config, load

        return load(find_config(self.config_path))

    @property
    def daemon_runs(self) -> bool:
        """Whether a daemon works on these books right now."""
        return daemon_is_running(self.path)

    @property
    def attention(self) -> Attention:
        """What needs a person, in the scope."""
        runs = self.daemon_runs
        view = Viewpoint(self.limits, self.now, self.scope, listening_s=86_400 if runs else 0, starts=starts(self.path))
        return look(self.conn, view, daemon_runs=runs)

    def when(self, text: str | None, *, end: bool = False) -> int | None:
        """What `--since` (or, with `end`, `--until`) says, as Unix seconds."""
        return None if text is None else parse_when(text, self.tz, self.now, end=end)

    def sees(self, machine_id: str) -> bool:
        """Whether this machine exists and is in scope."""
        return list_queries.sees(self.conn, self.scope, machine_id)

    def require_machine(self, machine_id: str | None) -> str | None:
        """Pass a machine's id (or None) through. Raises NotFound if it is unknown or another operator's."""
        return None if machine_id is None else self.machine(machine_id)

    # --- how a person names things. A command's parameter of the same name arrives as what these return.

    def machine(self, text: str) -> str:
        """A machine's id."""
        if not self.sees(text):
            raise not_found("machine", text)
        return text

    def client(self, text: str) -> int:
        """A client by id, by label, or by label@machine if several machines have one with that label."""
        if text.isascii() and text.isdecimal():
            return self._row("LP", "dca_clients", text)
        label, _, machine_id = text.partition("@")
        found = list_queries.clients_labelled(self.conn, self.scope, label, machine_id or None)
        if not found:
            raise not_found("LP", text)
        if len(found) > 1:
            names = ", ".join(f"{label}@{machine_id}" for _, machine_id in found)
            raise Refused(f"there are several LPs {label}; say which: {names}")
        return found[0][0]

    def sale(self, text: str) -> list_queries.Record:
        """The one sale that is meant: by number, event id, payment hash or txid."""
        found = list_queries.find_settlements(self.conn, self.scope, text)
        if not found:
            raise not_found("sale", text)
        if len(found) > 1:
            numbers = ", ".join(str(row["id"]) for row in found)
            raise Refused(f"{text} belongs to several sales ({numbers}); name one by its number")
        return found[0]

    def payment(self, text: str) -> int:
        """A payment by id."""
        return self._row("payment", "dca_payments", text)

    def deposit(self, text: str) -> int:
        """A deposit by id."""
        return self._row("deposit", "dca_deposits", text)

    def message(self, text: str) -> int:
        """A message in quarantine by id."""
        return self._row("message in quarantine", "quarantine", text)

    def entry(self, text: str) -> int:
        """A row of the audit log by id. A row that concerns no machine is seen only without `--operator`."""
        known = text.isascii() and text.isdecimal() and int(text) <= MAX_ID
        machine_id = audit.machine_of(self.conn, int(text)) if known else None
        if not known or (self.scope is not None and (machine_id is None or not self.sees(machine_id))):
            raise not_found("audit log entry", text)
        return int(text)

    def cash_entry(self, text: str) -> int:
        """A cash entry by id."""
        known = text.isascii() and text.isdecimal() and int(text) <= MAX_ID
        if not known:
            raise not_found("cash entry", text)
        return cash_rows.get(self.conn, int(text), operator=self.scope).id

    def _row(self, kind: str, table: list_queries.Table, text: str) -> int:
        known = text.isascii() and text.isdecimal() and int(text) <= MAX_ID
        machine_id = list_queries.machine_of(self.conn, table, int(text)) if known else None
        if machine_id is None or not self.sees(machine_id):
            raise not_found(kind, text)
        return int(text)

    def meant(self, name: str, text: Any) -> Any:
        """What the text typed for a parameter of this name means; other parameters stay as they are."""
        return getattr(self, name)(str(text)) if name in NAMED and text is not None else text


#: Parameters of commands whose values are looked up in the caller's scope.
NAMED = frozenset({"machine", "client", "sale", "payment", "deposit", "message", "entry", "cash_entry"})


@contextmanager
def open_books(ctx: typer.Context, *, write: bool = False) -> Iterator[Books]:
    """Open the database that the configuration names; read-only unless `write`.

    Raises ConfigError, StoreError, and NotFound for an unknown `--operator`.
    """
    options = ctx.obj if isinstance(ctx.obj, Options) else Options()
    place = where(options.config_path)
    conn = connect(place.path, read_only=not write)
    try:
        if options.operator is not None and not list_queries.operator_exists(conn, options.operator):
            raise NotFound(f"there is no operator {options.operator}; `satmachine config show` lists the operators")
        actor, tz = options.actor or login(), options.tz or place.tz
        now = int(time.time())
        yield Books(conn, place.path, options.operator, actor, tz, now, options.config_path, place.limits)
    finally:
        conn.close()


@dataclass(frozen=True, slots=True)
class BooksPlace:
    """What every command needs to know from the configuration: where the books are, and how they are shown."""

    path: Path
    tz: tzinfo
    limits: Thresholds


def where(config_path: Path | None) -> BooksPlace:
    """The place, without the 0.3 s that a whole validation takes, if the file is a simple one.

    Only what comes before the first operator or machine is read: there may be thousands of them.
    """
    named = config_path or Path(os.environ.get("SATMACHINE_CONFIG") or _DEFAULT_CONFIG)
    try:
        head = tomllib.loads(_LIST_OF_TABLES.split(named.read_text("utf-8"), maxsplit=1)[0], parse_float=Decimal)
    except (OSError, ValueError, RecursionError):
        head = {}  # The full validation below says what is wrong.
    tables = {name: table if isinstance(table, dict) else {} for name, table in head.items()}
    path, tz = tables.get("database", {}).get("path"), tables.get("display", {}).get("tz", "UTC")
    if isinstance(path, str) and path.strip() and "\0" not in path and isinstance(tz, str):
        limits = _limits({**tables.get("alerts", {}), **tables.get("payouts", {})})
        return BooksPlace(named.absolute().parent / path, parse_tz(tz), limits)
    from satmachine.config import find_config, load

    config = load(find_config(config_path))
    settings = {**config.alerts.model_dump(), **config.payouts.model_dump()}
    return BooksPlace(config.database.path, parse_tz(config.display.tz), _limits(settings))


def _limits(settings: dict[str, Any]) -> Thresholds:
    """What is not a number gets its default; the daemon's own validation reports it."""
    names = [name for name in Thresholds.__dataclass_fields__ if type(settings.get(name)) in (int, Decimal)]
    return Thresholds(**{name: settings[name] for name in names})


def not_found(kind: str, record_id: object) -> NotFound:
    """The same answer for what does not exist and for what belongs to another operator."""
    return NotFound(f"there is no {kind} {record_id}; `satmachine {_LISTS[kind]}` shows what there is")


#: The command that lists the things of a kind, by the word for them in messages.
_LISTS = {
    "machine": "machines list",
    "LP": "clients list",
    "sale": "settlements list",
    "payment": "payments list",
    "deposit": "deposits list",
    "message in quarantine": "quarantine list",
    "audit log entry": "audit log",
    "cash entry": "cash list",
}


def login() -> str:
    """Who is typing: the person behind sudo, else the login name, else the user's number."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def parse_when(text: str, tz: tzinfo, now: int, *, end: bool = False) -> int:
    """A moment as people write it, in Unix seconds: ISO date or time (in `tz`, unless it has its own), 7d, 24h, today.

    With `end`, a day means its end: the first moment after it. Raises BadParameter (exit code 2).
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
            f"{text!r} is not a time; write 2026-11-22, 2026-11-22T10:00, 7d, 24h, today or yesterday"
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
