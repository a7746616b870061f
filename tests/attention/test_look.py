"""What is on the list of what needs a person, and that every command it suggests runs as it is printed."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from satmachine.attention.items import CONDITIONS, Item, Silence, Thresholds, sorted_out
from satmachine.attention.look import Viewpoint, from_daemon, from_sales, from_telemetry, look
from satmachine.cli.kit import requests
from satmachine.models import Cause, HoldReason, LegStatus
from satmachine.store import alert_rows, health_rows, legs, list_queries, wallet_rows
from satmachine.store.database import atomic, connect
from testkit.books import fresh_books
from tests.cli.books import ERRORED, HELD, NOW, Cli, full_books

VIEW = Viewpoint(Thresholds(), NOW + 10_000)


def beacon(
    conn: sqlite3.Connection, machine_id: str, status: str | None, error: str | None, origins: dict[str, int]
) -> None:
    """What a machine last told, at NOW; `origins` are the times of its fields."""
    told = ", ".join(f'"{name}": [{when}, "x"]' for name, when in origins.items())
    with atomic(conn):
        conn.execute(
            "INSERT OR REPLACE INTO dca_telemetry (machine_id, status, last_error, beacon_at, received_at, raw, "
            "origins, beacon_id) VALUES (?, ?, ?, ?, ?, '{}', ?, 'bb')",
            (machine_id, status, error, NOW, NOW + 10_000, "{" + told + "}"),
        )


@pytest.mark.parametrize(
    ("status", "error", "origins", "told"),
    [
        ("error", "bill validator offline", {"status": NOW, "last_error": NOW}, "bill validator offline"),
        ("error", None, {"status": NOW}, "status error"),
        ("jammed", None, {"status": NOW}, "status jammed"),
        ("out_of_service", None, {"status": NOW}, "status out_of_service"),
        (None, "cassette 2 empty", {"last_error": NOW}, "cassette 2 empty"),
        ("ok", "bill validator offline", {"status": NOW - 60, "last_error": NOW}, "bill validator offline"),
        ("ok", "last week's jam", {"status": NOW, "last_error": NOW - 604_800}, None),
        ("online", None, {"status": NOW}, None),
        (None, "last week's jam", {"last_error": NOW - 604_800}, "last week's jam"),
    ],
)
def test_a_machine_that_says_it_is_broken_is_on_the_list(
    tmp_path: Path, status: str | None, error: str | None, origins: dict[str, int], told: str | None
) -> None:
    with fresh_books(tmp_path) as conn:
        beacon(conn, "machine-1", status, error, origins)
        found = [item for item in from_telemetry(conn, VIEW) if item.condition == "machine_error"]
    assert [told] * bool(told) == [item.cause.rpartition(": ")[2].removeprefix("status error, ") for item in found]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return full_books(tmp_path)


def add_failing(conn: sqlite3.Connection, sale: int, cause: Cause) -> None:
    """A payment to the technician that is tried again and again."""
    with atomic(conn):
        leg = legs.of_settlement(conn, sale)[1]
        legs.postpone(conn, leg, status=LegStatus.PENDING, until=NOW + 20_000, error="no answer", cause=cause)


def test_a_payee_that_is_dead_for_a_while_is_on_the_list_and_in_the_list_of_payments(cli: Cli) -> None:
    with closing(connect(cli.database)) as conn:
        add_failing(conn, ERRORED, Cause.PAYEE_UNREACHABLE)
        planned = list_queries.payment(conn, 4)["planned_at"]
        early, late = (Viewpoint(Thresholds(), planned + after_s) for after_s in (600, 601))
        assert not [item for item in from_sales(conn, early) if item.condition == "payment_failing"]
        [item] = [item for item in from_sales(conn, late) if item.condition == "payment_failing"]
    assert "Payment 4 of sale 3" in item.cause
    assert "to tech@example.org fails: no answer" in item.cause
    assert "split:" not in item.cause
    assert item.command == "satmachine payments list --status failing --machine panajachel-1"
    assert [row["id"] for row in cli.json("payments", "list", "--status", "failing")] == [4]


def test_a_changed_payee_is_told_once(cli: Cli) -> None:
    """The payment's own sentence says it, with the command."""
    with closing(connect(cli.database)) as conn:
        add_failing(conn, ERRORED, Cause.PAYEE_CHANGED)
        [item] = [item for item in from_sales(conn, VIEW) if item.condition == "payment_failing"]
    assert "fails: no answer; tried" in item.cause
    assert item.command == "satmachine payments repoint 4"


def test_many_payments_to_one_dead_payee_are_one_item(cli: Cli) -> None:
    with closing(connect(cli.database)) as conn:
        add_failing(conn, ERRORED, Cause.PAYEE_UNREACHABLE)
        with atomic(conn):
            conn.execute(
                "UPDATE dca_payments SET status = 'pending', error = 'no answer', cause = 'payee_unreachable', "
                "completed_at = NULL, payee = 'tech@example.org' WHERE id = 3"
            )
        [item] = [item for item in from_sales(conn, VIEW) if item.condition == "payment_failing"]
    assert item.cause.startswith("2 payments (7965 sats) to tech@example.org fail: no answer")


def test_a_daemon_that_does_not_run_or_is_frozen_is_first(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        with atomic(conn):
            health_rows.record_relays(conn, [], NOW)
        alive, frozen = (Viewpoint(Thresholds(), NOW + after_s) for after_s in (60, 61))
        assert [item.condition for item in from_daemon(conn, alive, daemon_runs=True)] == []
        assert [item.condition for item in from_daemon(conn, frozen, daemon_runs=True)] == ["daemon_frozen"]
        assert [item.condition for item in from_daemon(conn, frozen, daemon_runs=False)] == ["daemon_down"]


def test_an_alarm_that_is_raised_is_never_missing(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        changes = [("", "books_broken", True, None, NOW, "1 break(s)"), ("wss://x", "relay_quiet", True, None, NOW, "")]
        with atomic(conn):
            alert_rows.write(conn, changes, [], (), NOW)
        found = look(conn, VIEW, daemon_runs=True)
    assert [(item.condition, item.command) for item in found.items] == [
        ("books_broken", "satmachine audit"),
        ("relay_quiet", "satmachine doctor"),
    ]


@pytest.mark.parametrize(
    ("silence", "until", "left"),
    [
        ("machine_error:market", None, 1),
        ("settlement_held:market", NOW + 1, 1),
        ("settlement_held:market:12", None, 1),
        ("settlement_held:market:13", None, 2),
        ("settlement_held:market", NOW, 2),
        ("daemon_down", None, 2),
    ],
)
def test_what_a_person_knows_of_is_silent_until_then(silence: str, until: int | None, left: int) -> None:
    items = [
        Item("settlement_held", "market", "", "", ref="12"),
        Item("machine_error", "market", "", ""),
    ]
    found = sorted_out(items, [Silence(silence, until, "known", "maria", NOW)], NOW)
    assert len(found.items) == left
    assert len(found.silenced) == 2 - left
    assert all("by maria: known" in item.silenced for item in found.silenced)


def test_silencing_by_command(cli: Cli) -> None:
    before = len(cli_items(cli))
    done = cli("alerts", "silence", "unmatched:panajachel-1", "--for", "2d", "--reason", "top-ups")
    assert (done.exit_code, "silenced for" in done.stdout) == (0, True), done.output
    assert len(cli_items(cli)) == before - 1
    assert "1 more silenced" in cli("status").stdout
    assert "by maria: top-ups" in cli("alerts", "list", "--all").stdout
    assert cli("alerts", "unsilence", "unmatched:panajachel-1").exit_code == 0
    assert len(cli_items(cli)) == before
    assert cli("alerts", "silence", "books_broken", "--reason", "x").exit_code == 1
    assert cli("alerts", "silence", "nonsense", "--reason", "x").exit_code == 2
    assert cli("--operator", "flores", "alerts", "silence", "unmatched:panajachel-1", "--reason", "x").exit_code == 1


def test_a_message_that_is_dismissed_needs_nobody(cli: Cli) -> None:
    assert cli("quarantine", "dismiss", "1", "--reason", "a test", "--yes").exit_code == 0
    assert "quarantined:panajachel-1" not in cli_items(cli)
    assert [row["id"] for row in cli.json("quarantine", "list")] == [2]
    assert len(cli.json("quarantine", "list", "--all")) == 2
    assert cli("quarantine", "dismiss", "1", "--reason", "a test", "--yes").exit_code == 1


def cli_items(cli: Cli) -> list[str]:
    import json

    return [row["item"] for row in json.loads(cli("alerts", "list", "--json").stdout)]


# --- every command that is suggested


def everything_wrong(conn: sqlite3.Connection) -> None:
    """Something of every condition that the books can show, and each reason for which a sale or a payment waits."""
    for machine_id in ("panajachel-1", "solola-1", "flores-1"):
        beacon(conn, machine_id, "error", "jam", {"status": NOW, "last_error": NOW})
    with atomic(conn):
        conn.execute("UPDATE dca_telemetry SET received_at = 1 WHERE machine_id = 'flores-1'")
        conn.execute(
            'UPDATE dca_telemetry SET cassettes = \'[{"denomination_minor": 100, "count": 0, "capacity": 5}]\''
        )
        conn.execute(
            "INSERT INTO payout_pauses VALUES ('*', ?, 'maria', 'audit'), ('solola-1', ?, 'x', 'y')", (NOW, NOW)
        )
        foreign = wallet_rows.Outgoing("f" * 64, "sm1:xx:r1:super", "lnbc1", 5, "success", None, {}, NOW)
        wallet_rows.note_outgoing(conn, "solola-1", [foreign], NOW)
        wallet_rows.refresh_safe_mode(conn, "solola-1")
        alert_rows.write(
            conn,
            [("", "books_broken", True, None, NOW, ""), ("wss://x", "relay_quiet", True, None, NOW, "")],
            [],
            (),
            NOW,
        )
        conn.execute(
            "INSERT INTO dca_cash_forecasts (machine_id, computed_at, source, currency, days_known, sure, "
            "horizon_days, open_differences, early_at, likely_at) "
            "VALUES ('panajachel-1', ?, 'book', 'GTQ', 30, 'good', 14, 1, ?, ?)",
            (NOW + 99_999, NOW + 100_000, NOW + 100_001),
        )
        conn.execute("UPDATE dca_settlements SET exchange_rate = '0' WHERE id = 1")
        conn.execute(
            "INSERT INTO dca_shortfalls (settlement_id, machine_id, number, short_minor, refund_sats, topup_sats, "
            "payee, topup_hash, reason, actor, booked_at) SELECT id, machine_id, 1, 5, 7, 7, 'ana@example.org', ?, "
            "'jam', 'maria', 1 FROM dca_settlements WHERE id = 1",
            ("ab" * 32,),
        )
        conn.execute("UPDATE dca_wallets SET balance_sats = 1 WHERE machine_id = 'panajachel-1'")
        conn.execute("INSERT INTO intents (created_at, actor, action, subject, params) VALUES (1, 'm', 'a', 's', '{}')")


def suggested(conn: sqlite3.Connection) -> tuple[dict[str, str], set[str]]:
    """{command: the item} of all that the list suggests, with each hold reason and each cause in turn; and of which
    conditions there was an item."""
    view = Viewpoint(Thresholds(wallet_low_sats=100), NOW + 100_000)
    items = [*look(conn, view, daemon_runs=True).items]
    for reason in HoldReason:
        with atomic(conn):
            conn.execute("UPDATE dca_settlements SET hold_reason = ? WHERE id = ?", (reason, HELD))
            conn.execute(_LEG, ("held", reason, None))
        items += from_sales(conn, view)
    for cause in Cause:
        for status in ("failed", "sending"):
            with atomic(conn):
                conn.execute(_LEG, (status, None, cause))
            items += from_sales(conn, view)
    return {item.command: item.id for item in items}, {item.condition for item in items}


#: They leave with what they have found.
VERDICTS = {"satmachine audit", "satmachine doctor"}

_LEG = "UPDATE dca_payments SET status = ?, hold_reason = ?, cause = ?, error = 'e' WHERE id = 4"


def test_every_command_that_is_suggested_runs_as_it_is_printed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "WAIT_S", 0.0)
    with closing(connect(cli.database)) as conn:
        everything_wrong(conn)
        view = Viewpoint(Thresholds(wallet_low_sats=100), NOW + 100_000)
        shown = {item.command for item in look(conn, view, daemon_runs=True).items} - VERDICTS
        commands, found = suggested(conn)
    assert found >= set(CONDITIONS) - {"daemon_down", "daemon_frozen"}
    wrong = {}
    for command, why in commands.items():
        words = shlex.split(command)
        if words[0] == "systemctl":
            continue
        assert words[0] == "satmachine", command
        # A person is there, who answers what is asked: yes, and why.
        result = cli.typed(*words[1:], answers="y\nbecause\ny\nbecause\ny\n")
        usage = result.exit_code == 2 or "Traceback" in result.output or (command in shown and result.exit_code != 0)
        if usage or (result.exception is not None and not isinstance(result.exception, SystemExit)):
            wrong[command] = (why, result.output)
    assert wrong == {}
