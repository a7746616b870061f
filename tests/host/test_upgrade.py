"""From version 0.1.0 with its books, as its manual had it installed, to the package; and the way back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from testkit.host import Host
from testkit.system import System
from tests.host.conftest import ROOT
from tests.host.test_package import sell, until_paid


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source of 0.1.0 and, in wheels/, what it takes to install it without a network."""
    folder = tmp_path_factory.mktemp("delivered")
    changed = _git("log", "--format=%H", '-Sversion = "0.2.0"', "--", "pyproject.toml").split()
    if not changed:
        pytest.skip("not run: this checkout has no history to take version 0.1.0 from")
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", f"{changed[-1]}^"], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-deps"]
    pinned = ["--require-hashes", "-r", str(ROOT / "requirements.txt")]
    subprocess.run([*pip, "-w", str(wheels), *pinned], check=True, timeout=900)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, cwd=folder, check=True, timeout=300, capture_output=True)
    return folder


async def test_version_0_1_0_runs_and_sells(host: Host, world: System, delivered: Path) -> None:
    for wheel in (delivered / "wheels").iterdir():
        host.bring(wheel, "/root/wheels")
    host.run("python3 -m venv /opt/satmachine && /opt/satmachine/bin/pip -q install --no-index --no-deps wheels/*")
    host.run("ln -s /opt/satmachine/bin/satmachine /usr/local/bin/satmachine")
    host.put("/etc/sysusers.d/satmachine.conf", (delivered / "satmachine.sysusers").read_text())
    host.run("systemd-sysusers && install -d -g satmachine -m 750 /etc/satmachine")
    host.run("install -d -m 700 /etc/satmachine/keys")
    host.put("/etc/systemd/system/satmachine.service", (delivered / "satmachine.service").read_text())
    keys = {"machine-1": world.machines[0].wallet.admin_key, "owner": world.wallets["owner"].invoice_key}
    drop_in = "[Service]\n"
    for name, key in keys.items():
        host.put(f"/etc/satmachine/keys/{name}", key, 0o600)
        drop_in += f"LoadCredential={name}:/etc/satmachine/keys/{name}\n"
    host.put("/etc/systemd/system/satmachine.service.d/keys.conf", drop_in)
    host.put("/etc/satmachine/config.toml", _config(world), 0o640)
    host.run("chgrp satmachine /etc/satmachine/config.toml && systemctl daemon-reload")
    host.run("systemctl enable --now satmachine")
    assert "0.1.0" in host.run("satmachine --version")
    await sell(world, "of the old version")
    await until_paid(host, 1)


async def test_the_package_takes_over_with_the_books(host: Host, world: System, package: Path) -> None:
    host.bring(package)
    host.run("satmachine backup /root/before.db && systemctl stop satmachine")
    said = host.run(f"apt-get install -y --no-install-recommends ./{package.name}")
    assert "/etc/systemd/system/satmachine.service hides the unit of this package" in said
    assert "/usr/local/bin/satmachine hides the program of this package" in said
    host.run("rm -r /etc/systemd/system/satmachine.service /usr/local/bin/satmachine /opt/satmachine")
    host.run("systemctl daemon-reload && systemctl enable --now satmachine satmachine-backup.timer")
    assert "0.2" in host.run("satmachine --version")
    assert "before-upgrade-of-version-4.db" in host.run("ls /var/lib/satmachine")
    assert "are brought up to" in host.run("journalctl -u satmachine --no-pager | grep 'brought up'")
    await sell(world, "of the new version")
    await until_paid(host, 2)
    assert "every sat is accounted for" in host.run("satmachine audit")
    host.run("satmachine doctor", leaves=None)


async def test_the_copy_from_before_the_upgrade_is_a_way_back(host: Host) -> None:
    host.run("systemctl stop satmachine")
    host.run("satmachine restore --yes /var/lib/satmachine/satmachine-before-upgrade-of-version-4.db")
    host.run("systemctl start satmachine")
    shown = await anyio.to_thread.run_sync(
        lambda: host.until("satmachine machines reconcile machine-1", "--accept", timeout_s=180)
    )
    assert "machine-1" in shown
    assert host.run("satmachine settlements list --csv | tail -n +2 | wc -l").strip() in ("1", "2")


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return done.stdout


def _config(world: System) -> str:
    return f"""
[nostr]
relays = ["{world.relays[0].url}"]
[lnbits]
url = "{world.lnbits.url}"
[super]
fee_pct = 0
[[operators]]
id = "atitlan"
name = "Atitlan Cash"
[[operators.splits]]
label = "owner"
pct = 1
payee = {{ invoice_key = {{ credential = "owner" }} }}
[[machines]]
id = "machine-1"
operator = "atitlan"
name = "Market"
npub = "{world.machines[0].signer.npub}"
currency = "GTQ"
fallback_commission_pct = 0.05
payouts_since = 2020-01-01T00:00:00Z
wallet = {{ admin_key = {{ credential = "machine-1" }} }}
"""
