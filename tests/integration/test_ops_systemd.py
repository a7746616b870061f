"""The real daemon under systemd's protocol: READY, STATUS, WATCHDOG, RELOADING, STOPPING."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from testkit.machine import SimulatedMachine
from testkit.system import DemoMachine, System
from testkit.watch import SALE, sales, until_status
from tests.ops.notify_socket import NotifySocket


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[NotifySocket]:
    line = NotifySocket(tmp_path / "notify")
    yield line
    line.close()


def start(system: System, systemd: NotifySocket) -> None:
    system.start_daemon({"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "1000000"})


def hang_up(system: System) -> None:
    assert system.daemon is not None
    system.daemon.send_signal(signal.SIGHUP)


def catches_hangup(pid: int) -> bool:
    """Whether this process has a handler for SIGHUP already (the first bit of SigCgt, proc(5))."""
    mask = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return mask is not None and bool(int(mask[1], 16) & 1)


async def test_ready_comes_with_the_first_subscription(system: System, systemd: NotifySocket) -> None:
    system.stop_relays()
    start(system, systemd)
    await system.wait_for_log("satmachine runs")
    await anyio.sleep(2)
    assert systemd.count("READY=1") == 0
    await system.relays[0].start()
    await systemd.wait_for("READY=1")
    assert "subscribed for" in system.log_path.read_text()
    assert (await systemd.wait_for("STATUS=")).endswith("0 under way, 1 machine(s) on 1 of 1 relay(s).")
    assert await system.stop_daemon() == 0
    assert systemd.count("STOPPING=1") == 1


async def test_the_watchdog_is_fed_until_the_process_hangs(system: System, systemd: NotifySocket) -> None:
    start(system, systemd)
    await systemd.wait_for("WATCHDOG=1", times=3)
    assert system.daemon is not None
    system.daemon.send_signal(signal.SIGSTOP)
    await anyio.sleep(0.3)
    count = systemd.count("WATCHDOG=1")
    await anyio.sleep(1.5)
    assert systemd.count("WATCHDOG=1") == count
    system.daemon.send_signal(signal.SIGCONT)
    await systemd.wait_for("WATCHDOG=1", times=count + 2)


async def test_a_reload_is_announced_and_ended_whether_the_file_is_good_or_not(
    system: System, systemd: NotifySocket
) -> None:
    start(system, systemd)
    await systemd.wait_for("READY=1")
    hang_up(system)
    assert "MONOTONIC_USEC=" in await systemd.wait_for("RELOADING=1")
    await systemd.wait_for("READY=1", times=2)
    system.config_path.write_text("this is no configuration")
    hang_up(system)
    await systemd.wait_for("RELOADING=1", times=2)
    await systemd.wait_for("READY=1", times=3)
    told = [text.partition("\n")[0] for text in systemd.receive() if not text.startswith(("STATUS", "WATCHDOG"))]
    assert told == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]
    assert "reload refused" in system.log_path.read_text()


async def test_a_hangup_before_the_daemon_listens_does_not_end_it(system: System, systemd: NotifySocket) -> None:
    start(system, systemd)
    assert system.daemon is not None
    while not catches_hangup(system.daemon.pid):  # noqa: ASYNC110 - another process
        await anyio.sleep(0.005)
    assert systemd.receive() == []
    hang_up(system)
    await systemd.wait_for("READY=1")
    assert system.daemon.poll() is None


async def test_a_reload_that_adds_a_machine_while_events_stream_in_loses_none(
    system: System, systemd: NotifySocket
) -> None:
    system.settings = {"payouts": "paused = true"}
    system.write_config()
    start(system, systemd)
    await systemd.wait_for("READY=1")
    count = 60

    async def stream() -> None:
        for number in range(count):
            sale = {**SALE, "txid": f"sale-{number}", "payment_hash": f"{number:064x}"}
            await system.announce(system.machines[0], sale)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stream)
        for number in (2, 3, 4):
            await anyio.sleep(0.3)
            wallet = await system.lnbits.create_wallet(f"machine {number}")
            system.machines.append(DemoMachine(f"machine-{number}", SimulatedMachine.new(), wallet))
            system.write_config()
            hang_up(system)
            await systemd.wait_for("READY=1", times=number)
    assert len(await until_status(system, "pending", count=count)) == count
    assert len({sale.txid for sale in sales(system)}) == count
    await system.wait_for_log(f"{system.relays[0].url}: subscribed for 4")


async def test_a_reload_cannot_bring_new_credentials_and_says_so_naming_the_machine(
    system: System, systemd: NotifySocket
) -> None:
    credentials = system.folder / "credentials"
    credentials.mkdir()
    (credentials / "machine-1").write_text(system.machines[0].wallet.admin_key)
    use_credentials(system)
    system.start_daemon({"NOTIFY_SOCKET": str(systemd.path), "CREDENTIALS_DIRECTORY": str(credentials)})
    await systemd.wait_for("READY=1")
    hang_up(system)
    await system.wait_for_log("the wallet keys of machine-1 are as they were at the start")
    wallet = await system.lnbits.create_wallet("machine 2")
    system.machines.append(DemoMachine("machine-2", SimulatedMachine.new(), wallet))
    system.write_config()
    use_credentials(system)
    hang_up(system)
    await system.wait_for_log("reload refused")
    log = system.log_path.read_text()
    assert '"machine-2"' in log
    assert "put the key into /etc/satmachine/keys/machine-2" in log
    assert "systemctl restart satmachine" in log


def use_credentials(system: System) -> None:
    """Refer to every machine's key as a credential."""
    text = system.config_path.read_text()
    for machine in system.machines:
        text = text.replace(f'{{ file = "{system.key_file(machine.id)}" }}', f'{{ credential = "{machine.id}" }}')
    system.config_path.write_text(text)
