"""A hint makes a wallet be read soon; however many hints there are, nobody can make it be read all the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from satmachine.settlements.sweep import looks as module
from satmachine.settlements.sweep.looks import LOOKS_AT_ONCE, LOOKS_BURST, Looks
from testkit.books import NOW

pytestmark = pytest.mark.anyio


class Wallets:
    """Notes whose wallet was read; a look lasts until `gate` is open."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.gate = anyio.Event()
        self.gate.set()
        self.changed = anyio.Event()

    async def look(self, machine_id: str) -> None:
        self.read.append(machine_id)
        self.changed.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1

    def has_read(self, count: int) -> bool:
        return len(self.read) == count

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(30):
            while not condition():
                self.changed = anyio.Event()
                await self.changed.wait()


@pytest.fixture
def wallets() -> Wallets:
    return Wallets()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hint is due when it comes: nothing here waits for a clock."""
    monkeypatch.setattr(module, "COLLECT_S", 0.0)


@asynccontextmanager
async def running(wallets: Wallets) -> AsyncIterator[Looks]:
    looks = Looks(wallets.look, lambda: NOW)
    async with anyio.create_task_group() as group:
        group.start_soon(looks.run)
        await anyio.wait_all_tasks_blocked()
        yield looks
        group.cancel_scope.cancel()


async def test_a_hint_makes_the_wallet_be_read_once(wallets: Wallets) -> None:
    async with running(wallets) as looks:
        looks.hint("a")
        await wallets.until(lambda: wallets.read == ["a"])
        await anyio.wait_all_tasks_blocked()
    assert wallets.read == ["a"]


async def test_hints_at_the_same_moment_are_one_look_and_each_machine_has_its_own(wallets: Wallets) -> None:
    async with running(wallets) as looks:
        for machine_id in ("a", "a", "b", "a"):
            looks.hint(machine_id)
        await wallets.until(lambda: len(wallets.read) == 2)
        await anyio.wait_all_tasks_blocked()
    assert Counter(wallets.read) == {"a": 1, "b": 1}


async def test_a_hint_during_a_look_makes_another_one_after_it(wallets: Wallets) -> None:
    """What was paid after the wallet had answered would wait for the next sweep."""
    wallets.gate = anyio.Event()
    async with running(wallets) as looks:
        looks.hint("a")
        await wallets.until(lambda: wallets.read == ["a"])
        looks.hint("a")
        await anyio.wait_all_tasks_blocked()
        assert wallets.read == ["a"], "never two looks into one wallet at once"
        wallets.gate.set()
        await wallets.until(lambda: wallets.read == ["a", "a"])


async def test_one_machine_that_hangs_delays_no_other(wallets: Wallets) -> None:
    wallets.gate = anyio.Event()
    async with running(wallets) as looks:
        looks.hint("a")
        await wallets.until(lambda: wallets.read == ["a"])
        looks.hint("b")
        await wallets.until(lambda: wallets.read == ["a", "b"])


async def test_only_a_few_are_read_at_once(wallets: Wallets) -> None:
    wallets.gate = anyio.Event()
    async with running(wallets) as looks:
        for number in range(3 * LOOKS_AT_ONCE):
            looks.hint(f"m{number}")
        await wallets.until(lambda: len(wallets.read) == LOOKS_AT_ONCE)
        await anyio.wait_all_tasks_blocked()
        assert len(wallets.read) == LOOKS_AT_ONCE
        wallets.gate.set()
        await wallets.until(lambda: len(wallets.read) == 3 * LOOKS_AT_ONCE)
    assert wallets.most_at_once == LOOKS_AT_ONCE


async def test_who_hints_without_end_gets_a_burst_and_then_a_look_in_a_while(wallets: Wallets) -> None:
    async with running(wallets) as looks:
        for number in range(1, LOOKS_BURST + 1):
            looks.hint("a")
            await wallets.until(partial(wallets.has_read, number))
        for _ in range(5):
            looks.hint("a")
            await anyio.wait_all_tasks_blocked()
        assert len(wallets.read) == LOOKS_BURST
        looks.hint("b")
        await wallets.until(lambda: wallets.read[-1] == "b")


async def test_what_is_put_off_is_not_forgotten(wallets: Wallets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_PER_LOOK", 0.02)
    monkeypatch.setattr(module, "LOOKS_BURST", 1)
    async with running(wallets) as looks:
        looks.hint("a")
        await wallets.until(lambda: len(wallets.read) == 1)
        looks.hint("a")
        await wallets.until(lambda: len(wallets.read) == 2)


async def test_all_machines_together_have_a_budget_and_who_waits_for_it_is_read_later(
    wallets: Wallets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ALL_LOOKS_BURST", 2)
    monkeypatch.setattr(module, "ALL_LOOKS_PER_S", 100.0)
    async with running(wallets) as looks:
        for machine_id in "abcde":
            looks.hint(machine_id)
        await wallets.until(lambda: len(wallets.read) == 5)
    assert sorted(wallets.read) == list("abcde")


async def test_a_payment_that_is_waited_for_is_looked_for_at_its_time(wallets: Wallets) -> None:
    async with running(wallets) as looks:
        looks.at("late", NOW + 3_600)
        looks.at("due", NOW)
        looks.at("past", NOW - 3_600)
        await wallets.until(lambda: len(wallets.read) == 2)
        await anyio.wait_all_tasks_blocked()
    assert sorted(wallets.read) == ["due", "past"]


async def test_the_earliest_moment_counts(wallets: Wallets) -> None:
    async with running(wallets) as looks:
        looks.at("a", NOW + 3_600)
        looks.hint("a")
        looks.at("a", NOW + 7_200)
        await wallets.until(lambda: wallets.read == ["a"])
        await anyio.wait_all_tasks_blocked()
    assert wallets.read == ["a"], "one look has found everything that was there"


async def test_what_was_hinted_at_before_a_new_start_is_left_to_the_sweeps(wallets: Wallets) -> None:
    looks = Looks(wallets.look, lambda: NOW)
    looks.hint("a")
    async with anyio.create_task_group() as group:
        group.start_soon(looks.run)
        await anyio.wait_all_tasks_blocked()
        assert wallets.read == []
        looks.hint("a")
        await wallets.until(lambda: wallets.read == ["a"])
        group.cancel_scope.cancel()
