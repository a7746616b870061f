"""A correction cannot race a payment: the worker lets go of a sale first, and takes none of it meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import anyio

from satmachine.settlements.pay.payer import Payer
from satmachine.settlements.worker import Work, Worker
from satmachine.store.database import Store
from satmachine.wallet.lnbits import Lnbits
from testkit.books import NOW
from testkit.sale_desk import MACHINE, Desk, SyncStore, add_provider, open_desk


class SlowPayer:
    """Says what it pays, and takes as long as the test wants."""

    def __init__(self) -> None:
        self.paying: list[int] = []
        self.go_on = anyio.Event()

    async def prepare(self, leg_ids: Sequence[int]) -> None:
        self.paying.extend(leg_ids)
        await self.go_on.wait()
        await anyio.sleep(0.01)  # and due again at once


@asynccontextmanager
async def working(desk: Desk) -> AsyncIterator[tuple[Worker, SlowPayer]]:
    """A worker that may pay this machine's legs."""
    payer = SlowPayer()

    async def guard(_: Work, run: Callable[[], Awaitable[None]]) -> None:
        await run()

    worker = Worker(
        cast("Store", SyncStore(desk.conn)),
        cast("Lnbits", SimpleNamespace(latency_s=None)),
        cast("Payer", payer),
        lambda: desk.config,
        lambda: NOW,
        guard=guard,
    )
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        yield worker, payer
        group.cancel_scope.cancel()


async def test_a_correction_waits_for_what_is_in_work_and_nothing_begins_meanwhile(tmp_path: Path) -> None:
    desk = open_desk(tmp_path)
    add_provider(desk, "alice", 1_000_000)
    desk.land()
    desk.plan()
    order: list[str] = []
    with closing(desk.conn):
        async with working(desk) as (worker, payer):
            worker.may_pay(MACHINE)
            await _until(lambda: len(payer.paying) > 0)

            async def correct() -> None:
                async with worker.set_aside(1):
                    order.append("aside")
                    assert _in_work(worker, 1) == 0
                    worker.wake()
                    await anyio.sleep(0.1)
                    assert _in_work(worker, 1) == 0
                order.append("done")

            async with anyio.create_task_group() as group:
                group.start_soon(correct)
                await anyio.sleep(0.1)
                assert order == []
                begun = len(payer.paying)
                payer.go_on.set()
            assert order == ["aside", "done"]
            await _until(lambda: len(payer.paying) > begun)


def _in_work(worker: Worker, settlement_id: int) -> int:
    return sum(settlement_id in item.sales for item in worker._in_work.values())


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await anyio.sleep(0.01)
    raise AssertionError("it never came to that")
