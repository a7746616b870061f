"""How the daemon logs: one line per event on standard error, as systemd's journal and people like it."""

from __future__ import annotations

import logging
import sys
import time

#: Libraries whose chatter is not the operator's business.
_QUIET = ("httpx", "httpcore", "websockets", "aiosqlite", "asyncio")


def set_up(*, verbose: bool = False) -> None:
    """Send the log to standard error; times are UTC."""
    formatter = logging.Formatter("%(asctime)s %(levelname)-8s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
