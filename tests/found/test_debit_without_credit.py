"""LNbits that dies between debit and credit: nobody is told "paid" who got nothing (SPEC sections 6.1 and 6.7).

LNbits commits the debit, then the credit. Here the daemon dies when it was answered, and the credit is taken back in
LNbits' database, as LNbits leaves it behind when it is killed in between and has started again.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chaos.world import World
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import LnbitsServer, WalletKeys
from tests.found.parts import (
    PLENTY_MINOR,
    addresses,
    all_paid,
    asked,
    came_true,
    credits_of,
    did,
    paid,
    received,
    runs,
    satmachine,
    until,
    world_of,
)

pytestmark = pytest.mark.anyio

DIES_WHEN_ANSWERED = {"SATMACHINE_FAILPOINT": "pay.sent"}
#: The advice for a held payment leads to a person's decision.
DECISION = "resolve"
REFUND_SATS = 50_000


def take_back_the_last_credit(world: World, wallet: WalletKeys) -> None:
    """The credit that was never committed: LNbits' sweep after its start calls such an invoice failed."""
    with closing(sqlite3.connect(world.system.lnbits.data_dir / "database.sqlite3", timeout=30)) as conn:
        changed = conn.execute(
            "UPDATE apipayments SET status = 'failed' WHERE amount > 0 AND wallet_id = ? AND status = 'success'",
            (wallet.id,),
        ).rowcount
        conn.commit()
    assert changed == 1


def dead(world: World) -> bool:
    return not world.alive


async def payments_of(world: World, leg: str) -> list[str]:
    return [row["status"] for row in await asked(world, "payments", "list") if row["leg"].startswith(leg)]


async def is_decided(world: World, leg: str) -> bool:
    """Whether the daemon has come to a conclusion about the payment."""
    return (await payments_of(world, leg))[0] in ("completed", "held")


async def is_told(world: World, leg: str) -> None:
    """A person learns of it: from the payment's state, from `audit` and from `status`."""
    await came_true(lambda: is_decided(world, leg), timeout_s=45)
    assert await payments_of(world, leg) == ["held"], "the payee got nothing"
    audit = await satmachine(world, "audit")
    assert audit.returncode == 1, audit.stdout
    trouble = (await asked(world, "status"))["attention"]
    assert trouble, "status says that nothing needs anybody"
    assert any(DECISION in item["command"] for item in trouble), trouble


async def test_a_wallet_of_this_lnbits_that_was_not_credited_is_shown_by_audit_and_status(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with world_of(tmp_path, lnbits, {"alice": 1_000_00}) as world:
        await lnbits.credit(world.system.machines[0].wallet.id, 200_000)
        await runs(world, DIES_WHEN_ANSWERED)
        await satmachine_dies_paying(world, "clients", "settle", "1", "--rate", "100", "--yes")
        take_back_the_last_credit(world, world.system.wallets["alice"])
        await runs(world)
        await is_told(world, "bal")


async def test_a_leg_of_a_sale_that_was_not_credited_is_shown_and_ends_by_a_person_s_word(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}) as world:
        sale = await world.sell(announce=False)
        await runs(world, DIES_WHEN_ANSWERED)
        await until(lambda: dead(world), world)
        world.kill()
        leg = await lose_one_credit(world)
        await runs(world)
        await is_told(world, leg)
        await came_true(lambda: all_paid(world, sale.payment_hash, 4), timeout_s=6)
        by_hand = ("--paid", "--reason", "credited in LNbits by hand", "--yes")
        await did(world, "settlements", "resolve", "1", "--leg", leg, *by_hand)
        shown = (await asked(world, "settlements", "show", "1"))["settlement"]
        assert shown["status"] == "processed"
        assert (await satmachine(world, "audit")).returncode == 0
        assert set((await paid(world)).values()) == {1}


async def lose_one_credit(world: World) -> str:
    """Of the legs that were paid when the daemon died; which one."""
    names = {"super": "super", "owner": "split:owner", "technician": "split:technician", "alice": "dca:alice"}
    for name, leg in names.items():
        if await credits_of(world, name):
            take_back_the_last_credit(world, world.system.wallets[name])
            return leg
    raise AssertionError("nothing was paid")


async def test_an_address_of_this_lnbits_that_was_not_credited_is_not_said_to_be_paid(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with world_of(tmp_path, lnbits, {"alice": 1_000_00}) as world:
        with addresses(lnbits, {"alice": world.system.wallets["alice"]}) as server:
            await did(world, "clients", "update", "1", "--lightning-address", server.address("alice"))
            await lnbits.credit(world.system.machines[0].wallet.id, 200_000)
            await runs(world, DIES_WHEN_ANSWERED)
            await satmachine_dies_paying(world, "clients", "settle", "1", "--rate", "100", "--yes")
            take_back_the_last_credit(world, world.system.wallets["alice"])
            await runs(world)
            await is_told(world, "bal")
            assert await received(world, "alice") == 0


async def test_a_refund_invoice_of_this_lnbits_that_was_not_credited_is_not_said_to_be_paid(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    customer = await lnbits.create_wallet("customer")
    async with world_of(tmp_path, lnbits, {}) as world:
        await runs(world)
        await world.sell()
        await until(lambda: world.settled_now and bool(world.rest().settlements), world)
        world.kill()
        invoice = await invoice_of(lnbits, customer, REFUND_SATS)
        await runs(world, DIES_WHEN_ANSWERED)
        refund = ("settlements", "refund", "1", str(REFUND_SATS), "--to", invoice, "--reason", "jam", "--yes")
        await satmachine_dies_paying(world, *refund)
        take_back_the_last_credit(world, customer)
        await runs(world)
        await is_told(world, "refund")


async def satmachine_dies_paying(world: World, *arguments: str) -> None:
    """Ask for a payment; the daemon dies when LNbits has answered it."""
    await did(world, *arguments)
    await until(lambda: dead(world), world)
    world.kill()


async def invoice_of(lnbits: LnbitsServer, wallet: WalletKeys, sats: int) -> str:
    async with Lnbits(lnbits.url, instance_id="customer") as client:
        made = await client.create_invoice(
            wallet.invoice_key,
            amount_sats=sats,
            memo="refund",
            expiry_s=86_400,
            extra={},
            external_id="x",
            internal=False,
        )
    return made.bolt11
