"""A new version brings the books up to date when its daemon starts: it makes a copy first, and systemd waits for it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from satmachine.ops.backup import keep_before_upgrade
from satmachine.ops.sdnotify import Notifier
from satmachine.store.database import SCHEMA_VERSION, Upgrade

log = logging.getLogger(__name__)

#: While SQLite makes progress, systemd is asked for this much more time, this often.
_PATIENCE_S = 300.0
_EVERY_S = 10.0


def upgrade_of(database: Path, notifier: Notifier) -> Upgrade:
    """What the daemon does around migrations of these books."""
    asked_at = 0.0

    def goes_on() -> None:
        nonlocal asked_at
        if time.monotonic() - asked_at >= _EVERY_S:
            asked_at = time.monotonic()
            notifier.extend(_PATIENCE_S)

    def begins(version: int) -> None:
        log.info("the books have version %d and are brought up to %d", version, SCHEMA_VERSION)
        notifier.status(f"Bringing the books up to date, from version {version} to {SCHEMA_VERSION}.")
        goes_on()
        kept = keep_before_upgrade(database, version, goes_on)
        if kept is not None:
            log.info("the old books are in %s: use them with the old program if you have to go back", kept)

    return Upgrade(begins, goes_on)
