"""What people buy at made-up machines, day by day: for the backtest of the forecast, which knows none of the shapes.

Each machine has a weekday rhythm, a pay day, holidays (closed, or a rush), growth or decline, days on which it is dead,
and sales of whole notes. Seeded: the same number makes the same machine.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MadeMachine:
    """A machine's shape. Amounts are in notes' worth of minor units."""

    sales_per_day: float
    mean_notes: float
    note_minor: int
    weekdays: tuple[float, ...]
    growth_per_day: float
    pay_days: tuple[int, ...]
    pay_factor: float
    holiday_factor: float
    holidays: frozenset[int]
    dead_chance: float
    dead_goes_on: float
    noise: float


def make_machine(rng: random.Random) -> MadeMachine:
    """Between a village shop with two sales a day and a station with forty, closed on Sundays or not."""
    rush = rng.random() < 0.3
    weekdays = [rng.uniform(0.6, 1.4) for _ in range(7)]
    if rng.random() < 0.25:
        weekdays[rng.randrange(7)] = 0.0
    if rng.random() < 0.4:
        weekdays[rng.randrange(7)] *= 2.0
    mean = sum(weekdays) / 7
    return MadeMachine(
        sales_per_day=math.exp(rng.uniform(math.log(2), math.log(40))),
        mean_notes=rng.uniform(2, 8),
        note_minor=rng.choice([5_000, 10_000, 20_000, 1_000, 10_000]),
        weekdays=tuple(value / mean for value in weekdays),
        growth_per_day=math.log(rng.uniform(0.7, 2.5)) / 365,
        pay_days=rng.choice([(15, 30), (1,), (28,), ()]),
        pay_factor=rng.uniform(1.3, 2.5),
        holiday_factor=rng.uniform(1.5, 2.5) if rush else rng.uniform(0.0, 0.4),
        holidays=frozenset(rng.sample(range(400), 14)),
        dead_chance=rng.uniform(0.0, 0.03),
        dead_goes_on=rng.uniform(0.0, 0.6),
        noise=rng.uniform(0.1, 0.4),
    )


def daily_sales(machine: MadeMachine, days: int, rng: random.Random) -> list[list[int]]:
    """The amounts sold on each of so many days, sale by sale."""
    found = []
    dead = False
    for day in range(days):
        dead = rng.random() < (machine.dead_goes_on if dead else machine.dead_chance)
        rate = machine.sales_per_day * machine.weekdays[day % 7] * math.exp(machine.growth_per_day * day)
        if day % 30 + 1 in machine.pay_days:
            rate *= machine.pay_factor
        if day % 400 in machine.holidays:
            rate *= machine.holiday_factor
        rate *= rng.lognormvariate(-(machine.noise**2) / 2, machine.noise)
        found.append([] if dead else [_amount(machine, rng) for _ in range(_poisson(rate, rng))])
    return found


def _amount(machine: MadeMachine, rng: random.Random) -> int:
    return machine.note_minor * max(1, round(rng.expovariate(1 / machine.mean_notes)))


def _poisson(rate: float, rng: random.Random) -> int:
    """Knuth's way, in steps so that exp() does not underflow."""
    number = 0
    while rate > 30:
        number += _poisson(30, rng)
        rate -= 30
    limit, product = math.exp(-rate), rng.random()
    while product > limit:
        number += 1
        product *= rng.random()
    return number
