"""`satmachine status`: from the books alone, with what helps."""

from __future__ import annotations

import json
import re

import pytest

from satmachine.attention import words
from satmachine.models import HoldReason, RetainedReason
from satmachine.store import legs, settlements, wallet_rows
from satmachine.store.database import atomic, connect, only_daemon
from tests.cli.books import ERRORED, NOW, Cli


def screen(cli: Cli, columns: int = 80) -> str:
    """The screen as one line of words."""
    result = cli("status", columns=columns)
    assert result.exit_code in (0, 1), result.output
    assert max(len(line) for line in result.stdout.splitlines()) <= columns
    return re.sub(r"\s+", " ", result.stdout)


@pytest.mark.parametrize(
    "words",
    [
        "The daemon does not run",
        "wss://relay.one.example was subscribed",
        "panajachel-1 active 1 250 000",
        "The wallet of solola-1 does not answer: connection refused",
        "2 sale(s) under way; the oldest is sale 4",
        "panajachel-1: sale 2 is held: the machine's daily limit is reached",
        "satmachine settlements release 2",
        "sale 3 is errored: payment 4, to tech@example.org: no route to tech@example.org",
        "satmachine settlements retry 3",
        "panajachel-1: 1 message(s) could not be used",
        "satmachine quarantine show 1",
        "panajachel-1: 1 incoming payment(s) (50 000 sats) belong to no sale",
        "satmachine settlements unmatched --machine panajachel-1",
    ],
)
def test_the_screen_tells(words: str, cli: Cli) -> None:
    assert words in screen(cli)


def test_json_tells_the_same(cli: Cli) -> None:
    result = cli("status", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["daemon"]["running"] is False
    assert found["relays"][0]["faults"] == {"bad_id": 1}
    assert found["settlements"] == {"pending": 2, "held": 1, "errored": 1}
    assert [row["command"] for row in found["attention"] if row["settlement_id"]] == [
        "satmachine settlements release 2",
        "satmachine settlements retry 3",
    ]
    assert found["attention"] == json.loads(cli("alerts", "list", "--json").stdout)
    assert found["machines"][0]["balance_sats"] == 1_250_000


def test_every_reason_has_words() -> None:
    assert set(words.HOLDS) == set(HoldReason)
    assert set(words.RETAINED) == set(RetainedReason)


#: Of a leg's hold: the command that leads on, with the payment's number and the machine's id in it.
OF_LEGS = {
    **dict.fromkeys(
        ("debit_without_credit", "paid_by_another", "wallet_rolled_back", "bad_preimage"),
        "satmachine payments resolve 31",
    ),
    **dict.fromkeys(("amount_mismatch", "contradiction", "credit_unseen"), "satmachine payments resolve 31"),
    "payee_changed": "satmachine payments repoint 31",
    "marks_conflict": "satmachine machines reconcile solola-1",
}


@pytest.mark.parametrize(("reason", "command"), OF_LEGS.items())
@pytest.mark.parametrize("settlement_id", [12, None])
def test_a_held_payment_names_the_command_that_leads_on(reason: str, command: str, settlement_id: int | None) -> None:
    found = words.Trouble("errored" if settlement_id else "held", reason, None, "solola-1", settlement_id, 31)
    assert words.advice(found) == command


@pytest.mark.parametrize(
    ("cause", "command"),
    [
        ("payee_changed", "satmachine payments repoint 31"),
        ("marks", "satmachine machines reconcile solola-1"),
        ("no_funds", "satmachine settlements retry 12"),
        ("invoice_dead", "satmachine settlements close 12"),
        (None, "satmachine settlements retry 12"),
    ],
)
def test_a_failed_payment_names_the_command_that_leads_on(cause: str | None, command: str) -> None:
    assert words.advice(words.Trouble("errored", None, cause, "solola-1", 12, 31)) == command


def test_a_failed_payout_is_retried_and_what_was_sent_to_nobody_who_answers_is_resolved() -> None:
    assert words.advice(words.Trouble("failed", None, "no_payee", "m", None, 31)) == "satmachine payments retry 31"
    sent = words.Trouble("sending", None, "payee_unreachable", "m", None, 31)
    assert words.advice(sent) == "satmachine payments resolve 31"


def test_a_sale_whose_payment_is_held_is_not_to_be_retried(cli: Cli) -> None:
    conn = connect(cli.database)
    with atomic(conn):
        leg = legs.of_settlement(conn, ERRORED)[0]
        legs.hold(conn, leg, reason=HoldReason.CREDIT_UNSEEN, error="ask the payee", evidence={})
        settlements.refresh_status(conn, ERRORED, NOW)
    conn.close()
    command = f"satmachine payments resolve {leg.id}"
    assert "ask the payee" in screen(cli)
    assert command in screen(cli)
    assert command in cli("settlements", "show", str(ERRORED)).stdout
    result = cli("audit", "--offline")
    assert result.exit_code == 1
    assert "it is not known whether its payee has them (credit_unseen)" in re.sub(r"\s+", " ", result.stdout)
    assert command in result.stdout
    assert "every sat is accounted for" not in result.stdout


def test_a_quiet_day_needs_nobody(empty: Cli) -> None:
    with only_daemon(empty.database):
        assert "Nothing needs you." in screen(empty)
        assert empty("status").exit_code == 0
        assert empty("alerts", "list").exit_code == 0
    assert empty("status").exit_code == 1  # nobody pays


def test_it_knows_whether_the_daemon_runs(empty: Cli) -> None:
    with only_daemon(empty.database):
        assert "The daemon runs." in screen(empty)
        assert json.loads(empty("status", "--json").stdout)["daemon"]["running"] is True


def test_it_tells_of_pauses_and_safe_mode(cli: Cli) -> None:
    conn = connect(cli.database)
    with atomic(conn):
        conn.execute("INSERT INTO payout_pauses VALUES ('*', ?, 'maria', 'audit')", (NOW,))
        foreign = wallet_rows.Outgoing("f" * 64, "sm1:xx:r1:super", "lnbc1", 5, "success", None, {}, NOW)
        wallet_rows.note_outgoing(conn, "solola-1", [foreign], NOW)
        wallet_rows.refresh_safe_mode(conn, "solola-1")
    conn.close()
    shown = screen(cli)
    assert "Payouts for all machines are paused: audit" in shown
    assert "(by maria)" in shown
    assert "satmachine payouts resume" in shown
    assert "solola-1 pays nothing: its wallet shows 1 payment(s)" in shown
    assert "solola-1 safe mode" in shown


def test_many_held_sales_are_counted_not_listed(cli: Cli) -> None:
    from satmachine.store import settlements
    from tests.cli.books import claim

    conn = connect(cli.database)
    with atomic(conn):
        for number in range(1000, 1020):
            new = settlements.insert(conn, claim(number), event_id=None, now=NOW, proof="waiting")
            settlements.hold(conn, new, reason="by_operator", error="asked by phone")
    conn.close()
    assert "16 more sale(s) are held" in screen(cli)


def test_of_many_machines_those_in_trouble_come_first(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    monkeypatch.setattr("satmachine.cli.status._MACHINES", 1)
    shown = screen(cli)
    assert "2 more machine(s): `satmachine machines list` shows them." in shown
    assert len(json.loads(cli("status", "--json").stdout)["machines"]) == 3
