"""Conditions that several statements share, in SQL. Written exactly as in the partial indexes, or these would not be
used."""

from __future__ import annotations

from typing import Final

from satmachine.models import OF_THE_SALE

#: A leg on which the daemon still works (models.LegStatus), as in the index dca_payments_due; after a table's alias.
OPEN_LEG: Final = "status IN ('pending', 'invoiced', 'sending', 'failed')"

#: A leg that shares out its sale's sats (models.OF_THE_SALE).
LEG_OF_THE_SALE: Final = f"leg_type IN ({', '.join(repr(str(one)) for one in sorted(OF_THE_SALE))})"
