"""From one count to the next: what should be in the machine, beside what was counted. Pure.

A count or a collection closes a cycle and opens the next one. Before the first of them the machine is assumed to be
empty, from its first load on; if there was no load either, the first count only opens a cycle. A sale in the same
second as a count belongs before it. The view `cash_cycles` says the same in SQL; `audit` compares the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from satmachine.models.banknotes import by_denomination
from satmachine.models.cash_values import CLOSING, CashEntry, CashSale, Cycle, EntryKind

Notes = Mapping[int, int]


def build(
    entries: Sequence[CashEntry],
    sales: Sequence[CashSale],
    booked: Mapping[int, int],
    *,
    since: CashEntry | None = None,
) -> list[Cycle]:
    """The cycles of one machine, the oldest first; the last one is open. Without entries there is none.

    `entries` are the valid ones (without what was corrected); `booked` is {root of a closing entry: minor units}. With
    `since`, a closing entry, only the cycles after it are built, and earlier entries and sales need not be given.
    """
    ordered = sorted(entries, key=lambda entry: entry.place)
    if since is not None:
        ordered = [entry for entry in ordered if entry.place > since.place]
    elif not ordered:
        return []
    by_time = sorted(sales, key=lambda sale: (sale.at, sale.settlement_id))
    cycles: list[Cycle] = []
    opening, moves = since, list[CashEntry]()
    for entry in ordered:
        if entry.kind not in CLOSING:
            moves.append(entry)
            continue
        cycles.append(_cycle(opening, moves, entry, by_time, booked.get(entry.root_id, 0)))
        opening, moves = entry, []
    return [*cycles, _cycle(opening, moves, None, by_time, 0)]


def _cycle(
    opening: CashEntry | None,
    moves: Sequence[CashEntry],
    closing: CashEntry | None,
    sales: Sequence[CashSale],
    booked_minor: int,
) -> Cycle:
    if opening is not None:
        opened_at, opening_minor = opening.at, _after(opening)
    elif moves:
        opened_at, opening_minor = moves[0].at, 0
    else:
        assert closing is not None, "a machine without entries has no cycles"
        return Cycle(closing, closing.currency, closing.at, None, 0, 0, 0, (), (), None, booked_minor)
    own = [sale for sale in sales if sale.at > opened_at and (closing is None or sale.at <= closing.at)]
    return Cycle(
        closing=closing,
        currency=next(one.currency for one in (closing, opening, *moves) if one is not None),
        opened_at=opened_at,
        opening_minor=opening_minor,
        loaded_minor=sum(move.amount_minor for move in moves if move.kind is EntryKind.LOAD),
        taken_minor=sum(move.amount_minor for move in moves if move.kind is EntryKind.TAKE),
        sold_minor=sum(sale.sold_minor or 0 for sale in own),
        moves=tuple(moves),
        sales=tuple(own),
        expected_notes=_expected_notes(opening, moves, own),
        booked_minor=booked_minor,
    )


def _after(closing: CashEntry) -> int:
    """What a closing entry leaves in the machine."""
    return closing.amount_minor if closing.kind is EntryKind.COUNT else 0


def _expected_notes(opening: CashEntry | None, moves: Sequence[CashEntry], sales: Sequence[CashSale]) -> Notes | None:
    """Notes by denomination at the end; None as soon as the notes of one step are not known."""
    total: Counter[int] = Counter()
    if opening is not None and opening.kind is EntryKind.COUNT:
        counted = by_denomination(opening.lines)
        if counted is None:
            return None
        total.update(counted)
    for move in moves:
        moved = by_denomination(move.lines)
        if moved is None:
            return None
        total.update(moved) if move.kind is EntryKind.LOAD else total.subtract(moved)
    only = next(iter(total)) if len(total) == 1 else None
    for sale in sales:
        given = given_notes(sale, only)
        if given is None:
            return None
        total.subtract(given)
    return dict(total)


def given_notes(sale: CashSale, only: int | None) -> Notes | None:
    """The notes of a sale; for a machine with one denomination (`only`) they follow from the money."""
    if sale.notes is not None or sale.sold_minor is None:
        return sale.notes
    if sale.sold_minor == 0:
        return {}
    return {only: sale.sold_minor // only} if only and sale.sold_minor % only == 0 else None


def levels(entries: Sequence[CashEntry], sold: Sequence[tuple[int, int | None]]) -> list[tuple[int, int]]:
    """(time, cash) after each thing that happened to a machine's cash, from its first entry on.

    `sold` is (time, amount) of its sales, the oldest first; a sale that does not say it changes nothing.
    """
    found: list[tuple[int, int]] = []
    steps = [(entry.at, 1, entry.root_id, entry) for entry in entries]
    happened: list[tuple[int, int, int, CashEntry | int]] = [*steps, *((at, 0, 0, amount or 0) for at, amount in sold)]
    level: int | None = None
    for at, _, _, what in sorted(happened, key=lambda one: one[:3]):
        if isinstance(what, int):
            level = None if level is None else level - what
        elif what.kind in CLOSING:
            level = _after(what)
        else:
            level = (level or 0) + (what.amount_minor if what.kind is EntryKind.LOAD else -what.amount_minor)
        if level is not None:
            found.append((at, level))
    return found


def notes_difference(cycle: Cycle) -> dict[int, int] | None:
    """Counted less expected, by denomination; None if the notes of either are not known."""
    if cycle.closing is None or cycle.expected_notes is None:
        return None
    counted = by_denomination(cycle.closing.lines)
    if counted is None:
        return None
    both = cycle.expected_notes.keys() | counted.keys()
    found = {one: counted.get(one, 0) - cycle.expected_notes.get(one, 0) for one in both}
    return {denomination: number for denomination, number in found.items() if number}
