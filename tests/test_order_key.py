"""Where the operator names an orders' key, a row that somebody wrote is no order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from satmachine.intents import SEALED_ORDER_S, IntentDesk
from satmachine.orders import SettleBalance
from satmachine.store import intent_rows
from satmachine.store.database import atomic, open_store
from testkit.books import MACHINE, NOW, add_provider, fresh_books

pytestmark = pytest.mark.anyio

KEY = "an orders' key"


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path) as conn:
        add_provider(conn, "alice", 100_000)
        yield conn


async def carried_out(folder: Path, order_key: str | None = KEY) -> None:
    """What a daemon does that reads this key."""

    async def straight(action):  # type: ignore[no-untyped-def]
        return await action()

    async with open_store(folder / "satmachine.db") as store:
        store.keyring.learn(MACHINE, "admin key")
        desk = IntentDesk(
            store,
            lambda: NOW,
            read_again=lambda _: pytest.fail("nothing is read again"),
            actions={},
            guard=straight,
            order_key=lambda: order_key,
        )
        await desk.carry_out_open()


def asked(books: sqlite3.Connection, *, order_key: str | None, at: int = NOW) -> int:
    with atomic(books):
        return intent_rows.add(books, at, "ana", SettleBalance(1, Decimal(50), 1_000, 1), order_key=order_key)


def payouts(books: sqlite3.Connection) -> int:
    return int(books.execute("SELECT count(*) FROM dca_payments").fetchone()[0])


async def test_an_order_of_who_has_the_key_is_carried_out(tmp_path: Path, books: sqlite3.Connection) -> None:
    order = asked(books, order_key=KEY)
    await carried_out(tmp_path)
    assert (intent_rows.get(books, order).status, payouts(books)) == ("done", 1)


async def test_without_a_key_every_order_is_carried_out(tmp_path: Path, books: sqlite3.Connection) -> None:
    order = asked(books, order_key=None)
    await carried_out(tmp_path, order_key=None)
    assert (intent_rows.get(books, order).status, payouts(books)) == ("done", 1)


@pytest.mark.parametrize("order_key", [None, "another key"])
async def test_a_row_of_somebody_else_is_no_order(
    tmp_path: Path, books: sqlite3.Connection, order_key: str | None
) -> None:
    order = intent_rows.get(books, asked(books, order_key=order_key))
    await carried_out(tmp_path)
    refused = intent_rows.get(books, order.id)
    assert (refused.status, payouts(books)) == ("refused", 0)
    assert "does not have the key for orders" in str(refused.result)


@pytest.mark.parametrize(
    "change",
    [
        "params = replace(params, '1000', '100000')",
        "subject = 'client 2'",
        "action = 'payments.cancel'",
        "actor = 'bob'",
        "created_at = created_at + 1",
    ],
)
async def test_an_order_that_was_changed_is_none(tmp_path: Path, books: sqlite3.Connection, change: str) -> None:
    order = asked(books, order_key=KEY)
    assert books.execute(f"UPDATE intents SET {change}").rowcount == 1
    await carried_out(tmp_path)
    assert (intent_rows.get(books, order).status, payouts(books)) == ("refused", 0)


async def test_a_copy_of_an_order_and_an_old_one_are_none(tmp_path: Path, books: sqlite3.Connection) -> None:
    asked(books, order_key=KEY)
    await carried_out(tmp_path)
    books.execute(
        "INSERT INTO intents (created_at, actor, action, subject, params, seal) "
        "SELECT created_at, actor, action, subject, params, seal FROM intents"
    )
    asked(books, order_key=KEY, at=NOW - SEALED_ORDER_S - 1)
    await carried_out(tmp_path)
    found = books.execute("SELECT status, result FROM intents ORDER BY id").fetchall()
    assert [row["status"] for row in found] == ["done", "refused", "refused"]
    assert all("was carried out before: ask again" in row["result"] for row in found[1:])
