"""Since when the cash differs: a cycle's difference, compared with what the machine reported. Pure.

The counted difference is certain; the machine may know *when* it began. At each beacon, `told - expected` is how far
the machine's own count is from the sales. While nothing happens but sales, that distance stays the same; where it
changes and stays changed, something happened between two beacons: notes that were stuck in a jam, a load that the
machine counted differently from the person. What the machine does not notice (theft, notes that everybody miscounted)
shows only at the next count, and then the whole cycle is its window.

The machine can be wrong too: it was not told of a load, it forgot its count, a beacon was garbage. So the simplest
explanation that reaches the counted difference exactly wins: those changes (as few as possible) that add up to it. If
none do, changes that are not near loads are trusted, and the rest is what the machine did not notice. What cancels out
within a cycle that was counted as expected does not matter: no cash was missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from satmachine.models.cash_values import CashSale, Cycle, EntryKind, Told

#: A beacon this soon after a sale may report the cash before it or after it: notes take time.
SALE_SLACK_S = 180
#: People enter a load before or after the machine is told about it.
MOVE_SLACK_S = 3_600
#: With more changes than this the machine's own count proves nothing.
MAX_STEPS = 12


@dataclass(frozen=True, slots=True)
class CashDifference:
    """Cash that was missing (below 0) or too much, and when it can have begun: after `since_at`, up to `until_at`.

    `sales` are those of the window, the oldest first. `noticed`: the machine's own count changed in it.
    """

    amount_minor: int
    since_at: int
    until_at: int
    sales: tuple[CashSale, ...]
    noticed: bool


@dataclass(frozen=True, slots=True)
class Jump:
    """The machine's count moved away from the sales by this, between two beacons. `weak`: trusted only if it makes the
    sum exact, because notes were loaded or taken out meanwhile, because it is the first report of the machine in the
    cycle, or because only a single beacon says so."""

    amount_minor: int
    since_at: int
    until_at: int
    weak: bool


@dataclass(frozen=True, slots=True)
class _Level:
    """`told - expected` as several beacons in a row report it."""

    distance_minor: int
    first_at: int
    last_at: int
    beacons: int


def findings(cycle: Cycle, beacons: Sequence[Told]) -> list[CashDifference]:
    """What a closed cycle's difference is made of, the oldest first; the amounts sum to the difference exactly.

    Empty if the count was as expected, or if nothing can be compared.
    """
    difference = cycle.difference_minor
    if not difference or cycle.closing is None:
        return []
    believed = _believed(steps(cycle, beacons), difference)
    found = [_finding(cycle, step.amount_minor, step.since_at, step.until_at, noticed=True) for step in believed]
    rest = difference - sum(step.amount_minor for step in believed)
    if rest:
        found.append(_finding(cycle, rest, cycle.opened_at, cycle.closing.at, noticed=False))
    return sorted(found, key=lambda one: (one.since_at, one.until_at))


def steps(cycle: Cycle, beacons: Sequence[Told]) -> list[Jump]:
    """Where the machine's count moved away from the sales, or back, and stayed there."""
    found = []
    distance, since_at = 0, cycle.opened_at
    for place, level in enumerate(_levels(cycle, beacons)):
        if level.distance_minor != distance:
            among_moves = any(since_at < move.at + MOVE_SLACK_S and move.at < level.first_at for move in cycle.moves)
            weak = place == 0 or among_moves or level.beacons == 1
            found.append(Jump(level.distance_minor - distance, since_at, level.first_at, weak))
        distance, since_at = level.distance_minor, level.last_at
    return found


def distance_minor(cycle: Cycle, beacons: Sequence[Told]) -> int | None:
    """How far the machine's own count is from the sales by now; None if it says nothing that can be compared."""
    levels = _levels(cycle, beacons)
    return levels[-1].distance_minor if levels else None


def _believed(candidates: Sequence[Jump], difference_minor: int) -> list[Jump]:
    """The steps at which cash went: the fewest that sum to the difference, else all that are not weak."""
    if len(candidates) > MAX_STEPS:
        return []
    # The strong ones come first, so that of equally simple explanations theirs is used.
    ordered = sorted(candidates, key=lambda step: (step.weak, step.since_at))
    for number in range(1, len(ordered) + 1):
        for chosen in combinations(ordered, number):
            if sum(step.amount_minor for step in chosen) == difference_minor:
                return list(chosen)
    return _without_slips([step for step in ordered if not step.weak])


def _without_slips(strong: list[Jump]) -> list[Jump]:
    """Without those that a later one takes back: the machine miscounted for a while."""
    for one, other in combinations(strong, 2):
        if one.amount_minor + other.amount_minor == 0:
            return _without_slips([step for step in strong if step not in (one, other)])
    return strong


def _levels(cycle: Cycle, beacons: Sequence[Told]) -> list[_Level]:
    """The levels, without those that only a single beacon reports (an error), unless it is the last; neighbours
    differ."""
    runs: list[_Level] = []
    for at, distance in _distances(cycle, beacons):
        _extend(runs, _Level(distance, at, at, 1))
    kept: list[_Level] = []
    for place, level in enumerate(runs):
        if level.beacons > 1 or place == len(runs) - 1:
            _extend(kept, level)
    return kept


def _extend(levels: list[_Level], level: _Level) -> None:
    if levels and levels[-1].distance_minor == level.distance_minor:
        last = levels[-1]
        levels[-1] = _Level(last.distance_minor, last.first_at, level.last_at, last.beacons + level.beacons)
    else:
        levels.append(level)


def _distances(cycle: Cycle, beacons: Sequence[Told]) -> Iterator[tuple[int, int]]:
    """(time, told - expected) at each beacon that can only mean one moment of the books."""
    if cycle.opening_minor is None:
        return
    end = cycle.closing.at if cycle.closing is not None else 2**62
    blurs, changes = deque(sorted(_blurs(cycle))), deque(sorted(_changes(cycle)))
    expected, blurred_until = cycle.opening_minor, 0
    for told in sorted(beacons, key=lambda one: one.at):
        if not cycle.opened_at < told.at <= end:
            continue
        while changes and changes[0][0] <= told.at:
            expected += changes.popleft()[1]
        while blurs and blurs[0][0] <= told.at:
            blurred_until = max(blurred_until, blurs.popleft()[1])
        if told.at > blurred_until:
            yield told.at, told.cash_minor - expected


def _changes(cycle: Cycle) -> Iterator[tuple[int, int]]:
    """(time, what comes into the machine)."""
    for sale in cycle.sales:
        yield sale.at, -(sale.sold_minor or 0)
    for move in cycle.moves:
        yield move.at, move.amount_minor if move.kind is EntryKind.LOAD else -move.amount_minor


def _blurs(cycle: Cycle) -> Iterator[tuple[int, int]]:
    """(from, to): when a beacon may mean before or after."""
    yield cycle.opened_at, cycle.opened_at + MOVE_SLACK_S
    for sale in cycle.sales:
        yield sale.at, sale.at + SALE_SLACK_S
    for move in cycle.moves:
        yield move.at - MOVE_SLACK_S, move.at + MOVE_SLACK_S
    if cycle.closing is not None:
        yield cycle.closing.at - MOVE_SLACK_S, cycle.closing.at


def _finding(cycle: Cycle, amount_minor: int, since_at: int, until_at: int, *, noticed: bool) -> CashDifference:
    sales = tuple(sale for sale in cycle.sales if since_at < sale.at <= until_at)
    return CashDifference(amount_minor, since_at, until_at, sales, noticed)
