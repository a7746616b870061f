"""Notes by denomination: as a person types them, and as a sale's `bills` report them. Pure.

`bills` has no fixed form and is stored as it arrived, so reading is tolerant and the proof is the sum: notes that do
not add up to the cash of the sale are not trusted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from satmachine.models.cash_values import NoteLine
from satmachine.money import fiat_to_minor, minor_to_fiat

#: The names that the number of notes may have, the most certain first.
_COUNTS = ("dispensed", "count", "notes", "quantity")
_MOST_NOTES = 1_000_000


def typed(
    cassettes: Sequence[int],
    notes: Sequence[int],
    denominations_minor: Sequence[int],
    known: Mapping[int, int],
    loose_minor: int,
) -> tuple[NoteLine, ...]:
    """The meaning of `--cassette 1 --notes 200 ..`: a line for each cassette, and one for loose money.

    `known` is the earlier {cassette: denomination}, for cassettes whose denomination was not typed. Raises ValueError
    whose message is a sentence for the person.
    """
    if len(cassettes) != len(notes):
        raise ValueError("each --cassette needs its --notes after it, like --cassette 1 --notes 200")
    if denominations_minor and len(denominations_minor) != len(cassettes):
        raise ValueError("name --denomination for each cassette, or for none")
    if len(set(cassettes)) != len(cassettes):
        raise ValueError("a cassette is named twice")
    lines = []
    for place, (cassette, number) in enumerate(zip(cassettes, notes, strict=True)):
        denomination = denominations_minor[place] if denominations_minor else known.get(cassette)
        if denomination is None:
            raise ValueError(
                f"which notes are in cassette {cassette}? Name them once: "
                f"--cassette {cassette} --notes {number} --denomination 100"
            )
        if number > _MOST_NOTES:
            raise ValueError(f"{number} notes are more than any cassette can hold")
        lines.append(NoteLine(cassette, denomination, number, denomination * number))
    if loose_minor or not lines:
        lines.append(NoteLine(None, None, None, loose_minor))
    return tuple(lines)


def total_minor(lines: Iterable[NoteLine]) -> int:
    """What the notes are worth."""
    return sum(line.amount_minor for line in lines)


def by_denomination(lines: Iterable[NoteLine]) -> dict[int, int] | None:
    """{denomination: notes}; None if some of the money was not counted note by note."""
    found: Counter[int] = Counter()
    for line in lines:
        if line.denomination_minor is not None and line.notes is not None:
            found[line.denomination_minor] += line.notes
        elif line.amount_minor:
            return None
    return dict(found)


def of_sale(bills: str | None, sold_minor: int | None, currency: str) -> dict[int, int] | None:
    """The notes that a sale handed out, {denomination: notes}; None if it does not report them, or reports them
    wrongly.

    Understands `[{"denomination": 100, "count": 20}]` (or `dispensed`, `notes`, `quantity`) and `{"100": 20}`.
    """
    if bills is None or sold_minor is None:
        return None
    try:
        told = json.loads(bills, parse_float=Decimal)
        pairs = list(_pairs(told, currency))
    except (ValueError, ArithmeticError, TypeError, AttributeError, RecursionError):
        return None
    if not pairs or sum(denomination * number for denomination, number in pairs) != sold_minor:
        return None
    found: Counter[int] = Counter()
    for denomination, number in pairs:
        found[denomination] += number
    return {denomination: number for denomination, number in found.items() if number}


def of_beacon(cassettes: str | None) -> dict[int, tuple[int | None, int | None, int | None]]:
    """{cassette: (denomination, notes, capacity)} of a merged beacon's `cassettes`, numbered from 1."""
    told = json.loads(cassettes or "[]")
    return {
        number: (one.get("denomination_minor"), one.get("count"), one.get("capacity"))
        for number, one in enumerate(told, 1)
        if isinstance(one, dict)
    }


def in_words(notes: Mapping[int, int], currency: str, *, signed: bool = False) -> str:
    """{10000: 3} -> "3 x 100"; with `signed` "+3 x 100"."""
    return ", ".join(
        f"{number:+d} x {short(denomination, currency)}" if signed else f"{number} x {short(denomination, currency)}"
        for denomination, number in sorted(notes.items(), reverse=True)
        if number
    )


def short(denomination_minor: int, currency: str) -> str:
    """A denomination as it is printed on the banknote: 100, or 0.50."""
    major = minor_to_fiat(denomination_minor, currency)
    return f"{int(major)}" if major == major.to_integral_value() else f"{major:f}"


def _pairs(told: Any, currency: str) -> Iterable[tuple[int, int]]:
    if isinstance(told, dict):
        told = [{"denomination": key, "count": value} for key, value in told.items()]
    for item in told:
        number = next((item[key] for key in _COUNTS if item.get(key) is not None), None)
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _MOST_NOTES:
            raise ValueError("no number of notes")
        yield _denomination(item.get("denomination"), currency), number


def _denomination(value: Any, currency: str) -> int:
    try:
        amount = Decimal(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
    except InvalidOperation:
        amount = None
    if amount is None or not 0 < amount < 10**12:
        raise ValueError("no denomination")
    return fiat_to_minor(amount, currency)
