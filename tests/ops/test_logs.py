"""Log lines: one per event, findable by sale, readable by people, programs and the journal; trouble is folded."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from satmachine import logs
from satmachine.logs import Fold, LogFormat, about

log = logging.getLogger("satmachine.test")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged, as text; the root logger is put back afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.set_up(stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


def test_a_line_is_a_sentence_and_what_it_is_about(lines: io.StringIO) -> None:
    with about(settlement=12, machine="market", leg=None):
        log.info("paid %d sats", 5)
    [line] = lines.getvalue().splitlines()
    assert line[20:] == " INFO     paid 5 sats settlement=12 machine=market"


def test_inner_values_win_and_end_with_their_block(lines: io.StringIO) -> None:
    with about(machine="a"):
        with about(machine="b", settlement=1):
            log.info("inner")
        log.info("outer", extra={"settlement": 2})
    log.info("none")
    assert [line.split("INFO     ")[1] for line in lines.getvalue().splitlines()] == [
        "inner settlement=1 machine=b",
        "outer settlement=2 machine=a",
        "none",
    ]


async def test_tasks_begun_in_a_block_are_about_the_same(lines: io.StringIO) -> None:
    async def work() -> None:
        log.info("in a task")

    with about(settlement=3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
    assert "settlement=3" in lines.getvalue()


def test_a_text_of_several_lines_or_with_control_characters_stays_one_line(lines: io.StringIO) -> None:
    log.error("first\n  - second\x1b[31m")
    assert lines.getvalue().count("\n") == 1
    assert "first - second\\x1b[31m" in lines.getvalue()


def test_a_surprise_says_what_and_where_on_the_same_line(lines: io.StringIO) -> None:
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        log.exception("a surprise")
    [line] = lines.getvalue().splitlines()
    assert 'error="ZeroDivisionError: integer division or modulo by zero at test_logs.py:' in line


def test_json_has_the_same_and_the_whole_traceback(lines: io.StringIO) -> None:
    logs.set_up(stream=lines, log_format=LogFormat.JSON)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        log.exception("a surprise", extra={"settlement": 4})
    [line] = map(json.loads, lines.getvalue().splitlines())
    assert (line["level"], line["logger"], line["message"], line["settlement"]) == (
        "error",
        "satmachine.test",
        "a surprise",
        4,
    )
    assert line["at"].endswith("Z")
    assert "Traceback" in line["traceback"]


@pytest.mark.parametrize("log_format", LogFormat)
def test_the_journal_gets_levels_and_no_time_twice(
    tmp_path: Path, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch, log_format: LogFormat
) -> None:
    with (tmp_path / "journal").open("w+") as journal:
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.set_up(stream=journal, log_format=log_format)
        for level in (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            log.log(level, "message")
        journal.seek(0)
        found = journal.read().splitlines()
    assert [line[:3] for line in found] == ["<6>", "<4>", "<3>", "<2>"]
    if log_format is LogFormat.TEXT:
        assert found[0] == "<6>message"


def test_the_same_trouble_is_told_once_and_then_counted() -> None:
    now = [0.0]
    fold = Fold(lambda: now[0])

    def say(text: str, level: int = logging.WARNING) -> int | None:
        """None where it is folded; else how often it was before."""
        record = logging.LogRecord("satmachine", level, "", 0, text, None, None)
        return getattr(record, "repeated", 0) if fold.filter(record) else None

    assert say("relay: refused; trying again in 3 s") == 0
    assert [say(f"relay: refused; trying again in {n} s") for n in (5, 9, 17)] == [None, None, None]
    assert say("settlement 12 is held") == 0
    assert say("settlement 13 is held") == 0
    assert [say("landed", logging.INFO) for _ in range(3)] == [0, 0, 0]
    now[0] = logs.FOLD_S
    assert say("relay: refused; trying again in 30 s") == 3
    assert say("relay: refused; trying again in 30 s") is None


def test_folding_forgets_rather_than_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fold, "MAX_KNOWN", 100)
    fold = Fold(lambda: 0.0)
    for number in range(1000):
        fold.filter(logging.LogRecord("satmachine", logging.WARNING, "", 0, f"settlement {number}", None, None))
    assert len(fold._known) <= 100


def test_a_stranger_s_words_are_no_pairs_of_ours(lines: io.StringIO) -> None:
    with about(machine="market", relay="wss://x/?settlement=12"):
        log.warning("refused: %s", "settlement=99 machine=flores \u202egnp \x9b31m")
    [line] = lines.getvalue().splitlines()
    assert "settlement=" not in line
    assert line.count("machine=") == 1
    assert line.endswith("machine=market relay=wss://x/?settlement\\x3d12")
    assert line.isprintable()


def test_json_lines_steer_no_terminal_and_say_the_same() -> None:
    record = logging.LogRecord("satmachine.test", logging.WARNING, "", 0, "a \u202e b \x9b31m \U000e0041 é", (), None)
    line = logs.JsonLine().format(record)
    assert line.isprintable()
    assert json.loads(line)["message"] == record.msg


def test_lines_that_say_what_they_are_about_are_folded_whatever_else_they_say(lines: io.StringIO) -> None:
    for number in range(1_000):
        log.warning("event %d is in quarantine", number, extra={"fold": ("market", "bad_json")})
        log.warning("event %d is in quarantine", number, extra={"fold": ("flores", "bad_json")})
    assert len(lines.getvalue().splitlines()) == 2
