"""An LP's statement: what moved the balance, line by line, and the sums. Pure.

Fiat is in minor units of the machine's currency. A statement goes by the time of sales, not of payments: a purchase
whose sats are still on their way is in it with its status, and its fiat is already gone from the balance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from satmachine.models import DepositKind, Movement

SATS_PER_BTC = 100_000_000

#: Cash in the machine, brought or taken back.
_CASH = frozenset(DepositKind)


@dataclass(frozen=True, slots=True)
class StatementLine:
    """A movement, and the balance after it."""

    movement: Movement
    balance_minor: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the statement's time. `deposited_minor` is what was brought less what was taken back. `bought_*` are
    completed purchases and payouts, `reserved_*` open ones.

    `average_cost_minor` is the fiat for one whole bitcoin, over what was bought; None if nothing was.
    """

    deposited_minor: int
    bought_minor: int
    bought_sats: int
    fee_sats: int
    reserved_minor: int
    reserved_sats: int
    average_cost_minor: int | None


@dataclass(frozen=True, slots=True)
class Statement:
    """From `opening_minor`, line by line, to `closing_minor`."""

    opening_minor: int
    lines: tuple[StatementLine, ...]
    closing_minor: int
    totals: Totals


def make_statement(movements: Iterable[Movement], *, since: int | None = None, until: int | None = None) -> Statement:
    """The statement of one client for `since <= time < until` (Unix seconds); `movements` are in order of time."""
    opening_minor = 0
    lines: list[StatementLine] = []
    balance_minor = 0
    for movement in movements:
        if until is not None and movement.at >= until:
            break
        balance_minor += movement.amount_minor
        if since is not None and movement.at < since:
            opening_minor = balance_minor
        else:
            lines.append(StatementLine(movement, balance_minor))
    return Statement(opening_minor, tuple(lines), balance_minor, _totals([line.movement for line in lines]))


def average_cost_minor(bought_minor: int, bought_sats: int) -> int | None:
    """What one bitcoin has cost on average, rounded half up; None if no sats were bought."""
    if bought_sats == 0:
        return None
    return (2 * bought_minor * SATS_PER_BTC + bought_sats) // (2 * bought_sats)


def _totals(movements: Sequence[Movement]) -> Totals:
    deposits = [movement for movement in movements if movement.kind in _CASH]
    bought = [movement for movement in movements if movement.kind not in _CASH and movement.status == "completed"]
    reserved = [movement for movement in movements if movement.kind not in _CASH and movement.status != "completed"]
    bought_minor, bought_sats = -sum(m.amount_minor for m in bought), sum(m.sats for m in bought)
    return Totals(
        deposited_minor=sum(m.amount_minor for m in deposits),
        bought_minor=bought_minor,
        bought_sats=bought_sats,
        fee_sats=sum(m.fee_sats for m in bought),
        reserved_minor=-sum(m.amount_minor for m in reserved),
        reserved_sats=sum(m.sats for m in reserved),
        average_cost_minor=average_cost_minor(bought_minor, bought_sats),
    )
