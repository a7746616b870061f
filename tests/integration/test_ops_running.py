"""The running daemon, looked after: backup and restore (safe mode), a sale traced through the log, metrics, alarms."""

from __future__ import annotations

import json
import re
import shutil
import sys

import anyio
import httpx
import pytest

from satmachine.ops.backup import make_backup
from testkit.ports import free_port
from testkit.system import System
from testkit.watch import LEGS, SALE, add_providers, balances, books, debits, legs_of, sales, started, until_status


async def sell(system: System, txid: str) -> None:
    sale = await system.customer_pays(system.machines[0], {**SALE, "txid": txid})
    await system.announce(system.machines[0], sale)


async def backup(system: System) -> None:
    await anyio.to_thread.run_sync(make_backup, system.database_path, system.folder / "backup.db")


async def restore(system: System) -> None:
    """As docs/operations.md says: stop, put the copy in place of the books, remove their log, start."""
    await system.stop_daemon()
    for ending in ("-wal", "-shm"):
        system.database_path.with_name(system.database_path.name + ending).unlink(missing_ok=True)
    shutil.copy(system.folder / "backup.db", system.database_path)
    system.log_path.rename(system.folder / "daemon-before.log")
    system.start_daemon()


async def reconcile(system: System) -> None:
    """Accept what is shown, once the daemon has read the wallet."""
    command = [sys.executable, "-m", "satmachine", "--config", str(system.config_path)]
    command += ["machines", "reconcile", system.machines[0].id]
    for _ in range(60):
        shown = await anyio.run_process([*command, "--json"], check=False)
        if shown.returncode == 0:
            digest = json.loads(shown.stdout)["digest"]
            accept = ["--accept", digest, "--reason", "the disk was lost", "--yes"]
            said = await anyio.run_process([*command, *accept], check=False)
            if said.returncode == 0:
                return
        await anyio.sleep(0.5)
    pytest.fail(f"{shown.stderr.decode()}{said.stderr.decode()}")


async def test_a_restored_backup_finds_the_sales_made_since_and_pays_nothing_twice(system: System) -> None:
    await started(system)
    add_providers(system)
    await sell(system, "before")
    await until_status(system, "processed")
    await backup(system)
    await sell(system, "after")
    await until_status(system, "processed", count=2)
    paid, made = await balances(system), await debits(system)
    await restore(system)
    await reconcile(system)
    await until_status(system, "processed", count=2)
    assert {leg.status for leg in legs_of(system, 2)} <= {"completed", "skipped"}
    assert await debits(system) == made
    assert await balances(system) == paid


async def test_a_backup_that_is_too_old_to_explain_the_wallet_leads_to_safe_mode_not_to_payments(
    system: System,
) -> None:
    await started(system)
    await backup(system)
    add_providers(system)
    await sell(system, "after")
    await until_status(system, "processed")
    paid, made = await balances(system), await debits(system)
    await restore(system)
    for _ in range(300):
        with books(system) as conn:
            [safe_mode] = conn.execute("SELECT safe_mode FROM dca_wallets").fetchone()
        if "payment(s) of satmachine that these books do not know" in (safe_mode or ""):
            break
        await anyio.sleep(0.1)
    else:
        pytest.fail(f"{safe_mode}: {system.log_tail()}")
    await sell(system, "while in safe mode")
    await anyio.sleep(3)
    assert await debits(system) == made
    assert {name: sats for name, sats in (await balances(system)).items() if name != "machine-1"} == {
        name: sats for name, sats in paid.items() if name != "machine-1"
    }


async def test_one_id_finds_every_line_about_a_sale(system: System) -> None:
    system.settings = {"log": 'format = "json"'}
    system.write_config()
    await started(system)
    add_providers(system)
    await sell(system, "traced")
    await sell(system, "another")
    await until_status(system, "processed", count=2)
    assert await system.stop_daemon() == 0  # by then the last line is written
    lines = [json.loads(line) for line in system.log_path.read_text().splitlines() if line.startswith("{")]
    mine = [line["message"] for line in lines if line.get("settlement") == 1]
    assert any(" event " in text for text in mine)  # landed from it, or attached, if the sweep saw the payment first
    assert any("sats planned" in text for text in mine)
    assert len([text for text in mine if "paid" in text]) == len(LEGS)
    assert not any(re.search(r"settlement 2\b", text) for text in mine)
    assert not [line for line in lines if re.search(r"settlement 1\b", line["message"]) and line.get("settlement") != 1]


async def test_metrics_are_served_and_an_alarm_is_told(system: System) -> None:
    port, told = free_port(), system.folder / "told"
    program = f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read() + chr(10))"
    system.settings = {
        "metrics": f'listen = "127.0.0.1:{port}"',
        "alerts": f"command = {json.dumps([sys.executable, '-c', program])}",
        "machines": "active = false",
    }
    system.write_config()
    await started(system)
    await sell(system, "held")
    await until_status(system, "held")
    for _ in range(300):
        if told.exists() and told.read_text().endswith("\n"):
            break
        await anyio.sleep(0.1)
    [alarm] = map(json.loads, told.read_text().splitlines())
    assert (alarm["subject"], alarm["condition"], alarm["state"]) == ("machine-1", "settlement_held", "raised")
    async with httpx.AsyncClient() as http:
        for _ in range(200):
            text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
            if 'satmachine_settlements{status="held"} 1.0' in text:
                break
            await anyio.sleep(0.1)
        else:
            pytest.fail(text)
    assert len(sales(system)) == 1
