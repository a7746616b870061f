"""One full and one empty database per test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.books import Cli, empty_books, full_books


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The program on a database with something of everything."""
    return full_books(tmp_path)


@pytest.fixture
def empty(tmp_path: Path) -> Cli:
    """The program on a database that knows only the registry."""
    return empty_books(tmp_path)
