"""A file name in the database may lead to any key: only the wallet that got the share forwards it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from satmachine.models import Leg
from satmachine.settlements.pay.forward_check import foreign_source
from satmachine.store import forward_source
from satmachine.store.database import Store, open_store
from satmachine.store.forward_source import ForwardSource
from satmachine.wallet.lnbits import Lnbits
from testkit.books import MACHINE, fresh_books
from testkit.lnbits import LnbitsServer, WalletKeys

PREFIX = f"sm1:{'ab' * 32}:r1:"


def forward_of(client_id: int) -> Leg:
    made = SimpleNamespace(machine_id=MACHINE, client_id=client_id, leg="fwd:alice", leg_key=PREFIX + "fwd:alice")
    return cast("Leg", made)


@pytest.fixture
async def wallet(lnbits: LnbitsServer) -> AsyncIterator[Lnbits]:
    async with Lnbits(lnbits.url, instance_id="i") as wallet:
        yield wallet


class Books:
    """Answers the one question that is asked of it."""

    def __init__(self, source: ForwardSource) -> None:
        self.source = source

    async def read(self, *_: object) -> ForwardSource:
        return self.source


async def a_share(lnbits: LnbitsServer, wallet: Lnbits, machine: WalletKeys, alice: WalletKeys) -> str:
    """The hash of a payment from the machine into alice's wallet."""
    await lnbits.credit(machine.id, 1_000)
    invoice = await wallet.create_invoice(
        alice.invoice_key, amount_sats=100, memo="", expiry_s=600, extra={}, external_id=secrets.token_hex(8)
    )
    await wallet.pay(machine.admin_key, invoice.bolt11, extra={}, external_id="k")
    return invoice.payment_hash


async def test_only_the_wallet_that_got_the_share_forwards_it(lnbits: LnbitsServer, wallet: Lnbits) -> None:
    machine, other, alice, bob = [await lnbits.create_wallet(name) for name in ("machine", "other", "alice", "bob")]
    source = ForwardSource(
        await a_share(lnbits, wallet, machine, alice), {machine.id: "machine-1", other.id: "machine-2"}
    )

    async def answer(key: str, source: ForwardSource = source) -> str | None:
        return await foreign_source(cast("Store", Books(source)), wallet, forward_of(1), key)

    assert await answer(alice.admin_key) is None
    assert "not of the wallet into which the share was paid" in str(await answer(bob.admin_key))
    assert "wallet of machine machine-1" in str(await answer(machine.admin_key))
    assert "wallet of machine machine-2" in str(await answer(other.admin_key))
    assert "was not paid" in str(await answer(alice.admin_key, replace(source, payment_hash=None)))


async def test_the_books_know_which_payment_a_forward_belongs_to(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        conn.execute("PRAGMA foreign_keys = OFF")
        conn.execute("UPDATE dca_wallets SET wallet_id = 'w1' WHERE machine_id = 'machine-1'")
        for leg, status, hash_ in (("dca:alice", "completed", "cc" * 32), ("dca:bob", "pending", None)):
            conn.execute(
                "INSERT INTO dca_payments (settlement_id, machine_id, leg_type, leg, leg_key, client_id, amount_sats, "
                "fiat_amount_minor, payee, effective_at, status, payment_hash, sent_sats, planned_at, completed_at) "
                "VALUES (1, ?, 'dca', ?, ?, 7, 5, 1, 'x', 1, ?, ?, 5, 1, ?)",
                (MACHINE, leg, PREFIX + leg, status, hash_, 1 if hash_ else None),
            )
        async with open_store(tmp_path / "satmachine.db") as store:
            found = await store.read(forward_source.of_forward, forward_of(7))
            assert found == ForwardSource("cc" * 32, {"w1": "machine-1"})
            assert (await store.read(forward_source.of_forward, forward_of(8))).payment_hash is None
            bob = forward_of(7)
            bob.leg, bob.leg_key = "fwd:bob", PREFIX + "fwd:bob"  # type: ignore[misc]
            assert (await store.read(forward_source.of_forward, bob)).payment_hash is None
