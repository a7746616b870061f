"""What a machine says of itself: whether it can work now, in its own words, and not what it said last week."""

from __future__ import annotations

import pytest

from satmachine.telemetry.trouble import error_now, says_broken

NOW, BEFORE = 1_800_000_000, 1_799_990_000


@pytest.mark.parametrize(
    "status",
    ["error", "ERROR", "fault 7", "failed", "jammed", "broken", "offline", "out_of_service", "out of order", "is down"],
)
def test_the_words_of_a_machine_that_cannot_work(status: str) -> None:
    assert says_broken(status)


@pytest.mark.parametrize("status", [None, "", "ok", "online", "idle", "busy", "downloading", "out of paper"])
def test_the_words_of_one_that_can(status: str | None) -> None:
    assert not says_broken(status)


@pytest.mark.parametrize(
    ("status", "error", "status_at", "error_at", "beacon_at", "told"),
    [
        # it says so itself: both are told, whatever the times
        ("error", "no paper", NOW, BEFORE, NOW, "status error, no paper"),
        ("error", None, NOW, None, NOW, "status error"),
        ("error", "", NOW, NOW, NOW, "status error"),
        # all is well since: what it once complained of is past
        ("ok", "jam", NOW, BEFORE, NOW, ""),
        ("ok", "jam", NOW, NOW, NOW, ""),
        ("ok", "jam", NOW, None, NOW, ""),
        # it complained after its last status
        ("ok", "jam", BEFORE, NOW, NOW, "jam"),
        ("ok", "jam", BEFORE, BEFORE + 1, NOW, "jam"),
        # it never says how it is: only what the last beacon itself complains of counts, or what came after
        (None, "jam", None, NOW, NOW, "jam"),
        (None, "jam", NOW, BEFORE, NOW, ""),
        ("", "jam", NOW, NOW, NOW, "jam"),
        (None, None, None, NOW, NOW, ""),
        (None, "", None, NOW, NOW, ""),
    ],
)
def test_an_error_counts_while_the_machine_has_said_nothing_better_since(
    status: str | None, error: str | None, status_at: int | None, error_at: int | None, beacon_at: int, told: str
) -> None:
    assert error_now(status, error, status_at=status_at, error_at=error_at, beacon_at=beacon_at) == told
