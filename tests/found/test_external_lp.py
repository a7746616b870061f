"""An LP elsewhere is debited what was sent and what it cost, in every life of the books (SPEC sections 5 and 8)."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from chaos.world import World
from satmachine.store.database import atomic, connect
from testkit.lnbits import LnbitsServer
from tests.found.parts import (
    MACHINE,
    addresses,
    all_paid,
    asked,
    came_true,
    credits_of,
    did,
    make_books,
    paid,
    reconcile_all,
    runs,
    satmachine,
    until,
    world_of,
)

pytestmark = pytest.mark.anyio

LEGS = 4


async def balance_of_alice(world: World) -> Decimal:
    [row] = await asked(world, "clients", "balance")
    return Decimal(row["available"])


async def agrees(world: World) -> bool:
    return (await satmachine(world, "audit")).returncode == 0


async def decided_and_settled(world: World) -> bool:
    """Decide again and again: what is found may come sweep by sweep."""
    await reconcile_all(world)
    return world.settled_now and bool(world.rest().legs)


async def test_lost_books_debit_an_lp_elsewhere_what_her_payment_says(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, {"alice": 905_00}) as world:  # half of the sale's cash
        with addresses(lnbits, {"alice": world.system.wallets["alice"]}) as server:
            to_her_address = ("clients", "update", "1", "--lightning-address", server.address("alice"))
            await did(world, *to_her_address)
            await runs(world)
            sale = await world.sell()
            await until(lambda: all_paid(world, sale.payment_hash, LEGS), world)
            await until(lambda: world.settled_now, world)
            spent = Decimal(905) - await balance_of_alice(world)
            got = await credits_of(world, "alice")
            world.kill()
            world.delete_books()
            make_books(world)
            with closing(connect(world.system.database_path)) as conn, atomic(conn):
                world._add_lp(conn, MACHINE, "alice", 5_000_00)  # what she brought since is entered with it
            await did(world, *to_her_address)
            await runs(world)
            await until(lambda: bool(world.rest().settlements), world)
            await came_true(lambda: decided_and_settled(world), timeout_s=40)
            assert await credits_of(world, "alice") == got
            assert Decimal(5_000) - await balance_of_alice(world) == spent, "debited for sats that were never sent"


async def test_the_unused_reserve_of_a_balance_payout_is_in_the_books(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, {"alice": 1_000_00}) as world:
        with addresses(lnbits, {"alice": world.system.wallets["alice"]}) as server:
            await did(world, "clients", "update", "1", "--lightning-address", server.address("alice"))
            await lnbits.credit(world.system.machines[0].wallet.id, 200_000)
            await runs(world)
            await did(world, "clients", "settle", "1", "--rate", "100", "--yes")
            await until(lambda: was_paid(world), world)
            await until(lambda: world.settled_now, world)
            [got] = await credits_of(world, "alice")
            assert got < 100_000, "a reserve for routing was kept back"
            with closing(connect(world.system.database_path, read_only=True)) as conn:
                kept = conn.execute("SELECT reason, amount_sats FROM dca_retained WHERE payment_id IS NOT NULL")
                assert [tuple(row) for row in kept] == [("unused_fee_reserve", 100_000 - got)]
            assert await came_true(lambda: agrees(world), timeout_s=30), await satmachine(world, "audit")


async def was_paid(world: World) -> bool:
    return bool(await paid(world))
