"""Fixtures of the operations tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.notify_socket import NotifySocket


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[NotifySocket]:
    """systemd's end of $NOTIFY_SOCKET."""
    line = NotifySocket(tmp_path / "notify")
    yield line
    line.close()
