"""What of this process could end up on a disk: never its memory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CRASH = """
import os, resource, signal, sys
_, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
if sys.argv[1] == "hardened":
    from satmachine.hardening import forbid_core_dumps
    forbid_core_dumps()
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
os.kill(os.getpid(), signal.SIGABRT)
"""


def crash(folder: Path, how: str) -> int:
    """The wait status of a process that crashes in `folder`."""
    child = subprocess.Popen([sys.executable, "-c", CRASH, how], cwd=folder)
    _, status = os.waitpid(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return status


def test_a_crash_leaves_no_core_dump(tmp_path: Path) -> None:
    status = crash(tmp_path, "hardened")
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    assert list(tmp_path.iterdir()) == []


def test_the_same_crash_would_leave_one(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    status = crash(tmp_path, "as it is")
    if hard == 0 or not os.WCOREDUMP(status):
        pytest.skip("this system writes no core dumps at all")
    assert os.WCOREDUMP(status)
