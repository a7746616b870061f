"""Key files on a file system that does not answer: nobody waits for long, and only the first one at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from satmachine.config import Secret, check_secrets, key_problems, patience, secrets
from satmachine.errors import KeyHangs
from testkit.config_files import ENVIRON, changed, load_text
from tests.hanging import hanging


class Dead:
    """A file system that can be brought back; `asked` counts who waits for it."""

    def __init__(self) -> None:
        self.back = threading.Event()
        self.asked = 0

    def read(self, _path: Path) -> bytes:
        self.asked += 1
        assert self.back.wait(60)
        return b"key"


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dead]:
    found = Dead()
    monkeypatch.setattr(secrets, "_read_regular", found.read)
    monkeypatch.setattr(patience, "DEADLINE_S", 0.05)
    yield found
    found.back.set()


def test_one_look_at_a_folder_that_hangs_is_all_that_anybody_waits_for(dead: Dead, tmp_path: Path) -> None:
    for name in ("one", "two", "one"):
        with pytest.raises(KeyHangs, match="whose file system does not answer: mount it again"):
            Secret("file", str(tmp_path / name)).resolve({})
    assert dead.asked == 1
    with pytest.raises(KeyHangs):
        Secret("file", str(tmp_path / "elsewhere" / "key")).resolve({})
    assert dead.asked == 2


def test_a_file_system_that_is_back_is_read_again(dead: Dead, tmp_path: Path) -> None:
    secret = Secret("file", str(tmp_path / "key"))
    with pytest.raises(KeyHangs):
        secret.resolve({})
    dead.back.set()
    while tmp_path in patience._hanging:
        threading.Event().wait(0.001)
    assert secret.resolve({}) == "key"


def test_a_key_that_hangs_keeps_no_daemon_from_starting_but_is_told_to_whoever_checks(
    dead: Dead, tmp_path: Path
) -> None:
    config = load_text(tmp_path, changed('{ env = "WALLET_1" }', '{ file = "key" }'))
    assert key_problems(config, ENVIRON) == []
    [problem] = check_secrets(config, ENVIRON)
    assert "does not answer" in problem


def test_a_dead_mount_is_a_file_system_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "DEADLINE_S", 0.2)
    folder = tmp_path / "mount"
    folder.mkdir()
    (folder / "key").write_text("key")
    try:
        with hanging(folder) as end:
            with pytest.raises(KeyHangs):
                Secret("file", str(folder / "key")).resolve({})
            end()
            while folder in patience._hanging:
                threading.Event().wait(0.001)
            assert Secret("file", str(folder / "key")).resolve({}) == "key"
    except PermissionError as error:
        pytest.skip(f"needs to mount: {error.strerror}")
