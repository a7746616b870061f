"""When `doctor` says that LNbits needs its tuning, and what it tells to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from satmachine.cli.main import app
from satmachine.ops import tuning
from satmachine.ops.findings import CheckResult
from satmachine.ops.tuning import MANY_PAYMENTS, NOT_QUICK_MS, SLOW_READ_MS, Speed, Tuning, needs_tuning

CONTRIB = Path(__file__).parents[2] / "contrib" / "lnbits"
URL = "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("cost_ms", "payments", "needed"),
    [
        (1, 0, False),
        (NOT_QUICK_MS - 1, MANY_PAYMENTS, False),
        (NOT_QUICK_MS, MANY_PAYMENTS, True),
        (NOT_QUICK_MS, MANY_PAYMENTS - 1, False),
        (SLOW_READ_MS - 1, 100, False),
        (SLOW_READ_MS, 100, True),
        (SLOW_READ_MS - 1, None, False),
        (SLOW_READ_MS, None, True),
    ],
)
def test_payments_and_time_decide_together(cost_ms: float, payments: int | None, needed: bool) -> None:
    assert needs_tuning(Speed(100 + cost_ms, 100, payments)) is needed


def test_a_slow_network_alone_is_no_reason() -> None:
    assert not needs_tuning(Speed(read_ms=900, plain_ms=899, payments=1_000_000))
    assert Speed(read_ms=5, plain_ms=9, payments=1).cost_ms == 0


def test_what_is_quick_has_nothing_to_do() -> None:
    found = tuning.finding(Speed(8, 3, 1_204), URL, external_id=True)
    assert (found.verdict, found.fix) == (CheckResult.OK, "")
    assert found.detail == "LNbits needs 5 ms to find a wallet's balance; your machines' wallets have 1,204 payments"


@pytest.mark.parametrize(("external_id", "sqlite"), [(True, "sqlite-1.5"), (False, "sqlite")])
def test_what_is_slow_is_told_the_file_for_its_version_and_both_databases(external_id: bool, sqlite: str) -> None:
    found = tuning.finding(Speed(180, 4, None), URL, external_id=external_id)
    assert found.verdict is CheckResult.WARNING
    assert "176 ms" in found.detail
    assert re.findall(r"satmachine doctor --tuning ([\w.-]+)`", found.fix) == [sqlite, "postgresql"]


@pytest.mark.parametrize("name", list(Tuning))
def test_the_command_prints_what_is_to_be_run_without_a_configuration(name: Tuning) -> None:
    done = CliRunner().invoke(app, ["--config", "/nowhere/config.toml", "doctor", "--tuning", name.value])
    assert done.exit_code == 0
    assert (CONTRIB / f"{name}.sql").read_text("utf-8") in done.stdout
    assert f"satmachine doctor --tuning {name} |" in done.stdout, "it says how it is used"
    if name is Tuning.SQLITE_1_5:
        assert done.stdout.startswith((CONTRIB / "sqlite.sql").read_text("utf-8")), "that one comes first"
