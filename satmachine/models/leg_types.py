"""The types of a leg, and all that they differ in: one table. Pure.

What a type *is* stands here, once, and everybody asks the sets below; SQL conditions are made of them
(`store/fragments.py`). How a type is called and drawn for people stands with what is shown; a test names every such
table that lacks a type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class LegType(StrEnum):
    """What a payment is for (SPEC section 5)."""

    SUPER_FEE = "super_fee"
    OPERATOR_SPLIT = "operator_split"
    DCA = "dca"
    SETTLEMENT = "settlement"
    AUTOFORWARD = "autoforward"
    REFUND = "refund"


class NamedBy(StrEnum):
    """Where it stands who a leg is paid to."""

    FILE = "file"
    LP = "lp"
    FORWARD = "forward"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class LegKind:
    """What tells one type of leg from another.

    `key_part`     how its name begins in a leg's key (identity.py), as in `split:owner`
    `named_by`     where its payee is named: the file, the LP's row, what that row forwards to, a person's order
    `of_the_sale`  it shares out its sale's sats: gross = these legs + retained
    `uses_cash`    what it pays is taken off the LP's cash
    `paid_by_lp`   it is paid from the LP's own wallet, with the LP's key; all others from the machine's
    `rare`         there are few: lists find them by an index of their own (schema.sql)
    """

    key_part: str
    named_by: NamedBy
    of_the_sale: bool = False
    uses_cash: bool = False
    paid_by_lp: bool = False
    rare: bool = False


KINDS: Final[Mapping[LegType, LegKind]] = {
    LegType.SUPER_FEE: LegKind("super", NamedBy.FILE, of_the_sale=True),
    LegType.OPERATOR_SPLIT: LegKind("split", NamedBy.FILE, of_the_sale=True),
    LegType.DCA: LegKind("dca", NamedBy.LP, of_the_sale=True, uses_cash=True),
    LegType.SETTLEMENT: LegKind("bal", NamedBy.LP, uses_cash=True, rare=True),
    LegType.AUTOFORWARD: LegKind("fwd", NamedBy.FORWARD, paid_by_lp=True, rare=True),
    LegType.REFUND: LegKind("refund", NamedBy.ORDER, of_the_sale=True, rare=True),
}


def _those(which: Callable[[LegKind], bool]) -> tuple[LegType, ...]:
    return tuple(leg_type for leg_type, kind in KINDS.items() if which(kind))


OF_THE_SALE: Final = _those(lambda kind: kind.of_the_sale)
USES_CASH: Final = _those(lambda kind: kind.uses_cash)
PAID_BY_LP: Final = _those(lambda kind: kind.paid_by_lp)
RARE: Final = _those(lambda kind: kind.rare)
#: What the plan of every sale consists of; the others are planned by what follows a payment, or by a person's order.
OF_EVERY_PLAN: Final = _those(lambda kind: kind.of_the_sale and kind.named_by is not NamedBy.ORDER)
#: The first part of a leg's name in its key -> its type, of the legs of a sale's own sats.
BY_KEY_PART: Final = {KINDS[leg_type].key_part: leg_type for leg_type in OF_THE_SALE}
