"""A sale that was paid on the machine's word is not paid again when proof is asked for later (SPEC section 6.4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from tests.found.parts import NET_SATS, PLENTY_MINOR, came_true, edit_config, paid, received, runs, until, world_of

pytestmark = pytest.mark.anyio

FIGURES = {
    "gross_sats": 266_800,
    "net_sats": NET_SATS,
    "fee_sats": 8_004,
    "exchange_rate": 143,
    "currency": "GTQ",
}


async def alice_got(world: World, sats: int) -> bool:
    return await received(world, "alice") >= sats


@pytest.mark.parametrize("named_by", [{"txid": "tx-77"}, {}], ids=["by its txid", "by its event alone"])
async def test_what_was_paid_without_proof_is_not_paid_again_when_proof_is_asked_for(
    tmp_path: Path, lnbits: LnbitsServer, named_by: dict[str, object]
) -> None:
    settings = {"payouts": "require_payment_proof = false"}
    async with world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}, settings=settings) as world:
        machine = world.system.machines[0]
        await runs(world)
        await world.system.customer_pays(machine, FIGURES)
        await world.system.announce(machine, {"source": "bitspire", **FIGURES, **named_by})
        await until(lambda: alice_got(world, NET_SATS), world)
        before = await paid(world)
        world.kill()
        edit_config(world, "require_payment_proof = false", "require_payment_proof = true")
        await lnbits.credit(machine.wallet.id, 300_000)
        await runs(world)
        again = await came_true(lambda: alice_got(world, NET_SATS + 1), timeout_s=9)
        assert not again, "her share of one sale was paid twice"
        assert await paid(world) == before
