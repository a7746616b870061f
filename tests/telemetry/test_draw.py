"""Bars and sparklines."""

from __future__ import annotations

import pytest

from satmachine.telemetry.draw import bar, level, sparkline


@pytest.mark.parametrize(
    ("percent", "drawn"),
    [(0, "····"), (1, "▏···"), (50, "██··"), (99, "███▉"), (100, "████"), (140, "████"), (-3, "····")],
)
def test_a_bar_has_its_width_whatever_it_shows(percent: int, drawn: str) -> None:
    assert bar(percent, 4) == drawn


@pytest.mark.parametrize(("percent", "drawn"), [(0, "▁"), (50, "▄"), (99, "▇"), (100, "█"), (500, "█")])
def test_a_level_is_one_block(percent: int, drawn: str) -> None:
    assert level(percent) == drawn


def test_a_sparkline_starts_at_zero_and_shows_gaps() -> None:
    assert sparkline([0, 50, None, 100]) == "▁▄ █"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([None]) == " "
    assert sparkline([]) == ""
