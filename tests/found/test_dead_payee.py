"""A payee that is gone strands nothing: a person can always send the leg elsewhere (SPEC sections 3 and 5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer, WalletKeys
from tests.found.parts import (
    NET_SATS,
    REPOINT,
    all_paid,
    asked,
    credits_of,
    did,
    edit_config,
    paid_for,
    runs,
    satmachine,
    until,
    world_of,
)

pytestmark = pytest.mark.anyio

LPS = {"alice": 10_000_000_00}
LEGS = 4


async def delete_wallet(lnbits: LnbitsServer, wallet: WalletKeys) -> None:
    """As its owner does in LNbits."""
    await lnbits._as_admin("DELETE", f"/api/v1/wallet/{wallet.id}", {})


def key_file_of(world: World, wallet: WalletKeys) -> Path:
    path = world.system.key_file("new-wallet")
    path.write_text(wallet.invoice_key)
    path.chmod(0o600)
    return path


async def stuck_leg(world: World, leg: str) -> str:
    """The id of a payment that cannot get on; fails where it never tried."""
    await until(lambda: any(row.leg_key.endswith(leg) and bool(row.why) for row in world.rest().legs), world)
    found = await asked(world, "payments", "list")
    return str(next(row["id"] for row in found if row["leg"] == leg))


async def lose(world: World, cause: str) -> None:
    """Alice cannot be paid any more, and nothing was made for her yet."""
    if cause == "her wallet was deleted":
        await delete_wallet(world.system.lnbits, world.system.wallets["alice"])
    elif cause == "her key file is gone":
        world.system.key_file("alice").unlink()
    else:
        await did(world, "clients", "update", "1", "--lightning-address", "alice@nowhere.invalid")


@pytest.mark.parametrize("cause", ["her wallet was deleted", "her key file is gone", "her address does not resolve"])
async def test_an_lp_who_cannot_be_paid_gets_her_share_at_another_wallet(
    tmp_path: Path, lnbits: LnbitsServer, cause: str
) -> None:
    new = await lnbits.create_wallet("alice's new one")
    async with world_of(tmp_path, lnbits, LPS) as world:
        await lose(world, cause)
        await runs(world)
        sale = await world.sell()
        payment = await stuck_leg(world, "dca:alice")
        updated = await satmachine(world, "clients", "update", "1", "--invoice-key-file", str(key_file_of(world, new)))
        assert updated.returncode == 0, updated.stderr
        await did(world, *REPOINT, payment, "--reason", "a new wallet", "--yes")
        await until(lambda: all_paid(world, sale.payment_hash, LEGS), world)
        assert await credits_of(world, new) == [NET_SATS], await paid_for(world, sale.payment_hash)


async def test_an_invoice_of_a_deleted_wallet_can_be_given_up_by_a_person(tmp_path: Path, lnbits: LnbitsServer) -> None:
    new = await lnbits.create_wallet("alice's new one")
    async with world_of(tmp_path, lnbits, LPS) as world:
        sale = await world.sell(announce=False)
        await world.withdraw(world.system.machines[0], sale.gross_sats)
        await runs(world)
        await until(lambda: sum("insufficient" in leg.why.lower() for leg in world.rest().legs) == LEGS, world)
        await delete_wallet(lnbits, world.system.wallets["alice"])
        await lnbits.credit(world.system.machines[0].wallet.id, sale.gross_sats)
        await until(lambda: all_paid(world, sale.payment_hash, LEGS - 1), world)
        payment = await stuck_leg(world, "dca:alice")
        resolve = ("settlements", "resolve", sale.payment_hash, "--leg", "dca:alice", "--unpaid")
        await did(world, *resolve, "--reason", "her wallet is gone", "--yes")
        await did(world, "clients", "update", "1", "--invoice-key-file", str(key_file_of(world, new)))
        await did(world, *REPOINT, payment, "--reason", "a new wallet", "--yes")
        await until(lambda: all_paid(world, sale.payment_hash, LEGS), world)
        assert await credits_of(world, new) == [NET_SATS]


async def test_a_sale_with_an_invoice_of_a_deleted_wallet_can_be_closed(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        sale = await world.sell(announce=False)
        await world.withdraw(world.system.machines[0], sale.gross_sats)
        await runs(world)
        await until(lambda: sum("insufficient" in leg.why.lower() for leg in world.rest().legs) == LEGS, world)
        await delete_wallet(lnbits, world.system.wallets["alice"])
        await stuck_leg(world, "dca:alice")
        resolve = ("settlements", "resolve", sale.payment_hash, "--leg", "dca:alice", "--unpaid")
        await satmachine(world, *resolve, "--reason", "her wallet is gone", "--yes")
        closed = await satmachine(world, "settlements", "close", "1", "--reason", "she is gone", "--yes")
        assert closed.returncode == 0, closed.stdout + closed.stderr
        shown = (await asked(world, "settlements", "show", "1"))["settlement"]
        assert (shown["status"], shown["retained_sats"]) == ("partial", sale.gross_sats)


async def test_a_configured_payee_whose_wallet_was_deleted_is_exchanged(tmp_path: Path, lnbits: LnbitsServer) -> None:
    new = await lnbits.create_wallet("the owner's new one")
    async with world_of(tmp_path, lnbits, LPS) as world:
        await delete_wallet(lnbits, world.system.wallets["owner"])
        await runs(world)
        sale = await world.sell()
        await stuck_leg(world, "split:owner")
        world.kill()
        edit_config(world, str(world.system.key_file("owner")), str(key_file_of(world, new)))
        await runs(world)
        dry = await satmachine(world, *REPOINT, "--payee", "owner", "--reason", "a new wallet", "--dry-run")
        assert dry.returncode == 0, dry.stderr
        assert not await credits_of(world, new)
        await did(world, *REPOINT, "--payee", "owner", "--reason", "a new wallet", "--yes")
        await until(lambda: all_paid(world, sale.payment_hash, LEGS), world)
        assert len(await credits_of(world, new)) == 1
