"""An order of a person is carried out once, wherever the daemon dies between its effect and its end (SPEC 6.5)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from tests.found.parts import (
    NET_SATS,
    AddressServer,
    addresses,
    asked,
    came_true,
    credits_of,
    runs,
    satmachine,
    until,
    world_of,
)

pytestmark = pytest.mark.anyio

#: Where the daemon writes down that an order has been carried out.
ORDERS_TABLE = "intents"

REFUND_SATS = 50_000


@contextmanager
def orders_cannot_be_ended(world: World) -> Iterator[None]:
    """As a database that is locked too long at just that moment: whatever writes the end of an order fails."""

    def say(sql: str) -> None:
        with closing(sqlite3.connect(world.system.database_path, timeout=30)) as conn:
            conn.execute(sql)
            conn.commit()

    say(
        f"CREATE TRIGGER locked BEFORE UPDATE ON {ORDERS_TABLE} WHEN NEW.status != 'open' "
        "BEGIN SELECT RAISE(ABORT, 'database is locked'); END"
    )
    try:
        yield
    finally:
        say("DROP TRIGGER locked")


async def refund_while_its_end_is_lost(world: World, server: AddressServer, how_it_ends: str) -> list[int]:
    """Ask for one refund; how often, and how much, the customer got in the end."""
    sale = await world.sell()
    await until(lambda: world.settled_now and bool(world.rest().settlements), world)
    to = ("--to", server.address("customer"), "--reason", "jam", "--yes")
    async with anyio.create_task_group() as group:
        with orders_cannot_be_ended(world):
            group.start_soon(satmachine, world, "settlements", "refund", sale.payment_hash, str(REFUND_SATS), *to)
            await came_true(lambda: len(server.given) > 1, timeout_s=6)
            if how_it_ends == "killed":
                world.kill()
        if how_it_ends == "killed":
            await runs(world)
    await until(lambda: came_back(world, server, 1), world)
    await came_true(lambda: came_back(world, server, 2), timeout_s=3)
    return await credits_of(world, server.wallets["customer"])


async def came_back(world: World, server: AddressServer, times: int) -> bool:
    return len(await credits_of(world, server.wallets["customer"])) >= times


@pytest.mark.parametrize("how_it_ends", ["locked", "killed"])
async def test_a_refund_is_paid_once_when_the_end_of_the_order_is_lost(
    tmp_path: Path, lnbits: LnbitsServer, how_it_ends: str
) -> None:
    customer = await lnbits.create_wallet("customer")
    async with world_of(tmp_path, lnbits, {}) as world:
        with addresses(lnbits, {"customer": customer}) as server:
            await runs(world)
            came = await refund_while_its_end_is_lost(world, server, how_it_ends)
            assert len(came) == 1, f"the customer was refunded {len(came)} times: {came}"
            sale = (await asked(world, "settlements", "show", "1"))["settlement"]
            assert sale["retained_sats"] >= NET_SATS - REFUND_SATS
