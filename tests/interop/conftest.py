"""Another relay server and another implementation of Nostr, where they are installed (`make test-interop`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from testkit.interop import NostrRelay, NostrTools, missing_relay, missing_tools, nostr_tools
from tests.integration.conftest import build_system

__all__ = ["build_system"]


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[NostrRelay]:
    if why := missing_relay():
        pytest.skip(why)
    async with NostrRelay(tmp_path / "nostr-relay") as found:
        yield found


@pytest.fixture
def tools() -> Iterator[NostrTools]:
    if why := missing_tools():
        pytest.skip(why)
    with nostr_tools() as found:
        yield found
