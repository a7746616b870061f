"""Two daemons with two databases on the same wallets must not pay one leg twice (SPEC section 6.5)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chaos.world import World
from satmachine.store.database import prepare
from testkit.lnbits import LnbitsServer
from tests.found.parts import (
    PLENTY_MINOR,
    all_paid,
    backup,
    came_true,
    paid,
    reconcile_all,
    runs,
    twin_of,
    world_of,
)

pytestmark = pytest.mark.anyio

LPS = {"alice": PLENTY_MINOR, "bruno": PLENTY_MINOR}
LEGS = 5


async def somebody_was_paid_twice(world: World) -> bool:
    return max((await paid(world)).values(), default=0) > 1


async def test_two_daemons_with_two_databases_pay_no_leg_twice(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        twin = twin_of(world, tmp_path / "second-host")
        prepare(twin.database_path)
        twin.start_daemon()
        try:
            await runs(world)
            await twin.wait_for_log("subscribed for")
            twin.add_providers(LPS, actor="test")
            for _ in range(3):
                await world.sell()
            assert not await came_true(lambda: somebody_was_paid_twice(world), timeout_s=15), await paid(world)
        finally:
            twin.kill_daemon()


async def test_a_running_copy_of_the_books_pays_no_leg_twice(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        await runs(world)
        copy = await backup(world)
        twin = twin_of(world, tmp_path / "second-host")
        shutil.copy(copy, twin.database_path)
        twin.start_daemon()
        try:
            await twin.wait_for_log("subscribed for")
            for _ in range(3):
                await world.sell()
            assert not await came_true(lambda: somebody_was_paid_twice(world), timeout_s=15), await paid(world)
        finally:
            twin.kill_daemon()


async def test_when_the_second_daemon_is_gone_every_sale_can_be_paid_out_once(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        twin = twin_of(world, tmp_path / "second-host")
        prepare(twin.database_path)
        twin.start_daemon()
        try:
            await runs(world)
            await twin.wait_for_log("subscribed for")
            twin.add_providers(LPS, actor="test")
            sale = await world.sell()
            await came_true(lambda: all_paid(world, sale.payment_hash, LEGS), timeout_s=30)
        finally:
            twin.kill_daemon()
        await came_true(lambda: decided_and_paid(world, sale.payment_hash), timeout_s=20)
        assert list((await paid(world)).values()) == [1] * LEGS


async def decided_and_paid(world: World, payment_hash: str) -> bool:
    """Decide again and again: what is found may come sweep by sweep."""
    await reconcile_all(world)
    return await all_paid(world, payment_hash, LEGS)
