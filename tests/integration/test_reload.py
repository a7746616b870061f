"""SIGHUP: a good file takes effect without a restart, a bad one changes nothing (SPEC section 3)."""

from __future__ import annotations

import signal
import subprocess
import sys

import anyio

from testkit.machine import SimulatedMachine
from testkit.system import DemoMachine, Relay, System
from testkit.watch import SALE, add_providers, sales, started, until_status


def reload(system: System) -> None:
    assert system.daemon is not None
    system.daemon.send_signal(signal.SIGHUP)


async def sell(system: System, machine: DemoMachine, txid: str) -> None:
    sale = await system.customer_pays(machine, {**SALE, "txid": txid})
    await system.announce(machine, sale)


async def test_an_added_machine_and_relay_work_without_a_restart(system: System) -> None:
    await started(system)
    wallet = await system.lnbits.create_wallet("machine 2")
    system.machines.append(DemoMachine("machine-2", SimulatedMachine.new(), wallet))
    relay = Relay()
    await relay.start()
    system.relays.append(relay)
    system.write_config()
    reload(system)
    await system.wait_for_log("configuration reloaded: 2 machine(s), 2 relay(s)")
    await system.wait_for_log(f"{relay.url}: subscribed for 2")
    await sell(system, system.machines[1], "of the new machine")
    [settlement] = await until_status(system, "processed")
    assert settlement.machine_id == "machine-2"


async def test_a_bad_file_changes_nothing_and_the_log_says_why(system: System) -> None:
    await started(system)
    add_providers(system)
    good = system.config_path.read_text()
    system.config_path.write_text(good.replace("fee_pct", "fee_pkt"))
    reload(system)
    await system.wait_for_log("reload refused")
    assert 'did you mean "fee_pct"' in system.log_path.read_text()
    await sell(system, system.machines[0], "after the bad file")
    await until_status(system, "processed")


async def test_dropping_a_machine_with_open_work_is_refused_by_name(system: System) -> None:
    await started(system)
    await system.announce(system.machines[0], {**SALE, "payment_hash": "ab" * 32})
    await until_status(system, "pending")
    [dropped] = system.machines
    system.machines[:] = [DemoMachine("machine-9", SimulatedMachine.new(), dropped.wallet)]
    system.write_config()
    reload(system)
    await system.wait_for_log("machine-1 is missing from the file")
    assert sales(system)[0].status == "pending"


async def test_the_sales_of_an_inactive_machine_wait_until_it_is_active_again(system: System) -> None:
    system.settings = {"machines": "active = false"}
    system.write_config()
    await started(system)
    add_providers(system)
    await sell(system, system.machines[0], "while inactive")
    [settlement] = await until_status(system, "held")
    assert settlement.hold_reason == "machine_inactive"
    system.settings = {}
    system.write_config()
    reload(system)
    await until_status(system, "processed")


def ask(system: System) -> subprocess.CompletedProcess[str]:
    """As `systemctl reload` does."""
    command = [sys.executable, "-m", "satmachine", "--config", str(system.config_path), "config", "reload"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


async def test_who_asks_for_a_reload_is_told_what_came_of_it(system: System) -> None:
    await started(system)
    good = system.config_path.read_text()
    done = await anyio.to_thread.run_sync(ask, system)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is in force" in done.stdout
    system.config_path.write_text(good.replace("fee_pct", "fee_pkt"))
    done = await anyio.to_thread.run_sync(ask, system)
    assert done.returncode == 3
    assert 'did you mean "fee_pct"' in done.stderr
    assert "stays in force" in done.stderr
    # Right by itself, and refused by the daemon all the same.
    system.config_path.write_text(good.replace(system.lnbits.url, "https://other.example"))
    done = await anyio.to_thread.run_sync(ask, system)
    assert done.returncode == 3
    assert "[lnbits] url cannot be changed by a reload: restart the daemon" in done.stderr


async def test_without_a_daemon_a_reload_says_so(system: System) -> None:
    await started(system)
    await system.stop_daemon()
    done = await anyio.to_thread.run_sync(ask, system)
    assert done.returncode == 1
    assert "`satmachine run`" in done.stderr
