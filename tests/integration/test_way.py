"""A sale's way through the code is the one that docs/where.md describes."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from testkit.system import System
from testkit.watch import SALE, add_providers, started, until_status

ROOT = Path(__file__).parents[2]

#: Where a sale's way leads through; what these ask of the books, and values that go with it, are everywhere.
STAGES = re.compile(r"nostr/|settlements/|wallet/|(recorder|marks|seals)\.py")
#: How many modules a sale may pass there.
MOST = 25


def described() -> tuple[set[str], set[str]]:
    """The modules that the page lists, and those that are read only if something goes wrong."""
    section = (ROOT / "docs/where.md").read_text().partition("## A sale's way")[2].partition("\n## ")[0]
    way, _, trouble = section.partition("\nOthers are read only if")
    assert trouble, "the page is written in another way than this test reads"
    return named(way), named(trouble)


def named(text: str) -> set[str]:
    return {path for path in re.findall(r"`([\w/]+\.py)`", text) if STAGES.match(path)}


async def test_a_sale_passes_the_modules_that_the_page_lists_and_no_others(system: System) -> None:
    listed, trouble = described()
    file = system.folder / "passed.txt"
    await started(system, "tests.integration.traced", str(file))
    add_providers(system)
    sale = await system.customer_pays(system.machines[0], SALE)
    assert system.daemon is not None
    system.daemon.send_signal(signal.SIGUSR1)
    await system.announce(system.machines[0], sale)
    await until_status(system, "processed")
    system.daemon.send_signal(signal.SIGUSR1)
    assert await system.stop_daemon() == 0
    passed = {module for module in file.read_text().split() if STAGES.match(module)}
    assert sorted(listed - passed) == [], "listed, but a sale does not pass there"
    assert sorted(passed - listed - trouble) == [], "a sale passes there, but the page does not list it"
    assert len(listed) <= MOST
