"""The whole system for one test: relays, the session's LNbits, machines, and the daemon as a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from testkit.lnbits import LnbitsServer
from testkit.system import System

BuildSystem = Callable[..., Awaitable[System]]


@pytest.fixture
async def build_system(lnbits: LnbitsServer, tmp_path: Path) -> AsyncIterator[BuildSystem]:
    """`await build_system(relays=3, ...)`; what was started is stopped when the test ends."""
    built: list[System] = []

    async def build(**options: object) -> System:
        folder = tmp_path / f"system-{len(built)}"
        folder.mkdir()
        system = await System.build(folder, lnbits, **options)  # type: ignore[arg-type]
        built.append(system)
        return system

    yield build
    for system in built:
        system.kill_daemon()
        system.stop_relays()


@pytest.fixture
async def system(build_system: BuildSystem) -> System:
    """One relay, one machine, the payees super, owner and technician, and the LPs alice, bruno and carla."""
    return await build_system(lps=("alice", "bruno", "carla"))
