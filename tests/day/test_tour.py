"""`satmachine demo --keep`: everything that the tour names is there, and every command of it runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import anyio.to_thread
import pytest

from testkit.demo import DEPOSITS
from testkit.tour import SETTINGS, TOUR, exports, furnish
from tests.day.operator import Operator
from tests.integration.conftest import BuildSystem


@pytest.mark.slow
async def test_the_tour_shows_what_it_says(build_system: BuildSystem) -> None:
    system = await build_system(machines=3, lps=(*DEPOSITS, "dora"), settings=SETTINGS)
    await furnish(system, lambda _text: None)
    operator = Operator(system, system.config_path)
    for condition in ("payment_failing", "machine_error:machine-3", "unmatched", "quarantined", "cassette_low"):
        await operator.until(condition)
    for command, what in TOUR:
        done = await anyio.to_thread.run_sync(_typed, command, str(system.config_path))
        assert done.returncode in (0, 1) if command.endswith("status") else done.returncode == 0, (
            done.stdout + done.stderr
        )
        assert done.stdout.strip(), what
    assert await system.stop_daemon() == 0


def _typed(command: str, config: str) -> subprocess.CompletedProcess[str]:
    """In another terminal, which has only what the tour says."""
    script = "\n".join((*exports(Path(config)), command))
    environ = {"PATH": os.defpath, "PYTHONPATH": os.getcwd(), "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, env=environ, timeout=120)
