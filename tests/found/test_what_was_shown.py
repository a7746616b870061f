"""What was shown is what is decided: nothing is accepted that nobody has seen (SPEC section 6.8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.world import World
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import LnbitsServer
from tests.found.parts import (
    DIGEST,
    MACHINE,
    PLENTY_MINOR,
    RECONCILE,
    all_paid,
    came_true,
    runs,
    satmachine,
    until,
    world_of,
)

pytestmark = pytest.mark.anyio


async def pay_strangely(world: World, key: str) -> None:
    """A payment that the books cannot place."""
    machine = world.system.machines[0]
    async with Lnbits(world.system.lnbits.url, instance_id="another") as client:
        invoice = await client.create_invoice(
            world.system.wallets["owner"].invoice_key,
            amount_sats=1_000,
            memo="x",
            expiry_s=3600,
            extra={},
            external_id=key,
        )
        extra = {"tag": f"satmachine:{machine.signer.npub}"}
        await client.pay(machine.wallet.admin_key, invoice.bolt11, extra=extra, external_id=key)


async def shows(world: World, key: str) -> bool:
    """Whether the payment is in the list; a key's sale may be shortened there."""
    return key[:16].removeprefix("sm1:") in (await satmachine(world, *RECONCILE, MACHINE)).stdout


async def test_a_payment_that_came_after_the_list_was_shown_is_not_accepted_with_it(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    first, second = f"sm1:{'ab' * 32}:r1:super", f"sm1:{'cd' * 32}:r1:super"
    async with world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}) as world:
        await lnbits.credit(world.system.machines[0].wallet.id, 10_000)
        await pay_strangely(world, first)
        await runs(world)
        await until(lambda: shows(world, first), world)
        shown = DIGEST.search((await satmachine(world, *RECONCILE, MACHINE)).stdout)
        await pay_strangely(world, second)
        await until(lambda: shows(world, second), world)
        accept = ("--accept",) if shown is None else ("--accept", shown[1])
        await satmachine(world, *RECONCILE, MACHINE, *accept, "--yes", "--reason", "looked at the first")
        sale = await world.sell()
        paid = await came_true(lambda: all_paid(world, sale.payment_hash, 1), timeout_s=8)
        assert not paid, "the machine pays again, and nobody has decided about the second payment"
