"""Conditions that several statements share, in SQL. Spelled as the partial indexes are, or they would not be used."""

from __future__ import annotations

from typing import Final

#: A leg that the daemon still works on (models.LegStatus), as in the index dca_payments_due; after a table's alias.
OPEN_LEG: Final = "status IN ('pending', 'invoiced', 'sending', 'failed')"
