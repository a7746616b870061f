"""One payee's server that hangs delays its own legs only, however many machines pay to it (SPEC section 5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from tests.found.parts import addresses, did, edit_config, runs, until, world_of

pytestmark = pytest.mark.anyio

MACHINES = 16
SALES_EACH = 2
#: Legs that are worked on at a time, of all machines, are 32; one payee never has half of them.
TOO_MANY = 16


async def test_a_server_that_many_machines_pay_to_and_that_hangs_delays_no_other_payee(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with world_of(tmp_path, lnbits, {}, machines=MACHINES) as world:
        with addresses(lnbits, {"super": world.system.wallets["super"]}) as server:
            key = f'{{ invoice_key = {{ file = "{world.system.key_file("super")}" }} }}'
            edit_config(world, key, f'{{ lightning_address = "{server.address("super")}" }}')
            await did(world, "payouts", "pause", "--reason", "until all is planned", "--yes")
            server.answers.clear()
            for machine in world.system.machines:
                for _ in range(SALES_EACH):
                    await world.sell(machine, announce=False, sats=1_000)
            await runs(world)
            await until(lambda: sum(row.planned for row in world.rest().settlements) == len(world.sales), world)
            await did(world, "payouts", "resume", "--reason", "all is planned", "--yes")
            await until(lambda: others_are_paid(world) or server.most_at_once >= TOO_MANY, world)
            assert server.most_at_once < TOO_MANY, "one server has the places of all the others"


def others_are_paid(world: World) -> bool:
    legs = world.rest().legs
    return all(leg.status == "completed" for leg in legs if not leg.leg_key.endswith(":super"))
