"""First pages: every command has its figure, no list walks through a table that grows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import queries
from bench.books import SMALL, Size, build, write_config
from satmachine.audit.proof import check_books
from satmachine.store.database import connect

SIZES = {"small": SMALL, "larger": Size(SMALL.machines, 4 * SMALL.sales, SMALL.beacons)}

#: What one client has got is read whole: it is added up or sorted.
OF_ONE_CLIENT = ("clients statement", "payments list --client")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small books and larger ones, each with its configuration."""
    found = tmp_path_factory.mktemp("books")
    for name, size in SIZES.items():
        (found / name).mkdir()
        build(found / name / "books.db", size, lambda line: None)
        write_config(found / name / "books.db", size.machines, found / name)
    return found


def test_quick_mode_has_a_figure_for_every_command(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    database = folder / "small" / "books.db"
    monkeypatch.setattr(queries, "books", lambda size, say: database)
    [section] = queries.run(quick=True, say=lambda line: None)
    assert [figure.name for figure in section.figures] == [f"`{c}`" for c in queries.commands(database, SMALL)]
    assert all(figure.value and figure.target for figure in section.figures)


def test_the_books_are_in_order(folder: Path) -> None:
    conn = connect(folder / "small" / "books.db", read_only=True)
    assert check_books(conn) == []
    assert conn.execute("SELECT count(*) FROM pragma_foreign_key_check").fetchone()[0] == 0
    assert conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    fresh = "SELECT name FROM sqlite_schema WHERE type = 'index' AND name LIKE 'dca_payments_%'"
    assert len(conn.execute(fresh).fetchall()) == 9
    conn.close()


@pytest.mark.parametrize(
    "command",
    [
        "settlements list --status refunded",
        "payments list --type settlement",
        "deposits list",
        "audit log",
        "clients list",
    ],
)
def test_lists_find_something(command: str, folder: Path) -> None:
    found = json.loads(queries.call(folder / "larger" / "config.toml", f"{command} --json").stdout)
    assert found


def test_no_list_walks_through_a_growing_table_and_none_works_more_where_there_is_more(folder: Path) -> None:
    """Plans, and SQLite's own count of its steps: they are the same on every machine, unlike the time."""
    both = [queries.commands(folder / name / "books.db", size) for name, size in SIZES.items()]
    for small, larger in zip(*both, strict=True):
        before, after = work_of(folder / "small", small), work_of(folder / "larger", larger)
        assert before.statements, small
        if "status" not in small.split():  # counts what waits in quarantine, and payments without a sale
            assert queries.walks(folder / "small" / "books.db", before.statements) == [], small
        if not small.startswith(OF_ONE_CLIENT):
            assert after.thousands <= 1.3 * before.thousands + 2, small


def work_of(folder: Path, command: str) -> queries.Work:
    with queries.watched() as work:
        queries.call(folder / "config.toml", command)
    return work
