"""Fresh books for every test, proven whole when it ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from satmachine.store import balances
from testkit.books import fresh_books


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path) as conn:
        yield conn
        assert balances.wrong_totals(conn) == []
