"""The cost of a sale: every step has its figure, leaves what it should, and finds its rows along an index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import books, growth
from bench.books import Size, build
from satmachine.audit.proof import check_books
from satmachine.store import legs, settlements
from satmachine.store.database import connect

SIZE = Size(machines=growth.MACHINES, sales=1_000, beacons=1_000)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("books") / "books.db"
    build(path, SIZE, lambda line: None)
    return path


def test_quick_mode_has_a_figure_for_every_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(books, "_folder", lambda: tmp_path)
    sales, providers = growth.run(quick=True, say=lambda line: None)
    names = [figure.name for figure in sales.figures]
    assert names[: len(growth.QUICK_STORED)] == [f"{stored:,} stored: all of it" for stored in growth.QUICK_STORED]
    assert [name.partition(":")[0] for name in names[len(growth.QUICK_STORED) :]] == list(growth.STEPS)
    assert [figure.name for figure in providers.figures] == [f"{number:,} LPs" for number in growth.QUICK_PROVIDERS]
    assert all(figure.value and figure.ratio for figure in (*sales.figures, *providers.figures))


def test_a_round_takes_a_sale_through_and_leaves_nothing(database: Path) -> None:
    conn = connect(database)
    before = conn.execute("SELECT count(*), sum(used_minor) FROM dca_clients").fetchone()
    growth.one_round(conn, SIZE)
    assert tuple(conn.execute("SELECT count(*), sum(used_minor) FROM dca_clients").fetchone()) == tuple(before)
    assert conn.execute("SELECT count(*) FROM dca_settlements").fetchone()[0] == SIZE.sales
    conn.execute("BEGIN")
    claim = growth.a_claim(0, "machine-0001", SIZE.end)
    number = growth.land(conn, claim, SIZE.end)
    growth.prove(conn, number, SIZE.end)
    growth.plan(conn, number, SIZE.end)
    assert settlements.get(conn, number).status == "pending"
    growth.pay(conn, number, SIZE.end)
    assert {leg.status for leg in legs.of_settlement(conn, number)} == {"completed"}
    assert check_books(conn) == []
    conn.execute("ROLLBACK")
    conn.close()


def test_nothing_on_a_sales_way_walks_through_a_growing_table(database: Path) -> None:
    conn = connect(database)
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    growth.one_round(conn, SIZE)
    conn.set_trace_callback(None)
    seen = {re.sub(r"\d+|'[^']*'", "?", statement): statement for statement in statements}
    for statement in seen.values():
        if re.match(r"\s*(SELECT|WITH|UPDATE|INSERT|DELETE)\b", statement):
            plan = [str(row["detail"]) for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}")]
            walks = [step for step in plan if re.match(r"SCAN (dca_|p\b|s\b)", step) and " USING " not in step]
            assert walks == [], statement
    conn.close()


def test_every_provider_gets_a_leg(tmp_path: Path) -> None:
    growth.make_providers(tmp_path / "lps.db", 50)
    assert growth.plan_for(tmp_path / "lps.db", 50) > 0  # it checks how many legs the plan has
