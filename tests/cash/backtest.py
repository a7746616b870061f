"""How often is the forecast right? Made-up machines, day by day: what it said before a day, beside what came.

python -m tests.cash.backtest [machines] [first seed]
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from satmachine.cash.forecast import DAY_S, HISTORY_DAYS, forecast
from testkit.demand import daily_sales, make_machine

#: A Thursday's midnight, so that days of the week fall as they do.
FIRST_DAY = 20_000
DAYS = 420


@dataclass(frozen=True, slots=True)
class Score:
    """Of one kind of question: how many were asked, how many answers lay inside the range, and the mean interval score,
    in days' sales (or days): the width of the range, and ten times how far outside it came. Smaller is better."""

    asked: int
    inside: int
    score: float

    @property
    def coverage(self) -> float:
        return self.inside / self.asked


@dataclass(frozen=True, slots=True)
class _Answer:
    low: float
    high: float
    came: float
    unit: float

    @property
    def is_inside(self) -> bool:
        return self.low <= self.came <= self.high

    @property
    def interval_score(self) -> float:
        """Gneiting and Raftery: the width, and 2 / 0.2 of how far outside it came."""
        outside = max(0.0, self.low - self.came) + max(0.0, self.came - self.high)
        return (self.high - self.low + 10 * outside) / self.unit


def backtest(machines: int, *, first_seed: int = 0, every: int = 5) -> dict[str, Score]:
    """Scores by the kind of question: sold in 1, 3, 7, 14 days by the forecast and by "as last week", and run-outs."""
    answers: dict[str, list[_Answer]] = {}
    for seed in range(first_seed, first_seed + machines):
        for name, answer in _of_machine(random.Random(seed), every):
            answers.setdefault(name, []).append(answer)
    return {
        name: Score(
            len(found),
            sum(answer.is_inside for answer in found),
            sum(answer.interval_score for answer in found) / len(found),
        )
        for name, found in sorted(answers.items())
    }


def _of_machine(rng: random.Random, every: int) -> Iterator[tuple[str, _Answer]]:
    sold = [sum(day) for day in daily_sales(make_machine(rng), DAYS, rng)]
    unit = sum(sold) / len(sold)
    for day in range(HISTORY_DAYS, DAYS - 60, every):
        now = (FIRST_DAY + day) * DAY_S
        made = forecast(sold[max(0, day - HISTORY_DAYS) : day], FIRST_DAY + max(0, day - HISTORY_DAYS), now)
        if made.profile is None:
            continue
        for ahead in (1, 3, 7, 14):
            came = sum(sold[day : day + ahead])
            said = made.ahead[ahead - 1]
            if said.low is not None and said.high is not None:
                yield f"sold in {ahead:2} d", _Answer(said.low, said.high, came, unit)
            yield f"naive in {ahead:2} d", _naive(sold, day, ahead, came, unit)
        yield from _run_outs(sold, day, rng, unit, now, made)


def _naive(sold: list[int], day: int, ahead: int, came: float, unit: float) -> _Answer:
    """The same as a week ago, give or take what that was wrong by lately: a fair rival with a range of its own."""
    back = 7 * -(-ahead // 7)
    errors = sorted(
        sum(sold[at : at + ahead]) - sum(sold[at - back : at - back + ahead])
        for at in range(day - 112, day - ahead + 1)
    )
    middle = sum(sold[day - back : day - back + ahead])
    return _Answer(middle + errors[len(errors) // 10], middle + errors[-1 - len(errors) // 10], came, unit)


def _run_outs(
    sold: list[int], day: int, rng: random.Random, unit: float, now: int, made: object
) -> Iterator[tuple[str, _Answer]]:
    """A machine with some days' cash: did it run out inside the range? In days."""
    from satmachine.cash.forecast import Forecast

    assert isinstance(made, Forecast)
    cash = int(unit * rng.uniform(2, 14))
    total = 0
    for number, amount in enumerate(sold[day:]):
        if total + amount >= cash:
            came = number + (cash - total) / amount
            said = made.run_out(cash)
            low = 0.0 if said.early_at is None else (said.early_at - now) / DAY_S
            high = 90.0 if said.late_at is None else (said.late_at - now) / DAY_S
            # Within the day on which it ran out, the hour is chance.
            yield "run-out day", _Answer(int(low), int(high) + 0.999, came, 1.0)
            yield "run-out", _Answer(low, high, came, 1.0)
            return
        total += amount


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]] or [40]
    for name, score in backtest(numbers[0], first_seed=numbers[1] if len(numbers) > 1 else 0).items():
        print(f"{name:14} {score.asked:6} asked  {score.coverage:6.1%} inside  interval score {score.score:8.3f}")
