"""Whose wallet is read when: at start, at intervals, never all at once, and soonest who has something to pay."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from satmachine.config import Config, Machine, load
from satmachine.errors import WalletUnavailable
from satmachine.settlements.sweep import sweeper as module
from satmachine.settlements.sweep.one_sweep import Sweep
from satmachine.settlements.sweep.sweeper import Sweeper
from satmachine.store import registry
from satmachine.store.database import Store, open_store
from testkit.config_files import VALID, a_machine

pytestmark = pytest.mark.anyio

CLEAN = Sweep(landed=0, unmatched=0, strange=0, safe_mode=None)


class Wallets:
    """Stands where the wallet_sweep does: notes who was swept, and fails for whom it is told to."""

    def __init__(self) -> None:
        self.swept: list[str] = []
        self.away: set[str] = set()
        self.changed = anyio.Event()

    async def sweep(self, machine: Machine) -> Sweep:
        self.swept.append(machine.id)
        self.changed.set()
        self.changed = anyio.Event()
        if machine.id in self.away:
            raise WalletUnavailable("the wallet is away")
        return CLEAN

    async def until(self, ready: Callable[[], bool]) -> None:
        with anyio.fail_after(20):
            while not ready():
                await self.changed.wait()


def a_config(folder: Path, machines: int, interval_s: int = 300) -> Config:
    text = VALID.replace('path = "satmachine.db"', f'path = "{folder}/satmachine.db"')
    text += "".join(a_machine(number) for number in range(2, machines + 1))
    path = folder / f"config-{machines}.toml"
    path.write_text(text + f"[reconcile]\ninterval_s = {interval_s}\nsweeps_per_minute = 1\n", "utf-8")
    return load(path)


@asynccontextmanager
async def sweeping(
    config: Callable[[], Config], wallets: Wallets, allowed: list[str] | None = None
) -> AsyncIterator[Store]:
    async with open_store(config().database.path) as store:
        await store.write(registry.mirror, config(), 0)
        done = allowed if allowed is not None else []
        sweeper = Sweeper(wallets, store, config, lambda: 0, swept=done.append)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sweeper.run)
            yield store
            tasks.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.02)


async def test_every_machine_is_swept_once_and_may_pay(tmp_path: Path) -> None:
    config, wallets, allowed = a_config(tmp_path, 5), Wallets(), list[str]()
    async with sweeping(lambda: config, wallets, allowed):
        await wallets.until(lambda: len(wallets.swept) == 5)
        await anyio.sleep(0.2)
    assert sorted(wallets.swept) == sorted(allowed) == sorted(machine.id for machine in config.machines)


async def test_the_whole_fleet_has_one_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEPS_BURST", 3)
    config, wallets = a_config(tmp_path, 8), Wallets()
    async with sweeping(lambda: config, wallets):
        await wallets.until(lambda: len(wallets.swept) == 3)
        await anyio.sleep(0.3)
    assert len(set(wallets.swept)) == len(wallets.swept) == 3


async def test_who_has_something_to_pay_does_not_wait_for_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWEEPS_BURST", 1)
    config, wallets = a_config(tmp_path, 8), Wallets()
    async with sweeping(lambda: config, wallets) as store:
        await wallets.until(lambda: len(wallets.swept) == 1)
        later = next(machine.id for machine in config.machines if machine.id not in wallets.swept)
        await store.write(_add_open_leg, later)
        await wallets.until(lambda: len(wallets.swept) == 2)
        await anyio.sleep(0.2)
    assert wallets.swept[1:] == [later]


async def test_a_wallet_that_is_away_is_tried_again_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RESWEEP_S", 0.05)
    config, wallets, allowed = a_config(tmp_path, 2), Wallets(), list[str]()
    wallets.away.add("machine-2")
    async with sweeping(lambda: config, wallets, allowed):
        await wallets.until(lambda: wallets.swept.count("machine-2") == 3)
        assert allowed == ["panajachel-1"]
        failures = wallets.swept.count("machine-2")
        wallets.away.clear()
        await wallets.until(lambda: wallets.swept.count("machine-2") > failures)
        await anyio.sleep(0.1)
        assert "machine-2" in allowed
    assert wallets.swept.count("panajachel-1") == 1


async def test_a_wallet_that_is_away_does_not_queue_behind_the_whole_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWEEPS_BURST", 2)
    monkeypatch.setattr(module, "FIRST_RESWEEP_S", 0.05)
    config, wallets = a_config(tmp_path, 8), Wallets()
    wallets.away |= {machine.id for machine in config.machines}
    async with sweeping(lambda: config, wallets):
        await wallets.until(lambda: len(wallets.swept) >= 6)
    assert len(set(wallets.swept)) == 2


async def test_a_machine_whose_key_is_new_is_swept_at_once_when_it_has_something_to_pay(tmp_path: Path) -> None:
    config, wallets = a_config(tmp_path, 3), Wallets()
    async with open_store(config.database.path) as store:
        await store.write(registry.mirror, config, 0)
        sweeper = Sweeper(wallets, store, lambda: config, lambda: 0, swept=lambda _: None)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sweeper.run)
            await wallets.until(lambda: len(wallets.swept) == 3)
            await store.write(_add_open_leg, "machine-2")
            sweeper.hurry("machine-2")
            await wallets.until(lambda: len(wallets.swept) == 4)
            tasks.cancel_scope.cancel()
    assert wallets.swept[3] == "machine-2"


async def test_a_machine_that_is_dropped_and_comes_back_during_its_sweep_is_swept_once_at_a_time(
    tmp_path: Path,
) -> None:
    config, without, wallets = a_config(tmp_path, 2), a_config(tmp_path, 1), Slow()
    current = config
    async with sweeping(lambda: current, wallets) as store:
        await wallets.until(lambda: len(wallets.swept) == 2)
        for file in (without, config, without, config):
            current = file
            await store.write(registry.mirror, config, 0)
            await anyio.sleep(0.1)
        assert wallets.at_once["machine-2"] == 1
        wallets.go_on.set()
        await anyio.sleep(0.2)
    assert wallets.swept.count("machine-2") == 1


class Slow(Wallets):
    """Sweeps that do not end until they may; counts how many of a machine are under way at once."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = anyio.Event()
        self.at_once: Counter[str] = Counter()

    async def sweep(self, machine: Machine) -> Sweep:
        self.at_once[machine.id] += 1
        sweep = await super().sweep(machine)
        await self.go_on.wait()
        return sweep


async def test_a_reload_adds_machines_and_drops_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = a_config(tmp_path, 1, interval_s=60), a_config(tmp_path, 3)
    current, wallets = small, Wallets()
    async with sweeping(lambda: current, wallets) as store:
        await wallets.until(lambda: wallets.swept == ["panajachel-1"])
        await store.write(registry.mirror, large, 0)
        current = large
        await wallets.until(lambda: len(wallets.swept) == 3)
        current = small
        await anyio.sleep(0.2)
    assert sorted(wallets.swept) == ["machine-2", "machine-3", "panajachel-1"]


def _add_open_leg(conn: sqlite3.Connection, machine_id: str) -> None:
    conn.execute(
        "INSERT INTO dca_payments (machine_id, leg_type, leg, leg_key, amount_sats, payee, effective_at, planned_at) "
        "VALUES (?, 'super_fee', 'super', 'sm1:x:super', 10, 'a wallet', 1, 1)",
        (machine_id,),
    )
