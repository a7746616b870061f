"""Where `init` and `machines add` keep a wallet's key: on a host for root alone; systemd hands it on."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest

from satmachine.cli.setup import writing
from satmachine.config import credentials
from satmachine.errors import Refused


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the service's keys, on a host that has the service's user."""
    me = pwd.getpwuid(os.getuid())
    monkeypatch.setattr(writing, "_service", lambda: me)
    monkeypatch.setattr(credentials, "KEYS", tmp_path / "keys")
    return tmp_path / "keys"


def test_on_a_host_a_key_is_roots_and_a_credential(keys: Path) -> None:
    kept = writing.keep_key(keys, "panajachel-1", "abc\n")
    assert kept.read_text() == "abc\n"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (keys, kept)] == [0o700, 0o600]
    assert writing.secret_at(kept) == '{ credential = "panajachel-1" }'
    with pytest.raises(Refused, match="already exists"):
        writing.keep_key(keys, "panajachel-1", "def")
    assert kept.read_text() == "abc\n"


def test_elsewhere_it_is_a_file(keys: Path, tmp_path: Path) -> None:
    assert writing.secret_at(tmp_path / "mine") == f'{{ file = "{tmp_path}/mine" }}'


def test_a_key_that_the_service_could_not_read_is_refused_with_what_to_do(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "unreadable_to_service", lambda _path: "the service cannot see /root")
    with pytest.raises(ValueError, match=rf"cannot see /root: sudo install -m 600 /root/key {keys}/, and name that"):
        writing.check_readable(Path("/root/key"))
    writing.check_readable(keys / "panajachel-1")
