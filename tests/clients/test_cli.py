"""`satmachine clients` and `deposits` as a person runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from satmachine.store.database import connect
from tests.cli.books import Cli, empty_books


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return empty_books(tmp_path)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "maria.key"
    path.write_text("0123456789abcdef\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def maria(cli: Cli, key_file: Path) -> int:
    """A client with 1000 GTQ confirmed; the id."""
    added = cli.json(
        *("clients", "add", "--machine", "panajachel-1", "--label", "maria", "--invoice-key-file", str(key_file))
    )
    deposit = cli.json("deposits", "add", str(added["id"]), "1000", "--note", "20 x 50")
    cli.json("deposits", "confirm", str(deposit["id"]), "--yes")
    return int(added["id"])


def test_a_deposit_from_hand_to_balance(cli: Cli, maria: int, key_file: Path) -> None:
    [row] = cli.json("clients", "list")
    assert row["payee"] == str(key_file)
    assert (row["available"], row["mode"], row["daily_limit"], row["person"]) == ("1000.00", "flow", None, "maria")
    [deposit] = cli.json("deposits", "list")
    assert (deposit["amount"], deposit["status"], deposit["recorded_by"], deposit["notes"]) == (
        *("1000.00", "confirmed", "maria", "20 x 50"),
    )
    assert deposit["decided_at"].endswith("Z")
    balance = cli.json("clients", "balance", str(maria))
    assert (balance["confirmed"], balance["spent"], balance["reserved"]) == ("1000.00", "0.00", "0.00")
    assert cli.json("clients", "balance", str(maria), "--as-of", "2020-01-01")["available"] == "0.00"


def test_the_key_is_nowhere(cli: Cli, maria: int) -> None:
    shown = [cli("clients", "list"), cli("clients", "show", str(maria)), cli("clients", "list", "--json")]
    assert all("0123456789abcdef" not in result.output for result in shown)
    assert b"0123456789abcdef" not in cli.database.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label", "Maria", "--lightning-address", "a@b.org"), "small letters"),
        (("--label", "maria"), "say where to pay"),
        (("--label", "maria", "--lightning-address", "nowhere"), "--lightning-address must be"),
        (("--label", "maria", "--lightning-address", "a@b.org", "--mode", "fixed"), "needs --daily-limit"),
        (("--label", "maria", "--lightning-address", "a@b.org", "--daily-limit", "5"), "is for --mode fixed"),
        (("--label", "maria", "--invoice-key-file", "/nowhere/key"), "does not exist"),
        (("--label", "maria", "--lightning-address", "a@b.org", "--autoforward", "c@d.org"), "belong together"),
    ],
)
def test_what_was_typed_wrong_is_a_usage_error(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    result = cli("clients", "add", "--machine", "panajachel-1", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_changes_of_a_client(cli: Cli, maria: int) -> None:
    fixed = cli.json(
        "clients", "update", str(maria), "--mode", "fixed", "--daily-limit", "250.50", "--status", "paused"
    )
    assert (fixed["mode"], fixed["daily_limit"], fixed["status"]) == ("fixed", "250.50", "paused")
    flow = cli.json("clients", "update", str(maria), "--mode", "flow", "--lightning-address", "maria@example.org")
    assert (flow["mode"], flow["daily_limit"], flow["payee_kind"]) == ("flow", None, "lightning_address")
    assert cli("clients", "update", str(maria)).exit_code == 2


def test_deposits_are_edited_rejected_and_deleted_only_while_pending(cli: Cli, maria: int) -> None:
    first = str(cli.json("deposits", "add", str(maria), "10")["id"])
    assert cli.json("deposits", "edit", first, "--amount", "12.50")["amount"] == "12.50"
    assert cli.json("deposits", "reject", first, "--reason", "not there", "--yes")["status"] == "rejected"
    refused = cli("deposits", "edit", first, "--amount", "1")
    assert refused.exit_code == 1
    assert "was rejected by maria" in refused.output
    second = str(cli.json("deposits", "add", str(maria), "10")["id"])
    assert cli("deposits", "delete", second, "--yes").exit_code == 0
    assert cli("deposits", "show", second).exit_code == 1
    assert cli("deposits", "add", str(maria), "10.001").exit_code == 2


def test_settle_shows_and_asks_before_it_writes(cli: Cli, maria: int) -> None:
    dry = cli.json("clients", "settle", str(maria), "--rate", "145.37", "--dry-run")
    assert (dry["amount_sats"], dry["fiat_amount"], dry["available"]) == (145_370, "1000.00", "1000.00")
    assert cli("clients", "settle", str(maria), "--rate", "145.37").exit_code == 1
    assert cli("clients", "settle", str(maria), "--rate", "145.37", "--amount", "1000.01", "--yes").exit_code == 1
    conn = connect(cli.database)
    assert conn.execute("SELECT count(*) FROM intents").fetchone()[0] == 0
    asked = cli("clients", "settle", str(maria), "--rate", "145.37", "--amount", "400", "--yes")
    assert asked.exit_code == 0
    assert "Request 1 is recorded" in asked.output
    row = conn.execute("SELECT action, subject, params FROM intents").fetchone()
    assert tuple(row) == (
        "clients.settle",
        f"client {maria}",
        f'{{"client_id": {maria}, "exchange_rate": "145.37", "amount_minor": 40000, "number": 1}}',
    )
    conn.close()


def test_statements_as_table_csv_and_json(cli: Cli, maria: int) -> None:
    statement = cli.json("clients", "statement", str(maria))
    assert (statement["opening"], statement["deposited"], statement["closing"]) == ("0.00", "1000.00", "1000.00")
    assert [line["kind"] for line in statement["lines"]] == ["deposit"]
    assert cli.json("clients", "statement", "--person", "maria") == [statement]
    header, line = cli("clients", "statement", str(maria), "--csv").stdout.splitlines()
    assert header.startswith("client_id,label,machine_id,at,kind,id,settlement_id,fiat_amount,currency,amount_sats")
    assert line.endswith("confirmed,1000.00,20 x 50")
    table = cli("clients", "statement", str(maria), "--since", "2000-01-01").stdout
    assert "Statement of maria" in table
    assert "average cost" not in table
    assert cli("clients", "statement").exit_code == 2
    assert cli("clients", "statement", "--person", "nobody").exit_code == 1


def test_removal_keeps_the_history(cli: Cli, maria: int) -> None:
    assert cli("clients", "remove", str(maria), "--yes").exit_code == 1
    removed = cli.json("clients", "remove", str(maria), "--yes", "--write-off", "handed back")
    assert removed["status"] == "removed"
    assert cli.json("clients", "list") == []
    assert len(cli.json("clients", "list", "--removed")) == 1
    assert len(cli.json("clients", "statement", str(maria))["lines"]) == 1


def test_another_operators_records_do_not_exist(cli: Cli, maria: int) -> None:
    flores = ("--operator", "flores")
    for arguments in (
        *(("clients", verb, str(maria)) for verb in ("show", "balance", "statement", "remove")),
        ("clients", "update", str(maria), "--status", "paused"),
        ("clients", "settle", str(maria), "--rate", "1"),
        ("deposits", "show", "1"),
        ("deposits", "confirm", "1"),
        ("deposits", "add", str(maria), "1"),
        ("clients", "add", "--machine", "panajachel-1", "--label", "x", "--lightning-address", "a@b.org"),
    ):
        result = cli(*flores, *arguments)
        assert (result.exit_code, "there is no" in result.output) == (1, True), arguments
    assert cli.json(*flores, "clients", "list") == []
    assert cli.json(*flores, "deposits", "list") == []


def test_empty_lists_keep_their_csv_header(cli: Cli) -> None:
    assert cli("clients", "list", "--csv").stdout.startswith("id,machine_id,")
    assert cli("deposits", "list", "--csv").stdout.startswith("id,client_id,machine_id,label,amount,currency,status")


def test_cash_is_taken_home_and_a_wrong_deposit_reversed(cli: Cli, maria: int) -> None:
    taken = cli.json("deposits", "withdraw", str(maria), "400", "--yes")
    assert (taken["amount"], taken["kind"]) == ("-400.00", "withdrawal")
    too_much = cli("deposits", "reverse", "1", "--reason", "entered twice", "--yes")
    assert too_much.exit_code == 1
    assert "600.00 GTQ available" in too_much.output
    again = str(cli.json("deposits", "add", str(maria), "10", "--at", "2026-11-01T10:00")["id"])
    assert cli.json("deposits", "confirm", again, "--yes")["effective_at"] == "2026-11-01T10:00:00Z"
    assert "Would reverse" in cli("deposits", "reverse", again, "--reason", "x", "--dry-run").output
    assert cli.json("deposits", "reverse", again, "--reason", "entered twice", "--yes")["reverses"] == int(again)
