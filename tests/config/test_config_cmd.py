"""`satmachine config check` and `show`, as a person runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from satmachine.cli.config import app
from satmachine.config.as_text import to_text
from testkit.config_files import ENVIRON, LNURL, SECOND, VALID, changed, load_text

EVERYTHING = (
    changed("[nostr]", '[nostr]\nsecret_key = { credential = "nostr" }', VALID)
    + f'[[machines.splits]]\nlabel = "shop"\npct = 1\npayee = {{ lnurl = "{LNURL}" }}\n'
    + SECOND
    + 'daily_limit_sats = 5_000_000\nrelays = ["ws://localhost:7000"]\nactive = false\n'
)


def run(folder: Path, text: str, *arguments: str, environ: dict[str, str] = ENVIRON) -> Result:
    path = folder / "config.toml"
    path.write_text(text)
    path.chmod(0o600)
    return CliRunner().invoke(app, arguments, obj=SimpleNamespace(config_path=path), env=environ)


def test_check_says_that_all_is_well(tmp_path: Path) -> None:
    result = run(tmp_path, VALID, "check", "--secrets")
    assert result.exit_code == 0
    assert "panajachel-1" in result.stdout
    assert result.stdout.endswith("All well.\n")


def test_check_names_every_problem_and_leaves_with_3(tmp_path: Path) -> None:
    result = run(tmp_path, changed("0.30", "30", changed("GTQ", "gtq")), "check")
    assert result.exit_code == 3
    assert 'key "fee_pct"' in result.stderr
    assert 'key "currency"' in result.stderr
    assert result.stdout == ""


def test_check_prints_warnings_and_leaves_with_0(tmp_path: Path) -> None:
    result = run(tmp_path, changed("https://", "http://"), "check")
    assert result.exit_code == 0
    assert "warning: [lnbits]" in result.stdout


def test_check_reads_secrets_only_when_asked(tmp_path: Path) -> None:
    environ = dict.fromkeys(ENVIRON, "")
    assert run(tmp_path, VALID, "check", environ=environ).exit_code == 0
    result = run(tmp_path, VALID, "check", "--secrets", environ=environ)
    assert result.exit_code == 3
    assert "environment variable WALLET_1" in result.stderr


def test_check_finds_two_machines_with_one_wallet(tmp_path: Path) -> None:
    result = run(tmp_path, VALID + SECOND, "check", "--secrets", environ=ENVIRON | {"WALLET_2": "1" * 32})
    assert result.exit_code == 3
    assert "two machines never share a wallet" in result.stderr


@pytest.mark.parametrize(("text", "problems", "exit_code"), [(VALID, 0, 0), (changed("0.30", "30"), 1, 3)])
def test_check_json_is_for_programs(text: str, problems: int, exit_code: int, tmp_path: Path) -> None:
    result = run(tmp_path, text, "check", "--json")
    answer = json.loads(result.stdout)
    assert (len(answer["problems"]), answer["warnings"], result.exit_code) == (problems, [], exit_code)


@pytest.mark.parametrize("command", ["check", "show"])
def test_a_missing_file_leaves_with_3(command: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [command], obj=SimpleNamespace(config_path=tmp_path / "none.toml"))
    assert result.exit_code == 3
    assert f"`satmachine --config {tmp_path / 'none.toml'} init`" in result.stderr


def test_show_prints_a_file_that_says_the_same(tmp_path: Path) -> None:
    config = load_text(tmp_path, EVERYTHING)
    shown = run(tmp_path, EVERYTHING, "show").stdout
    assert shown == to_text(config) + "\n"
    again = load_text(tmp_path, shown)
    assert again.model_dump() == config.model_dump()


def test_show_marks_defaults_and_the_ruleset_in_force(tmp_path: Path) -> None:
    shown = run(tmp_path, EVERYTHING, "show").stdout
    assert "keep_days = 90  # default" in shown
    assert "fee_pct = 0.30\n" in shown
    assert "# ruleset in force: its own splits" in shown
    assert "# ruleset in force: the default splits of its operator" in shown


def test_show_masks_plain_secrets(tmp_path: Path) -> None:
    text = changed('{ env = "WALLET_1" }', '"planted-key"')
    for arguments in (["show"], ["show", "--json"], ["check"], ["check", "--secrets"]):
        assert "planted-key" not in run(tmp_path, text, *arguments).output
    assert 'admin_key = "********"' in run(tmp_path, text, "show").stdout


def test_show_json_has_exact_decimals_and_iso_times(tmp_path: Path) -> None:
    shown = json.loads(run(tmp_path, EVERYTHING, "show", "--json").stdout)
    assert shown["super"]["fee_pct"] == "0.30"
    assert shown["machines"][1]["payouts_since"] == "2026-11-22T06:00:00Z"
    assert shown["machines"][0]["wallet"] == {"admin_key": {"env": "WALLET_1"}, "invoice_key": None}


def test_the_help_of_the_program_does_not_wait_for_pydantic() -> None:
    program = "import sys, satmachine.cli.config; print('pydantic' in sys.modules, 'rich' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]


def test_shown_numbers_are_numbers(tmp_path: Path) -> None:
    shown = tomllib.loads(run(tmp_path, EVERYTHING, "show").stdout, parse_float=Decimal)
    assert shown["super"]["fee_pct"] == Decimal("0.30")
    assert shown["machines"][1]["daily_limit_sats"] == 5_000_000


def test_check_names_the_keys_that_only_root_can_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    text = changed('{ env = "WALLET_1" }', '{ credential = "market" }', VALID)
    result = run(tmp_path, text, "check", "--secrets")
    assert result.exit_code == 0, result.output
    assert "only root and the service can see them: market." in result.stdout
    assert result.stdout.endswith("All well, but 1 key(s) were not checked.\n")
    told = json.loads(run(tmp_path, text, "check", "--secrets", "--json").stdout)
    assert (told["problems"], told["left_out"]) == ([], ["market"])
