"""Named places at which a test lets the daemon die, as when the power goes. In life every one of them does nothing.

`SATMACHINE_FAILPOINT=pay.sent` kills the process (SIGKILL, nothing is flushed or closed) when that place is reached,
`pay.sent:3` when it is reached for the third time. tests/integration/test_recovery.py dies at each of them and checks
from LNbits' own records that nothing was lost or paid twice; `make chaos` does so under load.
"""

from __future__ import annotations

import os
import signal

#: Every crash point of the payer's protocol (LNBITS.md), in the order in which a sale passes them.
FAILPOINTS = (
    "land.begin",  # an event was verified, nothing is written
    "land.committed",  # its settlement is written
    "sweep.outgoing",  # a sweep knows the payments that were made before
    "sweep.incoming",  # it has landed what the relays did not bring, and not noted how far it came
    "prove.committed",
    "plan.committed",
    "pay.begun",  # the wish for an invoice is written
    "pay.asked",  # the invoice exists, and is not written
    "pay.invoiced",  # it is written
    "pay.sending",  # the intent to pay is written
    "pay.sent",  # LNbits has answered the payment
    "pay.resolved",  # both sides were read, the outcome is not written
    "pay.completed",  # the leg's outcome is written, the settlement's status is not
    "pay.reported",
)

_name, _, _hits = os.environ.get("SATMACHINE_FAILPOINT", "").partition(":")
if _name and (_name not in FAILPOINTS or not (_hits or "1").isdigit()):
    raise ValueError(f"SATMACHINE_FAILPOINT={_name}:{_hits}: there is no such failpoint")
_remaining = int(_hits or "1")


def failpoint(name: str) -> None:
    """Die here if this is the place that the environment names, and its turn has come."""
    global _remaining
    if name != _name:
        return
    assert name in FAILPOINTS
    _remaining -= 1
    if _remaining == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def max_pages() -> int | None:
    """How large the database may grow, where a test plays a full disk: `SATMACHINE_MAX_PAGES=200`."""
    pages = os.environ.get("SATMACHINE_MAX_PAGES")
    return None if pages is None else int(pages)
