"""When each LP's balance ends. Pure.

Sales are shared in proportion to the balances (SPEC section 8), so balances in flow mode end together, when sales reach
all that they have; those in fixed mode spend at most their daily limit, and last longer. The days ahead are simulated
with what the forecast says is sold on each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from satmachine.cash.forecast import Ahead, Forecast, RunOut


@dataclass(frozen=True, slots=True)
class Holding:
    """What an LP still has in the machine, and how much of it at most in a day (None: no limit); minor units."""

    client_id: int
    label: str
    balance_minor: int
    daily_limit_minor: int | None


def ends(holdings: Sequence[Holding], forecast: Forecast) -> dict[int, RunOut]:
    """{client: when the balance ends}; early by the high end of the forecast, late by the low one."""
    if forecast.profile is None:
        return {one.client_id: RunOut(None, None, None) for one in holdings}
    early = _played(holdings, forecast, [one.high for one in forecast.ahead])
    likely = _played(holdings, forecast, [one.likely for one in forecast.ahead])
    late = _played(holdings, forecast, [one.low for one in forecast.ahead])
    return {
        one.client_id: RunOut(early.get(one.client_id), likely.get(one.client_id), late.get(one.client_id))
        for one in holdings
    }


def _played(holdings: Sequence[Holding], forecast: Forecast, sold: Sequence[int | None]) -> dict[int, int]:
    """{client: the end of the day on which nothing is left}, by what is sold in all up to each day's end."""
    left = {one.client_id: one.balance_minor for one in holdings}
    limits = {one.client_id: one.daily_limit_minor for one in holdings}
    ended = {client_id: forecast.now for client_id, balance in left.items() if balance <= 0}
    before = 0
    for day, total in zip(forecast.ahead, sold, strict=True):
        if total is None:
            break
        _spend(left, limits, total - before)
        before = total
        _note(left, ended, day)
    return ended


def _spend(left: dict[int, int], limits: Mapping[int, int | None], amount: int) -> None:
    """Share a day's sales by balance, nobody above the daily limit; what nobody can take is the operator's cash."""
    room = {client_id: _least(balance, limits[client_id]) for client_id, balance in left.items() if balance > 0}
    rest = min(amount, sum(room.values()))
    while rest > 0:
        weights = {client_id: left[client_id] for client_id, free in room.items() if free > 0}
        total = sum(weights.values())
        if not total:
            return
        shared = rest
        for client_id, weight in weights.items():
            part = min(room[client_id], max(1, shared * weight // total), rest)
            room[client_id] -= part
            left[client_id] -= part
            rest -= part


def _least(balance: int, limit: int | None) -> int:
    return balance if limit is None else min(balance, limit)


def _note(left: Mapping[int, int], ended: dict[int, int], day: Ahead) -> None:
    for client_id, balance in left.items():
        if balance <= 0:
            ended.setdefault(client_id, day.until)
