"""Cycles and notes: the same by the rules and in SQL, whatever was recorded in whatever order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from satmachine.cash import book, cycles, shown
from satmachine.models.banknotes import by_denomination, in_words, of_sale, typed
from satmachine.models.cash_values import CashEntry, CashSale, EntryKind, NoteLine
from satmachine.store import cash_rows
from satmachine.store.cash_rows import Draft
from testkit.books import MACHINE, fresh_books


@pytest.fixture(scope="module")
def conn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path_factory.mktemp("cycles")) as opened:
        yield opened


def sell(conn: sqlite3.Connection, number: int, at: int, sold_minor: int | None, proof: str) -> None:
    conn.execute(
        "INSERT INTO dca_settlements (payment_hash, machine_id, source, gross_sats, net_sats, commission_sats, "
        "fiat_amount_minor, currency, proof, occurred_at, landed_at) "
        "VALUES (?1, ?2, 'event', 1000, 950, 50, ?3, 'GTQ', ?4, ?5, ?5)",
        (f"hash-{number}", MACHINE, sold_minor, proof, at),
    )


KINDS = st.sampled_from([EntryKind.LOAD, EntryKind.TAKE, EntryKind.COLLECT, EntryKind.COUNT])
ENTRIES = st.lists(st.tuples(KINDS, st.integers(1, 12), st.integers(1, 500), st.integers(-3, 3)), max_size=12)
SALES = st.lists(
    st.tuples(st.integers(0, 14), st.none() | st.integers(0, 300), st.sampled_from(["proven", "waiting"])), max_size=8
)


@given(ENTRIES, SALES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
def test_sql_and_rules_say_the_same(
    conn: sqlite3.Connection,
    entries: list[tuple[EntryKind, int, int, int]],
    sales: list[tuple[int, int | None, str]],
) -> None:
    """A negative last number corrects (or, at -3, takes back) the entry before; times collide often."""
    conn.execute("BEGIN")
    try:
        for number, (at, sold_minor, proof) in enumerate(sales):
            sell(conn, number, at, sold_minor, proof)
        last: CashEntry | None = None
        for kind, at, amount, what in entries:
            corrects = last if what < 0 else None
            if corrects is not None and what == -3:
                book.void(conn, corrects.id, reason="never", actor="t", now=100)
                last = None
                continue
            lines = (NoteLine(None, None, None, amount),)
            used = kind if corrects is None else corrects.kind
            draft = Draft(MACHINE, used, at, "GTQ", lines, "", None if corrects is None else corrects.id)
            last, _ = book.record(conn, draft, for_clients={}, actor="t", now=100)
        found = shown.every_cycle(conn, MACHINE)
        rows = {row["closed_id"]: row for row in cash_rows.cycle_rows(conn, None, MACHINE, -1)}
        assert len(rows) == len(found)
        for cycle in found:
            row = rows[None if cycle.closing is None else cycle.closing.id]
            wanted = (cycle.opening_minor, cycle.loaded_minor, cycle.taken_minor, cycle.sold_minor, cycle.state)
            assert wanted == tuple(
                row[name] for name in ("opening_minor", "loaded_minor", "taken_minor", "sold_minor", "state")
            )
            assert row["expected_minor"] == cycle.expected_minor
            assert (row["sales"], row["unknown_sales"]) == (len(cycle.sales), len(cycle.unknown_sales))
        [now] = cash_rows.now_rows(conn, None, [MACHINE])
        assert now["expected_minor"] == (found[-1].expected_minor if found else None)
    finally:
        conn.execute("ROLLBACK")


def test_limited_reports_are_the_newest_of_all(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        for number in range(1, 8):
            sell(conn, number, 10 * number + 5, 7, "proven")
            draft = Draft(MACHINE, EntryKind.COUNT, 10 * number, "GTQ", (NoteLine(None, None, None, 100),))
            book.record(conn, draft, for_clients={}, actor="t", now=100)
        whole = shown.reports(conn, MACHINE, limit=100)
        assert [one.cycle for one in shown.reports(conn, MACHINE, limit=3)] == [one.cycle for one in whole[:4]]
        assert [one.cycle.difference_minor for one in whole] == [None, *[7] * 6, None]


@pytest.mark.parametrize(
    ("bills", "sold_minor", "currency", "notes"),
    [
        ('[{"denomination": 100, "count": 20}]', 200_000, "GTQ", {10_000: 20}),
        ('[{"denomination": "100", "dispensed": 2, "count": 3}]', 20_000, "GTQ", {10_000: 2}),
        ('{"100": 1, "50": 2}', 20_000, "GTQ", {10_000: 1, 5_000: 2}),
        ('[{"denomination": 1000, "notes": 3}]', 3_000, "JPY", {1_000: 3}),
        ('[{"denomination": 0.5, "count": 4}]', 2_000, "KWD", {500: 4}),
        ('[{"denomination": 100, "count": 20}]', 190_000, "GTQ", None),  # they do not add up
        ('[{"denomination": 100, "count": -1}, {"denomination": 300, "count": 1}]', 20_000, "GTQ", None),
        ('[{"denomination": 100, "count": true}]', 10_000, "GTQ", None),
        ('[{"denomination": 0.001, "count": 10}]', 1, "GTQ", None),
        ("[1, 2]", 300, "GTQ", None),
        ('"twenty"', 300, "GTQ", None),
        ("{}", 0, "GTQ", None),
        (None, 300, "GTQ", None),
        ('[{"denomination": 100, "count": 1}]', None, "GTQ", None),
    ],
)
def test_the_notes_of_a_sale_are_believed_only_where_they_add_up(
    bills: str | None, sold_minor: int | None, currency: str, notes: dict[int, int] | None
) -> None:
    assert of_sale(bills, sold_minor, currency) == notes


@pytest.mark.parametrize(
    ("cassettes", "notes", "denominations", "says"),
    [
        ([1, 2], [5], [], "needs its --notes"),
        ([1, 1], [5, 5], [], "named twice"),
        ([3], [5], [], "which notes are in cassette 3"),
        ([1, 2], [5, 5], [100], "for each cassette, or for none"),
        ([1], [2_000_000], [], "more than any cassette"),
    ],
)
def test_what_cannot_be_meant_is_said(
    cassettes: list[int], notes: list[int], denominations: list[int], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        typed(cassettes, notes, denominations, {1: 10_000, 2: 5_000}, 0)


def test_loose_money_makes_notes_unknown_and_none_of_it_does_not() -> None:
    lines = typed([1], [3], [], {1: 10_000}, 0)
    assert by_denomination(lines) == {10_000: 3}
    assert by_denomination(typed([1], [3], [], {1: 10_000}, 50)) is None
    assert by_denomination(typed([], [], [], {}, 0)) == {}


def test_in_a_machine_of_one_kind_of_notes_they_follow_from_the_money() -> None:
    opening = CashEntry(
        1, 1, None, "m", EntryKind.COUNT, 1, 50_000, "GTQ", None, None, "", "t", 1, (NoteLine(1, 10_000, 5, 50_000),)
    )
    [_, open_] = cycles.build([opening], [CashSale(1, 2, 20_000)], {})
    assert open_.expected_notes == {10_000: 3}
    [_, odd] = cycles.build([opening], [CashSale(1, 2, 25_000)], {})
    assert odd.expected_notes is None
    assert in_words({10_000: -2, 5_000: 1}, "GTQ", signed=True) == "-2 x 100, +1 x 50"
