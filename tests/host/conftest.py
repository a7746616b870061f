"""A booted host with the package of `make deb`, beside a real LNbits and a real relay; `make test-host` plays these."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from testkit.host import Host, missing
from testkit.lnbits import LnbitsServer
from testkit.system import System

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They take minutes and root; what is missing is named."""
    why = missing()
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            if why:
                item.add_marker(pytest.mark.skip(reason=f"not run: {why}"))


@pytest.fixture(scope="session")
def package() -> Path:
    """The package, as `make deb` has made it; $SATMACHINE_DEB names another one."""
    if named := os.environ.get("SATMACHINE_DEB"):
        return Path(named)
    found = sorted((ROOT / "build").glob("satmachine_*_amd64.deb"))
    if not found:
        subprocess.run([str(ROOT / "packaging" / "make-deb")], check=True, timeout=1800)
        found = sorted((ROOT / "build").glob("satmachine_*_amd64.deb"))
    return found[-1]


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One host for all tests of a file, which build on each other. What was typed is kept in build/."""
    booted = Host(tmp_path_factory.mktemp("host"), "satmachine-host")
    booted.boot()
    yield booted
    booted.shut_down()
    kept = ROOT / "build" / f"{Path(request.path).stem}-transcript.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("\n".join(booted.transcript))


@pytest.fixture(scope="module")
async def world(lnbits: LnbitsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """LNbits, a relay, a machine and wallets; the daemon runs on the host."""
    system = await System.build(tmp_path_factory.mktemp("world"), lnbits, lps=("alice", "bruno"))
    yield system
    system.stop_relays()
