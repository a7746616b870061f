"""Asks the running daemon to read its configuration again, and waits for what it says of it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path

from satmachine.errors import Refused
from satmachine.store import reloads
from satmachine.store.database import connect, daemon_pid

#: Ten thousand machines are read in seconds; a daemon that is frozen is told of elsewhere.
_WAITS_S = 75.0
_LOOKS_EVERY_S = 0.1


def ask(database: Path) -> str:
    """Why the daemon that works on these books refused its file; nothing where it took it into use.

    Raises Refused where there is no daemon, it belongs to somebody else, or it does not answer.
    """
    pid = daemon_pid(database)
    if pid is None:
        raise Refused(
            f"no daemon works on {database}: systemctl start satmachine (restart, if [database] path was changed)"
        )
    with closing(connect(database, read_only=True)) as conn:
        before = reloads.latest(conn).number
        try:
            os.kill(pid, signal.SIGHUP)
        except ProcessLookupError:
            raise Refused("the daemon has just ended: systemctl status satmachine") from None
        except PermissionError:
            raise Refused("the daemon belongs to another user: sudo systemctl reload satmachine") from None
        deadline = time.monotonic() + _WAITS_S
        while time.monotonic() < deadline:
            found = reloads.latest(conn)
            if found.number != before:
                return found.refused
            time.sleep(_LOOKS_EVERY_S)
    raise Refused(f"the daemon has said nothing for {_WAITS_S:.0f} s: journalctl -u satmachine -n 20")
