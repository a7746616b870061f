"""What the CLI writes: notes, and requests to the daemon."""

from __future__ import annotations

import json
import threading
import time

import pytest

from satmachine.orders import RetryQuarantined
from satmachine.store import intent_rows
from satmachine.store.database import atomic, connect, only_daemon
from tests.cli.books import HELD, PROCESSED, Cli


def test_notes_are_added_newest_first_with_time_and_author(cli: Cli) -> None:
    assert cli("settlements", "note", "1", "first").exit_code == 0
    assert cli("--actor", "jose", "settlements", "note", "tx-1", "second\nline").exit_code == 0
    newest, oldest = cli.json("settlements", "show", "1")["notes"].splitlines()
    assert newest.endswith("Z jose] second line")
    assert oldest.endswith("Z maria] first")
    assert "second line" in cli("settlements", "show", "1").stdout


def test_a_note_prints_the_changed_row_and_is_audited(cli: Cli) -> None:
    changed = cli.json("settlements", "note", "1", "checked")
    assert changed["id"] == PROCESSED
    assert changed["notes"].endswith("maria] checked")
    conn = connect(cli.database, read_only=True)
    [row] = conn.execute("SELECT * FROM audit_log WHERE action = 'settlement.note'").fetchall()
    assert (row["actor"], row["subject"], row["machine_id"]) == ("maria", "settlement 1", "panajachel-1")
    assert json.loads(row["after"]) == {"note": "checked"}
    conn.close()


@pytest.mark.parametrize("text", ["", " \n ", "x" * 2001, "bell \x07"])
def test_what_is_no_note_is_refused(text: str, cli: Cli) -> None:
    result = cli("settlements", "note", "1", text)
    assert result.exit_code == 2
    assert "a note" in result.stderr
    assert cli.json("settlements", "show", "1")["notes"] == ""


def test_a_note_may_have_2000_characters(cli: Cli) -> None:
    assert cli("settlements", "note", "1", "x" * 2000).exit_code == 0


@pytest.mark.parametrize("name", ["", "a]b", "x" * 65, "a\nb"])
def test_an_actor_cannot_forge_a_line(name: str, cli: Cli) -> None:
    assert cli("--actor", name, "settlements", "note", "1", "x").exit_code == 2


def test_a_retry_is_an_intent_that_waits_for_the_daemon(cli: Cli) -> None:
    result = cli("quarantine", "retry", "1")
    assert result.exit_code == 0
    assert "carries it out when it runs" in result.stdout
    conn = connect(cli.database)
    [asked] = intent_rows.open_orders(conn)
    conn.close()
    assert (asked.actor, asked.action, asked.subject) == ("maria", "quarantine.retry", "quarantine 1")
    assert asked.order == RetryQuarantined(1)


def test_a_retry_as_json_is_the_intent(cli: Cli) -> None:
    intent = cli.json("quarantine", "retry", "1")
    assert (intent["status"], intent["result"], intent["params"]) == ("open", None, {"quarantine_id": 1})
    assert intent["created_at"].endswith("Z")


@pytest.mark.parametrize(("status", "exit_code"), [("done", 0), ("refused", 1)])
def test_the_daemons_answer_is_printed(status: str, exit_code: int, cli: Cli) -> None:
    def answer() -> None:
        conn = connect(cli.database)
        while not (waiting := intent_rows.open_orders(conn)):
            time.sleep(0.02)
        said = "It is settlement 7 now."
        with atomic(conn):
            if status == "done":
                intent_rows.carry_out(conn, waiting[0].id, lambda _: said, 5)
            else:
                intent_rows.refuse(conn, waiting[0].id, said, 5)
        conn.close()

    daemon = threading.Thread(target=answer)
    daemon.start()
    with only_daemon(cli.database):
        result = cli("quarantine", "retry", "1")
    daemon.join()
    assert result.exit_code == exit_code
    assert "It is settlement 7 now." in (result.stdout if exit_code == 0 else result.stderr)


def test_a_busy_daemon_is_not_waited_for_for_ever(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satmachine.cli.kit.requests.WAIT_S", 0.2)
    with only_daemon(cli.database):
        result = cli("quarantine", "retry", "1")
    assert (result.exit_code, "is busy" in result.stdout) == (0, True)


def test_what_was_used_after_all_cannot_be_retried(cli: Cli) -> None:
    conn = connect(cli.database)
    with atomic(conn):
        conn.execute("UPDATE quarantine SET status = 'landed', settlement_id = ? WHERE id = 1", (HELD,))
    conn.close()
    result = cli("quarantine", "retry", "1")
    assert result.exit_code == 1
    assert f"sale {HELD}" in result.stderr


def test_retry_all_finds_what_single_retries_find(cli: Cli) -> None:
    conn = connect(cli.database)
    with atomic(conn):
        conn.execute("UPDATE dca_payments SET status = 'pending', attempts = 3, error = 'no answer' WHERE id = 4")
        conn.execute("UPDATE dca_settlements SET status = 'pending', error = NULL WHERE id = 3")
        conn.execute("UPDATE dca_settlements SET hold_reason = 'payment_not_found' WHERE id = ?", (HELD,))
    conn.close()
    found = [row["settlement_id"] for row in cli.json("settlements", "retry", "--all", "--dry-run")]
    assert found == [HELD, 3]
    assert [row["settlement_id"] for row in cli.json("settlements", "retry", "--all")] == [HELD, 3]
