"""A payee's server that was being asked when the daemon died is not asked again at once, and nobody else waits."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from satmachine.asked import AskedPayees
from satmachine.store import asked_rows
from satmachine.store.database import Store, open_store, prepare
from satmachine.wallet.lnurl import LnurlClient, LnurlUnavailable
from testkit.books import NOW

ALICE, BOB = "alice@example.org", "bob@example.org"

DIES = """
import anyio, os, signal, sys
from pathlib import Path
from satmachine.asked import AskedPayees
from satmachine.store.database import open_store

async def main() -> None:
    async with open_store(Path(sys.argv[1])) as store:
        payees = AskedPayees(store, lambda: int(sys.argv[2]))
        await payees.recover()
        async with payees.asking(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

anyio.run(main)
"""


def die(path: Path, now: int, payee: str = ALICE) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, str(path), str(now), payee], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.fixture
def path(tmp_path: Path) -> Path:
    prepare(tmp_path / "books.db")
    return tmp_path / "books.db"


async def started(store: Store, now: int) -> AskedPayees:
    payees = AskedPayees(store, lambda: now)
    await payees.recover()
    return payees


async def may_ask(payees: AskedPayees, payee: str) -> bool:
    try:
        async with payees.asking(payee):
            return True
    except LnurlUnavailable:
        return False


async def test_whom_a_dead_daemon_was_asking_waits_and_nobody_else(path: Path) -> None:
    die(path, NOW)
    async with open_store(path) as store:
        payees = await started(store, NOW)
        assert not await may_ask(payees, ALICE)
        assert not await may_ask(payees, ALICE.upper())
        assert await may_ask(payees, BOB)
        assert await may_ask(await started(store, NOW + 10), ALICE)
        assert await may_ask(await started(store, NOW), ALICE), "it was asked, and the daemon lived"


async def test_each_further_death_makes_the_wait_longer(path: Path) -> None:
    now, waits = NOW, []
    for _ in range(4):
        die(path, now)
        async with open_store(path) as store:
            until = await store.write(asked_rows.left_behind, now)
            assert await store.write(asked_rows.left_behind, now + 5) == until, (
                "a start without a death changes nothing"
            )
        [end] = until.values()
        waits.append(end - now)
        now = end
    assert waits == [10, 40, 160, 640]
    # The unit gives up after five starts within ten minutes.
    assert sum(waits) > 600


async def test_the_client_says_why_it_does_not_ask(path: Path) -> None:
    die(path, NOW)
    async with open_store(path) as store:
        client = LnurlClient(asking=(await started(store, NOW)).asking)
        with pytest.raises(LnurlUnavailable, match="the daemon died while it asked"):
            await client.resolve(ALICE)
