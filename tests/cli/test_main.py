"""The root: help of every command, global options, exit codes, speed of start."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from satmachine import __version__
from satmachine.cli.kit.books import login
from satmachine.cli.main import NOUNS, ROOT_OPTIONS, app, load_noun
from tests.cli.books import Cli


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command below one, with the words that call it."""
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        yield from commands(f"{name} {child}", below)


def every_command() -> list[tuple[str, Any]]:
    present = [name for name, noun in NOUNS.items() if importlib.util.find_spec(noun.target.partition(":")[0])]
    return [found for name in present for found in commands(name, load_noun(name))]


@pytest.mark.parametrize(("name", "command"), every_command())
def test_every_command_is_documented(name: str, command: Any) -> None:
    text = command.help or ""
    assert text.strip(), f"{name} has no help"
    assert text.strip().endswith(".") or "\n" in text
    if not hasattr(command, "commands"):
        assert "Example" in text, f"{name} has no example"
        assert f"satmachine {name}" in text or f" {name}" in text
    for parameter in command.params:
        if parameter.name != "help":
            assert parameter.help, f"{name}: {parameter.name} has no help"


@pytest.mark.parametrize(("name", "command"), every_command())
def test_every_help_fits_80_columns(name: str, command: Any) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert result.exit_code == 0, result.output
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_help_lists_every_noun() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert [noun for noun in NOUNS if noun not in shown] == []


def test_a_command_that_does_not_exist_is_told_which_do() -> None:
    said = CliRunner().invoke(app, ["payments", "show", "28"])
    assert said.exit_code == 2
    assert "No such command 'show'. There are: list, retry" in said.output
    assert "There are" not in CliRunner().invoke(app, ["settlement", "list"]).output  # "Did you mean 'settlements'?"


@pytest.mark.parametrize("option", ROOT_OPTIONS)
def test_an_option_of_the_root_is_told_its_place(option: str) -> None:
    for command in (["report"], ["export", "ledger"]):
        told = CliRunner().invoke(app, [*command, option, "x"])
        assert told.exit_code == 2
        assert f"{option} comes right after satmachine: satmachine {option} .. COMMAND" in told.output
    assert "No such option: --nothing" in CliRunner().invoke(app, ["report", "--nothing", "x"]).output


def test_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"satmachine {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ("frobnicate", 2, "No such command"),
        ("setlements list", 2, "Did you mean 'settlements'"),
        ("--tz Mars/Olympus status", 2, "is not a time zone"),
        ("settlements list --status odd", 2, "odd"),
        ("settlements list --since soon", 2, "'soon' is not a time"),
        ("settlements list --limit 0", 2, "--limit"),
        ("settlements list --json --csv", 2, "one of --json and --csv"),
        ("settlements show", 2, "Missing argument"),
        ("settlements show 99", 1, "there is no sale 99"),
        ("settlements show -- -1", 1, "there is no sale -1"),
        ("settlements show 99999999999999999999999", 1, "there is no sale"),
        ("settlements show ²", 1, "there is no sale"),
        ("payments list --client 99999999999999999999999", 1, "there is no LP"),
        ("payments list --client 99", 1, "there is no LP 99"),
        ("quarantine show 99", 1, "there is no message in quarantine 99"),
        ("quarantine show x", 1, "there is no message in quarantine x"),
        ("machines show nowhere", 1, "there is no machine nowhere"),
    ],
)
def test_wrong_input_gets_an_answer_and_a_code(arguments: str, exit_code: int, message: str, cli: Cli) -> None:
    result = cli(*arguments.split())
    assert (result.exit_code, result.stdout) == (exit_code, ""), result.output
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr


def test_a_bad_file_leaves_with_3_and_says_why(cli: Cli) -> None:
    text = cli.config.read_text()
    for bad, words in ((text.replace("[database]", "[database"), "not valid TOML"), ('[database]\npath = ""', "path")):
        cli.config.write_text(bad)
        result = cli("status")
        assert result.exit_code == 3
        assert words in result.stderr


def test_without_a_database_path_the_file_is_validated(cli: Cli) -> None:
    cli.config.write_text(cli.config.read_text().replace('path = "satmachine.db"', ""))
    result = cli("status")
    assert result.exit_code == 1
    assert "/var/lib/satmachine/satmachine.db" in result.stderr


def test_a_missing_database_is_explained(cli: Cli) -> None:
    cli.database.unlink()
    result = cli("status")
    assert (result.exit_code, "`satmachine run` creates it" in result.stderr) == (1, True)


def test_reads_work_without_any_secret(cli: Cli) -> None:
    for command in ("status", "machines list", "machines show panajachel-1", "settlements show 1"):
        assert cli(*command.split(), env={"WALLET_1": "", "SUPER_KEY": ""}).exit_code in (0, 1)


def test_who_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "maria")
    assert login() == "maria"
    monkeypatch.delenv("SUDO_USER")
    monkeypatch.setenv("LOGNAME", "jose")
    assert login() == "jose"


def loaded_by(*arguments: str, config: Path | None = None) -> set[str]:
    """The modules that a command imports."""
    program = (
        "import sys; from satmachine.cli.main import app\n"
        "try: app(sys.argv[1:])\nexcept SystemExit: print('\\n', *sys.modules, file=sys.stderr)"
    )
    environ = {**os.environ, "SATMACHINE_CONFIG": str(config)}
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environ, check=True
    )
    return set(run.stderr.split())


def test_help_and_status_import_nothing_heavy(cli: Cli) -> None:
    for arguments in (["--help"], ["status"], ["settlements", "show", "1"], ["settlements", "list"]):
        loaded = loaded_by(*arguments, config=cli.config)
        assert "satmachine.cli.main" in loaded
        assert loaded & {"pydantic", "httpx", "anyio", "aiosqlite", "websockets", "coincurve"} == set()
    assert "rich.table" not in loaded_by("status", "--json", config=cli.config)
    for help_of in ([], ["settlements"], ["settlements", "list"]):
        assert not [module for module in loaded_by(*help_of, "--help") if module.partition(".")[0] == "rich"]


def test_help_tells_of_each_verb_in_full() -> None:
    shown = " ".join(CliRunner().invoke(app, ["settlements", "--help"], env={"COLUMNS": "80"}).stdout.split())
    assert "Show one sale: its figures, its payments, what stays in the wallet and why, events and notes." in shown


def test_a_closed_pipe_is_quiet(cli: Cli) -> None:
    script = f"{sys.executable} -c 'from satmachine.cli.main import main; main()' settlements list --json | head -c 1"
    environ = {**os.environ, "SATMACHINE_CONFIG": str(cli.config)}
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environ, check=False)
    assert (run.stdout, run.stderr) == ("[", "")


def test_completion_knows_nouns_and_verbs() -> None:
    for words, expected in (("satmachine sett", "settlements"), ("satmachine settlements unm", "unmatched")):
        environ = {
            "_SATMACHINE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        result = CliRunner().invoke(app, [], env=environ, prog_name="satmachine")
        assert expected in result.stdout


def test_an_interrupt_leaves_with_130(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("satmachine.cli.status._read", interrupt)
    assert cli("status").exit_code == 130
