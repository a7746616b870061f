"""Every kind of break, planted in a copy of right books, is found and named; and right books have none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from satmachine.audit.proof import check_books, check_rules
from satmachine.audit.remedies import Break, BreakKind, make_break
from satmachine.cash import book, shown
from satmachine.cli.main import app
from satmachine.models.cash_values import CashEntry, EntryKind, NoteLine
from satmachine.store import breaks as books
from satmachine.store import cash_rows
from satmachine.store.database import atomic
from testkit.sale_desk import Desk, add_provider, copied, open_desk

#: Kinds that only the wallets can show; tests/settlements/correct/test_with_daemon.py and test_wallets.py plant those.
OF_WALLETS = {
    BreakKind.SALE_MISSING,
    BreakKind.NOT_DEBITED,
    BreakKind.NOT_CREDITED,
    BreakKind.PAID_BUT_VOIDED,
    BreakKind.WALLET_SUM,
}

#: Kind, what is done to the books, and what else that must break.
PLANTED: list[tuple[BreakKind, str, set[BreakKind]]] = [
    (
        BreakKind.CONSERVATION,
        "UPDATE dca_payments SET amount_sats = 1 WHERE id = 1",
        {BreakKind.NO_EVIDENCE, BreakKind.OVERPAID},
    ),
    (
        BreakKind.CONSERVATION,
        "UPDATE dca_payments SET status = 'voided', completed_at = NULL WHERE id = 1",
        {BreakKind.VOIDED_UNPROVEN},
    ),
    (BreakKind.CONSERVATION, "DELETE FROM dca_retained", {BreakKind.RETAINED_SUM}),
    (BreakKind.FIGURES, "UPDATE dca_settlements SET net_sats = net_sats + 1 WHERE id = 1", set()),
    (BreakKind.FIGURES, "UPDATE dca_settlements SET operator_fee_sats = 1 WHERE id = 1", set()),
    (
        BreakKind.FIRST_STAGE,
        "UPDATE dca_settlements SET platform_fee_sats = platform_fee_sats + 1, "
        "operator_fee_sats = operator_fee_sats - 1 WHERE id = 1",
        set(),
    ),
    (BreakKind.SHORTFALL, "UPDATE dca_settlements SET shortfall_minor = 5 WHERE id = 1", set()),
    (BreakKind.SHORTFALL, "UPDATE dca_settlements SET topped_up_sats = 5 WHERE id = 1", {BreakKind.CONSERVATION}),
    (BreakKind.RETAINED_SUM, "UPDATE dca_settlements SET retained_sats = 7 WHERE id = 1", set()),
    (
        BreakKind.RETAINED_NEGATIVE,
        "INSERT INTO dca_retained (settlement_id, revision, reason, leg, amount_sats, created_at) "
        "VALUES (2, 1, 'voided_leg', 'split:nobody', -10, 1), (2, 1, 'undispensed', '', 10, 1)",
        set(),
    ),
    (BreakKind.NO_EVIDENCE, "UPDATE dca_invoices SET payment_hash = 'other' WHERE payment_id = 1", set()),
    (BreakKind.NO_EVIDENCE, "DELETE FROM dca_invoices WHERE payment_id = 1", set()),
    (BreakKind.OVERPAID, "UPDATE dca_payments SET sent_sats = amount_sats + 1 WHERE id = 1", {BreakKind.NO_EVIDENCE}),
    (
        BreakKind.BAD_PREIMAGE,
        "UPDATE dca_payments SET preimage = '00' WHERE leg = 'split:technician' AND settlement_id = 1",
        set(),
    ),
    (
        BreakKind.PAYOUT_SUM,
        "UPDATE dca_payments SET leg_type = 'settlement', sent_sats = 1 WHERE id = 1",
        {BreakKind.NO_EVIDENCE, BreakKind.CONSERVATION},
    ),
    (
        BreakKind.UNSETTLED,
        "UPDATE dca_payments SET status = 'held', hold_reason = 'credit_unseen' "
        "WHERE leg = 'dca:alice' AND settlement_id = 3",
        set(),
    ),
    (
        BreakKind.NO_INVOICE,
        "UPDATE dca_payments SET status = 'sending' WHERE leg = 'dca:alice' AND settlement_id = 3",
        set(),
    ),
    (BreakKind.VOIDED_UNPROVEN, "UPDATE dca_payments SET evidence = NULL WHERE status = 'voided'", set()),
    (BreakKind.UNPROVEN, "UPDATE dca_settlements SET proof = 'waiting' WHERE id = 3", set()),
    (BreakKind.LEG_KEY, "UPDATE dca_payments SET leg_key = 'sm1:other:r1:super' WHERE id = 1", set()),
    (
        BreakKind.UNORDERED,
        "UPDATE dca_payments SET status = 'held', hold_reason = 'unordered' "
        "WHERE leg = 'dca:alice' AND settlement_id = 3",
        set(),
    ),
    (BreakKind.STATUS, "UPDATE dca_settlements SET status = 'refunded' WHERE id = 1", set()),
    (BreakKind.STATUS, "UPDATE dca_settlements SET status = 'pending' WHERE id = 1", set()),
    (BreakKind.STATUS, "UPDATE dca_settlements SET status = 'processed' WHERE id = 3", set()),
    (
        BreakKind.LEG_FIAT,
        "UPDATE dca_payments SET fiat_amount_minor = 1 WHERE leg = 'dca:alice' AND settlement_id = 3",
        {BreakKind.BALANCE},
    ),
    (
        BreakKind.LEG_FIAT,
        "UPDATE dca_payments SET exchange_rate = '0' WHERE leg = 'dca:alice' AND settlement_id = 3",
        set(),
    ),
    (BreakKind.BALANCE, "UPDATE dca_deposits SET amount_minor = amount_minor + 1", set()),
    (BreakKind.OVERDRAWN, "UPDATE dca_clients SET confirmed_minor = 1", {BreakKind.BALANCE}),
    (
        BreakKind.CHANGED_OUTSIDE,
        "INSERT INTO audit_log (at, actor, action, subject, machine_id, after) "
        "SELECT 1, 'somebody with SQL', 'client.changed_outside', 'client ' || max(id), machine_id, '{}' "
        "FROM dca_clients",
        set(),
    ),
    (
        BreakKind.UNKNOWN_PAYMENT,
        "INSERT INTO dca_foreign_payments (machine_id, payment_hash, leg_key, amount_sats, status, extra, made_at, "
        "first_seen_at) VALUES ('panajachel-1', 'ff', 'sm1:x:r1:super', 9, 'success', '{}', 1, 1)",
        set(),
    ),
    (BreakKind.CASH_SUM, "UPDATE dca_cash SET amount_minor = amount_minor - 1 WHERE kind = 'load'", set()),
    (BreakKind.CASH_SUM, "DELETE FROM dca_cash_notes", set()),
    (BreakKind.CASH_CHAIN, "UPDATE dca_cash SET root_id = id WHERE corrects IS NOT NULL", {BreakKind.CASH_BOOKED}),
    (BreakKind.CASH_BOOKED, "UPDATE dca_cash_booked SET cash_id = 1", set()),
    (BreakKind.CASH_DEPOSITS, "UPDATE dca_deposits SET amount_minor = 100000000 WHERE cash_id IS NOT NULL", set()),
]


#: Breaks of now, whatever the audit was asked to look back to.
TIMELESS = {BreakKind.BALANCE, BreakKind.OVERDRAWN, BreakKind.CHANGED_OUTSIDE}


@pytest.fixture(scope="module")
def right_books(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Three sales: one paid, one closed after a failure, one still to pay."""
    desk = open_desk(tmp_path_factory.mktemp("books"))
    add_provider(desk, "alice", 1_000_000)
    for number in (1, 2, 3):
        desk.land(number)
        desk.plan(number)
    desk.pay_all(1)
    with atomic(desk.conn) as conn:
        add_cash(conn)
    return desk


def add_cash(conn: sqlite3.Connection) -> None:
    """A load with an LP's deposit, a count that was mistyped and corrected, and its difference booked."""

    def record(kind: EntryKind, amount_minor: int, corrects: int | None = None, **for_clients: int) -> CashEntry:
        lines = (NoteLine(None, None, None, amount_minor),)
        draft = cash_rows.Draft("panajachel-1", kind, 5, "GTQ", lines, "", corrects)
        entry, _ = book.record(conn, draft, for_clients=dict.fromkeys(for_clients.values(), 400), actor="test", now=10)
        return entry

    record(EntryKind.LOAD, 1000, alice=1)
    mistyped = record(EntryKind.COUNT, 100)
    record(EntryKind.COUNT, 900, mistyped.id)
    report = shown.closed_cycle(conn, "panajachel-1", mistyped.id)
    assert report is not None
    book.book_difference(conn, report.cycle, -100, window=(4, 5), reason="lost", actor="test", now=11)


@pytest.fixture(scope="module")
def closed(right_books: Desk) -> Desk:
    right_books.fail("dca:alice", 2)
    right_books.do("close", 2)
    return right_books


@pytest.fixture
def copy(closed: Desk, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A copy of the right books in which nothing is guarded any more."""
    with copied(closed, tmp_path) as desk:
        unguard(desk.conn)
        yield desk.conn


def unguard(conn: sqlite3.Connection) -> None:
    """Nothing that the database itself forbids stays forbidden; only its own sum goes on."""
    conn.execute("PRAGMA ignore_check_constraints = ON")
    conn.execute("PRAGMA foreign_keys = OFF")
    for row in conn.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name <> 'dca_retained_sum'"
    ).fetchall():
        conn.execute(f"DROP TRIGGER {row['name']}")


def test_right_books_have_no_break(copy: sqlite3.Connection) -> None:
    assert check_books(copy) == []


@pytest.mark.parametrize(("kind", "sql", "also"), PLANTED)
def test_a_planted_break_is_found_and_named(
    copy: sqlite3.Connection, kind: BreakKind, sql: str, also: set[BreakKind]
) -> None:
    with atomic(copy):
        copy.execute(sql)
    found = check_books(copy)
    assert kind in {broken.kind for broken in found}
    assert {broken.kind for broken in found} <= {kind, *also}
    for broken in found:
        assert "{" not in broken.detail + broken.remedy
        assert broken.remedy.startswith("satmachine ")
        assert broken.machine_id == "panajachel-1"
    assert set(check_rules(copy, since=1)) == set(found), "as it is found along the indexes of time"
    assert {broken.kind for broken in check_rules(copy, since=2**40)} <= TIMELESS


NO_FIGURES = [
    (BreakKind.LEG_FIAT, "UPDATE dca_payments SET exchange_rate = 'x' WHERE leg = 'dca:alice' AND settlement_id = 3"),
    (BreakKind.LEG_FIAT, "UPDATE dca_payments SET exchange_rate = 'NaN' WHERE leg = 'dca:alice' AND settlement_id = 3"),
    (BreakKind.LEG_FIAT, "UPDATE dca_payments SET exchange_rate = NULL WHERE leg = 'dca:alice' AND settlement_id = 3"),
    (BreakKind.FIRST_STAGE, "UPDATE dca_settlements SET super_fee_pct = 'x' WHERE id = 1"),
    (BreakKind.FIRST_STAGE, "UPDATE dca_settlements SET super_fee_pct = '7' WHERE id = 1"),
]


@pytest.mark.parametrize(("kind", "sql"), NO_FIGURES)
def test_a_figure_that_is_no_figure_is_a_break_and_stops_no_audit(
    copy: sqlite3.Connection, kind: BreakKind, sql: str
) -> None:
    copy.execute(sql)
    assert [broken.kind for broken in check_books(copy)] == [kind]


def test_a_leg_that_was_completed_by_reading_needs_no_moment_of_sending(copy: sqlite3.Connection) -> None:
    """As in a copy that was made between its invoice and its payment."""
    copy.execute("UPDATE dca_invoices SET sent_at = NULL WHERE payment_id = 1")
    assert check_books(copy) == []


def test_every_kind_of_break_is_planted_somewhere() -> None:
    # Closed months are altered in tests/reports/test_periods.py.
    assert {kind for kind, _, _ in PLANTED} | OF_WALLETS | {BreakKind.CLOSED_MONTH} == set(BreakKind)
    assert {*books.BREAKS, *cash_rows.BREAKS} <= set(BreakKind)


def test_what_is_older_than_since_is_left_out(copy: sqlite3.Connection) -> None:
    copy.execute("UPDATE dca_settlements SET retained_sats = 7 WHERE id = 1")
    assert check_books(copy, since=1) != []
    assert check_books(copy, since=4_000_000_000) == []


def test_another_operators_breaks_are_not_seen(copy: sqlite3.Connection) -> None:
    copy.execute("UPDATE dca_settlements SET retained_sats = 7 WHERE id = 1")
    assert check_books(copy, scope="atitlan") != []
    assert check_books(copy, scope="flores") == []


def test_a_payout_without_a_settlement_still_has_words() -> None:
    facts = {"subject": "payment 4", "machine_id": "m", "settlement_id": None, "leg": "bal:a:1", "sent_sats": 5}
    assert isinstance(make_break(BreakKind.NOT_CREDITED, facts), Break)


def test_the_command_leaves_with_1_and_names_the_break(closed: Desk) -> None:
    arguments = ["--config", str(closed.path), "audit", "--offline"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "every sat is accounted for" in result.stdout
    with atomic(closed.conn):
        closed.conn.execute("UPDATE dca_settlements SET retained_sats = retained_sats + 7 WHERE id = 1")
    try:
        result = CliRunner().invoke(app, [*arguments, "--json"])
        assert result.exit_code == 1
        kinds = {found["kind"] for found in json.loads(result.stdout)["breaks"]}
        assert kinds == {"retained_sum"}
        assert "1 break(s)" in CliRunner().invoke(app, arguments).stdout
    finally:
        with atomic(closed.conn):
            closed.conn.execute("UPDATE dca_settlements SET retained_sats = retained_sats - 7 WHERE id = 1")


def test_a_wallet_out_of_reach_leaves_with_4(closed: Desk) -> None:
    text = closed.path.read_text().replace("https://lnbits.example.org", "http://127.0.0.1:9")
    closed.path.write_text(text)
    result = CliRunner().invoke(app, ["--config", str(closed.path), "audit"], env={"WALLET_1": "w" * 32})
    assert result.exit_code == 4
    assert "its wallet could not be read" in result.stdout
