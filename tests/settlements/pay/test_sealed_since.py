"""What an upgrade finds open goes on once; a database that says that it was never upgraded is not believed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from satmachine.config import Machine
from satmachine.errors import WalletUnavailable
from satmachine.identity import is_mark, parse_key
from satmachine.settlements.pay.seal_check import strange
from satmachine.settlements.pay.sealed_since import begin
from satmachine.store import legs
from satmachine.store.database import atomic, open_store
from satmachine.wallet.lnbits import Lnbits
from testkit.books import MACHINE, NOW, fresh_books, landed, plan

pytestmark = pytest.mark.anyio

THE_MACHINE = cast("Machine", SimpleNamespace(id=MACHINE, npub="npub1"))


class Wallet:
    """Remembers the keys of what was written into it; `fails` the next time."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.fails = False

    async def bundle(self, _key: str, bundle: str) -> list[str]:
        return [row for row in self.rows if row.startswith(f"{bundle}:")]

    async def create_invoice(self, _key: str, *, external_id: str, **_: object) -> None:
        if self.fails:
            raise WalletUnavailable("no answer")
        self.rows.append(external_id)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """As an upgrade leaves them: a planned sale without seals."""
    with fresh_books(tmp_path) as conn:
        plan(conn, landed(conn, 1))
        yield conn


async def started(folder: Path, wallet: Wallet) -> list[bool]:
    """A daemon sweeps the wallet; which open payments it would pay then."""
    async with open_store(folder / "satmachine.db") as store:
        store.keyring.learn(MACHINE, "admin key")
        try:
            await begin(store, cast("Lnbits", wallet), THE_MACHINE, "admin key", NOW)
        except WalletUnavailable:
            return []
        return await store.read(_may_be_paid)


def _may_be_paid(conn: sqlite3.Connection) -> list[bool]:
    ids = [row["id"] for row in conn.execute("SELECT id FROM dca_payments WHERE status = 'pending' ORDER BY id")]
    return [strange(conn, *legs.get(conn, leg_id)) is None for leg_id in ids]


async def test_what_an_upgrade_finds_open_goes_on(tmp_path: Path, books: sqlite3.Connection) -> None:
    wallet = Wallet()
    found = await started(tmp_path, wallet)
    assert found
    assert all(found)
    assert await started(tmp_path, wallet) == found
    assert len(wallet.rows) == 1
    assert is_mark(wallet.rows[0])
    assert parse_key(wallet.rows[0]) is None


async def test_a_wallet_that_does_not_answer_is_asked_again(tmp_path: Path, books: sqlite3.Connection) -> None:
    wallet = Wallet()
    wallet.fails = True
    assert await started(tmp_path, wallet) == []
    wallet.fails = False
    assert all(await started(tmp_path, wallet))


@pytest.mark.parametrize("lie", ["UPDATE dca_wallets SET sealed_at = NULL", "SELECT 1"])
async def test_whatever_a_database_says_nothing_is_taken_over_twice(
    tmp_path: Path, books: sqlite3.Connection, lie: str
) -> None:
    wallet = Wallet()
    await started(tmp_path, wallet)
    with atomic(books):
        books.execute("UPDATE dca_payments SET seal = NULL")
        books.execute(lie)
    assert not any(await started(tmp_path, wallet))


async def test_new_books_of_an_old_wallet_trust_nothing(tmp_path: Path, books: sqlite3.Connection) -> None:
    """As a database of an earlier version in the place of the true one."""
    wallet = Wallet()
    wallet.rows = ["sm1:seals:mark:begun"]
    assert not any(await started(tmp_path, wallet))
