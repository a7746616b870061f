"""The real LNbits of the test session: which version, and how to start one of one's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from satmachine.demo.lnbits import DEFAULT_VERSION, LnbitsServer, ensure_environment

#: `SATMACHINE_LNBITS_VERSION=1.4.2 make unit` runs every test against another pinned LNbits.
LNBITS_VERSION = os.environ.get("SATMACHINE_LNBITS_VERSION", DEFAULT_VERSION)

HAS_EXTERNAL_ID = tuple(map(int, LNBITS_VERSION.split("."))) >= (1, 5)


@asynccontextmanager
async def running_lnbits(data_dir: Path, *, rate_limit_per_minute: int = 1_000_000) -> AsyncIterator[LnbitsServer]:
    """An LNbits with a database of its own; for tests that stop, kill or throttle it."""
    environment = ensure_environment(LNBITS_VERSION, say=print)
    server = LnbitsServer(environment, data_dir, rate_limit_per_minute=rate_limit_per_minute)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
