"""Fixtures for every test: the event loop, and one real LNbits per session."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from testkit.lnbits import LnbitsServer, running_lnbits

# Where a change is judged, the same examples each time; on a desk, new ones.
# A slow machine is no failure.
settings.register_profile("desk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True)
settings.load_profile("desk")
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """asyncio is what the daemon runs on; session-wide, so that session fixtures can be async."""
    return "asyncio"


@pytest.fixture(scope="session")
async def lnbits(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LnbitsServer]:
    """A real LNbits for the whole session; every test makes its own wallets. Never stop or kill this one."""
    async with running_lnbits(tmp_path_factory.mktemp("lnbits")) as server:
        yield server
