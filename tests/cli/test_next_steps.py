"""A screen that shows a problem says what to do next, as commands that run; a question never claims what is not so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from satmachine.attention.items import Attention, Item
from satmachine.cli.main import app
from satmachine.cli.needs import print_items
from satmachine.models import Cause, HoldReason
from satmachine.store import incoming, settlements
from satmachine.store.database import atomic
from testkit.books import NOW
from testkit.sale_desk import MACHINE, Desk, add_provider, copied, open_desk
from tests.cli.typed import commands_in, typed

PLANNED, UNPROVEN = 1, 2
TOP_UP = "cd" * 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A sale that is planned, one that is held before its payment is proven, and money of no sale."""
    desk = open_desk(tmp_path_factory.mktemp("steps"))
    add_provider(desk, "alice", 10_000_000)
    assert desk.land(PLANNED) == PLANNED
    desk.plan(PLANNED)
    assert desk.land(UNPROVEN) == UNPROVEN
    with atomic(desk.conn) as conn:
        conn.execute(
            "UPDATE dca_settlements SET proof = 'waiting', proven_at = NULL, settlement_key = NULL WHERE id = ?",
            (UNPROVEN,),
        )
        settlements.hold(conn, UNPROVEN, reason=HoldReason.PAYMENT_MISMATCH, error="the wallet received 5 sats")
        incoming.note(
            conn,
            MACHINE,
            payment_hash=TOP_UP,
            amount_sats=50_000,
            memo="",
            extra={},
            settled_at=NOW,
            reason="it does not say that it is a sale",
            kind="unknown",
            now=NOW,
        )
    return desk


@pytest.fixture
def desk(made: Desk, tmp_path: Path) -> Iterator[Desk]:
    with copied(made, tmp_path) as found:
        yield found


def says(desk: Desk, *words: str, code: int = 0, answers: str = "") -> str:
    """Type it; all that it says, on one line."""
    left = CliRunner().invoke(app, ["--config", str(desk.path), *words], input=answers)
    assert left.exit_code == code, left.output
    return " ".join(left.output.split())


def fail(desk: Desk, leg: str) -> None:
    with atomic(desk.conn) as conn:
        conn.execute(
            "UPDATE dca_payments SET error = 'no answer', cause = ?, attempts = 3, planned_at = 1 WHERE leg = ?",
            (Cause.PAYEE_UNREACHABLE, leg),
        )


def test_payments_that_fail_say_how_to_give_the_payee_another_address(desk: Desk) -> None:
    fail(desk, "dca:alice")
    fail(desk, "split:technician")
    shown = says(desk, "payments", "list", "--status", "failing")
    lp, reload_first = (desk.leg("dca:alice").client_id, "satmachine config reload")
    assert commands_in(shown) == [
        f"satmachine clients update {lp} --lightning-address NAME@HOST",
        f"satmachine payments repoint --payee client:{lp}",
        reload_first,
        "satmachine payments repoint --payee technician",
    ]
    assert commands_in(says(desk, "payments", "list")) == []


def test_a_changed_payee_says_what_still_goes_to_the_former_one(desk: Desk) -> None:
    update = ("clients", "update", "alice", "--lightning-address", "new@example.org", "--unchecked")
    dry = says(desk, *update, "--dry-run")
    assert "alice@example.org -> new@example.org" in dry
    assert "payee_kind" not in dry
    [repoint] = commands_in(says(desk, *update))
    typed(desk, repoint)
    assert desk.leg("dca:alice").payee == "new@example.org"
    assert commands_in(says(desk, "clients", "update", "alice", "--status", "paused")) == []


def test_money_of_no_sale_says_what_can_be_done_with_it(desk: Desk) -> None:
    dismiss, land = commands_in(says(desk, "settlements", "unmatched"))
    assert land == "satmachine settlements land HASH"
    typed(desk, dismiss.replace("HASH", TOP_UP))
    assert commands_in(says(desk, "settlements", "unmatched", "--all")) == []


def test_what_is_not_held_is_not_asked_about(desk: Desk) -> None:
    for flags in ((), ("--dry-run",)):
        said = says(desk, "settlements", "release", "1", "--reason", "x", *flags, code=1, answers="y\n")
        assert "sale 1 is pending, not held" in said
        assert "Release sale" not in said


def test_a_correction_is_shown_in_the_words_of_the_other_screens(desk: Desk) -> None:
    shown = says(desk, "settlements", "partial-dispense", "1", "--fraction", "50%", "--reason", "jam", "--dry-run")
    for word in ("For LPs", "Commission", "Not handed out", "Cash"):
        assert word in shown
    assert "_sats" not in shown


def test_a_sale_that_was_never_proven_does_not_claim_sats(desk: Desk) -> None:
    """The wallet may have received more, less or nothing."""
    said = typed(desk, "satmachine settlements close 2 --reason x")
    assert "never proven" in said
    assert "266800 sats that were not paid" not in said
    assert "if they ever came" in says(desk, "settlements", "show", "2")
    refused = says(desk, "settlements", "refund", "2", "5", "--to", "a@example.org", "--reason", "x", code=1)
    assert "docs/corrections.md" in refused


def test_what_was_kept_and_then_paid_out_says_so(desk: Desk) -> None:
    typed(desk, "satmachine settlements partial-dispense 1 --fraction 50% --reason jam")
    desk.plan(PLANNED)
    typed(desk, "satmachine settlements refund 1 133400 --to ana@example.org --reason jam")
    assert "-133400 paid out after all, or taken back: this part of the cash" in says(desk, "settlements", "show", "1")


def test_a_sale_of_which_no_proof_was_asked_claims_no_sats_either(desk: Desk) -> None:
    """It may be the same sale, told again."""
    with atomic(desk.conn) as conn:
        conn.execute(
            "UPDATE dca_settlements SET proof = 'waived', hold_reason = 'told_twice' WHERE id = ?", (UNPROVEN,)
        )
    assert "if they ever came in" in typed(desk, f"satmachine settlements close {UNPROVEN} --reason same")
    shown = says(desk, "settlements", "show", str(UNPROVEN))
    assert "if they ever came" in shown
    assert "none is asked for" in shown


def test_a_closed_sale_of_which_no_proof_was_asked_is_not_paid_out_without_a_word_about_it(desk: Desk) -> None:
    """It may be the same sale, told again: then it would be paid twice."""
    with atomic(desk.conn) as conn:
        conn.execute("UPDATE dca_settlements SET proof = 'waived', proven_at = 1 WHERE id = ?", (UNPROVEN,))
        settlements.ask_about(conn, UNPROVEN, [str(PLANNED)])
        conn.execute("UPDATE dca_settlements SET settlement_key = ? WHERE id = ?", ("ee" * 32, UNPROVEN))
    typed(desk, f"satmachine settlements close {UNPROVEN} --reason same")
    asked = says(desk, "settlements", "refund", str(UNPROVEN), "100", "--to", "a@example.org", "--reason", "x", code=1)
    assert "it is not proven that its sats came in, and it was asked whether it is another one (1), told again" in asked


def test_how_long_a_machine_is_silent_stands_once_on_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Item("machine_silent", "m", "m is silent: no beacon and no sale for 35 min", "satmachine status", NOW)
    low = Item("wallet_low", "m", "The wallet of m is low", "satmachine status", NOW)
    print_items(Attention((silent, low)), NOW + 2_100)
    shown = capsys.readouterr().out
    assert "for 35 min (for" not in shown
    assert "is low (for 35" in shown


@pytest.mark.parametrize("error", ["\x1b[31mred\x07 \u202e\n", "", None, " the  printer's 'jam' "], ids=repr)
def test_a_sale_is_released_whatever_the_words_are_for_which_it_is_held(desk: Desk, error: str | None) -> None:
    """They are compared with what was shown; a machine may have written them."""
    with atomic(desk.conn) as conn:
        conn.execute("UPDATE dca_settlements SET error = ? WHERE id = ?", (error, UNPROVEN))
    assert "continues" in typed(desk, f"satmachine settlements release {UNPROVEN} --reason seen")
