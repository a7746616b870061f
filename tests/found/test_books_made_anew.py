"""Books that were lost or restored come to say what the wallets show, by commands alone (SPEC sections 6.8 and 8)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from tests.found.parts import (
    MACHINE,
    NET_SATS,
    all_paid,
    asked,
    backup,
    came_true,
    did,
    make_books,
    paid,
    pause,
    received,
    reconcile_all,
    resume,
    runs,
    satmachine,
    until,
    world_of,
)

pytestmark = pytest.mark.anyio

#: Each of alice and bruno has brought so much, in GTQ.
BROUGHT = 5_000
RATE = 143

#: `deposits add` with the day on which the cash really came.
AT = "--at"


async def enter(world: World, label: str, at: int) -> None:
    """An LP is entered by hand, with the true date of the cash."""
    key = str(world.system.key_file(label))
    added = ("clients", "add", "--machine", MACHINE, "--label", label, "--invoice-key-file", key, "--json")
    done = await satmachine(world, *added)
    assert done.returncode == 0, done.stderr
    client = next(row["id"] for row in await asked(world, "clients", "list") if row["label"] == label)
    deposit = ("deposits", "add", str(client), str(BROUGHT))
    dated = await satmachine(world, *deposit, AT, datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    if dated.returncode != 0:  # before there were dates
        await did(world, *deposit)
    for row in await asked(world, "deposits", "list"):
        if row["status"] == "pending":
            await did(world, "deposits", "confirm", str(row["id"]), "--yes")


async def balance_of(world: World, label: str) -> Decimal:
    rows = await asked(world, "clients", "balance")
    return next(Decimal(row["available"]) for row in rows if row["label"] == label)


async def settles(world: World) -> bool:
    """Decide until no sale is held and nothing is left to do."""
    await reconcile_all(world)
    found = await asked(world, "settlements", "list")
    return bool(found) and all(row["status"] == "processed" for row in found)


async def whatever_helps(world: World) -> None:
    """Reconcile, and where that does not end it, what `status` has advised so far."""
    if await came_true(lambda: settles(world), timeout_s=30):
        return
    for verb in ("release", "retry"):
        await satmachine(world, "settlements", verb, "1", "--reason", "looked at", "--yes")
    await came_true(lambda: settles(world), timeout_s=30)


async def agrees(world: World) -> bool:
    return (await satmachine(world, "audit")).returncode == 0


@pytest.mark.parametrize("what_is_left", ["an older copy", "nothing"])
async def test_an_lp_who_is_entered_anew_has_the_share_that_the_wallet_shows(
    tmp_path: Path, lnbits: LnbitsServer, what_is_left: str
) -> None:
    async with world_of(tmp_path, lnbits, {"alice": BROUGHT * 100}) as world:
        world.system.wallets["bruno"] = await lnbits.create_wallet("bruno")
        world.system.write_config()
        await runs(world)
        copy = await backup(world)
        brought_at = int(time.time())
        await enter(world, "bruno", brought_at)
        await came_true(lambda: time.time() > brought_at + 1, timeout_s=3)
        sale = await world.sell()
        await until(lambda: all_paid(world, sale.payment_hash, 5), world)
        before = await paid(world), await balance_of(world, "alice"), await balance_of(world, "bruno")
        world.kill()
        world.delete_books()
        make_books(world)
        if what_is_left == "an older copy":
            world.restore_books(copy)
        await runs(world)
        for label in ("bruno",) if what_is_left == "an older copy" else ("alice", "bruno"):
            await enter(world, label, brought_at)
        await whatever_helps(world)
        status = (await satmachine(world, "status")).stdout
        assert (await paid(world), await balance_of(world, "alice"), await balance_of(world, "bruno")) == before, status
        assert await came_true(lambda: agrees(world), timeout_s=30), (await satmachine(world, "audit")).stdout
        assert [row["status"] for row in await asked(world, "settlements", "list")] == ["processed"]


async def test_lost_books_take_up_a_sale_that_was_paid_in_its_second_revision(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with world_of(tmp_path, lnbits, {"alice": BROUGHT * 100}) as world:
        await runs(world)
        await pause(world)
        sale = await world.sell()
        await until(lambda: bool(world.rest().legs), world)
        half = ("--fraction", "0.5", "--reason", "half of it", "--yes")
        await did(world, "settlements", "partial-dispense", "1", *half)
        await resume(world)
        await until(lambda: all_paid(world, sale.payment_hash, 4), world)
        before = await paid(world), await balance_of(world, "alice")
        world.kill()
        world.delete_books()
        make_books(world)
        world.system.add_providers({"alice": BROUGHT * 100}, actor="test")
        await runs(world)
        await whatever_helps(world)
        [shown] = await asked(world, "settlements", "list")
        assert shown["status"] != "held", shown
        assert (await paid(world), await balance_of(world, "alice")) == before
        assert await received(world, "alice") == NET_SATS // 2
        assert await came_true(lambda: agrees(world), timeout_s=30), (await satmachine(world, "audit")).stdout
