"""The SQL views, as somebody's own `sqlite3` sees them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from satmachine.models import Claim
from satmachine.money import minor_to_fiat
from satmachine.store import settlements, telemetry_rows
from satmachine.store.database import atomic
from tests.telemetry.made import MACHINE, RICH, database, record

DOCS = Path(__file__).parents[2] / "docs"
VIEWS = (
    "telemetry_machines",
    "telemetry_latest",
    "telemetry_online",
    "cash_by_cassette",
    "low_cassettes",
    "cash_over_time",
    "sales_per_day",
    "last_sale",
)
DAY_S = 86_400


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = database(tmp_path, machines=(MACHINE, "silent-1"))
    yield opened
    opened.close()


def seconds_now(conn: sqlite3.Connection) -> int:
    """The clock that the views go by."""
    return int(conn.execute("SELECT CAST(strftime('%s', 'now') AS INTEGER)").fetchone()[0])


def tell(conn: sqlite3.Connection, told: Any, at: int) -> None:
    with atomic(conn):
        telemetry_rows.store_batch(conn, [record(told, at)])


def sell(conn: sqlite3.Connection, number: int, at: int, *, proof: str = "proven", currency: str = "GTQ") -> None:
    claim = Claim(
        machine_id=MACHINE, source="event", payment_hash=f"{number:064x}", txid=None, gross_sats=1000, net_sats=950,
        commission_sats=50, used_fallback_split=False, fallback_commission_pct=None, fee_pct=None, discount_pct=None,
        exchange_rate=Decimal(9), fiat_amount_minor=10_005, currency=currency, bills=None, cassettes=None,
        occurred_at=at,
    )  # fmt: skip
    with atomic(conn):
        settlements.insert(conn, claim, event_id=None, now=at, proof=proof)


def one(conn: sqlite3.Connection, sql: str, *params: object) -> dict[str, Any]:
    [row] = conn.execute(sql, params).fetchall()
    return dict(row)


def test_latest_has_every_machine_and_null_for_what_was_never_said(conn: sqlite3.Connection) -> None:
    tell(conn, RICH, seconds_now(conn) - 60)
    row = one(conn, "SELECT * FROM telemetry_latest WHERE machine_id = ?", MACHINE)
    assert (row["cash_left_minor"], row["cash_left"], row["currency"]) == (1_900_000, "19000.00", "GTQ")
    assert 60 <= row["age_s"] < 120
    silent = one(conn, "SELECT * FROM telemetry_latest WHERE machine_id = 'silent-1'")
    assert (silent["status"], silent["cash_left"], silent["age_s"]) == (None, None, None)


@pytest.mark.parametrize(("age_s", "state"), [(0, "online"), (890, "online"), (1000, "offline"), (-300, "online")])
def test_a_machine_is_online_by_the_age_of_its_newest_beacon(conn: sqlite3.Connection, age_s: int, state: str) -> None:
    tell(conn, {}, seconds_now(conn) - age_s)
    assert one(conn, "SELECT state FROM telemetry_online WHERE machine_id = ?", MACHINE) == {"state": state}
    assert one(conn, "SELECT state FROM telemetry_online WHERE machine_id = 'silent-1'") == {"state": "never"}


def test_cassettes_show_cash_and_percent(conn: sqlite3.Connection) -> None:
    told = [{"denomination": 100, "count": 40, "capacity": 500}, {"denomination": 50, "count": 300}, {"count": 0}]
    tell(conn, {"cassettes": told}, 1)
    rows = [
        (row["cassette"], row["denomination"], row["notes"], row["percent"], row["cash"])
        for row in conn.execute("SELECT * FROM cash_by_cassette ORDER BY cassette")
    ]
    assert rows == [(1, "100.00", 40, 8, "4000.00"), (2, "50.00", 300, None, "15000.00"), (3, None, 0, None, None)]
    low = conn.execute("SELECT cassette FROM low_cassettes ORDER BY cassette").fetchall()
    assert [row["cassette"] for row in low] == [1, 3]


def test_cash_over_time_leaves_out_beacons_that_say_nothing_of_it(conn: sqlite3.Connection) -> None:
    for at, told in ((10, {"cash_total": 7}), (20, {"status": "x"}), (30, {"cash_total": 6.5})):
        tell(conn, told, at)
    rows = conn.execute("SELECT at, cash_left FROM cash_over_time WHERE machine_id = ? ORDER BY at", (MACHINE,))
    assert [tuple(row) for row in rows] == [(10, "7.00"), (30, "6.50")]


def test_sales_stand_next_to_the_days_telemetry(conn: sqlite3.Connection) -> None:
    for number, at in enumerate((DAY_S, DAY_S + 5, 2 * DAY_S), 1):
        sell(conn, number, at)
    sell(conn, 4, DAY_S, proof="waiting")
    for at, cash in ((DAY_S - 1, 9), (DAY_S, 8), (2 * DAY_S - 1, 7.5)):
        tell(conn, {"cash_total": cash}, at)
    rows = conn.execute(
        "SELECT day, sales, gross_sats, fiat_amount, beacons, cash_left FROM sales_per_day ORDER BY day"
    )
    assert [tuple(row) for row in rows] == [
        ("1970-01-02", 2, 2000, "200.10", 2, "7.50"),
        ("1970-01-03", 1, 1000, "100.05", 0, None),
    ]


def test_the_last_sale_is_the_newest_proven_one(conn: sqlite3.Connection) -> None:
    now = seconds_now(conn)
    sell(conn, 1, now - 500)
    sell(conn, 2, now - 100, proof="waiting")
    row = one(conn, "SELECT * FROM last_sale WHERE machine_id = ?", MACHINE)
    assert (row["settlement_id"], row["last_sale_at"]) == (1, now - 500)
    assert row["since_s"] >= 500
    assert one(conn, "SELECT since_s FROM last_sale WHERE machine_id = 'silent-1'") == {"since_s": None}


@pytest.mark.parametrize("currency", ["GTQ", "JPY", "KWD", "XPF", "TND", "USD"])
@pytest.mark.parametrize("amount_minor", [0, 7, 1005, 123_456_789])
def test_fiat_is_written_as_money_writes_it(tmp_path: Path, currency: str, amount_minor: int) -> None:
    conn = database(tmp_path, currency=currency)
    with atomic(conn):
        telemetry_rows.store_batch(conn, [record({}, 1)])
        conn.execute("UPDATE dca_telemetry SET cash_left_minor = ?", (amount_minor,))
    assert one(conn, "SELECT cash_left FROM telemetry_latest")["cash_left"] == str(
        minor_to_fiat(amount_minor, currency)
    )
    conn.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM telemetry_latest",
        "SELECT * FROM telemetry_online",
        "SELECT * FROM last_sale",
        "SELECT * FROM cash_over_time WHERE machine_id = 'm' AND at >= 1 AND at < 2",
        "SELECT * FROM sales_per_day WHERE machine_id = 'm'",
    ],
)
def test_no_view_reads_the_whole_log_or_all_sales(conn: sqlite3.Connection, sql: str) -> None:
    plan = [str(row["detail"]) for row in conn.execute(f"EXPLAIN QUERY PLAN {sql}")]
    assert not [step for step in plan if re.match(r"SCAN (l|dca_telemetry_log|s|dca_settlements)\b", step)], plan


def test_every_query_of_the_documentation_runs(conn: sqlite3.Connection) -> None:
    tell(conn, RICH, seconds_now(conn))
    queries = re.findall(r"```sql\n(.*?)```", (DOCS / "telemetry.md").read_text(), re.DOTALL)
    assert len(queries) >= len(VIEWS)
    for query in queries:
        conn.execute(query).fetchall()


def test_every_view_is_documented() -> None:
    text = (DOCS / "telemetry.md").read_text()
    metadata = (DOCS / "datasette.yaml").read_text()
    assert [view for view in VIEWS if f"`{view}`" not in text] == []
    assert [view for view in VIEWS if f"{view}:" not in metadata] == []
