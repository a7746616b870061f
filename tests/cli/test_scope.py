"""`--operator`: another operator's record does not exist (SPEC section 9)."""

from __future__ import annotations

import json

import pytest

from tests.cli.books import FOREIGN, PROCESSED, Cli, digest

FOREIGN_RECORDS = [
    (["settlements", "show", "{}"], str(FOREIGN), "99"),
    (["settlements", "show", "{}"], digest(FOREIGN), digest(99)),
    (["settlements", "show", "{}"], digest(105), digest(99)),
    (["settlements", "show", "{}"], "tx-5", "tx-99"),
    (["settlements", "note", "{}", "hello"], str(FOREIGN), "99"),
    (["settlements", "list", "--machine", "{}"], "flores-1", "nowhere-1"),
    (["settlements", "list", "--before", "{}"], str(FOREIGN), "99"),
    (["settlements", "unmatched", "--machine", "{}"], "flores-1", "nowhere-1"),
    (["payments", "list", "--machine", "{}"], "flores-1", "nowhere-1"),
    (["payments", "list", "--client", "{}"], "2", "99"),
    (["payments", "list", "--settlement", "{}"], str(FOREIGN), "99"),
    (["quarantine", "list", "--machine", "{}"], "flores-1", "nowhere-1"),
    (["quarantine", "show", "{}"], "2", "99"),
    (["quarantine", "retry", "{}"], "2", "99"),
    (["machines", "show", "{}"], "flores-1", "nowhere-1"),
    (["splits", "show", "--machine", "{}"], "flores-1", "nowhere-1"),
]


@pytest.mark.parametrize(("command", "foreign", "missing"), FOREIGN_RECORDS)
def test_a_foreign_record_is_answered_like_a_missing_one(
    command: list[str], foreign: str, missing: str, cli: Cli
) -> None:
    answers = []
    for reference in (foreign, missing):
        result = cli("--operator", "atitlan", *(word.format(reference) for word in command))
        answers.append((result.exit_code, result.stdout, result.stderr.replace(reference, "ID")))
    assert answers[0] == answers[1]
    assert answers[0][0] == 1
    assert "there is no" in answers[0][2]


@pytest.mark.parametrize(
    ("command", "mine", "all_"),
    [
        ("settlements list", 4, 5),
        ("settlements unmatched", 1, 2),
        ("payments list", 4, 4),
        ("quarantine list", 1, 2),
        ("machines list", 2, 3),
        ("splits show", 2, 2),
    ],
)
def test_lists_hold_only_what_is_in_scope(command: str, mine: int, all_: int, cli: Cli) -> None:
    assert len(cli.json(*command.split())) == all_
    assert len(cli.json("--operator", "atitlan", *command.split())) == mine
    assert len(cli.json("--operator", "flores", *command.split())) == all_ - mine


def test_the_scope_may_stand_in_the_environment(cli: Cli) -> None:
    result = cli("settlements", "show", str(PROCESSED), env={"SATMACHINE_OPERATOR": "flores"})
    assert result.exit_code == 1
    assert cli("settlements", "show", str(FOREIGN), env={"SATMACHINE_OPERATOR": "flores"}).exit_code == 0


def test_an_unknown_operator_is_named(cli: Cli) -> None:
    result = cli("--operator", "nobody", "settlements", "list")
    assert result.exit_code == 1
    assert "there is no operator nobody" in result.stderr


def test_status_counts_only_what_is_in_scope(cli: Cli) -> None:
    found = json.loads(cli("--operator", "flores", "status", "--json").stdout)
    assert [machine["id"] for machine in found["machines"]] == ["flores-1"]
    assert found["settlements"] == {"pending": 1, "held": 0, "errored": 0}
    items = [(item["condition"], item["subject"]) for item in found["attention"]]
    assert items == [("daemon_down", ""), ("quarantined", "flores-1"), ("unmatched", "flores-1")]


def test_the_configuration_is_shown_without_other_operators(cli: Cli) -> None:
    shown = cli("--operator", "flores", "config", "show").stdout
    assert "flores-1" in shown
    assert "panajachel" not in shown
    assert "atitlan" not in shown
    checked = cli("--operator", "flores", "config", "check").stdout
    assert "panajachel" not in checked


def test_a_backup_holds_everybodys_books_and_is_refused_in_a_scope(cli: Cli) -> None:
    target = cli.database.parent / "copy.db"
    result = cli("--operator", "flores", "backup", str(target))
    assert result.exit_code == 1
    assert "every operator's books" in result.stderr
    assert not target.exists()
