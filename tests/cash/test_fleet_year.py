"""A fleet's year: every difference that was planted is found, in its window, with its amount; and no other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from satmachine.audit.proof import check_books
from satmachine.cash import shown
from satmachine.cash.narrow import CashDifference
from satmachine.store import cash_rows
from satmachine.store.database import connect, prepare
from testkit.cash_year import CashYear, MadeMachine, Plan, Planted, play

HOUR_S = 3_600
FLEET = {
    MadeMachine("market", "GTQ", (10_000, 5_000)): (
        Plan("jam", 40, 3),
        Plan("theft", 90, 12),
        Plan("miscounted_noticed", 150, 10),
        Plan("mistyped", 200, 7),
        Plan("double", 250, 2),
        Plan("theft", 300, 4),
        Plan("jam", 300, 5),
    ),
    MadeMachine("station", "GTQ", (20_000,), tells_bills=False, by_notes=False): (
        Plan("reboot", 60, 3),
        Plan("miscounted", 100, 20),
        Plan("jam", 220, 1),
        Plan("reboot", 320, 9),
    ),
    MadeMachine("shibuya", "JPY", (10_000, 1_000)): (
        Plan("theft", 70, 30),
        Plan("jam", 180, 2),
        Plan("mistyped", 260, 1),
    ),
    MadeMachine("quiet", "USD", (2_000,), beacon_every_s=None): (Plan("jam", 50, 2), Plan("theft", 210, 9)),
    MadeMachine("slow-clock", "GTQ", (10_000, 2_000), clock_s=-7_200, dead=(100, 160)): (
        Plan("jam", 30, 4),
        Plan("jam", 120, 3),
        Plan("theft", 200, 15),
    ),
    MadeMachine("liar", "GTQ", (10_000,), resets=False, garbage_chance=0.02): (
        Plan("theft", 80, 11),
        Plan("miscounted", 240, 6),
    ),
    MadeMachine("dinar", "KWD", (20_000, 500), clock_s=600): (Plan("double", 110, 1), Plan("mistyped", 170, 3)),
    MadeMachine("honest", "GTQ", (10_000, 5_000)): (),
}


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sqlite3.Connection, CashYear]]:
    path = tmp_path_factory.mktemp("year") / "satmachine.db"
    prepare(path)
    conn = connect(path)
    yield conn, play(conn, FLEET, seed=1)
    conn.close()


def found_in(conn: sqlite3.Connection, machine_id: str) -> list[CashDifference]:
    return [finding for report in shown.reports(conn, machine_id, limit=1_000) for finding in report.findings]


def explains(finding: CashDifference, planted: Planted) -> bool:
    return finding.amount_minor == planted.amount_minor and finding.since_at <= planted.at <= finding.until_at


def test_everything_that_was_planned_has_happened(year: tuple[sqlite3.Connection, CashYear]) -> None:
    _, played = year
    wanted = sum(plan.what not in ("mistyped", "reboot") for plans in FLEET.values() for plan in plans)
    assert len(played.planted) == wanted


@pytest.mark.parametrize("machine", FLEET, ids=lambda machine: machine.id)
def test_what_was_planted_is_found_in_its_window_and_nothing_else(
    machine: MadeMachine, year: tuple[sqlite3.Connection, CashYear]
) -> None:
    conn, played = year
    found = found_in(conn, machine.id)
    planted = [one for one in played.planted if one.machine_id == machine.id]
    for one in planted:
        matching = [finding for finding in found if explains(finding, one)]
        assert len(matching) == 1, (one, found)
        found.remove(matching[0])
        if one.what in ("jam", "double"):
            assert any(sale.at == one.at for sale in matching[0].sales)
    assert found == []


def test_a_jam_is_narrowed_down_to_the_sale_where_the_machine_tells_of_its_cash(
    year: tuple[sqlite3.Connection, CashYear],
) -> None:
    conn, played = year
    for machine in ("market", "station", "shibuya", "dinar"):
        for planted in (one for one in played.planted if one.machine_id == machine and one.what in ("jam", "double")):
            [finding] = [one for one in found_in(conn, machine) if explains(one, planted)]
            assert finding.noticed
            assert finding.until_at - finding.since_at <= 2 * HOUR_S
            assert len(finding.sales) <= 3


def test_the_view_says_of_every_cycle_what_the_rules_say(year: tuple[sqlite3.Connection, CashYear]) -> None:
    conn, _ = year
    for machine in FLEET:
        in_sql = {row["closed_id"]: row for row in cash_rows.cycle_rows(conn, None, machine.id, -1)}
        cycles = shown.every_cycle(conn, machine.id)
        assert len(in_sql) == len(cycles)
        for cycle in cycles:
            row = in_sql[None if cycle.closing is None else cycle.closing.id]
            assert (row["expected_minor"], row["difference_minor"], row["state"]) == (
                cycle.expected_minor,
                cycle.difference_minor,
                cycle.state,
            )
            assert (row["loaded_minor"], row["sold_minor"], row["sales"]) == (
                cycle.loaded_minor,
                cycle.sold_minor,
                len(cycle.sales),
            )


def test_differences_in_sql_sum_to_what_was_planted(year: tuple[sqlite3.Connection, CashYear]) -> None:
    conn, played = year
    for machine in FLEET:
        rows = cash_rows.open_differences(conn, machine.id)
        planted = sum(one.amount_minor for one in played.planted if one.machine_id == machine.id)
        assert sum(row["open_minor"] for row in rows) == planted


def test_notes_are_told_by_denomination(year: tuple[sqlite3.Connection, CashYear]) -> None:
    from satmachine.cash.cycles import notes_difference

    conn, played = year
    differing = [one for cycle in shown.every_cycle(conn, "shibuya") if (one := notes_difference(cycle))]
    assert differing == [{10_000: one.amount_minor // 10_000} for one in played.planted if one.machine_id == "shibuya"]


def test_the_books_of_the_year_are_right(year: tuple[sqlite3.Connection, CashYear]) -> None:
    conn, _ = year
    assert [one for one in check_books(conn) if one.kind.startswith("cash")] == []
