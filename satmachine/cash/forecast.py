"""How long the cash lasts. Plain arithmetic that a person can follow; no model, no fitting. Pure.

*The middle.* "The last four weeks brought 4 200 a day, and a Friday brings 1.4 times an average day": an average day
(of the last `LEVEL_DAYS`) times what each weekday is worth (of the last `SHARE_DAYS`; a single average day is mixed
into each weekday, so that a few Fridays do not say too much).

*The range.* The same forecast is made for every day of the last `ERROR_DAYS`, from what was known before that day, and
compared with what happened: sold / forecast, for one day ahead, two days, and so on. The middle of these ratios gives
the likely run-out, their outer tenths the range, so that it means "in eight of ten cases": growth that the average lags
behind, pay days and dead days are included as far as these weeks had them. Many days ahead there are few examples that
do not overlap; then the range reaches further out, up to the worst that was ever seen.

A day is a UTC day since 1970 (its number modulo 7 tells the weekday). A day on which the machine was out of cash says
nothing about what people want: it is None in a history, and left out. Amounts are minor units, or notes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

DAY_S = 86_400

LEVEL_DAYS = 28
SHARE_DAYS = 56
ERROR_DAYS = 112
#: How much of the past is used at most.
HISTORY_DAYS = ERROR_DAYS + SHARE_DAYS

#: Errors are measured up to this many days ahead; beyond that they are assumed to stay as they are at the end.
MAX_AHEAD = 21
#: How far ahead a run-out is looked for.
HORIZON_DAYS = 90
#: A forecast needs this many days before it, and a range this many examples.
MIN_DAYS = 7
MIN_EXAMPLES = 5

_MILLE = 1_000


class Sure(StrEnum):
    """How reliable the forecast is, in a word."""

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Profile:
    """An average day, and what each weekday is worth of it in thousandths (by day number modulo 7)."""

    per_day: int
    weekday_mille: tuple[int, ...]

    def of_day(self, day: int) -> int:
        return self.per_day * self.weekday_mille[day % 7] // _MILLE


@dataclass(frozen=True, slots=True)
class Range:
    """Sold / forecast in thousandths: the lower tenth, the middle, the upper tenth."""

    low: int
    middle: int
    high: int


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is sold from now to the end of a day; low and high are None if too little is known for a range."""

    until: int
    low: int | None
    likely: int
    high: int | None


@dataclass(frozen=True, slots=True)
class RunOut:
    """When an amount is used up (Unix seconds); None: not within the days looked at, or not known."""

    early_at: int | None
    likely_at: int | None
    late_at: int | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The days ahead, each with what is sold up to its end. `profile` None: nothing can be said."""

    now: int
    days_known: int
    sure: Sure
    profile: Profile | None
    ahead: tuple[Ahead, ...]

    def run_out(self, amount: int) -> RunOut:
        """When this amount is used up."""
        if self.profile is None:
            return RunOut(None, None, None)
        return RunOut(
            early_at=self._reached(amount, [one.high for one in self.ahead]),
            likely_at=self._reached(amount, [one.likely for one in self.ahead]),
            late_at=self._reached(amount, [one.low for one in self.ahead]),
        )

    def sold_within(self, days: int) -> Ahead | None:
        """What is sold in the next `days` days, not counting the rest of today as one."""
        return self.ahead[min(days, len(self.ahead) - 1)] if self.ahead else None

    def _reached(self, amount: int, sold: Sequence[int | None]) -> int | None:
        """Within a day sales are assumed to be even."""
        if amount <= 0:
            return self.now
        before, since = 0, self.now
        for one, value in zip(self.ahead, sold, strict=True):
            if value is None:
                return None
            if value >= amount:
                return since + (one.until - since) * (amount - before) // (value - before)
            before, since = value, one.until
        return None


def forecast(history: Sequence[int | None], first_day: int, now: int, *, days: int = HORIZON_DAYS) -> Forecast:
    """The days ahead of `now`. `history` has what was sold on each day from `first_day` up to yesterday.

    Today counts for the part of it that is still to come.
    """
    sums = _Sums(history, first_day)
    end = len(history)
    known = sum(1 for sold in history[-HISTORY_DAYS:] if sold is not None)
    profile = sums.profile(end)
    if profile is None or now // DAY_S != first_day + end:
        return Forecast(now, known, Sure.NONE, None, ())
    ranges = _ranges(sums, history)
    return Forecast(now, known, _sure(known, ranges), profile, tuple(_ahead(profile, ranges, now, days)))


def daily_history(
    sold: Sequence[tuple[int, int | None]],
    levels: Sequence[tuple[int, int]],
    first_day: int,
    end_day: int,
    *,
    empty_below: int,
) -> list[int | None]:
    """What was sold on each day of `first_day` <= day < `end_day`; None if the machine was out of cash on it.

    `sold` is (time, amount) of each sale; a sale that does not say it (None) counts as an average one. `levels` is
    (time, cash) after each thing that happened to the machine's cash, oldest first; empty if nobody keeps a cash book.
    """
    known = [amount for _, amount in sold if amount is not None]
    average = sum(known) // len(known) if known else 0
    found: list[int | None] = [0] * max(0, end_day - first_day)
    for at, amount in sold:
        place = at // DAY_S - first_day
        if 0 <= place < len(found):
            found[place] = (found[place] or 0) + (average if amount is None else amount)
    ends = [*(at for at, _ in levels[1:]), end_day * DAY_S]
    for (since, level), until in zip(levels, ends, strict=False):
        if 0 <= level < empty_below:  # below 0 the count is wrong, and says nothing
            for place in range(max(0, since // DAY_S - first_day), min(len(found), until // DAY_S - first_day + 1)):
                found[place] = None
    return found


class _Sums:
    """Running sums over a history, so that a profile as of any day costs the same."""

    def __init__(self, history: Sequence[int | None], first_day: int) -> None:
        self.first_day = first_day
        self._all: list[tuple[int, int]] = [(0, 0)]  # (sum, days) of the known days before each place
        self._by_weekday: list[list[tuple[int, int]]] = [[(0, 0)] for _ in range(7)]
        for place, sold in enumerate(history):
            for weekday, running in (*enumerate(self._by_weekday), (-1, self._all)):
                total, number = running[-1]
                counts = sold is not None and weekday in (-1, (first_day + place) % 7)
                running.append((total + (sold or 0), number + 1) if counts else (total, number))

    def profile(self, end: int) -> Profile | None:
        """Only from the days before a place; None if they are too few, or nothing was sold."""
        level_sum, level_days = _between(self._all, end - LEVEL_DAYS, end)
        total, number = _between(self._all, end - SHARE_DAYS, end)
        if number < MIN_DAYS or level_sum <= 0:
            return None
        weekdays = []
        for running in self._by_weekday:
            own_sum, own_days = _between(running, end - SHARE_DAYS, end)
            # One average day mixed in: (own_sum + total / number) / (own_days + 1), of an average day.
            weekdays.append((own_sum * number + total) * _MILLE // ((own_days + 1) * total))
        return Profile(level_sum // level_days, tuple(weekdays))


def _between(running: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    first = running[max(0, start)]
    return running[end][0] - first[0], running[end][1] - first[1]


def _ranges(sums: _Sums, history: Sequence[int | None]) -> dict[int, Range]:
    """{days ahead: the range}, from the forecasts that would have been made on the days of the past."""
    ratios: dict[int, list[int]] = {ahead: [] for ahead in range(1, MAX_AHEAD + 1)}
    for origin in range(max(MIN_DAYS, len(history) - ERROR_DAYS), len(history)):
        profile = sums.profile(origin)
        if profile is None:
            continue
        sold = predicted = 0
        for ahead in range(1, min(MAX_AHEAD, len(history) - origin) + 1):
            amount = history[origin + ahead - 1]
            if amount is None:
                break
            sold += amount
            predicted += profile.of_day(sums.first_day + origin + ahead - 1)
            if predicted:
                ratios[ahead].append(sold * _MILLE // predicted)
    return {ahead: _range(sorted(found), ahead) for ahead, found in ratios.items() if len(found) >= MIN_EXAMPLES}


def _range(ratios: Sequence[int], ahead: int) -> Range:
    """The outer tenths of sorted ratios. Of n examples, n / ahead do not overlap; the fewer there are, the further
    out."""
    apart = max(1, len(ratios) // ahead)
    # Of m numbers, a further one is below the k-th with k / (m + 1): solve for the rank that leaves one tenth outside.
    outside_mille = max(0, (100 * (apart + 1) - 500) // apart)
    last = len(ratios) - 1
    rank = last * outside_mille // _MILLE
    return Range(ratios[rank], ratios[len(ratios) // 2], ratios[last - rank])


def _ahead(profile: Profile, ranges: Mapping[int, Range], now: int, days: int) -> list[Ahead]:
    found: list[Ahead] = []
    predicted = 0
    today = now // DAY_S
    for number in range(days + 1):
        part_s = (today + 1) * DAY_S - now if number == 0 else DAY_S
        predicted += profile.of_day(today + number) * part_s // DAY_S
        spread = next((ranges[one] for one in range(min(number + 1, MAX_AHEAD), 0, -1) if one in ranges), None)
        until = (today + number + 1) * DAY_S
        if spread is None:
            found.append(Ahead(until, None, predicted, None))
            continue
        low, likely, high = (predicted * one // _MILLE for one in (spread.low, spread.middle, spread.high))
        if found:  # what was sold does not come back
            last = found[-1]
            low, likely, high = max(low, last.low or 0), max(likely, last.likely), max(high, last.high or 0)
        found.append(Ahead(until, low, likely, high))
    return found


def _sure(known: int, ranges: Mapping[int, Range]) -> Sure:
    if not ranges:
        return Sure.POOR
    if known >= SHARE_DAYS and MAX_AHEAD in ranges:
        return Sure.GOOD
    return Sure.FAIR if known >= LEVEL_DAYS else Sure.POOR
