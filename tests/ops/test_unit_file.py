"""The units: clean by systemd's own judgement, and hardened. Skipped where systemd-analyze is missing."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from satmachine.config import credentials
from satmachine.config.model import LnbitsTable
from satmachine.ops import payee_check
from satmachine.store.database import atomic, connect, prepare

ROOT = Path(__file__).parents[2]
HOST = ROOT / "packaging" / "host"
UNIT = HOST / "systemd" / "satmachine.service"
UNITS = sorted((HOST / "systemd").glob("*.service"))
#: The exposure level that must not be exceeded (0 is a process that can do nothing).
HIGHEST_EXPOSURE = 1.1

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60)


def directive(name: str) -> str:
    match = re.search(rf"(?m)^{name}=(.*)$", UNIT.read_text())
    assert match, f"{UNIT.name} has no {name}"
    return match[1]


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_exposure_is_low(unit: Path) -> None:
    answer = analyze("security", "--offline=true", str(unit))
    level = re.search(rf"Overall exposure level for {unit.name}: ([0-9.]+)", answer.stdout)
    assert level, answer.stdout + answer.stderr
    assert float(level[1]) <= HIGHEST_EXPOSURE


@needs_systemd
@pytest.mark.parametrize("unit", sorted((HOST / "systemd").iterdir()), ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    # verify wants the programs to be there; here they are in a virtual environment, or not at all.
    program = str(Path(sys.executable).with_name("satmachine"))
    for file in (HOST / "systemd").iterdir():
        text = file.read_text().replace("/usr/local/bin/satmachine", program)
        (tmp_path / file.name).write_text(text.replace("ExecStart=litestream", f"ExecStart={program}"))
    answer = analyze("verify", str(tmp_path / unit.name))
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@needs_systemd
def test_every_key_in_the_folder_is_handed_over() -> None:
    assert directive("LoadCredential") == f"{credentials.PREFIX.rstrip('_')}:{credentials.KEYS}"


def test_the_folders_are_those_that_the_units_name() -> None:
    lines = [line.split() for line in (HOST / "tmpfiles.conf").read_text().splitlines() if line[0] == "d"]
    made = {words[1]: words[2:5] for words in lines}
    assert made[str(credentials.KEYS)] == ["0700", "root", "root"]
    assert made[str(payee_check.PAYEES)] == ["0750", "root", "satmachine"]
    assert made["/var/backups/satmachine"] == made["/var/lib/satmachine"] == ["2770", "satmachine", "satmachine"]


def test_it_is_not_killed_within_a_payment() -> None:
    grace_s = 10
    assert int(directive("TimeoutStopSec")) > LnbitsTable(url="https://x.example").pay_timeout_s + grace_s


def test_a_wrong_configuration_is_not_restarted_over_and_over() -> None:
    assert directive("RestartPreventExitStatus") == "3"
    assert directive("Restart") == "on-failure"


def test_memory_without_end_ends_the_service_and_not_its_host() -> None:
    assert directive("MemoryMax") == "1G"
    assert directive("MemorySwapMax") == "0"


def test_files_stay_open_to_the_group_and_closed_to_others() -> None:
    assert directive("UMask") == "0007"
    assert directive("StateDirectoryMode") == "2770"
    assert directive("User") == directive("Group") == "satmachine"


def test_under_that_mask_the_group_may_write_the_books_and_others_may_not_read_them(tmp_path: Path) -> None:
    before = os.umask(int(directive("UMask"), 8))
    try:
        prepare(tmp_path / "books.db")
        conn = connect(tmp_path / "books.db")
        with atomic(conn):
            conn.execute("UPDATE daemon_state SET value = value")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        conn.close()
    finally:
        os.umask(before)
    assert modes == {"books.db": 0o660, "books.db-wal": 0o660, "books.db-shm": 0o660}


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="there is no systemd-sysusers here")
def test_the_user_can_be_made() -> None:
    answer = subprocess.run(
        ["systemd-sysusers", "--dry-run", "--root=/nonexistent", str(HOST / "sysusers.conf")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Creating user 'satmachine'" in answer.stdout + answer.stderr
