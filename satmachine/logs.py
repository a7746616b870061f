"""How the daemon logs: one line per event on standard error, for people, for programs, for systemd's journal.

    2026-11-22T10:00:00Z INFO  settlement 12 of market: landed from event 3f.. settlement=12 machine=market

The sentence comes first, then what it is about as key=value; JSON has the same as keys. `about(settlement=12)` puts
its values on every line that is logged inside the block, so all lines about a sale are found by `settlement=12`.
The same trouble again and again is folded: it is logged once, and then how often it was repeated.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Any, TextIO


class LogFormat(StrEnum):
    """How a line looks."""

    TEXT = "text"
    JSON = "json"


#: What a line can be about; `extra={"settlement": 12}` for one line, or `about(..)` around many.
KEYS = ("settlement", "machine", "leg", "relay", "event")

#: Libraries whose log lines are of no use to the operator.
_QUIET = ("httpx", "httpcore", "websockets", "aiosqlite", "asyncio")

#: The same trouble again within this time is only counted.
FOLD_S = 600.0

#: syslog's numbers, which the journal reads from the start of a line (sd-daemon(3)).
_JOURNAL_LEVELS = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))

_about: ContextVar[Mapping[str, object] | None] = ContextVar("about", default=None)


def set_up(*, verbose: bool = False, log_format: LogFormat = LogFormat.TEXT, stream: TextIO | None = None) -> None:
    """Send the log to standard error; times are UTC. Under systemd each line says its level to the journal."""
    stream = stream or sys.stderr
    journal = is_journal(stream)
    handler = logging.StreamHandler(stream)
    handler.addFilter(_note_what_it_is_about)
    handler.addFilter(Fold(time.monotonic))
    handler.setFormatter(JsonLine(journal=journal) if log_format is LogFormat.JSON else TextLine(journal=journal))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def about(**values: object) -> Iterator[None]:
    """Say in every line of this block, and of the tasks started in it, what it is about. None is left out."""
    known = _about.get() or {}
    token = _about.set({**known, **{key: value for key, value in values.items() if value is not None}})
    try:
        yield
    finally:
        _about.reset(token)


class TextLine(logging.Formatter):
    """For people: time, level, sentence, key=value. The journal has time and level of its own."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        pairs = "".join(f" {key}={_quoted(value)}" for key, value in fields_of(record).items())
        text = f"{_unpaired(_one_line(record.getMessage()))}{pairs}"
        if record.exc_info:
            text += f" error={_quoted(_brief_error(record))}"
        if self._journal:
            return f"<{journal_level(record.levelno)}>{text}"
        return f"{_time(record)} {record.levelname:<8} {text}"


class JsonLine(logging.Formatter):
    """For programs: an object per line; `traceback` in full where there is one."""

    def __init__(self, *, journal: bool = False) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        # The same JSON; characters that control a terminal are escapes.
        text = "".join(
            char if char.isprintable() else json.dumps(char)[1:-1]
            for char in json.dumps(line, ensure_ascii=False, default=str)
        )
        return f"<{journal_level(record.levelno)}>{text}" if self._journal else text


@dataclass(slots=True)
class _Told:
    at: float
    again: int = 0


class Fold(logging.Filter):
    """Lets the same warning or error through once in `FOLD_S`, with how often it was repeated in between.

    Lines are the same if they differ only in how long something takes or waits. What is said about one sale is never
    folded with what is said about another. If a stranger chooses the words (ids, figures), the line says with `fold`
    what it is about; otherwise every line would be news.
    """

    MAX_KNOWN = 10_000

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._known: dict[tuple[str, int, Hashable], _Told] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        now = self._clock()
        # A line may say itself what makes it the same as another: `extra={"fold": (..)}`.
        same = record.__dict__.get("fold") or _DURATION.sub("N s", record.getMessage())[:_MAX_FOLD_CHARS]
        key = (record.name, record.levelno, same)
        told = self._known.get(key)
        if told is not None and now - told.at < FOLD_S:
            told.again += 1
            return False
        if told is not None and told.again:
            record.repeated = told.again
        self._forget_old(now)
        self._known[key] = _Told(now)
        return True

    def _forget_old(self, now: float) -> None:
        if len(self._known) >= self.MAX_KNOWN:
            self._known = {key: told for key, told in self._known.items() if now - told.at < FOLD_S}
        if len(self._known) >= self.MAX_KNOWN:
            self._known.clear()


#: A stranger's text may be long; ten thousand of them are kept.
_MAX_FOLD_CHARS = 500

_DURATION = re.compile(r"\b\d+(\.\d+)? (s|ms|min|h|failures)\b")


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """What this line is about, and how often it was folded."""
    return {key: record.__dict__[key] for key in (*KEYS, "repeated") if record.__dict__.get(key) is not None}


def journal_level(level: int) -> int:
    """journald's number for a level; 7 is debug."""
    return next((number for least, number in _JOURNAL_LEVELS if level >= least), 7)


def _note_what_it_is_about(record: logging.LogRecord) -> bool:
    """A value given with the line itself wins over the block's."""
    for key, value in (_about.get() or {}).items():
        record.__dict__.setdefault(key, value)
    return True


def is_journal(stream: TextIO) -> bool:
    """Whether this stream is the one that systemd has connected to the journal ($JOURNAL_STREAM is its inode)."""
    named = os.environ.get("JOURNAL_STREAM", "")
    if not named:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))


def _brief_error(record: logging.LogRecord) -> str:
    """An unexpected error on one line: what, and where, innermost first."""
    assert record.exc_info is not None
    error, frames = record.exc_info[1], traceback.extract_tb(record.exc_info[2])
    where = " < ".join(f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} at {where}"


def _quoted(value: Any) -> str:
    """A value as key=value has it: in quotes if it would not be one word."""
    text = _unpaired(_one_line(str(value)))
    return text if text and not re.search(r'[\s"=]', text) else json.dumps(text, ensure_ascii=False)


def _unpaired(text: str) -> str:
    """A stranger's words must not look like our key=value: whoever searches for settlement=12 finds only what *is*
    about it."""
    return _PAIR.sub(r"\1\\x3d", text)


_PAIR = re.compile(rf"\b({'|'.join((*KEYS, 'repeated', 'error'))})=", re.IGNORECASE)


def _one_line(text: str) -> str:
    """Several lines (a list of problems) as one event; other characters that control a terminal as escapes."""
    joined = " ".join(part.strip() for part in text.splitlines())
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in joined)
