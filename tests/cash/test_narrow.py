"""A difference, narrowed down by what the machine told: the simplest explanation that reaches it exactly."""

from __future__ import annotations

import pytest

from satmachine.cash import cycles, narrow
from satmachine.models.cash_values import CashEntry, CashSale, Cycle, EntryKind, NoteLine, Told

HOUR_S = 3_600
OPENED, CLOSED = 100 * HOUR_S, 200 * HOUR_S
#: A sale of 100 every ten hours.
SALES = tuple(CashSale(number, OPENED + number * 10 * HOUR_S, 100) for number in range(1, 10))


def an_entry(number: int, kind: EntryKind, at: int, amount_minor: int) -> CashEntry:
    lines = (NoteLine(None, None, None, amount_minor),)
    return CashEntry(number, number, None, "m", kind, at, amount_minor, "GTQ", None, None, "", "maria", at, lines)


def a_cycle(counted: int, *, load_at: int | None = None) -> Cycle:
    """Opened with 10 000; without a load 9 100 are expected."""
    entries = [an_entry(1, EntryKind.COUNT, OPENED, 10_000), an_entry(3, EntryKind.COUNT, CLOSED, counted)]
    if load_at is not None:
        entries.append(an_entry(2, EntryKind.LOAD, load_at, 5_000))
    return cycles.build(entries, SALES, {})[1]


def told(*changes: tuple[int, int], every_s: int = HOUR_S, load_at: int | None = None) -> list[Told]:
    """Beacons that agree with the sales, but for (since, by how much)."""
    found = []
    for at in range(OPENED + HOUR_S // 2, CLOSED, every_s):
        cash = 10_000 - sum(100 for sale in SALES if sale.at <= at)
        cash += 5_000 if load_at is not None and at >= load_at else 0
        found.append(Told(at, cash + sum(amount for since, amount in changes if since <= at)))
    return found


def amounts(cycle: Cycle, beacons: list[Told]) -> list[tuple[int, bool]]:
    return [(one.amount_minor, one.noticed) for one in narrow.findings(cycle, beacons)]


def test_a_count_that_is_as_expected_finds_nothing_whatever_the_machine_says() -> None:
    for beacons in ([], told(), told((150 * HOUR_S, -700)), told((120 * HOUR_S, 900), (160 * HOUR_S, -900))):
        assert narrow.findings(a_cycle(9_100), beacons) == []


def test_what_the_machine_noticed_is_between_two_beacons_with_its_sale() -> None:
    sale = SALES[4]
    [found] = narrow.findings(a_cycle(9_300), told((sale.at, 200)))
    assert (found.amount_minor, found.noticed) == (200, True)
    assert found.sales == (sale,)
    assert found.until_at - found.since_at <= 2 * HOUR_S


def test_what_nobody_noticed_can_be_of_the_whole_cycle() -> None:
    for beacons in ([], told()):
        [found] = narrow.findings(a_cycle(8_100), beacons)
        assert (found.amount_minor, found.noticed, found.sales) == (-1_000, False, SALES)
        assert (found.since_at, found.until_at) == (OPENED, CLOSED)


def test_a_jam_and_a_theft_in_one_cycle_are_told_apart() -> None:
    assert amounts(a_cycle(8_300), told((SALES[4].at, 200))) == [(-1_000, False), (200, True)]


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("a count that the machine lost and found again", ((120 * HOUR_S, -600), (160 * HOUR_S, 600))),
        ("one beacon of garbage", ((130 * HOUR_S, 7_777), (131 * HOUR_S, -7_777))),
        ("garbage right before the count", ((CLOSED - 2 * HOUR_S, 4_444),)),
        ("a machine that was wrong from the start", ((OPENED, 300),)),
    ],
)
def test_a_machine_that_is_wrong_makes_no_false_amounts(what: str, changes: tuple[tuple[int, int], ...]) -> None:
    assert amounts(a_cycle(8_100), told(*changes)) == [(-1_000, False)], what
    assert amounts(a_cycle(9_300), told((SALES[4].at, 200), *changes)) == [(200, True)], what


def test_a_load_that_the_machine_was_not_told_of_is_no_difference() -> None:
    load_at = 150 * HOUR_S
    assert amounts(a_cycle(14_100, load_at=load_at), told()) == []
    assert amounts(a_cycle(13_100, load_at=load_at), told()) == [(-1_000, False)]


def test_a_load_that_the_machine_counted_otherwise_is_narrowed_to_the_load() -> None:
    load_at = 150 * HOUR_S
    [found] = narrow.findings(a_cycle(13_600, load_at=load_at), told((load_at, -500), load_at=load_at))
    assert (found.amount_minor, found.noticed) == (-500, True)
    assert found.since_at < load_at < found.until_at
    assert found.until_at - found.since_at <= 4 * HOUR_S


def test_a_machine_that_changes_its_mind_all_the_time_is_no_witness() -> None:
    changes = tuple((OPENED + number * 4 * HOUR_S, 10 + number) for number in range(1, 22))
    assert amounts(a_cycle(8_100), told(*changes)) == [(-1_000, False)]


def test_amounts_always_sum_to_the_difference() -> None:
    for counted in range(8_500, 9_700, 100):
        beacons = told((SALES[2].at, 200), (SALES[5].at, -300), (SALES[7].at, 100))
        assert sum(amount for amount, _ in amounts(a_cycle(counted), beacons)) == counted - 9_100


def test_a_beacon_right_after_a_sale_may_tell_of_before_it() -> None:
    late = [Told(sale.at + 60, 10_000 - 100 * number) for number, sale in enumerate(SALES)]
    assert amounts(a_cycle(8_100), sorted([*told(), *late], key=lambda one: one.at)) == [(-1_000, False)]
