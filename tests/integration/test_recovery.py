"""The daemon dies at every crash point of the payer's protocol (docs/lnbits.md), starts again, and goes on to the end.

What happened is read from LNbits' own records: one debit per leg, whatever the books say.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.check import debits, held, violations
from chaos.world import open_world
from satmachine.failpoints import FAILPOINTS
from testkit.lnbits import LnbitsServer

pytestmark = pytest.mark.anyio

#: A sale of the demo has six legs: super, two splits, three LPs.
LEGS = 6


@pytest.mark.parametrize("name", FAILPOINTS)
async def test_a_crash_loses_nothing_and_pays_nothing_twice(name: str, tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with open_world(tmp_path, lnbits) as world:
        told_by_event = not name.startswith("sweep.")
        await world.sell(announce=False, with_extra=not told_by_event)
        await world.start({"SATMACHINE_FAILPOINT": name})
        if told_by_event:
            await world.announce_until(lambda: not world.alive)
        await world.wait_for_death()
        await world.start()
        if told_by_event:
            await world.announce_until(lambda: bool(world.rest().settlements))
        facts = await world.settled()
        assert violations(facts) == []
        assert held(facts) == []
        assert len(debits(facts)) == LEGS
