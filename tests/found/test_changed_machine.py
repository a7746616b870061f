"""What a machine's wallet has paid is found whatever its npub was, and whatever `payouts_since` says (SPEC 6.7)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from testkit.machine import SimulatedMachine
from tests.found.parts import GROSS_SATS, came_true, did, edit_config, received, reconcile_all, runs, until, world_of

pytestmark = pytest.mark.anyio

#: All of her cash, at 100 sats for one GTQ.
PAID_OUT_SATS = 100_000


async def alice_got(world: World, sats: int) -> bool:
    return await received(world, "alice") >= sats


async def change(world: World, what: str) -> None:
    """As an operator does who replaces a machine's board, or lets the past be past."""
    if what == "npub":
        edit_config(world, world.system.machines[0].signer.npub, SimulatedMachine.new().npub)
        return
    since = int(time.time()) + 1
    edit_config(world, datetime(2020, 1, 1, tzinfo=UTC).isoformat(), datetime.fromtimestamp(since, UTC).isoformat())
    await came_true(lambda: time.time() > since + 1, timeout_s=5)


@pytest.mark.parametrize("what", ["npub", "payouts_since"])
async def test_a_restored_copy_knows_its_payments_by_a_new_npub_and_by_a_later_payouts_since(
    tmp_path: Path, lnbits: LnbitsServer, what: str
) -> None:
    async with world_of(tmp_path, lnbits, {"alice": 1_000_00}) as world:
        await runs(world)
        await lnbits.credit(world.system.machines[0].wallet.id, GROSS_SATS)
        copy = world.backup_books()
        await did(world, "clients", "settle", "1", "--rate", "100", "--yes")
        await until(lambda: alice_got(world, PAID_OUT_SATS), world)
        world.kill()
        world.restore_books(copy)
        await change(world, what)
        await runs(world)
        await world.sell(announce=False)
        more = await came_true(lambda: alice_got(world, PAID_OUT_SATS + 1), timeout_s=9)
        assert not more, "a share was paid for cash that was paid out before"
        decided = await reconcile_all(world)
        assert decided.returncode == 0, decided.stdout + decided.stderr
        more = await came_true(lambda: alice_got(world, PAID_OUT_SATS + 1), timeout_s=6)
        assert not more, "the payout was reconciled, and a share was paid for the same cash"
