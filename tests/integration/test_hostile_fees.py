"""A payee elsewhere whose routing fees the machine bears takes none of the sats that the wallet owes to others."""

from __future__ import annotations

from pathlib import Path

import pytest

from testkit.lnbits import LnbitsServer
from tests.found.parts import (
    COMMISSION_LEGS,
    NET_SATS,
    PLENTY_MINOR,
    addresses,
    all_paid,
    asked,
    did,
    received,
    runs,
    until,
    world_of,
)

pytestmark = pytest.mark.anyio

#: What LNbits sets aside for an external payment: one percent.
RESERVE_SATS = -(-NET_SATS // 100)


async def test_a_leg_waits_until_the_wallet_can_bear_its_fees_and_what_it_owes(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    settings = {"payouts": 'routing_fees = "machine"'}
    async with world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}, settings=settings) as world:
        with addresses(lnbits, {"alice": world.system.wallets["alice"]}) as server:
            await did(world, "clients", "update", "1", "--lightning-address", server.address("alice"))
            await runs(world)
            server.answers.clear()  # until the others have been paid
            sale = await world.sell()
            await until(lambda: all_paid(world, sale.payment_hash, len(COMMISSION_LEGS)), world)
            server.answers.set()

            async def waits() -> bool:
                [leg] = [row for row in await asked(world, "payments", "list") if row["leg"] == "dca:alice"]
                return leg["status"] == "failed" and "for routing fees, which the machine bears" in str(leg["error"])

            await until(waits, world)
            assert await received(world, "alice") == 0
            assert server.given, "an invoice was asked for, so that its reserve is known"
            await lnbits.credit(world.system.machines[0].wallet.id, RESERVE_SATS)
            await until(lambda: all_paid(world, sale.payment_hash, len(COMMISSION_LEGS) + 1), world)
            assert await received(world, "alice") == NET_SATS
