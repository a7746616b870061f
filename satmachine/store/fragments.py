"""Conditions that several statements share, in SQL. Spelled as the partial indexes are, or they would not be used.

Each begins with its column, so that a table's alias can stand before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from satmachine.models import leg_types


def _one_of(types: Sequence[leg_types.LegType]) -> str:
    return f"leg_type IN ({', '.join(repr(str(one)) for one in types)})"


#: A leg that the daemon still works on (models.LegStatus), as in the index dca_payments_due.
OPEN_LEG: Final = "status IN ('pending', 'invoiced', 'sending', 'failed')"

# What legs are, by their type: models/leg_types.py.
LEG_OF_THE_SALE: Final = _one_of(leg_types.OF_THE_SALE)
LEG_OF_EVERY_PLAN: Final = _one_of(leg_types.OF_EVERY_PLAN)
LEG_USES_CASH: Final = _one_of(leg_types.USES_CASH)
LEG_IS_RARE: Final = _one_of(leg_types.RARE)
LEG_PAID_BY_LP: Final = _one_of(leg_types.PAID_BY_LP)
LEG_PAID_BY_MACHINE: Final = LEG_PAID_BY_LP.replace(" IN ", " NOT IN ")
