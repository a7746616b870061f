"""A machine's key on a file system that does not answer: that machine waits, and says so; the others go on."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from tests.found.parts import PLENTY_MINOR, edit_config, paid, runs, satmachine, until, world_of
from tests.hanging import hanging

pytestmark = pytest.mark.anyio


def trouble_of(world: World, machine_id: str) -> str:
    with closing(sqlite3.connect(world.system.database_path, timeout=30)) as conn:
        row = conn.execute("SELECT error FROM dca_wallets WHERE machine_id = ?", (machine_id,)).fetchone()
    return str(row[0])


async def test_a_key_that_cannot_be_read_holds_up_its_own_machine_only(tmp_path: Path, lnbits: LnbitsServer) -> None:
    alarm = {"alerts": "wallet_unreachable_after_s = 10\ncommand = ['/bin/true']"}
    async with world_of(tmp_path, lnbits, {"alice": PLENTY_MINOR}, machines=2, settings=alarm) as world:
        first, second = world.system.machines
        mount = tmp_path / "mount"
        mount.mkdir()
        key = mount / "key"
        key.write_text(second.wallet.admin_key)
        key.chmod(0o600)
        edit_config(world, f'"{world.system.key_file(second.id)}"', f'"{key}"')
        try:
            with hanging(mount) as end:
                await runs(world)
                sale = await world.sell(second)
                other = await world.sell(first)
                await until(lambda: went_out(world, first, other.payment_hash, 4), world)
                await until(lambda: "does not answer" in trouble_of(world, second.id), world)
                status = json.loads((await satmachine(world, "status", "--json")).stdout)
                assert [row["reachable"] for row in status["machines"]] == [True, False]
                await until(lambda: '"wallet_unreachable"' in alarms(world), world)
                assert not await went_out(world, second, sale.payment_hash, 1)
                end()
                await until(lambda: went_out(world, second, sale.payment_hash, 4), world, timeout_s=120)
        except PermissionError as error:
            pytest.skip(f"needs to mount: {error.strerror}")


async def went_out(world: World, machine: object, payment_hash: str, legs: int) -> bool:
    found = await paid(world, machine)  # type: ignore[arg-type]
    return sum(key.startswith(f"sm1:{payment_hash}:") for key in found) >= legs


def alarms(world: World) -> str:
    with closing(sqlite3.connect(world.system.database_path, timeout=30)) as conn:
        return " ".join(f'"{row[0]}"' for row in conn.execute("SELECT condition FROM alerts WHERE raised = 1"))
