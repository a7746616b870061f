"""Named places at which a test lets the daemon die, as in a power cut. In normal use they do nothing.

`SATMACHINE_FAILPOINT=pay.sent` kills the process (SIGKILL, nothing is flushed or closed) when that place is reached,
`pay.sent:3` when it is reached for the third time. tests/integration/test_recovery.py dies at each of them and checks
from LNbits' own records that nothing was lost or paid twice; `make chaos` does so under load.
"""

from __future__ import annotations

import os
import signal

#: Every crash point of the payer's protocol (docs/lnbits.md), in the order in which a sale passes them.
FAILPOINTS = (
    "land.begin",  # an event was verified, nothing is stored
    "land.committed",  # its settlement is stored
    "sweep.outgoing",  # a sweep knows the payments that were made before
    "sweep.incoming",  # it has landed what the relays did not deliver, and not noted how far it has read
    "prove.committed",
    "plan.committed",
    "pay.asked",  # the invoices exist, but are not stored
    "pay.invoiced",  # they are stored
    "mark.written_down",  # the mark's content is fixed, but not in the wallet
    "mark.written",  # it is in the wallet, but was not seen there
    "mark.seen",  # it is there alone: its invoices may be paid
    "pay.sending",  # the intent to pay is stored
    "pay.sent",  # LNbits has answered the payment
    "pay.resolved",  # the outcome is known, but not stored
    "pay.completed",  # the leg's outcome is stored, the settlement's status is not
    "pay.reported",
)

_name, _, _hits = os.environ.get("SATMACHINE_FAILPOINT", "").partition(":")
if _name and (_name not in FAILPOINTS or not (_hits or "1").isdigit()):
    raise ValueError(f"SATMACHINE_FAILPOINT={_name}:{_hits}: there is no such failpoint")
_remaining = int(_hits or "1")


def failpoint(name: str) -> None:
    """Die here if this is the place that the environment names, and it has been reached often enough."""
    global _remaining
    if name != _name:
        return
    assert name in FAILPOINTS
    _remaining -= 1
    if _remaining == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def max_pages() -> int | None:
    """How large the database may grow, if a test simulates a full disk: `SATMACHINE_MAX_PAGES=200`."""
    pages = os.environ.get("SATMACHINE_MAX_PAGES")
    return None if pages is None else int(pages)
