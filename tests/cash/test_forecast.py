"""The forecast: honest with little data, right about as often as it says, better than "as last week"."""

from __future__ import annotations

import pytest

from satmachine.cash.balance_end import Holding, ends
from satmachine.cash.forecast import DAY_S, HISTORY_DAYS, Sure, daily_history, forecast
from tests.cash.backtest import Score, backtest

FIRST = 20_000


@pytest.mark.parametrize("history", [[], [100] * 6, [0] * 200, [None] * 200])
def test_of_nothing_nothing_is_said(history: list[int | None]) -> None:
    made = forecast(history, FIRST, (FIRST + len(history)) * DAY_S)
    assert (made.sure, made.profile, made.ahead) == (Sure.NONE, None, ())
    assert made.run_out(1_000).likely_at is None


def test_with_few_days_it_says_how_few_and_that_it_is_not_sure() -> None:
    made = forecast([100] * 9, FIRST, (FIRST + 9) * DAY_S)
    assert (made.days_known, made.sure) == (9, Sure.POOR)
    run_out = made.run_out(350)
    assert run_out.early_at is None
    assert run_out.likely_at == made.now + 3 * DAY_S + DAY_S // 2
    assert forecast([100] * 35, FIRST, (FIRST + 35) * DAY_S).sure is Sure.FAIR
    assert forecast([100] * 100, FIRST, (FIRST + 100) * DAY_S).sure is Sure.GOOD


def test_weekdays_are_told_apart_and_the_rest_of_today_counts_as_a_part() -> None:
    """Every seventh day sells 700, the others nothing."""
    history: list[int | None] = [700 if (FIRST + place) % 7 == 0 else 0 for place in range(HISTORY_DAYS)]
    made = forecast(history, FIRST, (FIRST + len(history)) * DAY_S + DAY_S // 4)
    assert made.profile is not None
    busy = made.profile.weekday_mille
    assert max(range(7), key=lambda day: busy[day]) == 0
    assert busy[0] > 6_000
    assert all(share < 150 for share in busy[1:])
    flat = forecast([400] * 60, FIRST, (FIRST + 60) * DAY_S + DAY_S // 4)
    assert [one.likely for one in flat.ahead[:3]] == [300, 700, 1_100]
    assert flat.run_out(300).likely_at == (FIRST + 61) * DAY_S


def test_what_is_empty_is_empty_now() -> None:
    made = forecast([100] * 60, FIRST, (FIRST + 60) * DAY_S)
    assert made.run_out(0).early_at == made.run_out(-5).late_at == made.now


def test_amounts_of_any_size_are_exact_integers() -> None:
    big = 10**15
    made = forecast([big] * 60, FIRST, (FIRST + 60) * DAY_S)
    assert made.ahead[9].likely == 10 * big


def test_a_day_without_cash_says_nothing_about_what_people_want() -> None:
    sold = [(FIRST * DAY_S + 10, 300), ((FIRST + 1) * DAY_S + 10, 200), ((FIRST + 3) * DAY_S + 50, None)]
    levels = [(FIRST * DAY_S, 500), ((FIRST + 1) * DAY_S + 10, 0), ((FIRST + 3) * DAY_S - 10, 900)]
    assert daily_history(sold, levels, FIRST, FIRST + 5, empty_below=1) == [300, None, None, 250, 0]
    # A book that is below 0 lacks a load: then it says nothing either.
    levels = [(FIRST * DAY_S, -500)]
    assert daily_history(sold, levels, FIRST, FIRST + 2, empty_below=1) == [300, 200]


def test_balances_end_together_and_limited_ones_later() -> None:
    made = forecast([100] * 60, FIRST, (FIRST + 60) * DAY_S)
    holdings = [
        Holding(1, "a", 300, None),
        Holding(2, "b", 100, None),
        Holding(3, "c", 200, 20),
        Holding(4, "d", 0, None),
    ]
    found = ends(holdings, made)
    assert found[1].likely_at == found[2].likely_at
    assert found[1].likely_at is not None
    assert found[3].likely_at is not None
    assert found[1].likely_at < found[3].likely_at
    assert found[3].likely_at == made.now + 10 * DAY_S
    assert found[4].likely_at == made.now


@pytest.fixture(scope="module")
def scores() -> dict[str, Score]:
    return backtest(24, first_seed=77, every=6)


@pytest.mark.parametrize("question", ["sold in  1 d", "sold in  3 d", "sold in  7 d", "sold in 14 d", "run-out"])
def test_in_eight_of_ten_cases_it_comes_within_the_range(question: str, scores: dict[str, Score]) -> None:
    score = scores[question]
    assert score.asked > 500
    assert 0.75 <= score.coverage <= 0.90


@pytest.mark.parametrize("days", [1, 3, 7, 14])
def test_its_ranges_are_better_than_as_last_week_give_or_take(days: int, scores: dict[str, Score]) -> None:
    ours, naive = scores[f"sold in {days:2} d"], scores[f"naive in {days:2} d"]
    assert ours.score < naive.score
