"""A key proves nothing about a machine's sales before it was seen to be of the machine's wallet (SPEC section 6.4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from testkit.system import DemoMachine
from tests.found.parts import PLENTY_MINOR, asked, came_true, paid, runs, until, world_of

pytestmark = pytest.mark.anyio


async def test_a_payment_into_another_wallet_proves_no_sale(tmp_path: Path, lnbits: LnbitsServer) -> None:
    other = await lnbits.create_wallet("not the machine's")
    async with world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}) as world:
        machine = world.system.machines[0]
        await runs(world)
        await until(lambda: knows_its_wallet(world), world)
        key_file = world.system.key_file(machine.id)
        key_file.write_text(other.admin_key)  # somebody mixes up two keys
        elsewhere = DemoMachine(machine.id, machine.signer, other)
        await world.sell(elsewhere, with_extra=False)
        await came_true(lambda: any(row.planned for row in world.rest().settlements), timeout_s=8)
        key_file.write_text(machine.wallet.admin_key)  # and puts it right
        await lnbits.credit(machine.wallet.id, 300_000)
        went = await came_true(lambda: anything_went(world), timeout_s=12)
        assert not went, f"no customer has paid into the machine's wallet, and it has paid {await paid(world)}"


async def knows_its_wallet(world: World) -> bool:
    [row] = await asked(world, "machines", "list")
    return row["balance_sats"] is not None


async def anything_went(world: World) -> bool:
    return bool(await paid(world))
