"""The fleet on a terminal: ages, cassettes as bars, cash as a curve. It fits 80 columns and uses more."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from satmachine.cli.kit.values import Row, format_age, format_fiat
from satmachine.money import minor_to_fiat
from satmachine.plain_text import printable
from satmachine.telemetry.draw import bar, level, sparkline
from satmachine.telemetry.trouble import says_broken

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

#: How much of the past the curve shows, in seconds.
SPAN_S = 86_400

_WIDE = 120
#: A cassette is low below this (as in the view `low_cassettes`), and worth a look below the other.
_LOW_PERCENT, _SCARCE_PERCENT = 20, 40
_STATE_STYLES = {"online": "green", "error": "red", "offline": "red", "never": "dim"}


def fleet_points(width: int) -> int:
    """How many points the curve has on a terminal of this width: one per hour, or one per three."""
    return 24 if width >= _WIDE else 8


def fleet_table(
    rows: Sequence[Row], shown: Sequence[Row], points: Mapping[str, Sequence[int | None]], width: int
) -> Table:
    """One line for each machine that is shown, the heading for all `rows`.

    `points` are a machine's cash in minor units over the last SPAN_S.
    """
    from rich import box
    from rich.table import Table

    wide = width >= _WIDE
    table = Table(title=_summary(rows), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.padding = (0, 1, 0, 0)
    # Rich first narrows columns that may wrap: names and errors, never figures and bars.
    table.add_column("Machine", min_width=6)
    table.add_column("State", no_wrap=True)
    table.add_column("Age", no_wrap=True, justify="right")
    table.add_column("Cash left", no_wrap=True, justify="right")
    table.add_column("Cassettes" if wide else "Full", no_wrap=True)
    table.add_column("Cash, 24 h" if wide else "24 h", no_wrap=True)
    table.add_column("Lasts", no_wrap=True, justify="right")
    table.add_column("Last sale" if wide else "Sold", no_wrap=True, justify="right")
    if wide:
        table.add_column("Status", max_width=16)
        table.add_column("Last error")
    for row in shown:
        table.add_row(*_cells(row, points[row["machine_id"]], wide=wide))
    told = [
        f"{row['machine_id']}: {row['last_error']}" for row in shown if _state(row) == "error" and row["last_error"]
    ]
    table.caption = printable("\n".join(told)) if told and not wide else None
    table.caption_justify = "left"
    if len(shown) < len(rows):
        table.caption = f"There are {len(rows) - len(shown)} more: show them with --limit."
        table.caption_justify = "left"
    return table


def lasts(row: Row, now: int) -> str:
    """How long the cash lasts by the stored forecast, in days: "9 d"; empty if it is not known."""
    if row["cash_out_at"] is None:
        return ""
    return "now" if row["cash_out_at"] - now < 3_600 else format_age(row["cash_out_at"] - now)


def percent_full(cassette: Row) -> int | None:
    """How full a cassette is; None if count or capacity is not known."""
    count, capacity = cassette["count"], cassette["capacity"]
    return count * 100 // capacity if count is not None and capacity else None


def _cells(row: Row, points: Sequence[int | None], *, wide: bool) -> list[Text | str]:
    from rich.text import Text

    cash = "" if row["cash_left_minor"] is None else format_fiat(row["cash_left_minor"], row["currency"])
    cells: list[Text | str] = [
        _one_line(row["machine_id"]),
        Text(_state(row), style=_STATE_STYLES[_state(row)]),
        "" if row["age_s"] is None else format_age(row["age_s"]),
        cash,
        _cassettes(row, wide=wide),
        sparkline(points),
        lasts(row, int(time.time())),
        "" if row["since_sale_s"] is None else format_age(row["since_sale_s"]),
    ]
    if wide:
        cells += [_one_line(row["status"] or ""), _one_line(row["last_error"] or "")]
    return cells


def _state(row: Row) -> str:
    """Whether it is there, and works: a machine that says it is broken is not well just because it is online."""
    return "error" if row["state"] == "online" and says_broken(row["status"]) else str(row["state"])


def _one_line(text: str) -> Text:
    """Cut off with an ellipsis if the column is too narrow."""
    from rich.text import Text

    return Text(printable(text), no_wrap=True, overflow="ellipsis")


def _cassettes(row: Row, *, wide: bool) -> Text:
    """Bars with their denominations if there is room; else one block for each cassette, and the lowest percentage."""
    from rich.text import Text

    cassettes = json.loads(row["cassettes"] or "[]")
    text = Text()
    for cassette in cassettes:
        percent = percent_full(cassette)
        style = _fill_style(cassette, percent)
        if wide:
            drawn = _count(cassette) if percent is None else bar(percent, 5)
            text.append(f"{_denomination(cassette, row['currency'])} ").append(drawn, style).append("  ")
        else:
            text.append("?" if percent is None else level(percent), style)
    known = [percent for cassette in cassettes if (percent := percent_full(cassette)) is not None]
    if known and not wide:
        text.append(f" {min(known)} %")
    return text


def _fill_style(cassette: Row, percent: int | None) -> str:
    if cassette["count"] == 0:
        return "red"
    if percent is None:
        return "dim"
    if percent < _LOW_PERCENT:
        return "red"
    return "yellow" if percent < _SCARCE_PERCENT else "green"


def _count(cassette: Row) -> str:
    return "?" if cassette["count"] is None else f"{cassette['count']} notes"


def _denomination(cassette: dict[str, Any], currency: str) -> str:
    minor = cassette["denomination_minor"]
    if minor is None:
        return "?"
    major = minor_to_fiat(minor, currency)
    return f"{int(major) if major == major.to_integral_value() else major}"


def _summary(rows: Sequence[Row]) -> str:
    """The heading: how many machines are in which state."""
    states = [_state(row) for row in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in _STATE_STYLES if state in states)
    return f"{len(rows)} machine(s)" + (f": {counts}" if counts else "")
