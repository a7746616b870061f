"""No clock decides whether a sale is found, or paid twice: not the daemon's, not LNbits' (SPEC section 6)."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chaos.check import Sale
from chaos.world import World
from testkit.lnbits import LnbitsServer
from tests.found.parts import (
    PLENTY_MINOR,
    all_paid,
    came_true,
    paid,
    pause,
    reconcile_all,
    resume,
    runs,
    satmachine,
    until,
    world_of,
)

pytestmark = pytest.mark.anyio

LPS = {"alice": PLENTY_MINOR}
LEGS = 4
BACK_S = 7_200

#: A Python that starts with this on its path has a clock that is off by what the file says, at any moment.
_CLOCK = """
import os, time
_true_time = time.time
def _off_s():
    try:
        with open(os.environ["CLOCK_OFF_S"]) as file:
            return float(file.read())
    except (OSError, ValueError, KeyError):
        return 0.0
time.time = lambda: _true_time() + _off_s()
"""


def wrong_clock(folder: Path, off_s: int) -> dict[str, str]:
    """The environment of a daemon whose clock is off; `right_clock` sets it right while it runs."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_CLOCK)
    (folder / "off_s").write_text(str(off_s))
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "CLOCK_OFF_S": str(folder / "off_s")}


def right_clock(folder: Path) -> None:
    """The time server has answered."""
    (folder / "off_s").write_text("0")


def date_back(lnbits: LnbitsServer, payment_hash: str) -> None:
    """As LNbits dates a payment whose clock was set back: before what it has dated already."""
    with closing(sqlite3.connect(lnbits.data_dir / "database.sqlite3", timeout=30)) as conn:
        columns = [row[1] for row in conn.execute("PRAGMA table_info(apipayments)")]
        times = [name for name in columns if name in ("time", "created_at", "updated_at")]
        changes = ", ".join(f"{name} = {name} - {BACK_S}" for name in times)
        changed = conn.execute(f"UPDATE apipayments SET {changes} WHERE payment_hash = ?", (payment_hash,)).rowcount
        conn.commit()
    assert changed == 2, "the customer's side and the machine's"


async def test_a_sale_after_lnbits_clock_was_set_back_is_found_in_the_wallet(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        await runs(world)
        before = await world.sell(announce=False)
        await until(lambda: all_paid(world, before.payment_hash, LEGS), world)
        world.kill()
        after = await world.sell(announce=False)
        date_back(lnbits, after.payment_hash)
        await runs(world)
        found = await came_true(lambda: is_known(world, after), timeout_s=40)
        assert found, "the customer has paid, and nobody will ever know"


def is_known(world: World, sale: Sale) -> bool:
    return any(row.payment_hash == sale.payment_hash for row in world.rest().settlements)


@pytest.mark.parametrize(
    "off_s",
    [
        pytest.param(-86_400, id="a day behind"),
        pytest.param(86_400, id="a day ahead"),
    ],
)
async def test_a_copy_that_starts_with_a_wrong_clock_pays_nothing_again(
    tmp_path: Path, lnbits: LnbitsServer, off_s: int
) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        await runs(world)
        await pause(world)
        sale = await world.sell()
        await until(lambda: bool(world.rest().legs), world)
        copy = world.backup_books()
        await resume(world)
        await until(lambda: all_paid(world, sale.payment_hash, LEGS), world)
        world.kill()
        world.restore_books(copy)
        await lnbits.credit(world.system.machines[0].wallet.id, 300_000)
        await runs(world, wrong_clock(tmp_path, off_s))
        right_clock(tmp_path)
        await came_true(lambda: reconciled(world), timeout_s=30)
        await satmachine(world, "payouts", "resume", "--machine", "machine-1", "--reason", "decided", "--yes")
        again = await came_true(lambda: somebody_was_paid_twice(world), timeout_s=10)
        assert not again, await paid(world)


@pytest.mark.parametrize("off_s", [-86_400, 86_400], ids=["a day behind", "a day ahead"])
async def test_a_sale_is_paid_once_by_a_daemon_that_started_with_a_wrong_clock(
    tmp_path: Path, lnbits: LnbitsServer, off_s: int
) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        first = await world.sell(announce=False)
        await runs(world, wrong_clock(tmp_path, off_s))
        second = await world.sell()
        right_clock(tmp_path)
        third = await world.sell()
        for sale in (first, second, third):
            await until(lambda sale=sale: all_paid(world, sale.payment_hash, LEGS), world)
        assert set((await paid(world)).values()) == {1}


async def reconciled(world: World) -> bool:
    return (await reconcile_all(world)).returncode == 0


async def somebody_was_paid_twice(world: World) -> bool:
    return max((await paid(world)).values(), default=0) > 1
