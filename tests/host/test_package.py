"""One host from its first minute to the purge, by what docs/operations.md tells a person to type. In this order."""

from __future__ import annotations

import json
import re
from pathlib import Path

import anyio
import pytest

from testkit.host import Host
from testkit.system import System
from testkit.watch import SALE

#: What stands in `systemctl show` for the daemon's process.
PID = "systemctl show satmachine --property=MainPID --value"


async def sell(world: System, txid: str) -> None:
    machine = world.machines[0]
    await world.announce(machine, await world.customer_pays(machine, {**SALE, "txid": txid}))


async def until_paid(host: Host, sales: int) -> None:
    """Until so many sales are processed."""
    listed = "satmachine --operator atitlan settlements list --status processed --csv | tail -n +2 | wc -l"
    await anyio.to_thread.run_sync(lambda: host.until(listed, f"{sales}\n"))


def test_installing_starts_nothing_and_closes_every_folder(host: Host, package: Path) -> None:
    host.bring(package)
    said = host.run(f"apt-get install -y --no-install-recommends ./{package.name}")
    assert "what to do next: satmachine init" in said
    assert (
        host.run("systemctl is-enabled satmachine satmachine-backup.timer satmachine-web", leaves=None).split()
        == ["disabled"] * 3
    )
    assert host.run("systemctl is-active satmachine", leaves=3).strip() == "inactive"
    folders = host.run(
        "stat -c '%U:%G %a %n' /etc/satmachine /etc/satmachine/keys /etc/satmachine/payees /var/lib/satmachine "
        "/var/backups/satmachine"
    )
    assert folders.splitlines() == [
        "root:satmachine 750 /etc/satmachine",
        "root:root 700 /etc/satmachine/keys",
        "root:satmachine 750 /etc/satmachine/payees",
        "satmachine:satmachine 2770 /var/lib/satmachine",
        "satmachine:satmachine 2770 /var/backups/satmachine",
    ]
    assert "satmachine 0." in host.run("satmachine --version")
    assert "satmachine backup" in host.run("man satmachine-backup")


def test_the_first_hour_by_init(host: Host, world: System) -> None:
    relay = world.relays[0].url
    host.run(
        f"satmachine init --lnbits-url {world.lnbits.url} --relay {relay} --operator-id atitlan "
        "--operator-name 'Atitlan Cash' --super-fee-pct 0 --time-zone UTC --database /var/lib/satmachine/satmachine.db"
    )
    machine = world.machines[0]
    host.run("install -m 600 /dev/stdin /etc/satmachine/keys/machine-1", stdin=machine.wallet.admin_key)
    host.run(
        f"satmachine machines add --id machine-1 --of atitlan --name 'Market' --npub {machine.signer.npub} "
        "--currency GTQ --fallback-commission-pct 0.05 --payouts-since 2020-01-01T00:00:00Z --unannounced report "
        "--admin-key-file /etc/satmachine/keys/machine-1"
    )
    assert '{ credential = "machine-1" }' in host.run("tail -3 /etc/satmachine/config.toml")


def test_an_lps_key_must_lie_where_the_service_can_read_it(host: Host, world: System) -> None:
    host.put("/root/alice", world.wallets["alice"].invoice_key, 0o600)
    host.run("install -o satmachine -m 400 /root/alice /etc/satmachine/payees/alice")
    said = host.run(
        "satmachine clients add --machine machine-1 --label alice --invoice-key-file /etc/satmachine/payees/alice"
    )
    assert "a wallet of this LNbits" in said
    host.put("/root/bruno", world.wallets["bruno"].invoice_key, 0o600)
    said = host.run("satmachine clients add --machine machine-1 --label bruno --invoice-key-file /root/bruno")
    assert "Warning: the service cannot see /root" in said
    fix = re.search(r"sudo (install -o satmachine -m 400 \S+ \S+)", said)
    assert fix
    host.run(fix[1])
    host.run("satmachine clients update bruno --invoice-key-file /etc/satmachine/payees/bruno")
    for label in ("alice", "bruno"):
        host.run(f"satmachine deposits add {label} 100000")
    host.run("satmachine deposits confirm 1 --yes && satmachine deposits confirm 2 --yes")


async def test_the_first_sale(host: Host, world: System) -> None:
    host.run("systemctl enable --now satmachine satmachine-backup.timer")
    assert host.run("systemctl is-active satmachine satmachine-backup.timer").split() == ["active"] * 2
    await sell(world, "first")
    await until_paid(host, 1)
    assert "every sat is accounted for" in host.run("satmachine audit")


def test_root_sees_every_key_and_who_does_not_is_told(host: Host) -> None:
    said = host.run("satmachine doctor", leaves=None)
    assert "credential" not in said
    assert "problem" not in said
    host.run("satmachine config check --secrets")
    host.run("useradd --create-home --groups satmachine ana")
    assert "only root and the service can see them: machine-1" in host.as_user(
        "ana", "satmachine config check --secrets"
    )
    assert "not checked here" in host.as_user("ana", "satmachine doctor", leaves=None)
    host.as_user("ana", "cat /etc/satmachine/keys/machine-1 /etc/satmachine/payees/alice", leaves=1)


async def test_a_reload_fails_where_the_file_is_bad_and_the_daemon_goes_on(host: Host, world: System) -> None:
    host.run("cp -p /etc/satmachine/config.toml /root/good.toml")
    pid = host.run(PID)
    host.run("sed -i 's/^tz = .*/tz = \"America\\/Guatemala\"/' /etc/satmachine/config.toml")
    host.run("systemctl reload satmachine")
    host.run("sed -i 's/^fee_pct/fee_pkt/' /etc/satmachine/config.toml")
    host.run("systemctl reload satmachine", leaves=1)
    assert 'did you mean "fee_pct"' in host.run("journalctl -u satmachine -n 20 --no-pager")
    host.run("cp /root/good.toml /etc/satmachine/config.toml")
    host.run("sed -i 's#^url = .*#url = \"http://127.0.0.1:9\"#' /etc/satmachine/config.toml")
    host.run("systemctl reload satmachine", leaves=1)
    assert "cannot be changed by a reload" in host.run("journalctl -u satmachine -n 20 --no-pager")
    host.run("cp /root/good.toml /etc/satmachine/config.toml && systemctl reload satmachine")
    assert host.run(PID) == pid
    await sell(world, "after a bad file")
    await until_paid(host, 2)


async def test_a_daemon_that_hangs_is_restarted(host: Host, world: System) -> None:
    host.put("/etc/systemd/system/satmachine.service.d/watchdog.conf", "[Service]\nWatchdogSec=15\n")
    host.run("systemctl daemon-reload && systemctl restart satmachine")
    pid = host.run(PID).strip()
    host.run(f"kill -STOP {pid}")
    await anyio.to_thread.run_sync(lambda: host.until("systemctl show satmachine --property=NRestarts", "=1"))
    host.run("rm -r /etc/systemd/system/satmachine.service.d && systemctl daemon-reload")
    await anyio.to_thread.run_sync(lambda: host.until("systemctl is-active satmachine", "active\n"))
    assert host.run(PID).strip() != pid


async def test_killed_under_sales_it_pays_each_of_them_once(host: Host, world: System) -> None:
    host.run("systemctl reset-failed satmachine && systemctl restart satmachine")
    for number in range(3):
        await sell(world, f"under fire {number}")
        await anyio.sleep(0.7)
        host.run("systemctl kill --signal=SIGKILL satmachine")
        await anyio.to_thread.run_sync(lambda: host.until("systemctl is-active satmachine", "active\n"))
    await until_paid(host, 5)
    assert "every sat is accounted for" in host.run("satmachine audit")


def test_the_hourly_copy(host: Host) -> None:
    host.run("systemctl start satmachine-backup")
    copies = host.run("ls /var/backups/satmachine").split()
    assert [re.fullmatch(r"satmachine-\d{8}T\d{6}Z\.db", name) is not None for name in copies] == [True]
    assert "satmachine-backup.timer" in host.run("systemctl list-timers satmachine-backup.timer --no-pager")
    assert "verified" in host.run("journalctl -u satmachine-backup --no-pager")


def test_metrics_can_be_read_by_who_collects_them(host: Host) -> None:
    host.run("printf '\\n[metrics]\\ntextfile = \"/run/satmachine/satmachine.prom\"\\n' >> /etc/satmachine/config.toml")
    host.run("systemctl reload satmachine")
    host.until("cat /run/satmachine/satmachine.prom", "satmachine_info")
    assert "satmachine_info" in host.as_user("nobody", "cat /run/satmachine/satmachine.prom")


async def test_a_copy_in_the_books_place_waits_for_a_person(host: Host, world: System) -> None:
    [copy] = host.run("ls /var/backups/satmachine/*.db").split()
    await sell(world, "after the copy")
    await until_paid(host, 6)
    assert "another satmachine daemon" in host.run(f"satmachine restore --yes {copy}", leaves=1)
    host.run("systemctl stop satmachine")
    said = host.run(f"satmachine restore --yes {copy}")
    assert "machines reconcile" in said
    host.run("systemctl start satmachine")
    await anyio.to_thread.run_sync(
        lambda: host.until("satmachine machines reconcile machine-1", "--accept", timeout_s=180)
    )
    shown = host.run("satmachine machines reconcile machine-1 --json")
    digest = json.loads(shown)["digest"]
    host.run(f"satmachine machines reconcile machine-1 --accept {digest} --yes --reason 'restored on purpose'")
    await until_paid(host, 6)
    assert "every sat is accounted for" in host.run("satmachine audit")


def test_a_key_that_is_missing_is_said_in_words_and_not_tried_again(host: Host) -> None:
    host.run("mv /etc/satmachine/keys/machine-1 /root/machine-1")
    host.run("systemctl reset-failed satmachine; systemctl restart satmachine", leaves=1)
    assert host.run("systemctl show satmachine --property=ExecMainStatus,NRestarts").split() == [
        "NRestarts=0",
        "ExecMainStatus=3",
    ]
    log = host.run("journalctl -u satmachine -n 15 --no-pager")
    assert "put the key into /etc/satmachine/keys/machine-1 (owner root, mode 600)" in log
    host.run("mv /root/machine-1 /etc/satmachine/keys/ && systemctl reset-failed satmachine")
    host.run("systemctl start satmachine")


def test_the_package_again_restarts_what_runs(host: Host, package: Path) -> None:
    pid = host.run(PID)
    host.run(f"apt-get install -y --reinstall --no-install-recommends ./{package.name}")
    host.until("systemctl is-active satmachine", "active\n")
    assert host.run(PID) != pid


def test_removing_stops_it_and_a_purge_keeps_the_books(host: Host, package: Path) -> None:
    host.run("apt-get remove -y satmachine")
    assert host.run("systemctl is-active satmachine", leaves=None).strip() == "inactive"
    said = host.run("apt-get purge -y satmachine")
    assert "kept /var/lib/satmachine" in said
    assert host.run("ls /var/lib/satmachine/satmachine.db /etc/satmachine/config.toml /etc/satmachine/keys/machine-1")
    host.run("test ! -e /usr/lib/satmachine && test ! -e /usr/bin/satmachine")
    host.run(f"apt-get install -y --no-install-recommends ./{package.name}")
    assert "6" in host.run("satmachine settlements list --status processed --csv | tail -n +2 | wc -l")


@pytest.fixture(scope="module", autouse=True)
def _order(package: Path) -> None:
    """The package is made before anything is booted."""
