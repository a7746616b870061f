"""An order is carried out once, wherever a crash comes, and however long another program keeps the database locked.

The daemon is played by its own desk, orders and store; what dies is each single step between them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import anyio
import pytest

from satmachine.errors import Refused, SatmachineError
from satmachine.intents import IntentDesk
from satmachine.models import Rejection
from satmachine.orders import Close, Order, PartialDispense, Redistribute, Refund, SettleBalance
from satmachine.settlements.correct.leg_orders import LegOrders
from satmachine.settlements.correct.sale_orders import SaleOrders
from satmachine.store import intent_rows
from satmachine.store.database import Store, atomic, connect, open_store
from satmachine.store.intent_rows import Ended
from satmachine.wallet.lnbits import Lnbits
from testkit.books import NOW
from testkit.sale_desk import Desk, SyncStore, a_keyring, add_provider, open_desk

P = ParamSpec("P")
T = TypeVar("T")

#: More steps than any order takes.
STEPS = 30

ORDERS: dict[str, Order] = {
    "refund": Refund(1, 1_000, "ana@example.org", "jam", 1_000),
    "close": Close(2, "jam"),
    "partial dispense": PartialDispense(2, 1, 2, "jam"),
    "redistribute": Redistribute(3, "back"),
    "settle": SettleBalance(1, Decimal("145.37"), 60_000, 1),
}


class Crash(BaseException):
    """The power goes."""


class DyingStore(SyncStore):
    """Dies before or after its n-th step; `steps` counts what it has done."""

    def __init__(self, conn: sqlite3.Connection, dies_at: int) -> None:
        super().__init__(conn)
        self.dies_at = dies_at
        self.steps = 0

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.dies_at:
            raise Crash

    async def read(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._step()
        return await super().read(fn, *args, **kwargs)

    async def write(self, fn: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._step()
        result = await super().write(fn, *args, **kwargs)
        self._step()
        return result


def a_desk(desk: Desk, store: Store) -> IntentDesk:
    """The daemon's desk on this store."""
    parts = (store, cast("Lnbits", desk.wallet), desk, desk, lambda: desk.config, lambda: NOW)

    async def guard(action: Callable[[], Awaitable[Ended]]) -> Ended:
        try:
            return await action()
        except SatmachineError:
            raise
        except Exception as error:
            raise Refused("satmachine itself failed on this") from error

    return IntentDesk(
        store,
        lambda: NOW,
        read_again=lambda _: Rejection("no", "nothing is in quarantine here"),
        actions={**SaleOrders(*parts).actions, **LegOrders(*parts).actions},
        guard=guard,
    )


async def three_sales(folder: Path) -> Desk:
    """Sale 1 has something to refund, sale 2 is still to pay, sale 3 was closed; there is a balance to pay out."""
    desk = open_desk(folder)
    add_provider(desk, "alice", 10_000_000)
    for number in (1, 2, 3):
        desk.land(number)
        desk.plan(number)
    await desk.ask("partial_dispense", 1, part=1, whole=2)
    desk.plan(1)
    desk.pay_all(1)
    await desk.ask("close", 3)
    return desk


def copied(desk: Desk, path: Path) -> Desk:
    """The same books once more."""
    with closing(sqlite3.connect(path)) as target:
        desk.conn.backup(target)
    return Desk(connect(path), desk.config, path)


def ask(desk: Desk, order: Order) -> int:
    with atomic(desk.conn):
        return intent_rows.add(desk.conn, NOW, "maria", order)


def made(desk: Desk) -> list[tuple[Any, ...]]:
    """What an order changes: the legs, the revisions, and the audit log."""
    found = desk.conn.execute("SELECT leg_key, status, amount_sats FROM dca_payments ORDER BY id").fetchall()
    found += desk.conn.execute("SELECT id, revision, status, retained_sats FROM dca_settlements").fetchall()
    found += desk.conn.execute("SELECT action, subject FROM audit_log ORDER BY id").fetchall()
    return [tuple(row) for row in found]


@pytest.mark.parametrize("name", ORDERS)
async def test_a_crash_between_any_two_steps_carries_an_order_out_once(name: str, tmp_path: Path) -> None:
    order = ORDERS[name]
    with closing((whole := await three_sales(tmp_path)).conn):
        before = made(whole)
        copies = [copied(whole, tmp_path / f"{number}.db") for number in range(1, STEPS)]
        ask(whole, order)
        await a_desk(whole, cast("Store", SyncStore(whole.conn))).carry_out_open()
        expected = made(whole)
    assert expected != before
    crashes = 0
    for dies_at, desk in enumerate(copies, start=1):
        with closing(desk.conn):
            intent_id = ask(desk, order)
            store = DyingStore(desk.conn, dies_at)
            try:
                await a_desk(desk, cast("Store", store)).carry_out_open()
            except* Crash:
                crashes += 1
            assert made(desk) in (before, expected), "half an order"
            is_open = intent_rows.get(desk.conn, intent_id).status == "open"
            assert is_open == (made(desk) == before), "the order ends with its effect"
            await a_desk(desk, cast("Store", SyncStore(desk.conn))).carry_out_open()
            assert made(desk) == expected
            assert intent_rows.get(desk.conn, intent_id).status == "done"
    assert 3 <= crashes < len(copies), "every step was died at"


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Another program keeps the write lock."""
    with closing(connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.mark.parametrize("name", ORDERS)
async def test_a_database_that_stays_locked_leaves_an_order_open_and_whole(name: str, tmp_path: Path) -> None:
    with closing((desk := await three_sales(tmp_path)).conn):
        before = made(desk)
        intent_id = ask(desk, ORDERS[name])
        async with open_store(desk.config.database.path, busy_timeout_s=0, keyring=a_keyring()) as store:
            daemon = a_desk(desk, store)
            async with locked(desk.config.database.path):
                assert await daemon.carry_out_open() == 0
                assert await daemon.carry_out_open() == 0
            assert made(desk) == before
            assert intent_rows.get(desk.conn, intent_id).status == "open"
            assert await daemon.carry_out_open() == 1
            after = made(desk)
            assert after != before
            assert await daemon.carry_out_open() == 0
        assert made(desk) == after
        assert intent_rows.get(desk.conn, intent_id).status == "done"


async def test_an_order_that_has_ended_is_not_carried_out_again(tmp_path: Path) -> None:
    with closing((desk := await three_sales(tmp_path)).conn):
        intent_id = ask(desk, ORDERS["refund"])
        await a_desk(desk, cast("Store", SyncStore(desk.conn))).carry_out_open()
        after = made(desk)

        def again(_: sqlite3.Connection) -> str:
            raise AssertionError("it was done")

        with atomic(desk.conn):
            assert intent_rows.carry_out(desk.conn, intent_id, again, NOW).status == "done"
        assert made(desk) == after


async def test_what_is_refused_within_its_transaction_leaves_nothing_behind(tmp_path: Path) -> None:
    with closing((desk := await three_sales(tmp_path)).conn):
        intent_id = ask(desk, ORDERS["refund"])
        before = made(desk)

        def half(conn: sqlite3.Connection) -> str:
            conn.execute("UPDATE dca_settlements SET revision = 99")
            raise Refused("not like that")

        with atomic(desk.conn):
            ended = intent_rows.carry_out(desk.conn, intent_id, half, NOW)
        assert ended == Ended("refused", "not like that")
        assert made(desk) == before


async def test_an_order_that_cannot_be_read_is_refused_and_blocks_no_other(tmp_path: Path) -> None:
    with closing((desk := await three_sales(tmp_path)).conn):
        with atomic(desk.conn):
            desk.conn.execute(
                "INSERT INTO intents (created_at, actor, action, subject, params) "
                "VALUES (1, 'maria', 'settlement.refund', 'settlement 1', '{\"settlement_id\": 1}')"
            )
        intent_id = ask(desk, ORDERS["refund"])
        await a_desk(desk, cast("Store", SyncStore(desk.conn))).carry_out_open()
        first = intent_rows.get(desk.conn, intent_id - 1)
        assert (first.status, first.result) == ("refused", "this cannot be carried out: it does not say amount_sats")
        assert intent_rows.get(desk.conn, intent_id).status == "done"


async def test_a_surprise_refuses_one_order_and_goes_on_with_the_next(tmp_path: Path) -> None:
    with closing((desk := await three_sales(tmp_path)).conn):
        surprising = ask(desk, Close(999, "there is no such sale"))
        intent_id = ask(desk, ORDERS["refund"])

        async def explode(leg_ids: object, sale: object = None) -> None:
            raise RuntimeError

        desk.withdraw = explode  # type: ignore[method-assign]
        failing = ask(desk, ORDERS["close"])
        await a_desk(desk, cast("Store", SyncStore(desk.conn))).carry_out_open()
        assert "there is no sale 999" in (intent_rows.get(desk.conn, surprising).result or "")
        assert intent_rows.get(desk.conn, intent_id).status == "done"
        assert intent_rows.get(desk.conn, failing).result == "satmachine itself failed on this"


async def test_orders_of_other_sales_go_on_meanwhile_and_those_of_the_same_one_take_turns(tmp_path: Path) -> None:
    with closing((desk := await three_sales(tmp_path)).conn):
        slow, behind, other = ask(desk, ORDERS["close"]), ask(desk, PartialDispense(2, 1, 2, "jam")), 0
        waiting, go_on, ended = anyio.Event(), anyio.Event(), [anyio.Event() for _ in range(3)]

        def one_more() -> None:
            next(event for event in ended if not event.is_set()).set()

        async def withdraw(leg_ids: object, sale: object = None) -> None:
            waiting.set()
            await go_on.wait()

        desk.withdraw = withdraw  # type: ignore[method-assign]
        daemon = a_desk(desk, cast("Store", SyncStore(desk.conn)))
        async with anyio.create_task_group() as group:
            group.start_soon(daemon.run, one_more)
            await waiting.wait()
            other = ask(desk, ORDERS["refund"])
            await ended[0].wait()
            assert [intent_rows.get(desk.conn, one).status for one in (slow, behind, other)] == ["open", "open", "done"]
            go_on.set()
            await ended[2].wait()
            group.cancel_scope.cancel()
        assert intent_rows.get(desk.conn, slow).status == "done"
        assert "is closed: its figures are final" in (intent_rows.get(desk.conn, behind).result or "")
