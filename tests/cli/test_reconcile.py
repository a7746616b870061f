"""`satmachine machines reconcile` as a person runs it; what it decides is tested in tests/settlements."""

from __future__ import annotations

import re

import pytest

from satmachine.store import restored, wallet_rows
from satmachine.store.database import atomic, connect
from tests.cli.books import HELD, NOW, Cli

MACHINE = "solola-1"
STRANGE, MISSING = "e" * 64, "f" * 64


def strange(cli: Cli, payment_hash: str = STRANGE, key: str = "sm1:of-nobody") -> None:
    """The wallet has paid what these books do not know."""
    conn = connect(cli.database)
    with atomic(conn):
        found = wallet_rows.Outgoing(payment_hash, key, "lnbc1", 5_000, "success", None, {}, NOW)
        wallet_rows.note_outgoing(conn, MACHINE, [found], NOW)
        wallet_rows.refresh_safe_mode(conn, MACHINE)
    conn.close()


def restore(cli: Cli, *, swept: bool) -> None:
    conn = connect(cli.database)
    with atomic(conn):
        restored.flag(conn, NOW - 9)
        restored.take_over(conn, NOW)
        conn.execute("UPDATE dca_wallets SET last_sweep_at = ?", (NOW + 1 if swept else None,))
    conn.close()


def words(cli: Cli, *arguments: str) -> str:
    return re.sub(r"\s+", " ", cli(*arguments).output)


def test_the_screen_shows_each_payment_and_the_command_that_accepts_it(cli: Cli) -> None:
    strange(cli)
    shown = words(cli, "machines", "reconcile", MACHINE)
    digest = cli.json("machines", "reconcile", MACHINE)["digest"]
    assert "its key names nothing that is paid from this wallet" in shown
    assert f"machines reconcile {MACHINE} --accept {digest}" in shown
    assert f"{MACHINE} pays nothing: its wallet shows 1 payment(s)" in shown


def test_what_was_shown_is_accepted_and_nothing_else(cli: Cli) -> None:
    strange(cli)
    digest = cli.json("machines", "reconcile", MACHINE)["digest"]
    accept = ("machines", "reconcile", MACHINE, "--accept", digest, "--reason", "withdrawn by hand", "--yes")
    strange(cli, "d" * 64)
    changed = cli(*accept)
    assert changed.exit_code == 1
    assert "not what was shown" in changed.output
    digest = cli.json("machines", "reconcile", MACHINE)["digest"]
    done = cli("machines", "reconcile", MACHINE, "--accept", digest, "--reason", "withdrawn by hand", "--yes")
    assert done.exit_code == 0, done.output
    assert f"{MACHINE} is reconciled and pays again." in done.output
    [row] = [row for row in cli.json("audit", "log") if row["action"] == "machine.reconcile"]
    assert row["reason"] == "withdrawn by hand"


def test_a_dry_run_changes_nothing(cli: Cli) -> None:
    strange(cli)
    digest = cli.json("machines", "reconcile", MACHINE)["digest"]
    tried = cli("machines", "reconcile", MACHINE, "--accept", digest, "--reason", "x", "--dry-run")
    assert tried.exit_code == 0, tried.output
    assert cli.json("machines", "reconcile", MACHINE)["payments"] != []


def test_what_must_be_done_first_is_said(cli: Cli) -> None:
    strange(cli, MISSING, f"sm1:bal:{MACHINE}:nora:1")
    told = cli.json("machines", "reconcile", MACHINE)
    assert f"clients add --machine {MACHINE} --label nora" in told["waits"][0]
    otherwise = cli.json("machines", "reconcile", MACHINE, "--book", f"{MISSING}=not-ours")
    assert (otherwise["waits"], otherwise["payments"][0]["verdict"]) == ([], "not_ours")
    shown = words(cli, "machines", "reconcile", MACHINE, "--book", f"{MISSING}=not-ours")
    assert f"--book {MISSING}=not-ours" in shown.replace(" ", "").replace("--book", "--book ")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (MACHINE, "--all"),
        ("--all", "--accept", "x", "--reason", "x"),
        (MACHINE, "--accept", "x"),
        (MACHINE, "--book", "x"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli("machines", "reconcile", *arguments).exit_code == 2


def test_a_restored_copy_is_let_go_when_its_wallets_were_read(cli: Cli) -> None:
    restore(cli, swept=False)
    early = cli("machines", "reconcile", MACHINE)
    assert early.exit_code == 1
    assert "was not read since these books were restored" in early.output
    restore(cli, swept=True)
    assert f"machines reconcile {MACHINE} --yes --reason" in words(cli, "machines", "reconcile", MACHINE)
    done = cli("machines", "reconcile", "--all", "--yes", "--reason", "failover")
    assert done.exit_code == 0, done.output
    assert {row["safe_mode"] for row in cli.json("machines", "list")} == {None}


def test_all_lets_go_only_those_where_nothing_was_found(cli: Cli) -> None:
    restore(cli, swept=True)
    strange(cli)
    done = cli("machines", "reconcile", "--all", "--yes", "--reason", "failover")
    assert done.exit_code == 1
    waiting = {row["id"] for row in cli.json("machines", "list") if row["safe_mode"] is not None}
    assert waiting == {MACHINE}


def test_status_and_show_name_the_command(cli: Cli) -> None:
    restore(cli, swept=True)
    command = f"satmachine machines reconcile {MACHINE}"
    assert command in words(cli, "status")
    assert command in words(cli, "machines", "show", MACHINE)


def test_a_wallet_whose_key_cannot_be_read_is_not_guessed_at(cli: Cli) -> None:
    strange(cli, key=f"sm1:{'ab' * 32}:r1:super")
    assert cli("machines", "reconcile", MACHINE).exit_code == 3


def test_another_operators_machine_is_not_there(cli: Cli) -> None:
    found = cli("--operator", "flores", "machines", "reconcile", "panajachel-1")
    assert found.exit_code == 1
    assert "there is no machine panajachel-1" in found.output


@pytest.mark.parametrize(
    ("reason", "command"), [("unknown_payments", "settlements release"), ("marks_conflict", "settlements show")]
)
def test_where_nothing_is_left_to_reconcile_what_stays_held_names_what_lets_it_go_on(
    cli: Cli, reason: str, command: str
) -> None:
    """The list of `status` sends people here; a sale that a mark has stopped stays held when the mark is decided."""
    conn = connect(cli.database)
    with atomic(conn):
        machine = conn.execute(
            """UPDATE dca_settlements SET hold_reason = ?, error = 'mark x of another life' WHERE id = ?
            RETURNING machine_id""",
            (reason, HELD),
        ).fetchone()["machine_id"]
    conn.close()
    shown = words(cli, "machines", "reconcile", machine)
    assert f"sale {HELD} is still held: mark x of another life" in shown
    assert f"satmachine {command} {HELD}" in shown
