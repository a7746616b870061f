"""Lists on a terminal of any width, and behind a pipe: nothing that decides is ever cut away."""

from __future__ import annotations

import re
from datetime import UTC
from decimal import Decimal

import pytest

from satmachine.cli.kit import numbers
from satmachine.cli.kit.output import print_line
from satmachine.store.database import atomic, connect
from tests.cli.books import Cli

WHY = "no route to tech@example.org"


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("settlements list", ["errored", "held", WHY, "266800 sats is above daily_limit_sats 200000", "panajachel-1"]),
        ("payments list", ["failed", "completed", WHY, "split:owner"]),
        ("quarantine list", ["bad_json", "the content is not JSON"]),
        ("settlements unmatched", ["it does not say that it is a sale", f"{0x191:064x}"]),
        ("machines list", ["unreachable", "1 pending, 1 held, 1 errored"]),
    ],
)
def test_state_and_reason_are_whole_at_any_width(command: str, told: list[str], columns: int, cli: Cli) -> None:
    shown = cli(*command.split(), columns=columns).stdout
    assert max(len(line) for line in shown.splitlines()) <= columns
    words = re.sub(r"[─\s]+", "", shown)
    for text in told:
        assert text.replace(" ", "") in words, f"{text} is cut at {columns} columns:\n{shown}"


@pytest.mark.parametrize("columns", [40, 120])
def test_an_invoice_is_one_line_that_can_be_copied(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"TTY_COMPATIBLE": "1", "TERM": "dumb", "COLUMNS": str(columns), "LINES": "50"}.items():
        monkeypatch.setenv(name, value)
    invoice = "lnbc1" + "q" * 300
    print_line(f"{'Pay this: ' * 20}\n{invoice}\nwithin a day")
    lines = capsys.readouterr().out.splitlines()
    assert invoice in lines
    assert max(len(line) for line in lines if line != invoice) <= columns


def test_behind_a_pipe_a_list_is_one_whole_line_a_row(cli: Cli) -> None:
    shown = cli.piped("payments", "list").stdout
    assert shown.count("completed") == 2
    head, *rows = shown.splitlines()
    assert head.split("\t")[:3] == ["Id", "Planned", "Machine"]
    assert {line.count("\t") for line in rows} == {head.count("\t")}
    assert WHY in shown
    assert "2026-11-22T10:00:01Z" in shown
    assert "\u202f" not in shown


def test_behind_a_pipe_there_is_no_limit(cli: Cli) -> None:
    conn = connect(cli.database)
    with atomic(conn):
        for number in range(60):
            conn.execute("INSERT INTO audit_log (at, actor, action, subject) VALUES (?, 'x', 'y', 'z')", (number,))
    conn.close()
    assert len(cli.piped("audit", "log", "--author", "x").stdout.splitlines()) == 61
    assert len(cli.run("audit", "log", "--author", "x", "--csv", env={}).stdout.splitlines()) == 61
    assert len(cli.json("audit", "log", "--author", "x")) == 60
    assert "There are more:" in cli("audit", "log", "--author", "x").stdout
    assert len(cli.piped("audit", "log", "--author", "x", "--limit", "5").stdout.splitlines()) == 6


def test_times_are_shown_in_the_zone_of_the_file(cli: Cli) -> None:
    text = cli.config.read_text()
    cli.config.write_text('[display]\ntz = "America/Guatemala"\n' + text)
    assert "2026-11-22T04:01:00-06:00" in cli.piped("settlements", "list").stdout
    assert "(CST)" in cli("settlements", "list").stdout
    assert "2026-11-22T10:01:00Z" in cli.piped("--tz", "UTC", "settlements", "list").stdout
    assert cli.json("settlements", "list")[-1]["occurred_at"] == "2026-11-22T10:01:00Z"


def test_columns_are_chosen_by_their_names_in_json(cli: Cli) -> None:
    chosen = ("settlements", "list", "--columns", "id,fiat_amount,source")
    assert cli.piped(*chosen).stdout.splitlines()[1] == "5\t2014.27 GTQ\tevent"
    assert list(cli.json(*chosen)[0]) == ["id", "fiat_amount", "source"]
    assert cli(*chosen, "--csv").stdout.splitlines()[0] == "id,fiat_amount,source"
    wrong = cli("settlements", "list", "--columns", "id,colour")
    assert (wrong.exit_code, "there is no colour" in wrong.stderr) == (2, True)


def test_a_client_is_named_by_label_too(cli: Cli) -> None:
    assert cli.json("clients", "show", "maria")["id"] == 1
    assert cli.json("clients", "show", "maria@panajachel-1")["id"] == 1
    assert cli("--operator", "flores", "clients", "show", "maria").exit_code == 1
    added = cli(
        "clients", "add", "--machine", "solola-1", "--label", "maria", "--lightning-address", "m@x.org", "--unchecked"
    )
    assert added.exit_code == 0, added.output
    several = cli("clients", "show", "maria")
    assert (several.exit_code, "maria@panajachel-1, maria@solola-1" in several.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["machines", "show", ""], ["flores-1", "panajachel-1", "solola-1"]),
        (["machines", "show", "s"], ["solola-1"]),
        (["clients", "show", ""], ["jose", "maria"]),
        (["settlements", "show", ""], ["5", "4", "3", "2", "1"]),
        (["payments", "list", "--client", "j"], ["jose"]),
        (["--operator", "flores", "clients", "show", ""], ["jose"]),
    ],
)
def test_the_tab_key_offers_ids_and_labels(words: list[str], offered: list[str], cli: Cli) -> None:
    typed = ["satmachine", "--config", str(cli.config), *words]
    environ = {
        "_SATMACHINE_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(typed),
        "COMP_CWORD": str(len(typed) - 1),
    }
    from typer.testing import CliRunner

    from satmachine.cli.main import app

    result = CliRunner().invoke(app, [], env=environ, prog_name="satmachine")
    assert result.stdout.split() == offered


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("266800", 266_800),
        ("266 800", 266_800),
        ("266\u202f800", 266_800),
        ("266_800", 266_800),
        ("266\u00a0800 sats", 266_800),
    ],
)
def test_sats_are_read_in_every_form_in_which_they_are_printed(text: str, value: int) -> None:
    assert numbers.sats(text) == value


@pytest.mark.parametrize("text", ["0", "-5", "1,000", "1.5", "many", "", "266 80O", "9" * 30])
def test_what_is_no_number_of_sats_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number of sats"):
        numbers.sats(text)


@pytest.mark.parametrize("text", ["2014.27", "2 014.27", "2\u202f014.27 GTQ", "2014.27 GTQ"])
def test_fiat_is_read_in_every_form_in_which_it_is_printed(text: str) -> None:
    assert numbers.fiat(text, "GTQ") == 201_427


def test_an_amount_in_another_currency_is_refused() -> None:
    with pytest.raises(ValueError, match="not in GTQ"):
        numbers.fiat("100 USD", "GTQ")


@pytest.mark.parametrize(("text", "value"), [("0.3", "0.3"), ("30 %", "0.3"), ("30\u202f%", "0.3"), ("0.5%", "0.005")])
def test_parts_are_read_as_fraction_and_as_percent(text: str, value: str) -> None:
    assert numbers.fraction(text) == Decimal(value)


@pytest.mark.parametrize("text", ["145.37", "145.37 sats per GTQ"])
def test_rates_are_read_as_they_are_printed(text: str) -> None:
    assert numbers.rate(text) == Decimal("145.37")


@pytest.mark.parametrize("columns", range(40, 61))
def test_no_line_breaks_within_a_number_or_before_its_unit(columns: int, cli: Cli) -> None:
    shown = cli("status", columns=columns).stdout
    assert "50\u202f000 sats" in shown
    assert re.search(r"\(for \d+ [a-z]+\)", shown)


def test_a_remedy_is_wrapped_between_words_and_a_command_never(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from satmachine.cli.kit import screen

    monkeypatch.setenv("COLUMNS", "40")
    command = "satmachine payments list --status failing --machine panajachel-1"
    screen.item("!", "a payee does not answer", command, "red")
    screen.item(
        "!", "a payee does not answer", "ask its owner whether the address is right; until then it waits", "red"
    )
    screen.item(
        "!", "LNbits is slow", "on SQLite this helps: `satmachine doctor --tuning sqlite`; nothing is lost", "red"
    )
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert f"  {command}" in lines
    assert all(len(line) <= 40 for line in lines if command not in line)
    assert "  `satmachine doctor --tuning sqlite`;" in lines
    assert all(line.startswith(("! ", "  ")) for line in lines)


def test_behind_a_pipe_each_table_of_a_screen_has_its_title(cli: Cli) -> None:
    shown = cli.piped("settlements", "show", "1").stdout.splitlines()
    assert shown[0] == "Sale 1"
    at = shown.index("Payments")
    assert (shown[at - 1], shown[at + 1].split("\t")[:2]) == ("", ["Id", "For"])


def test_a_hash_on_a_record_is_not_broken_where_a_line_of_its_own_holds_it(cli: Cli) -> None:
    payment_hash = cli.json("settlements", "show", "1")["settlement"]["payment_hash"]
    assert f"\n    {payment_hash}\n" in cli("settlements", "show", "1", columns=72).stdout
    assert re.search(rf"Payment hash +{payment_hash}\n", cli("settlements", "show", "1", columns=100).stdout)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_command_in_a_cell_is_not_broken(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from satmachine.cli.kit import screen
    from satmachine.cli.kit.values import Column

    monkeypatch.setenv("COLUMNS", str(columns))
    command = "`satmachine payments repoint 49`"
    why = f"it was planned for maria@example.org, but the payee is jose@example.org now: {command} pays there instead"
    fields = (Column("id", "Id"), Column("error", "Why", fold=True))
    screen.table([{"id": 49, "error": why}], fields, "Payments", UTC)
    screen.record({"id": 49, "error": why}, fields, "Payment", UTC)
    shown = capsys.readouterr().out
    assert shown.count(command) == 2
    assert all(len(line.rstrip()) <= columns for line in shown.splitlines())


def test_a_line_with_a_command_to_copy_is_left_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from satmachine.cli.kit import screen

    monkeypatch.setenv("COLUMNS", "40")
    screen.lines(
        "to end it: satmachine alerts unsilence machine_error:panajachel-1\nand wait for the daemon, please", ""
    )
    assert capsys.readouterr().out.splitlines() == [
        "to end it: satmachine alerts unsilence machine_error:panajachel-1",
        "and wait for the daemon, please",
    ]
