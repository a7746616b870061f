"""Every row is of the wallet that was asked, or it says nothing about that wallet (SPEC section 6.7).

LNbits from 1.5 on knows shared wallets: their keys list, and spend, the payments of another wallet.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer, WalletKeys
from tests.found.parts import NET_SATS, PLENTY_MINOR, asked, came_true, received, rows_of, runs, until, world_of

pytestmark = pytest.mark.anyio


def share(lnbits: LnbitsServer, owned: WalletKeys, guest: WalletKeys) -> None:
    """The guest's wallet mirrors the owned one, as after an invitation that was accepted in LNbits."""
    may = ["view-payments", "receive-payments", "send-payments"]
    invited = {"request_id": "r", "username": "guest", "shared_with_wallet_id": guest.id, "permissions": may}
    extra = json.dumps({"shared_with": [{**invited, "status": "approved"}]})
    with closing(sqlite3.connect(lnbits.data_dir / "database.sqlite3", timeout=30)) as conn:
        conn.execute(
            "UPDATE wallets SET wallet_type = 'lightning-shared', shared_wallet_id = ? WHERE id = ?",
            (owned.id, guest.id),
        )
        conn.execute("UPDATE wallets SET extra = ? WHERE id = ?", (extra, owned.id))
        conn.commit()


async def alice_got(world: World, sats: int) -> bool:
    return await received(world, "alice") >= sats


async def test_a_sale_of_a_shared_wallet_is_one_machine_s_alone(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}, machines=2) as world:
        first, second = world.system.machines
        share(lnbits, first.wallet, second.wallet)
        await world.sell(first, announce=False)
        mirrored = await rows_of(lnbits, second.wallet.admin_key, outgoing=False)
        assert [row["wallet_id"] for row in mirrored] == [first.wallet.id], "the point of this test"
        await lnbits.credit(first.wallet.id, 300_000)
        await runs(world)
        await until(lambda: alice_got(world, NET_SATS), world)
        again = await came_true(lambda: alice_got(world, NET_SATS + 1), timeout_s=8)
        assert not again, "one sale was paid at two machines"
        owners = [row["machine_id"] for row in await asked(world, "settlements", "list")]
        assert owners == [first.id], "one sale stands in the books of two machines"
