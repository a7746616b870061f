"""The command that starts the daemon is one that fits this host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from satmachine.attention.look import Starts
from satmachine.ops.service import starts

BOOKS = Path("/var/lib/satmachine/satmachine.db")
ELSEWHERE = Path("/srv/books/satmachine.db")
BY_HAND = Starts("satmachine run", "satmachine run")


def host(root: Path, *files: str, booted: bool = True) -> Path:
    """A host with these files of systemd; `booted`: systemd runs there."""
    if booted:
        (root / "run/systemd/system").mkdir(parents=True)
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"[Service]\nReadWritePaths={ELSEWHERE.parent}\n")
    return root


def test_systemd_starts_it_where_it_has_a_unit(tmp_path: Path) -> None:
    installed = host(tmp_path, "usr/lib/systemd/system/satmachine.service")
    assert starts(BOOKS, root=installed) == Starts("systemctl start satmachine", "systemctl restart satmachine")


def test_without_systemd_or_a_unit_it_is_started_by_hand(tmp_path: Path) -> None:
    container = host(tmp_path / "container", "etc/systemd/system/satmachine.service", booted=False)
    assert starts(BOOKS, root=container) == BY_HAND
    assert starts(BOOKS, root=host(tmp_path / "bare")) == BY_HAND


def test_the_unit_of_other_books_is_not_meant(tmp_path: Path) -> None:
    """A demo on the host of a real daemon; and books that a drop-in has put elsewhere."""
    unit = "etc/systemd/system/satmachine.service"
    assert starts(ELSEWHERE, root=host(tmp_path / "demo", unit)) == BY_HAND
    assert starts(ELSEWHERE, root=host(tmp_path / "moved", unit, f"{unit}.d/books.conf")) == Starts()


def test_a_daemon_that_hangs_is_killed_by_its_number(tmp_path: Path) -> None:
    database = tmp_path / "satmachine.db"
    holds = (
        "import sys; from pathlib import Path; from satmachine.store.database import only_daemon\n"
        "with only_daemon(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holds, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as daemon:
        assert daemon.stdout is not None
        daemon.stdout.readline()
        assert starts(database, root=tmp_path).restart == f"kill -KILL {daemon.pid} && satmachine run"
        daemon.kill()
