"""The commands as a person types them: every status against every command, dry runs, scope, and what is asked."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from satmachine.cli.main import app
from satmachine.models import SettlementStatus
from satmachine.orders import Refund
from satmachine.store import settlements
from satmachine.store.database import atomic
from satmachine.store.intent_rows import open_orders
from testkit.sale_desk import Desk, add_provider, copied, open_desk
from tests.settlements.correct.test_changes import INVOICE_HASH, make_invoice

FLORES = """
[[operators]]
id = "flores"
name = "Flores Cash"
"""

#: One sale in each state, by its number.
NUMBERS = {status: number for number, status in enumerate(SettlementStatus, start=1)}

COMMANDS = {
    "partial-dispense": ("--fraction", "0.5"),
    "close": (),
    "redistribute": (),
    "refund": ("100", "--to", "ana@example.org"),
    "shortfall": ("--dispensed", "100", "--refund-to", "ana@example.org"),
}

DONE = ""
PAID = "is paid, and Lightning cannot claw back"
NOTHING = "retains nothing that could be shared out"
LITTLE = "retains 0 sats: 100 sats cannot be refunded"

#: What each command says about the sale in each state; DONE: it is shown, and would be asked of the daemon.
SAID: dict[tuple[str, str], str] = {
    ("pending", "partial-dispense"): DONE,
    ("pending", "close"): DONE,
    ("pending", "redistribute"): NOTHING,
    ("pending", "refund"): LITTLE,
    ("held", "partial-dispense"): DONE,
    ("held", "close"): DONE,
    (
        "held",
        "redistribute",
    ): "is held, so nothing is paid for it: `satmachine settlements release 2` first",
    ("held", "refund"): "is held, so nothing is paid for it: `satmachine settlements release 2` first",
    ("processed", "partial-dispense"): PAID,
    ("processed", "close"): "is processed: there is nothing left to close",
    ("processed", "redistribute"): NOTHING,
    ("processed", "refund"): LITTLE,
    ("errored", "partial-dispense"): DONE,
    ("errored", "close"): DONE,
    ("errored", "redistribute"): NOTHING,
    ("errored", "refund"): LITTLE,
    ("partial", "partial-dispense"): "is closed: its figures are final",
    ("partial", "close"): "is closed already",
    ("partial", "redistribute"): DONE,
    ("partial", "refund"): DONE,
    ("refunded", "partial-dispense"): "is refunded: its figures are final",
    ("refunded", "close"): "is refunded: there is nothing left to close",
    ("refunded", "redistribute"): NOTHING,
    ("refunded", "refund"): DONE,
    ("pending", "shortfall"): "is being paid out: try again when it is",
    ("held", "shortfall"): "is held: `satmachine settlements partial-dispense 2 --fraction 0.5` corrects it",
    ("processed", "shortfall"): DONE,
    ("errored", "shortfall"): "else `satmachine settlements close 4` first",
    ("partial", "shortfall"): DONE,
    ("refunded", "shortfall"): DONE,
}


#: The other commands about one sale, what they need, and what they say.
OTHERS = {"retry": (), "hold": ("--reason", "x", "--yes"), "release": ("--reason", "x", "--yes"), "note": ("seen",)}
FINISHED = {
    "retry": (0, "There is nothing to try."),
    "hold": (1, "there is nothing to hold"),
    "release": (1, "not held"),
    "note": (0, "is added to sale"),
}
SAID_BY_OTHERS: dict[str, dict[str, tuple[int, str]]] = {
    "pending": FINISHED | {"hold": (0, "is held: nothing more of it is sent")},
    "held": FINISHED | {"retry": (1, "is held: `satmachine settlements release 2` first"), "release": (0, "continues")},
    "processed": FINISHED,
    "errored": FINISHED
    | {"retry": (0, "will be tried within seconds"), "hold": (0, "is held: nothing more of it is sent")},
    "partial": FINISHED,
    "refunded": FINISHED,
}


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """One sale in each state, in the order of `SettlementStatus`."""
    found = open_desk(tmp_path_factory.mktemp("sales"))
    add_provider(found, "alice", 10_000_000)
    for number in NUMBERS.values():
        found.land(number)
        found.plan(number)
    with atomic(found.conn):
        settlements.hold(found.conn, NUMBERS[SettlementStatus.HELD], reason="by_operator", error="jam")
    found.pay_all(NUMBERS[SettlementStatus.PROCESSED])
    found.fail("dca:alice", NUMBERS[SettlementStatus.ERRORED])
    found.pay("super", NUMBERS[SettlementStatus.PARTIAL])
    found.do("close", NUMBERS[SettlementStatus.PARTIAL])
    refunded = NUMBERS[SettlementStatus.REFUNDED]
    found.do("partial_dispense", refunded, part=1, whole=2)
    found.plan(refunded)
    found.do("refund", refunded, amount_sats=100, to="ana@example.org")
    found.pay_all(refunded)
    found.path.write_text(found.path.read_text() + FLORES)
    with atomic(found.conn):
        found.conn.execute("INSERT INTO dca_operators VALUES ('flores', 'Flores Cash', 1)")
    return found


@pytest.fixture
def cli(sales: Desk, tmp_path: Path) -> Iterator[Desk]:
    """A copy of the sales for one test."""
    with copied(sales, tmp_path) as found:
        yield found


def run(desk: Desk, *arguments: str, operator: str = "", answer: str | None = None) -> Result:
    """Run the program as maria."""
    root = ["--config", str(desk.path), "--actor", "maria"]
    return CliRunner().invoke(
        app,
        [*root, *arguments],
        input=answer,
        env={"SATMACHINE_OPERATOR": operator, "TTY_COMPATIBLE": "1", "TERM": "dumb", "LINES": "50", "COLUMNS": "200"},
    )


def intents(desk: Desk) -> list[tuple[str, str, str]]:
    """(actor, action, subject) of what is asked of the daemon."""
    return [(asked.actor, asked.action, asked.subject) for asked in open_orders(desk.conn)]


@pytest.mark.parametrize(("status", "command"), [*product(SettlementStatus, COMMANDS)])
def test_every_status_against_every_command(cli: Desk, status: SettlementStatus, command: str) -> None:
    number = NUMBERS[status]
    assert cli.sale(number).status is status
    result = run(cli, "settlements", command, str(number), *COMMANDS[command], "--reason", "jam", "--yes")
    expected = SAID[status, command]
    if expected == DONE:
        assert result.exit_code == 0, result.output
        action = f"settlement.{command.replace('-', '_')}"
        assert intents(cli) == [("maria", action, f"settlement {number}")]
        assert "carries it out when it runs" in result.stdout
    else:
        assert result.exit_code == 1
        assert expected in result.stderr
        assert re.search(rf"(settlement|sale) {number}\b", result.stderr)
        assert intents(cli) == []


@pytest.mark.parametrize(("status", "command"), [*product(SettlementStatus, OTHERS)])
def test_every_status_against_every_other_command(cli: Desk, status: SettlementStatus, command: str) -> None:
    number = NUMBERS[status]
    result = run(cli, "settlements", command, str(number), *OTHERS[command])
    code, words = SAID_BY_OTHERS[status][command]
    assert (result.exit_code, words in result.output) == (code, True), result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_needs_a_reason(cli: Desk, command: str) -> None:
    assert run(cli, "settlements", command, "1", *COMMANDS[command], "--yes").exit_code == 2
    assert run(cli, "settlements", command, "1", *COMMANDS[command], "--yes", "--reason", " ").exit_code == 2
    assert run(cli, "settlements", command, "1", *COMMANDS[command], "--yes", "--reason", "x" * 501).exit_code == 2


@pytest.mark.parametrize("command", ["partial-dispense", "close"])
def test_a_no_changes_nothing(cli: Desk, command: str) -> None:
    result = run(cli, "settlements", command, "1", *COMMANDS[command], "--reason", "jam", answer="n\n")
    assert result.exit_code == 1
    assert intents(cli) == []


def test_a_dry_run_shows_old_and_new_side_by_side_and_asks_nothing(cli: Desk) -> None:
    arguments = ("settlements", "partial-dispense", "1", "--fraction", "0.5", "--reason", "jam", "--dry-run")
    before = [tuple(row) for row in cli.conn.execute("SELECT * FROM dca_payments")]
    shown = json.loads(run(cli, *arguments, "--json").stdout)
    assert shown["old"]["net_sats"] == 258_835
    assert (shown["new"]["net_sats"], shown["new"]["undispensed_sats"]) == (129_418, 133_400)
    assert (shown["old"]["fiat_amount"], shown["new"]["fiat_amount"]) == ("1800.00", "900.00")
    assert (shown["old"]["dca:alice"], shown["new"]["dca:alice"]) == (258_835, 129_418)
    table = run(cli, *arguments).stdout
    assert "129\u202f418" in table
    assert intents(cli) == []
    assert [tuple(row) for row in cli.conn.execute("SELECT * FROM dca_payments")] == before


@pytest.mark.parametrize("command", ["close", "redistribute", "refund"])
def test_every_other_dry_run_shows_what_is_retained(cli: Desk, command: str) -> None:
    number = "1" if command == "close" else str(NUMBERS[SettlementStatus.PARTIAL])
    arguments = ("settlements", command, number, *COMMANDS[command], "--reason", "x", "--dry-run", "--json")
    shown = json.loads(run(cli, *arguments).stdout)
    assert shown["old"]["retained_sats"] != shown["new"]["retained_sats"]
    assert intents(cli) == []


@pytest.mark.parametrize(("extra", "reserve"), [((), 20), (("--reserve", "0"), 0), (("--reserve", "25"), 25)])
def test_a_refund_orders_exactly_what_its_dry_run_shows(cli: Desk, extra: tuple[str, ...], reserve: int) -> None:
    number = str(NUMBERS[SettlementStatus.PARTIAL])
    invoice = make_invoice(2_000, INVOICE_HASH, int(time.time()), 3_600)
    arguments = ("settlements", "refund", number, "2000", "--to", invoice, "--reason", "jam", *extra)
    shown = json.loads(run(cli, *arguments, "--dry-run", "--json").stdout)
    assert shown["old"]["retained_sats"] - shown["new"]["retained_sats"] == 2_000 + reserve
    assert shown["new"].get("set aside for routing fees", 0) == reserve
    assert run(cli, *arguments, "--yes").exit_code == 0
    [asked] = open_orders(cli.conn)
    assert asked.order == Refund(int(number), 2_000, invoice, "jam", 2_000 + reserve)


@pytest.mark.parametrize(
    "arguments",
    [
        ("partial-dispense", "1"),
        ("partial-dispense", "1", "--fraction", "0.5", "--sats", "5"),
        ("partial-dispense", "1", "--fraction", "half"),
        ("partial-dispense", "1", "--fraction", "2"),
        ("partial-dispense", "1", "--sats", "266801"),
        ("redistribute", "5", "--rate", "0"),
        ("redistribute", "5", "--balances", "then"),
        ("refund", "5", "0", "--to", "ana@example.org"),
        ("refund", "5", "10", "--to", "ana@nowhere"),
    ],
)
def test_nonsense_is_a_usage_error(cli: Desk, arguments: tuple[str, ...]) -> None:
    assert run(cli, "settlements", *arguments, "--reason", "jam", "--yes").exit_code == 2


def test_a_refund_to_something_that_is_no_invoice_is_refused_before_it_is_asked(cli: Desk) -> None:
    result = run(cli, "settlements", "refund", "5", "10", "--to", "lnbc1x", "--reason", "jam", "--yes")
    assert result.exit_code == 1
    assert "no Lightning invoice" in result.stderr


@pytest.mark.parametrize("command", [*COMMANDS, "explain"])
def test_a_foreign_sale_is_answered_like_a_missing_one(cli: Desk, command: str) -> None:
    rest = [*COMMANDS.get(command, ()), "--reason", "jam", "--yes"] if command in COMMANDS else []
    foreign = run(cli, "settlements", command, "1", *rest, operator="flores")
    missing = run(cli, "settlements", command, "999", *rest, operator="flores")
    assert foreign.exit_code == missing.exit_code == 1
    assert foreign.output.replace("sale 1", "sale 999") == missing.output
    assert "there is no" not in run(cli, "settlements", command, "1", *rest, operator="atitlan").output


@pytest.mark.parametrize("number", NUMBERS.values())
def test_explain_accounts_for_every_sat_in_every_state(cli: Desk, number: int) -> None:
    explained = json.loads(run(cli, "settlements", "explain", str(number), "--json").stdout)
    assert explained["conserves"]
    assert explained["summary"]["ruleset"] == "operator"
    people = run(cli, "settlements", "explain", str(number))
    assert people.exit_code == 0
    assert "266\u202f800 sats =" in people.stdout


def test_explain_shows_each_rounding_and_each_retained_sat(cli: Desk) -> None:
    number = str(NUMBERS[SettlementStatus.REFUNDED])
    text = json.dumps(json.loads(run(cli, "settlements", "explain", number, "--json").stdout))
    for words in (
        "3982 x 0.30 = 1194.6, rounded half to even to 1195",
        "2787 x 0.7 = 1950.9, rounded half to even to 1951",
        "the rest of 2787, its pct is 0.3",
        "then scaled to what was dispensed, rounded half up",
        "this part of the cash was not handed out",
        "paid out after all, or taken back",
    ):
        assert words in text


# --- audit log


def test_the_audit_log_is_filtered_and_scoped(cli: Desk) -> None:
    rows = json.loads(run(cli, "audit", "log", "--json").stdout)
    assert {row["action"] for row in rows} >= {"settlement.close", "settlement.partial_dispense", "settlement.refund"}
    decided = [row for row in rows if row["action"] not in ("settlement.note", "client.add")]
    assert all(row["actor"] == "maria" and row["reason"] == "jam" for row in decided)
    closed = json.loads(run(cli, "audit", "log", "--action", "settlement.close", "--json").stdout)
    assert [row["subject"] for row in closed] == ["settlement 5"]
    assert closed[0]["before"] == {"status": "pending"}
    for nobody in (("--author", "jose"), ("--subject", "settlement 1"), ("--until", "2020-01-01"), ("--since", "1h")):
        assert json.loads(run(cli, "audit", "log", *nobody, "--json").stdout) in ([], rows)
    assert json.loads(run(cli, "audit", "log", "--json", operator="flores").stdout) == []
    assert run(cli, "audit", "log", "--csv").stdout.startswith("id,at,actor,action,subject,machine_id,reason,before,")
    assert len(json.loads(run(cli, "audit", "log", "--limit", "1", "--json").stdout)) == 1


def test_a_foreign_row_of_the_log_is_answered_like_a_missing_one(cli: Desk) -> None:
    foreign = run(cli, "audit", "log", "--before", "1", operator="flores")
    missing = run(cli, "audit", "log", "--before", "999", operator="flores")
    assert foreign.exit_code == missing.exit_code == 1
    assert foreign.output.replace("entry 1", "entry 999") == missing.output


def test_a_fresh_folder_has_no_books(tmp_path: Path) -> None:
    desk = open_desk(tmp_path)
    with closing(desk.conn):
        assert run(desk, "settlements", "explain", "1").exit_code == 1
