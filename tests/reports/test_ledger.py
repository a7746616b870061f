"""The ledger: every entry balances, and what its accounts come to is what the books, the LPs and the wallets say."""

from __future__ import annotations

import sqlite3
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satmachine.audit.proof import check_books
from satmachine.ledger.entries import Balances, add, balances, entries, nonzero
from satmachine.ledger.postings import SAT, Entry, account, is_balanced, value_minor
from satmachine.models import RetainedReason
from satmachine.money import sats_to_minor
from satmachine.reports.reading import report
from satmachine.reports.summary import Report
from satmachine.store import balances as lp_balances
from satmachine.store.ledger import Span
from tests.reports.year import MACHINES, Year, every_event, new_year, random_events

ALL = Span(0, 2**60)

KINDS = {
    *("sale", "cash-corrected", "platform-fee", "split", "purchase", "balance-payout", "refund", "autoforward"),
    *("retained", "deposit", "reversal", "withdrawal", "unassigned", "top-up", "topped-up"),
    *("cash-begun", "cash-load", "cash-take", "cash-collect", "cash-correction", "cash-difference"),
}


def all_entries(conn: sqlite3.Connection) -> list[Entry]:
    return list(entries(conn, ALL))


def posted(found: list[Entry]) -> Balances:
    sums = Balances()
    for entry in found:
        add(sums, entry.postings)
    return nonzero(sums)


def check_ledger(year: Year) -> None:
    """Everything that the ledger promises of any books."""
    found = all_entries(year.conn)
    assert all(is_balanced(entry.postings) for entry in found)
    assert len({entry.id for entry in found}) == len(found)
    assert [entry.posted_at for entry in found] == sorted(entry.posted_at for entry in found)
    sums = posted(found)
    assert sums == balances(year.conn, ALL.until), "adding up in SQL and posting one by one come to the same"
    for machine in MACHINES:
        assert sums[account("Assets", "Wallet", machine), SAT] == year.wallets[machine]
        check_retained(year.conn, machine, sums)
        check_to_share(year.conn, machine, sums)
        check_cash(year.conn, machine, sums)
    check_lps(year.conn, sums)


def check_retained(conn: sqlite3.Connection, machine: str, sums: Balances) -> None:
    for reason in RetainedReason:
        kept = conn.execute(
            "SELECT coalesce(sum(r.amount_sats), 0) FROM dca_retained r LEFT JOIN dca_settlements s "
            "ON s.id = r.settlement_id LEFT JOIN dca_payments p ON p.id = r.payment_id "
            "WHERE r.reason = ? AND coalesce(s.machine_id, p.machine_id) = ? AND coalesce(s.proof, '') <> 'waiting'",
            (reason, machine),
        ).fetchone()[0]
        assert -sums[account("Equity", "Retained", machine, reason), SAT] == kept, reason


def check_to_share(conn: sqlite3.Connection, machine: str, sums: Balances) -> None:
    """What is not shared out yet: open legs, and all of a proven sale that has no plan."""
    open_sats = conn.execute(
        "SELECT coalesce(sum(p.amount_sats), 0) FROM dca_payments p JOIN dca_settlements s ON s.id = p.settlement_id "
        "WHERE p.machine_id = ? AND p.leg_type <> 'autoforward' AND p.status NOT IN ('completed', 'voided', 'skipped')",
        (machine,),
    ).fetchone()[0]
    unplanned_sats = conn.execute(
        "SELECT coalesce(sum(net_sats + commission_sats), 0) FROM dca_settlements "
        "WHERE machine_id = ? AND proof <> 'waiting' AND planned_at IS NULL",
        (machine,),
    ).fetchone()[0]
    assert -sums[account("Liabilities", "To-Share", machine), SAT] == open_sats + unplanned_sats


def check_lps(conn: sqlite3.Connection, sums: Balances) -> None:
    for lp in lp_balances.find(conn, removed=True):
        place = (account("Liabilities", "LPs", lp.machine_id, lp.label), lp.currency)
        assert -sums[place] == lp.confirmed_minor - lp.spent_minor, lp.label
    for machine in MACHINES:
        of_machine = {unit for name, unit in sums if name == account("Assets", "Cash", machine)}
        for unit in of_machine:
            cash = sums[account("Assets", "Cash", machine), unit]
            theirs = sum(n for (name, u), n in sums.items() if u == unit and f":LPs:{machine.capitalize()}:" in name)
            own = sums[account("Equity", "Operator-Cash", machine), unit]
            assert cash + theirs + own + sums[account("Expenses", "Cash-Differences", machine), unit] == 0


def check_cash(conn: sqlite3.Connection, machine: str, sums: Balances) -> None:
    """What is in the machine by its cash book, but for differences that nobody has booked; and but for sales that were
    before the book began, and that the books learnt of later."""
    told = conn.execute("SELECT expected_minor, currency FROM cash_now WHERE machine_id = ?", (machine,)).fetchone()
    first = conn.execute("SELECT at, recorded_at FROM dca_cash WHERE machine_id = ? ORDER BY id", (machine,)).fetchone()
    if first is None:
        return
    open_minor = conn.execute(
        "SELECT coalesce(sum(open_minor), 0) FROM cash_cycles WHERE machine_id = ? AND closed_id IS NOT NULL",
        (machine,),
    ).fetchone()[0]
    later_minor = sum(
        -posting.amount
        for entry in all_entries(conn)
        if entry.kind in ("sale", "cash-corrected") and entry.machine_id == machine
        for posting in entry.postings
        if posting.account == account("Assets", "Cash", machine)
        and _sold_at(conn, entry) <= first["at"]
        and _known_at(conn, entry) > first["recorded_at"]
    )
    assert (
        sums[account("Assets", "Cash", machine), told["currency"]] == told["expected_minor"] - open_minor - later_minor
    )


def _sold_at(conn: sqlite3.Connection, entry: Entry) -> int:
    query = "SELECT occurred_at FROM dca_settlements WHERE settlement_key = ?"
    return int(conn.execute(query, (entry.sale,)).fetchone()[0])


def _known_at(conn: sqlite3.Connection, entry: Entry) -> int:
    if entry.kind == "cash-corrected":
        return entry.happened_at
    query = "SELECT proven_at FROM dca_settlements WHERE settlement_key = ?"
    return int(conn.execute(query, (entry.sale,)).fetchone()[0])


def test_a_year_has_every_kind_of_entry(year: Year) -> None:
    assert {entry.kind for entry in all_entries(year.conn)} == KINDS
    assert check_books(year.conn) == []


def test_the_ledger_says_what_the_books_and_the_wallets_say(year: Year) -> None:
    check_ledger(year)


@settings(max_examples=3)
@given(seed=st.integers(0, 2**32))
def test_whatever_happens_the_ledger_says_what_the_books_and_the_wallets_say(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = new_year(Path(folder), seed=seed)
        every_event(made)
        random_events(made, 30)
        check_ledger(made)
        made.conn.close()


@pytest.mark.parametrize("part", [0, 2])
def test_a_report_is_what_the_ledger_says(year: Year, part: int) -> None:
    middle = (year.now - (year.now - all_entries(year.conn)[0].posted_at) // part) if part else 0
    made = report(year.conn, Span(middle, ALL.until))
    before, after = balances(year.conn, middle), balances(year.conn, ALL.until)
    assert {row["machine_id"] for row in made.machines} == set(MACHINES)
    for row in made.machines:
        wallet = (account("Assets", "Wallet", row["machine_id"]), SAT)
        assert (row["opening_sats"], row["closing_sats"]) == (before[wallet], after[wallet])
        paid = sum(row[f"{name}_sats"] for name in ("platform", "splits", "purchases", "payouts", "refunds", "fees"))
        assert row["opening_sats"] + row["gross_sats"] + row["other_sats"] - paid == row["closing_sats"]
        assert (row["cash_opening_minor"], row["cash_closing_minor"]) == tuple(
            told[account("Assets", "Cash", row["machine_id"]), row["currency"]] for told in (before, after)
        )
        moved_minor = row["cash_in_minor"] - row["cash_out_minor"]
        assert row["cash_opening_minor"] + moved_minor == row["cash_closing_minor"]
    check_worth(year, made, middle)
    for row in made.clients:
        gone = row["taken_minor"] + row["bought_minor"] + row["paid_out_minor"]
        assert row["opening_minor"] + row["brought_minor"] - gone == row["closing_minor"]
    for row in made.retained:
        assert row["opening_sats"] + row["more_sats"] - row["used_sats"] == row["closing_sats"]


def check_worth(year: Year, made: Report, since: int) -> None:
    """Each movement at its own rate, rounded by itself: added up in SQL it is what the entries say one by one."""
    kinds = {"sale": "gross", "platform-fee": "platform", "split": "splits", "purchase": "purchases"}
    kinds |= {"balance-payout": "payouts", "refund": "refunds"}
    found: dict[tuple[str, str], int] = {}
    count = unpriced_sats = 0
    for entry in entries(year.conn, Span(since, ALL.until)):
        if measure := kinds.get(entry.kind):
            sats = max(p.amount for p in entry.postings if p.unit == SAT and ":To-Share:" not in p.account)
            if measure == "gross":
                sats = -sum(p.amount for p in entry.postings if p.account.startswith("Liabilities:To-Share"))
                count += 1
            value = value_minor(sats, entry.rate, entry.currency)
            key = (entry.machine_id, measure)
            found[key] = found.get(key, 0) + (value or 0)
            unpriced_sats += sats if value is None else 0
    assert sum(row["sales"] for row in made.machines) == count
    assert sum(row["unpriced_sats"] for row in made.machines) == unpriced_sats
    for row in made.machines:
        for measure in kinds.values():
            assert row[f"{measure}_minor"] == found.get((row["machine_id"], measure), 0), measure


@given(sats=st.integers(0, 10**12), rate=st.decimals("0.0001", "100000000", places=4))
def test_sats_are_worth_what_they_are_elsewhere(sats: int, rate: Decimal) -> None:
    for currency in ("GTQ", "JPY", "KWD"):
        assert value_minor(sats, f"{rate:f}", currency) == sats_to_minor(sats, rate, currency)
        assert value_minor(-sats, f"{rate:f}", currency) == -sats_to_minor(sats, rate, currency)
    assert value_minor(sats, "0", "GTQ") is None
