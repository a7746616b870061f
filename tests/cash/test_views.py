"""The views of cash, as somebody's own `sqlite3` sees them, and what the daemon keeps for them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from satmachine.attention import look as attention
from satmachine.attention.items import Thresholds
from satmachine.cash import renew
from satmachine.ops.metrics import Exposition
from satmachine.store import cash_rows, standing
from satmachine.store.database import atomic, connect, open_store
from testkit.books import MACHINE, fresh_books

DOCS = Path(__file__).parents[2] / "docs"
VIEWS = (
    *("cash_entries", "cash_sales", "cash_cycles", "cash_differences", "cash_now", "cash_forecast_inputs"),
    "cash_out_soon",
)
DAY_S = 86_400


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path) as opened:
        yield opened


def seconds_now(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT CAST(strftime('%s', 'now') AS INTEGER)").fetchone()[0])


def a_forecast(machine_id: str, now: int, early_days: float | None, *, differences: int = 0) -> dict[str, object]:
    early = None if early_days is None else now + int(early_days * DAY_S)
    return {
        "machine_id": machine_id,
        "computed_at": now,
        "source": "book",
        "cash_minor": 1_234_500,
        "currency": "GTQ",
        "days_known": 90,
        "sure": "good",
        "horizon_days": 91,
        "open_differences": differences,
        "early_at": early,
        "likely_at": None if early is None else early + DAY_S,
        "late_at": None if early is None else early + 3 * DAY_S,
    }


def test_every_view_is_documented_and_every_query_of_the_documents_runs(conn: sqlite3.Connection) -> None:
    text, metadata = (DOCS / "cash.md").read_text(), (DOCS / "datasette.yaml").read_text()
    assert [view for view in VIEWS if f"`{view}`" not in text or f"{view}:" not in metadata] == []
    queries = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(queries) >= len(VIEWS)
    for query in queries:
        conn.execute(query).fetchall()


def test_every_query_of_the_charts_runs(conn: sqlite3.Connection) -> None:
    text = (DOCS / "datasette.yaml").read_text()
    found = {}
    for block in re.split(r"(?m)^      (?=\w+:)", text):
        name, _, rest = block.partition(":")
        if name.startswith("cash_") and "sql: |-" in rest:
            found[name] = rest.partition("sql: |-")[2]
    assert {"cash_sold_by_day", "cash_differences_of_a_machine"} <= found.keys()
    for sql in found.values():
        conn.execute(sql, {"machine_id": MACHINE, "days": 7}).fetchall()


def test_out_soon_is_within_two_days_and_fresh(conn: sqlite3.Connection) -> None:
    now = seconds_now(conn)
    with atomic(conn):
        cash_rows.save_forecast(conn, a_forecast(MACHINE, now, 1.5))
        cash_rows.save_forecast(conn, a_forecast("machine-2", now, 3))
    [row] = conn.execute("SELECT * FROM cash_out_soon").fetchall()
    assert (row["machine_id"], row["cash"], row["days_early"], row["days_likely"]) == (MACHINE, "12345.00", 1, 2)
    with atomic(conn):
        cash_rows.save_forecast(conn, a_forecast(MACHINE, now - 7 * 3_600, 1.5))
    assert conn.execute("SELECT * FROM cash_out_soon").fetchall() == []


@pytest.mark.parametrize(("early_days", "sure"), [(1.9, True), (2.2, False), (2.5, None), (None, None)])
def test_the_alarm_holds_below_its_limit_and_wavers_right_above(
    early_days: float | None, sure: bool | None, conn: sqlite3.Connection
) -> None:
    now = seconds_now(conn)
    with atomic(conn):
        cash_rows.save_forecast(conn, a_forecast(MACHINE, now, early_days))
    view = attention.Viewpoint(Thresholds(), now)
    found = [item for item in attention.from_telemetry(conn, view) if item.condition == "cash_out_soon"]
    assert [item.sure for item in found] == ([] if sure is None else [sure])
    for item in found:
        assert item.command == f"satmachine forecast {MACHINE}"
        assert "between" in item.cause
    assert [
        item for item in attention.from_telemetry(conn, attention.Viewpoint(Thresholds(), now, "another")) if item.sure
    ] == []


def test_a_difference_that_nobody_has_booked_needs_a_person(conn: sqlite3.Connection) -> None:
    now = seconds_now(conn)
    with atomic(conn):
        cash_rows.save_forecast(conn, a_forecast(MACHINE, now, None, differences=2))
    [item] = attention.from_telemetry(conn, attention.Viewpoint(Thresholds(), now))
    assert (item.condition, item.command) == ("cash_differs", f"satmachine cash report {MACHINE}")
    assert not item.is_alarm


def test_metrics_say_until_when_the_cash_lasts(conn: sqlite3.Connection) -> None:
    from prometheus_client import generate_latest

    from satmachine.attention.items import Attention

    now = seconds_now(conn)
    with atomic(conn):
        cash_rows.save_forecast(conn, a_forecast(MACHINE, now, 1, differences=1))
    exposition = Exposition()
    exposition.show(standing.read(conn), [], None, Attention(), now)
    text = generate_latest(exposition._registry).decode()
    assert f'satmachine_cash_out_seconds{{end="early",machine="{MACHINE}"}} 86400.0' in text
    assert f'satmachine_cash_differences{{machine="{MACHINE}"}} 1.0' in text


async def test_the_daemon_renews_what_is_due_and_only_that(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        now = seconds_now(conn)
        with atomic(conn):
            cash_rows.save_forecast(conn, a_forecast("machine-2", now - 60, 5))
    async with open_store(tmp_path / "satmachine.db") as store:
        assert await renew.renew_due(store, now) == 1
        assert await renew.renew_due(store, now) == 0
        assert await renew.renew_due(store, now + renew.RENEW_AFTER_S + 1) == 2
    reader = connect(tmp_path / "satmachine.db", read_only=True)
    rows = {row["machine_id"]: row for row in reader.execute("SELECT * FROM dca_cash_forecasts")}
    reader.close()
    assert (rows[MACHINE]["sure"], rows[MACHINE]["source"]) == ("none", "none")


def test_rows_are_never_changed_or_deleted(conn: sqlite3.Connection) -> None:
    for table in ("dca_cash", "dca_cash_notes", "dca_cash_booked"):
        guards = conn.execute("SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?", (table,))
        assert {re.search(r"BEFORE (\w+)", row["sql"])[1] for row in guards} == {"UPDATE", "DELETE"}  # type: ignore[index]
