"""Who a payee is: the wallet, the address or the LNURL, and never where its key is kept (SPEC section 3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.world import World
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import LnbitsServer
from testkit.system import System
from tests.found.parts import (
    PLENTY_MINOR,
    REPOINT,
    addresses,
    all_paid,
    asked,
    came_true,
    did,
    edit_config,
    paid_for,
    pause,
    received,
    reload,
    resume,
    runs,
    satmachine,
    until,
    world_of,
)

pytestmark = pytest.mark.anyio

LPS = {"alice": PLENTY_MINOR}
LEGS = 4
#: Of a sale of 266,800 sats.
OWNER_SATS = 3_922


def kept_in_file(system: System, name: str) -> str:
    return f'{{ file = "{system.key_file(name)}" }}'


def write_keys_plainly(world: World, *names: str) -> None:
    """The keys themselves stand in the configuration."""
    for name in names:
        edit_config(world, kept_in_file(world.system, name), f'"{world.system.wallets[name].invoice_key}"')


async def planned_but_not_paid(world: World) -> str:
    """A sale whose legs are open; its payment hash."""
    await runs(world)
    await pause(world)
    sale = await world.sell()
    await until(lambda: bool(world.rest().legs), world)
    return sale.payment_hash


async def test_healthy_books_with_two_plain_keys_pass_the_audit(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        write_keys_plainly(world, "super", "owner")
        await runs(world)
        sale = await world.sell()
        await until(lambda: all_paid(world, sale.payment_hash, LEGS), world)
        await until(lambda: world.settled_now, world)
        broken = await came_true(lambda: audit_finds_a_break(world), timeout_s=4)
        assert not broken, (await satmachine(world, "audit")).stdout


async def test_another_wallet_under_the_same_label_gets_nothing_until_a_person_says_so(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    other = await lnbits.create_wallet("somebody else")
    async with world_of(tmp_path, lnbits, LPS) as world:
        write_keys_plainly(world, "owner")
        sale = await planned_but_not_paid(world)
        edit_config(world, world.system.wallets["owner"].invoice_key, other.invoice_key)
        reload(world)
        await resume(world)
        await until(lambda: all_paid(world, sale, LEGS - 1), world)
        assert not await came_true(lambda: all_paid(world, sale, LEGS), timeout_s=3), await paid_for(world, sale)
        assert await received(world, other) == 0, "it was planned for another wallet"
        assert "satmachine payments repoint" in await did(world, "status")
        await did(world, *REPOINT, "--payee", "split:owner@machine-1", "--reason", "a new wallet", "--yes")
        await until(lambda: all_paid(world, sale, LEGS), world)
        assert await received(world, other) == OWNER_SATS


@pytest.mark.parametrize("how", ["to another file", "to the environment", "to the wallet's admin key"])
async def test_a_key_of_the_same_wallet_may_move(tmp_path: Path, lnbits: LnbitsServer, how: str) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        sale = await planned_but_not_paid(world)
        world.kill()
        owner = world.system.wallets["owner"]
        moved = tmp_path / "owner"
        moved.write_text(owner.admin_key if "admin" in how else owner.invoice_key)
        moved.chmod(0o600)
        place = '{ env = "OWNER_KEY" }' if "environment" in how else f'{{ file = "{moved}" }}'
        edit_config(world, kept_in_file(world.system, "owner"), place)
        await runs(world, {"OWNER_KEY": owner.invoice_key})
        await resume(world)
        await until(lambda: all_paid(world, sale, LEGS - 1), world)
        await came_true(lambda: all_paid(world, sale, LEGS), timeout_s=30)
        assert await received(world, "owner") == OWNER_SATS, await did(world, "payments", "list")


async def test_one_unpaid_invoice_of_an_exchanged_wallet_does_not_stop_the_machine(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    other = await lnbits.create_wallet("somebody else")
    async with world_of(tmp_path, lnbits, LPS) as world:
        write_keys_plainly(world, "owner")
        first = await world.sell(announce=False)
        await world.withdraw(world.system.machines[0], first.gross_sats - 2_000)  # enough for no leg
        await runs(world)
        await until(lambda: sum("insufficient" in leg.why.lower() for leg in world.rest().legs) >= 2, world)
        world.kill()
        edit_config(world, world.system.wallets["owner"].invoice_key, other.invoice_key)
        await lnbits.credit(world.system.machines[0].wallet.id, first.gross_sats)
        await runs(world)
        await until(lambda: any("another wallet" in leg.why for leg in world.rest().legs), world, timeout_s=60)
        second = await world.sell()
        await came_true(lambda: all_paid(world, second.payment_hash, LEGS - 1), timeout_s=30)
        assert "safe mode" not in await did(world, "status")
        assert {"r1:super", "r1:dca:alice"} <= set(await paid_for(world, second.payment_hash))


async def test_a_leg_does_not_take_a_payment_that_is_larger_for_its_own(tmp_path: Path, lnbits: LnbitsServer) -> None:
    settings = {"payouts": 'routing_fees = "machine"'}
    async with world_of(tmp_path, lnbits, LPS, settings=settings) as world:
        with addresses(lnbits, {"owner": world.system.wallets["owner"]}) as server:
            old = f"payee = {{ invoice_key = {kept_in_file(world.system, 'owner')} }}"
            edit_config(world, old, f'payee = {{ lightning_address = "{server.address("owner")}" }}')
            sale = await world.sell(announce=False)
            key = f"sm1:{sale.payment_hash}:r1:split:owner"
            await pay_by_hand(world, key, OWNER_SATS + 1_000)
            await world.system.lnbits.credit(world.system.machines[0].wallet.id, 1_000)
            await runs(world)
            await until(lambda: [row.status for row in world.rest().settlements] == ["held"], world)
            legs = (await asked(world, "settlements", "show", "1"))["legs"]
            paid = [leg for leg in legs if leg.get("label") == "owner" and leg["status"] == "completed"]
            assert paid == [], f"{OWNER_SATS} sats are the owner's, and {paid} is said to be them"


async def audit_finds_a_break(world: World) -> bool:
    return (await satmachine(world, "audit")).returncode != 0


async def pay_by_hand(world: World, key: str, sats: int) -> None:
    """A payment of the machine's wallet that bears a leg's key, as another life or another program made it."""
    machine = world.system.machines[0]
    async with Lnbits(world.system.lnbits.url, instance_id="another") as client:
        invoice = await client.create_invoice(
            world.system.wallets["owner"].invoice_key,
            amount_sats=sats,
            memo="x",
            expiry_s=3600,
            extra={},
            external_id=key,
            internal=False,
        )
        extra = {"tag": f"satmachine:{machine.signer.npub}"}
        await client.pay(machine.wallet.admin_key, invoice.bolt11, extra=extra, external_id=key)
