"""An older copy of the books pays nothing of what its wallets show (SPEC sections 6.2 and 6.8).

Each test makes a copy, goes on, puts the copy back, decides what the books lack as `machines reconcile` proposes it,
and counts in LNbits what has left the machine's wallet.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from tests.found.parts import (
    COMMISSION_LEGS,
    GROSS_SATS,
    MACHINE,
    NET_SATS,
    PLENTY_MINOR,
    SALE_FIAT,
    all_paid,
    asked,
    backup,
    came_true,
    did,
    paid,
    paid_for,
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

LPS = {"alice": PLENTY_MINOR}
LEGS = 4


async def put_back(world: World, copy: Path) -> None:
    """The copy in the place of the books, decided about, and free to pay again."""
    world.kill()
    world.restore_books(copy)
    await runs(world)
    await came_true(lambda: reconcile_helps(world), timeout_s=20)
    await satmachine(world, "payouts", "resume", "--machine", MACHINE, "--reason", "decided", "--yes")


async def reconcile_helps(world: World) -> bool:
    """Decide again and again: what is found may come sweep by sweep."""
    return (await reconcile_all(world)).returncode == 0


async def test_a_corrected_sale_is_not_paid_in_its_first_revision_too(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        await runs(world)
        await pause(world)
        sale = await world.sell()
        await until(lambda: bool(world.rest().legs), world)
        copy = await backup(world)
        await did(world, "settlements", "partial-dispense", "1", "--fraction", "0.5", "--reason", "half of it", "--yes")
        await resume(world)
        await until(lambda: all_paid(world, sale.payment_hash, LEGS), world)
        await put_back(world, copy)
        await came_true(lambda: all_paid(world, sale.payment_hash, LEGS + 1), timeout_s=8)
        found = await paid_for(world, sale.payment_hash)
        assert {leg.split(":")[0] for leg in found} == {"r2"}, f"half of the sale was dispensed, paid was {found}"


async def test_what_was_redistributed_is_not_shared_out_again(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, {}) as world:
        await runs(world)
        await world.sell()
        await until(lambda: world.settled_now and bool(world.rest().settlements), world)
        world.system.add_providers(LPS, actor="test")
        copy = await backup(world)
        redistribute = ("settlements", "redistribute", "1", "--balances", "now", "--reason", "LP late", "--yes")
        await did(world, *redistribute)
        await until(lambda: got(world, "alice", NET_SATS), world)
        await world.system.lnbits.credit(world.system.machines[0].wallet.id, GROSS_SATS)
        await put_back(world, copy)
        again = await satmachine(world, *redistribute)
        await came_true(lambda: got(world, "alice", NET_SATS + 1), timeout_s=6)
        assert await received(world, "alice") == NET_SATS, again.stdout + again.stderr


async def test_a_balance_that_was_paid_out_is_not_paid_out_again(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, {"alice": 1_000_00}) as world:
        await runs(world)
        await world.system.lnbits.credit(world.system.machines[0].wallet.id, GROSS_SATS)
        copy = await backup(world)
        await did(world, "clients", "settle", "1", "--rate", "100", "--amount", "600", "--yes")
        await until(lambda: got(world, "alice", 60_000), world)
        await put_back(world, copy)
        again = await satmachine(world, "clients", "settle", "1", "--rate", "100", "--yes")
        await came_true(lambda: got(world, "alice", 100_001), timeout_s=6)
        assert await received(world, "alice") <= 100_000, again.stdout + again.stderr
        balance = (await asked(world, "clients", "balance", "1"))["available"]
        assert balance == "0.00", "600 were paid out before, and the rest now"


async def decided_and_settled(world: World) -> bool:
    await reconcile_all(world)
    return world.settled_now


async def got(world: World, name: str, sats: int) -> bool:
    return await received(world, name) >= sats


@pytest.mark.parametrize("how", ["satmachine backup", "a copied file"])
async def test_a_new_sale_waits_until_it_was_decided_what_the_copy_lacks(
    tmp_path: Path, lnbits: LnbitsServer, how: str
) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        await runs(world)
        copy = await backup(world) if how == "satmachine backup" else world.backup_books()
        old = await world.sell()
        await until(lambda: all_paid(world, old.payment_hash, LEGS), world)
        world.kill()
        world.restore_books(copy)
        new = await world.sell(announce=False)
        await runs(world)
        waited = not await came_true(lambda: all_paid(world, new.payment_hash, 1), timeout_s=8)
        assert waited, "paid by the balances of the copy, before anybody has decided what it lacks"
        await reconcile_all(world)
        await until(lambda: all_paid(world, new.payment_hash, LEGS), world)
        assert set((await paid(world)).values()) == {1}


async def test_a_new_sale_is_not_shared_by_balances_that_were_spent_since(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, {"alice": SALE_FIAT * 100}) as world:
        await runs(world)
        copy = await backup(world)
        old = await world.sell(with_extra=False)  # only the relay told of it, and has forgotten
        await until(lambda: all_paid(world, old.payment_hash, LEGS), world)
        world.kill()
        world.restore_books(copy)
        await runs(world)
        new = await world.sell()
        await came_true(lambda: bool(world.rest().settlements), timeout_s=40)
        await came_true(lambda: reconcile_helps(world), timeout_s=40)
        await until(lambda: all_paid(world, new.payment_hash, len(COMMISSION_LEGS)), world)
        await came_true(lambda: all_paid(world, new.payment_hash, LEGS), timeout_s=5)
        assert await received(world, "alice") <= SALE_FIAT * 143, "she was paid for the same cash twice"


async def test_a_copy_from_between_invoice_and_payment_passes_the_audit_once_it_has_caught_up(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        sale = await world.sell(announce=False)
        await world.start({"SATMACHINE_FAILPOINT": "pay.invoiced"})
        await world.wait_for_death()
        copy = await backup(world)
        await runs(world)
        await until(lambda: all_paid(world, sale.payment_hash, LEGS), world)
        await put_back(world, copy)
        await until(lambda: decided_and_settled(world), world)
        right = await came_true(lambda: agrees(world), timeout_s=30)
        assert right, (await satmachine(world, "audit")).stdout
        assert set((await paid(world)).values()) == {1}


async def agrees(world: World) -> bool:
    return (await satmachine(world, "audit")).returncode == 0
