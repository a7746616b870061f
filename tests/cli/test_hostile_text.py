"""What a machine or a payer wrote, in every form of output: no formula, no command to the terminal."""

from __future__ import annotations

import csv
import io
import json

import pytest

from satmachine.cli.kit.output import emit_table, plain_json, print_json
from satmachine.cli.kit.values import Column
from satmachine.plain_text import printable

HOSTILE = "\u202egnp.exe \x9b31m\x1b[31m \u2066x \U000e0041 \x85 é"


def csv_of(value: object, capsys: pytest.CaptureFixture[str]) -> str:
    emit_table([{"memo": value}], [Column("memo", "Memo")], csv=True)
    [row] = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    return str(row["memo"])


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-2+3+cmd|' /C calc'!A0", "@SUM(1)", "=HYPERLINK(1)", "\n=1", "\uff1d1", "--5", "+A1"]
)
def test_no_cell_is_a_formula(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert csv_of(text, capsys) == "'" + text


@pytest.mark.parametrize("value", ["-5", "-12.50", "+3", -5, "a=1", "x", "", None, "2026-01-01"])
def test_numbers_and_plain_words_stay(value: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert csv_of(value, capsys) == ("" if value is None else str(value))


def test_csv_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for value in (HOSTILE, {"extra": HOSTILE}):
        assert csv_of(value, capsys).isprintable()


def test_json_steers_no_terminal_and_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"memo": HOSTILE, "list": [1, "a\nb"]})
    told = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in told)
    assert json.loads(told) == {"memo": HOSTILE, "list": [1, "a\nb"]}


@pytest.mark.parametrize("code", [*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0xFEFF])
def test_every_character_that_steers_is_an_escape(code: int) -> None:
    assert printable(chr(code)).isprintable()
    assert plain_json(json.dumps(chr(code), ensure_ascii=False)).isprintable()
