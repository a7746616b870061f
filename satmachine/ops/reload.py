"""Asks the running daemon to load its configuration again, and waits for its answer."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path

from satmachine.errors import Refused
from satmachine.ops.service import starts
from satmachine.store import reloads
from satmachine.store.database import connect, daemon_pid

#: Ten thousand machines are read in seconds; a frozen daemon is reported elsewhere.
_WAITS_S = 75.0
_LOOKS_EVERY_S = 0.1


def ask(database: Path) -> str:
    """Why the daemon of these books refused its file; nothing if it uses the file now.

    Raises Refused if there is no daemon, if it belongs to somebody else, or if it does not answer.
    """
    pid = daemon_pid(database)
    if pid is None:
        raise Refused(
            f"no daemon is running for {database}: `{starts(database).start}` (if [database] path was changed, first "
            "stop the one that runs)"
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
    raise Refused(f"the daemon has not answered for {_WAITS_S:.0f} s: journalctl -u satmachine -n 20")
