"""What a person is told or asked: lines end at words, a command stays whole, amounts are grouped."""

from __future__ import annotations

import pytest

from satmachine.cli.kit.values import grouped
from satmachine.cli.kit.wrap import may_wrap, wrapped
from satmachine.plain_text import THIN

REFUSED = (
    "LP 3 (carla at machine-1) still has a balance of 5240.00 GTQ. Pay it out (`satmachine clients settle 3 --rate "
    "R`), or pause the LP; if the cash was handed back, say so with --write-off REASON"
)


@pytest.mark.parametrize("width", range(45, 201))
def test_a_sentence_ends_its_lines_at_words_and_keeps_its_commands(width: int) -> None:
    lines = wrapped(REFUSED, before="Error: ", width=width).split("\n")
    assert " ".join(lines) == REFUSED
    assert max(map(len, (f"Error: {lines[0]}", *lines[1:]))) <= width
    assert any("`satmachine clients settle 3 --rate R`" in line for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        "end it: satmachine alerts unsilence machine_error:panajachel-1",
        "`satmachine settlements dismiss 37781ebb416975422e8c8706ecb190edd41bfd5beba6cea833fe2fe55bbc30b2`",
        "kill -KILL 1234 && satmachine run",
    ],
)
def test_what_would_be_broken_is_left_to_the_terminal(text: str) -> None:
    assert not may_wrap(text, 40)
    assert wrapped(text, width=40) == text


def test_points_are_indented_and_lines_stay_lines() -> None:
    text = "config.toml: 1 problem(s)\n  - fee_pct is 30; it must be a part of 1, such as 0.30"
    assert wrapped(text, width=40) == (
        "config.toml: 1 problem(s)\n  - fee_pct is 30; it must be a part of\n    1, such as 0.30"
    )


def test_amounts_in_a_sentence_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert grouped("20000.00 of 40000.00 GTQ") == f"20{THIN}000.00 of 40{THIN}000.00 GTQ"
    told = grouped("14379 sats for 20000.00 GTQ; sale 12345 of 2026-11-30 14:23 UTC, machine-20000.00 GTQ")
    assert told == (
        f"14{THIN}379 sats for 20{THIN}000.00 GTQ; sale 12345 of 2026-11-30 14:23 UTC, machine-20000.00 GTQ"
    )
