"""Closed months: what comes later counts later, a changed row is found, and the chain holds."""

from __future__ import annotations

import json
import shlex
import sqlite3
from datetime import UTC
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from satmachine.audit.proof import check_books
from satmachine.audit.remedies import BreakKind
from satmachine.errors import Refused
from satmachine.ledger.entries import balances, entries
from satmachine.ledger.periods import GRACE_S, altered, broken_links, make_period, month_of, month_span, off_totals
from satmachine.store import period_rows, settlements
from satmachine.store.database import atomic
from satmachine.store.ledger import Span
from tests.reports.conftest import cli_of
from tests.reports.test_ledger import check_ledger
from tests.reports.year import DAY_S, START, Year, random_events


def close(year: Year, name: str) -> None:
    made = make_period(year.conn, name, UTC, actor="maria", reason="done", now=year.now)
    with atomic(year.conn):
        period_rows.add(year.conn, made)


def problems(year: Year) -> list[str]:
    assert list(off_totals(year.conn)) == [] or list(altered(year.conn)) != []
    return [f"{period.name}: {why}" for period, why in (*broken_links(year.conn), *altered(year.conn))]


def test_what_the_books_learn_after_a_month_was_closed_counts_later_and_names_the_original(fresh: Year) -> None:
    fresh.now = START + 40 * DAY_S
    sold_at = START + 20 * DAY_S
    close(fresh, "2026-01")
    fresh.now += 3600
    sale = fresh.sale("panajachel-1", occurred_at=sold_at)
    fresh.pay(sale)
    [entry] = [one for one in entries(fresh.conn, Span(0, 2**60)) if one.kind == "sale" and one.happened_at == sold_at]
    assert entry.posted_at == fresh.now
    assert problems(fresh) == []
    check_ledger(fresh)


def test_months_that_are_closed_stay_what_they_were_whatever_happens(fresh: Year) -> None:
    closed = set()
    for _ in range(8):
        random_events(fresh, 8)
        first_of_month, _ = month_span(month_of(fresh.now, UTC), UTC)
        name = month_of(first_of_month - 1, UTC)
        if name >= "2026-01" and name not in closed and fresh.now > first_of_month + 300:
            close(fresh, name)
            closed.add(name)
        assert problems(fresh) == []
    assert len(closed) >= 3
    check_ledger(fresh)


def test_the_first_month_that_is_closed_proves_its_own_entries_and_what_those_before_come_to(fresh: Year) -> None:
    random_events(fresh, 30)
    name = month_of(fresh.now, UTC)
    start_at, end_at = month_span(name, UTC)
    assert start_at > START
    fresh.now = end_at + 2 * GRACE_S
    late = fresh.sale("panajachel-1", occurred_at=START + 4 * DAY_S)
    fresh.now += 10
    close(fresh, name)
    [period] = period_rows.all_of(fresh.conn)
    within = [one for one in entries(fresh.conn, Span(0, 2**60)) if start_at <= one.posted_at < end_at]
    assert (period.start_at, period.entries) == (start_at, len(within))
    # What the books have learnt too shortly before is no part of the closed months, whatever its time.
    [posted_at] = [one.posted_at for one in entries(fresh.conn, Span(0, 2**60)) if one.id == sale_id(fresh, late)]
    assert posted_at >= end_at
    assert period.totals == balances(fresh.conn, end_at)
    assert problems(fresh) == []
    drop_triggers(fresh.conn, "dca_deposits")
    fresh.conn.execute("UPDATE dca_deposits SET amount_minor = amount_minor + 1 WHERE id = 1")
    assert [line.split(":")[0] for line in problems(fresh)] == [name]


def sale_id(year: Year, settlement_id: int) -> str:
    """The id of its entry."""
    return f"sale:{settlements.get(year.conn, settlement_id).settlement_key}"


@pytest.mark.parametrize("behind_s", [0, 1, 100, 239, 241, 299, 301, 500])
def test_a_sale_in_the_last_second_of_a_month_is_in_exactly_one(fresh: Year, behind_s: int) -> None:
    end_at = START + 31 * DAY_S
    fresh.now = end_at - 1 + behind_s
    fresh.sale("panajachel-1", occurred_at=end_at - 1)
    fresh.now = end_at + 2 * GRACE_S
    with pytest.raises(Refused, match="not over yet"):
        make_period(fresh.conn, "2026-01", UTC, actor="maria", reason="", now=fresh.now - 1)
    close(fresh, "2026-01")
    found = [one for one in entries(fresh.conn, Span(0, 2**60)) if one.kind == "sale" and one.happened_at == end_at - 1]
    assert len(found) == 1
    assert found[0].posted_at in (end_at - 1, end_at - 1 + behind_s)
    assert problems(fresh) == []
    check_ledger(fresh)


@pytest.mark.parametrize(
    "zone", ["America/Guatemala", "Europe/Berlin", "America/Asuncion", "Pacific/Apia", "Asia/Tehran"]
)
def test_months_of_any_zone_follow_each_other_without_a_gap(zone: str) -> None:
    names = [f"{year}-{month:02}" for year in range(2009, 2028) for month in range(1, 13)]
    spans = [month_span(name, ZoneInfo(zone)) for name in names]
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert all(27 * DAY_S < end - begin < 32 * DAY_S for begin, end in spans)


def test_a_correction_after_the_close_counts_in_the_open_month(fresh: Year) -> None:
    sale = fresh.sale("panajachel-1")
    fresh.now = START + 40 * DAY_S
    close(fresh, "2026-01")
    before = balances(fresh.conn, START + 31 * DAY_S)
    fresh.now += 3600
    fresh.dispense_less(sale, 1, 2)
    fresh.pay(sale)
    assert balances(fresh.conn, START + 31 * DAY_S) == before
    last = [one for one in entries(fresh.conn, Span(START + 31 * DAY_S, 2**60)) if one.kind == "cash-corrected"]
    assert [one.posted_at for one in last] == [fresh.now]
    assert problems(fresh) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE dca_payments SET sent_sats = sent_sats - 1 WHERE id = (SELECT min(id) FROM dca_payments "
        "WHERE status = 'completed')",
        "UPDATE dca_settlements SET fiat_amount_minor = 1 WHERE id = (SELECT max(settlement_id) FROM dca_payments)",
        "DELETE FROM dca_deposits WHERE id = 1",
        "DELETE FROM dca_retained WHERE id = 1",
    ],
)
def test_an_altered_row_of_a_closed_month_is_found(fresh: Year, change: str) -> None:
    fresh.now = START + 40 * DAY_S
    close(fresh, "2026-01")
    assert problems(fresh) == []
    for table in ("dca_payments", "dca_settlements", "dca_deposits", "dca_retained"):
        drop_triggers(fresh.conn, table)
    fresh.conn.execute(change)
    assert [line.split(":")[0] for line in problems(fresh)] == ["2026-01"]
    assert [period.name for period, _ in off_totals(fresh.conn)] == ["2026-01"]


def test_the_audit_names_an_altered_month_and_the_way_out(fresh: Year) -> None:
    fresh.now = START + 40 * DAY_S
    cli = cli_of(fresh)
    close(fresh, "2026-01")
    assert cli("audit", "--offline").exit_code == 0
    before = cli("export", "ledger", "--format", "csv", "--month", "2026-01").stdout
    # Nothing adds up to anything else by it, so that only reading every entry finds it.
    drop_triggers(fresh.conn, "dca_deposits")
    fresh.conn.execute(
        "UPDATE dca_deposits SET effective_at = effective_at + 1, decided_at = decided_at + 1 WHERE id = 1"
    )
    assert [one for one in check_books(fresh.conn) if one.kind is BreakKind.CLOSED_MONTH] == []
    told = cli("audit", "--offline", "--json")
    assert told.exit_code == 1
    [broken] = json.loads(told.stdout)["breaks"]
    assert (broken["kind"], broken["subject"]) == ("closed_month", "month 2026-01")
    assert json.loads(cli("audit", "--offline", "--since", "2026-02-05", "--json").stdout)["breaks"] == []
    command = broken["remedy"].split("`")[1]
    after = cli(*shlex.split(command)[1:]).stdout
    differing = set(before.splitlines()) ^ set(after.splitlines())
    assert {line.split(":")[0] for line in differing} == {"cash"}


def test_an_altered_close_breaks_the_chain(fresh: Year) -> None:
    fresh.now = START + 70 * DAY_S
    close(fresh, "2026-01")
    close(fresh, "2026-02")
    drop_triggers(fresh.conn, "dca_periods")
    fresh.conn.execute("UPDATE dca_periods SET entries = entries + 1 WHERE name = '2026-01'")
    assert any("its own row was altered" in line for line in problems(fresh))
    fresh.conn.execute("DELETE FROM dca_periods WHERE name = '2026-01'")
    assert any("the month before it" in line for line in problems(fresh))


def drop_triggers(conn: sqlite3.Connection, table: str) -> None:
    found = conn.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?", (table,)).fetchall()
    for row in found:
        conn.execute(f"DROP TRIGGER {row['name']}")


def test_a_closed_month_never_changes(fresh: Year) -> None:
    fresh.now = START + 40 * DAY_S
    close(fresh, "2026-01")
    for change in ("UPDATE dca_periods SET reason = 'x'", "DELETE FROM dca_periods"):
        with pytest.raises(sqlite3.IntegrityError, match="closed"):
            fresh.conn.execute(change)


@pytest.mark.parametrize(
    ("name", "words"), [("2026-02", "is not over"), ("2026-01", "is closed"), ("2025-12", "is clo")]
)
def test_only_a_month_that_is_over_and_open_can_be_closed(fresh: Year, name: str, words: str) -> None:
    fresh.now = START + 40 * DAY_S
    close(fresh, "2026-01")
    with pytest.raises(Refused, match=words):
        close(fresh, name)


@pytest.mark.parametrize("name", ["2026-1", "2026-001", "26-01", "January"])
def test_a_month_has_one_name(name: str) -> None:
    with pytest.raises(ValueError, match="is not a month"):
        month_span(name, ZoneInfo("UTC"))


def test_a_month_is_one_of_its_zone() -> None:
    guatemala = ZoneInfo("America/Guatemala")
    assert month_span("2026-01", guatemala) == (START + 6 * 3600, START + 31 * DAY_S + 6 * 3600)
    assert month_of(START, guatemala) == "2025-12"
