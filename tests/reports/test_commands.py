"""`report`, `export` and `period` as an accountant types them: wrong input, too, is answered with what to do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from satmachine.config import load
from satmachine.ledger.entries import balances
from satmachine.ledger.postings import SAT, account
from satmachine.nostr.keys import hex_to_npub, public_key_of
from satmachine.ops import host_check
from satmachine.reports.signed import Unproven, verify_file
from satmachine.store.database import atomic
from tests.cli.books import Cli
from tests.reports.conftest import cli_of
from tests.reports.year import DAY_S, MACHINES, START, Year


def told(cli: Cli, *arguments: str) -> str:
    return " ".join(cli(*arguments).output.split())


def test_a_rate_is_of_one_currency(cli: Cli) -> None:
    refused = cli("report", "--rate", "140")
    assert refused.exit_code == 2
    assert "count in GTQ and USD: name one of them with --machine" in " ".join(refused.output.split())
    assert "sats at 140 are" in told(cli, "report", "--rate", "140", "--machine", MACHINES[0])


def test_a_wallet_is_compared_with_the_books_of_when_it_was_read(fresh: Year) -> None:
    cli, machine, now = cli_of(fresh), MACHINES[0], int(time.time())
    wallet_sats = balances(fresh.conn, now)[account("Assets", "Wallet", machine), SAT]
    _read(fresh, wallet_sats, now - 60)
    fresh.now = now - 30
    fresh.sale(machine)
    assert "its wallet had" not in told(cli, "report")
    _read(fresh, wallet_sats + 7, now - 60)
    assert f"the books explain {wallet_sats:,} of then".replace(",", "\u202f") in cli("report", columns=400).output
    _read(fresh, wallet_sats + 7, now - 2 * DAY_S)
    assert "its wallet had" not in told(cli, "report")


def _read(year: Year, sats: int, at: int) -> None:
    with atomic(year.conn):
        year.conn.execute(
            "UPDATE dca_wallets SET balance_sats = ?, checked_at = ? WHERE machine_id = ?", (sats, at, MACHINES[0])
        )


@pytest.mark.parametrize("form", ["beancount", "hledger", "csv"])
def test_an_export_with_nothing_in_it_says_so_beside_the_file(cli: Cli, tmp_path: Path, form: str) -> None:
    before = cli("export", "ledger", "--format", form, "--month", "2024-02")
    assert before.stderr == "These books have nothing of that time: they begin in 2026-01.\n"
    assert "nothing" not in before.stdout
    path = tmp_path / "books"
    path.write_text(cli("export", "ledger", "--format", form).stdout, "utf-8")
    again = cli("export", "ledger", "--format", form, "--known", str(path))
    assert (again.stdout, again.stderr) == ("", f"Nothing is new since {path}.\n")


def test_an_export_goes_on_in_the_format_that_it_has(cli: Cli, tmp_path: Path) -> None:
    forms = ("beancount", "hledger", "csv")
    for form in forms:
        path = tmp_path / form
        path.write_text(cli("export", "ledger", "--format", form).stdout, "utf-8")
        for other in forms:
            done = cli("export", "ledger", "--format", other, "--known", str(path), columns=400)
            assert done.exit_code == (0 if other == form else 2)
            assert other == form or f"is an export with --format {form}" in done.output


@pytest.mark.parametrize(
    ("month", "words"),
    [
        ("2025-12", "nothing of 2025-12: they begin in 2026-01"),
        ("November", "'November' is no month; write it like 2026-11"),
        ("2026-13", "is no month"),
        ("2999-01", "2999-01 is not over yet"),
    ],
)
def test_only_a_month_of_the_books_can_be_closed(cli: Cli, month: str, words: str) -> None:
    refused = cli("period", "close", month, "--reason", "done", "--yes")
    assert refused.exit_code in (1, 2)
    assert words in " ".join(refused.output.split())


def test_closing_months_from_the_command_line(fresh: Year) -> None:
    cli = cli_of(fresh)
    fresh.now = START + 70 * DAY_S
    fresh.pay(fresh.sale(MACHINES[0]))
    assert told(cli, "period", "check") == "No month was closed yet."
    close = ("period", "close", "2026-03", "--reason", "done")
    said = told(cli, *close, "--dry-run")
    assert "2026-03 is the first month to be closed, but the books begin in 2026-01." in said
    [first] = [cli("period", "close", "2026-01", "--reason", "done", "--yes")]
    assert "first month to be closed" not in first.output
    assert len(first.output.splitlines()[-1]) == 64
    assert "first month to be closed" not in told(cli, *close, "--dry-run")
    other_zone = cli("--tz", "America/Guatemala", "period", "close", "2026-02", "--reason", "done", "--yes")
    assert "2026-01 was closed in the zone UTC: close 2026-02 with --tz UTC too" in other_zone.output


@pytest.mark.parametrize("content", [b"", b"\n", b"  \r\n"])
def test_an_empty_file_is_called_empty(content: bytes) -> None:
    assert verify_file(content) == Unproven("it is empty")


def test_the_doctor_names_the_key_that_lps_check_statements_with(fresh: Year) -> None:
    def said() -> list[str]:
        return [one.detail for one in host_check.keys(fresh.config) if "signs as" in one.detail]

    assert said() == []
    text = fresh.config.path.read_text("utf-8")
    fresh.config.path.write_text(text.replace("[nostr]\n", f'[nostr]\nsecret_key = "{"7" * 64}"\n'), "utf-8")
    fresh.config = load(fresh.config.path)
    [words] = said()
    assert hex_to_npub(public_key_of(bytes.fromhex("7" * 64))) in words
