"""A leg too small to be sent elsewhere waits for nobody: it ends like one of 0 sats (SPEC section 5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from tests.found.parts import PLENTY_MINOR, addresses, asked, came_true, edit_config, runs, satmachine, world_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("gross_sats", "leg_sats"), [(180, 1), (280, 2)])
async def test_a_sale_with_a_leg_of_one_or_two_sats_to_an_address_ends_by_itself(
    tmp_path: Path, lnbits: LnbitsServer, gross_sats: int, leg_sats: int
) -> None:
    async with world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}) as world:
        with addresses(lnbits, {"technician": world.system.wallets["technician"]}) as server:
            key = f'{{ invoice_key = {{ file = "{world.system.key_file("technician")}" }} }}'
            edit_config(world, key, f'{{ lightning_address = "{server.address("technician")}" }}')
            await runs(world)
            await world.sell(sats=gross_sats)
            ended = await came_true(lambda: is_processed(world), timeout_s=30)
            shown = await asked(world, "settlements", "show", "1")
            [leg] = [leg for leg in shown["legs"] if leg.get("label") == "technician"]
            assert leg["amount_sats"] == leg_sats, "the point of this test"
            assert ended, leg["error"]
            assert (await satmachine(world, "audit")).returncode == 0


async def is_processed(world: World) -> bool:
    return [row["status"] for row in await asked(world, "settlements", "list")] == ["processed"]
