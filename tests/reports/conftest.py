"""One made-up year with every kind of event, made once: only read it, or roll back what you write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.books import Cli
from tests.reports.year import Year, every_event, new_year, random_events


@pytest.fixture(scope="session")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Year]:
    made = new_year(tmp_path_factory.mktemp("year"))
    every_event(made)
    random_events(made, 60)
    yield made
    made.conn.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Year]:
    """A short one of its own, to go on with."""
    made = new_year(tmp_path)
    every_event(made)
    yield made
    made.conn.close()


@pytest.fixture
def cli(year: Year) -> Cli:
    return cli_of(year)


def cli_of(year: Year) -> Cli:
    """The program on a year's books."""
    return Cli(year.config.path, year.config.database.path)
