"""Named places at which a test lets the daemon die, as when the power goes. In life every one of them does nothing.

`SATMACHINE_FAILPOINT=pay.sent` kills the process (SIGKILL, nothing is flushed or closed) when that place is reached,
`pay.sent:3` when it is reached for the third time. tests/integration/test_recovery.py dies at each of them and checks
from LNbits' own records that nothing was lost or paid twice; `make chaos` does so under load.
"""

from __future__ import annotations

import os
import signal

#: Every crash point of the payer's protocol (docs/lnbits.md), in the order in which a sale passes them.
FAILPOINTS = (
    "land.begin",  # an event was verified, nothing is written
    "land.committed",  # its settlement is written
    "sweep.outgoing",  # a sweep knows the payments that were made before
    "sweep.incoming",  # it has landed what the relays did not bring, and not noted how far it came
    "prove.committed",
    "plan.committed",
    "pay.asked",  # the invoices exist, and are not written
    "pay.invoiced",  # they are written
    "mark.written_down",  # the mark's content is fixed, and not in the wallet
    "mark.written",  # it is in the wallet, and was not seen there
    "mark.seen",  # it stands alone: its invoices may be paid
    "pay.sending",  # the intent to pay is written
    "pay.sent",  # LNbits has answered the payment
    "pay.resolved",  # the outcome is known, and not written
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
