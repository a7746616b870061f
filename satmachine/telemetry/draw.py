"""Amounts as characters: bars and sparklines for the terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = "▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"


def bar(percent: int, width: int) -> str:
    """A horizontal bar of exactly `width` characters, to an eighth of one; at least a trace unless it is 0."""
    percent = max(0, min(100, percent))
    eighths = percent * width * 8 // 100 or min(percent, 1)
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (_EIGHTHS[rest - 1] if rest else "")
    return drawn.ljust(width, "·")


def level(percent: int) -> str:
    """How full something is, in one character."""
    return _LEVELS[max(0, min(100, percent)) * 7 // 100]


def sparkline(values: Sequence[int | None]) -> str:
    """One character a value, from zero to the largest, so that an empty machine looks empty; a gap for None."""
    largest = max([value for value in values if value is not None], default=0)
    return "".join(" " if value is None else level(value * 100 // largest if largest else 0) for value in values)
