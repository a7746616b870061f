"""The values of the cash book. Pure. Amounts are int minor units of the machine's currency, times Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class EntryKind(StrEnum):
    """What a person did with a machine's banknotes."""

    LOAD = "load"
    TAKE = "take"  # some were taken out, and the rest was not counted
    COLLECT = "collect"  # all of them: the machine is empty, and what was in it is counted
    COUNT = "count"
    VOID = "void"  # takes an entry back


#: A cycle ends with one of these: a person has seen every note.
CLOSING = (EntryKind.COUNT, EntryKind.COLLECT)


@dataclass(frozen=True, slots=True)
class NoteLine:
    """Notes of one denomination, in a cassette if that is known; or money that was not counted note by note."""

    cassette: int | None
    denomination_minor: int | None
    notes: int | None
    amount_minor: int


@dataclass(frozen=True, slots=True)
class CashEntry:
    """A row of `dca_cash` with its notes. `root_id` is the first row of a chain of corrections, and orders entries of
    the same second."""

    id: int
    root_id: int
    corrects: int | None
    machine_id: str
    kind: EntryKind
    at: int
    amount_minor: int
    currency: str
    told_minor: int | None
    told_at: int | None
    note: str
    actor: str
    recorded_at: int
    lines: tuple[NoteLine, ...] = ()

    @property
    def place(self) -> tuple[int, int]:
        """Its place among the entries of its machine."""
        return self.at, self.root_id


@dataclass(frozen=True, slots=True)
class CashSale:
    """What a sale took out of the machine. `sold_minor` None: it does not say; then `estimated_minor` is what its sats
    were worth. `notes`: {denomination: how many}, where the sale tells them and they add up."""

    settlement_id: int
    at: int
    sold_minor: int | None
    estimated_minor: int | None = None
    notes: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a machine said that it holds. `at` is when the beacon was *received*: a machine's own clock may be wrong."""

    at: int
    cash_minor: int


@dataclass(frozen=True, slots=True)
class Cycle:
    """From one count or collection to the next; `closing` None: the one that is still open.

    `opening_minor` None: nothing was known before its end, so that there is nothing to compare. Notes are
    {denomination: how many}, None where they cannot be known: money that was not counted note by note, sales that do
    not tell their notes.
    """

    closing: CashEntry | None
    currency: str
    opened_at: int
    opening_minor: int | None
    loaded_minor: int
    taken_minor: int
    sold_minor: int
    moves: tuple[CashEntry, ...]
    sales: tuple[CashSale, ...]
    expected_notes: Mapping[int, int] | None
    booked_minor: int = 0

    @property
    def expected_minor(self) -> int | None:
        """What should be in the machine at its end."""
        if self.opening_minor is None:
            return None
        return self.opening_minor + self.loaded_minor - self.taken_minor - self.sold_minor

    @property
    def counted_minor(self) -> int | None:
        return None if self.closing is None else self.closing.amount_minor

    @property
    def difference_minor(self) -> int | None:
        """Counted less expected: below 0, cash is missing."""
        if self.expected_minor is None or self.counted_minor is None:
            return None
        return self.counted_minor - self.expected_minor

    @property
    def open_minor(self) -> int:
        """The part of the difference for which nobody has given a reason."""
        return 0 if self.difference_minor is None else self.difference_minor - self.booked_minor

    @property
    def unknown_sales(self) -> tuple[CashSale, ...]:
        """Sales that do not say how much cash they took."""
        return tuple(sale for sale in self.sales if sale.sold_minor is None)

    @property
    def state(self) -> str:
        """One word, the same as in the view `cash_cycles`."""
        if self.closing is None:
            return "open"
        if self.difference_minor is None:
            return "start"
        if self.open_minor == 0:
            return "even"
        if self.unknown_sales:
            return "unclear"
        return "short" if self.open_minor < 0 else "over"
