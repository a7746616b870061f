"""The command that a break prints is typed as it is printed: it runs, and where it is to mend the books, the break is
gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from satmachine.audit.proof import check_books
from satmachine.audit.remedies import Break, BreakKind, make_break
from satmachine.store.database import atomic
from testkit.sale_desk import Desk, copied
from tests.audit.test_books import NO_FIGURES, PLANTED, unguard
from tests.audit.test_books import closed as closed
from tests.audit.test_books import right_books as right_books
from tests.cli.typed import commands_in, typed

#: What the printed command mends by itself. Of the others the books were changed by something else than satmachine: the
#: command shows by whom and how, and stops nothing that is right.
MENDS = {BreakKind.UNORDERED, BreakKind.UNSETTLED, BreakKind.CASH_SUM, BreakKind.CHANGED_OUTSIDE}

#: Whose break only a wallet shows, and whose command only shows the sale.
SHOW_THE_SALE = {BreakKind.SALE_MISSING, BreakKind.NOT_DEBITED, BreakKind.NOT_CREDITED}
#: Whose command asks the machine's wallet, or reads a month that was closed: where that is typed.
TYPED_IN = {
    **dict.fromkeys(
        (BreakKind.UNKNOWN_PAYMENT, BreakKind.PAID_BUT_VOIDED, BreakKind.WALLET_SUM), "tests/day/test_ways_out.py"
    ),
    BreakKind.CLOSED_MONTH: "tests/reports/test_periods.py",
}


@pytest.fixture
def desk(closed: Desk, tmp_path: Path) -> Iterator[Desk]:
    """A copy of the right books in which nothing is guarded any more, with its configuration."""
    with copied(closed, tmp_path) as found:
        unguard(found.conn)
        yield found


def commands_of(broken: Break) -> list[str]:
    """What it prints: the command of its remedy, and those between backticks in its sentence."""
    named = commands_in(broken.detail)
    return [*named, broken.remedy] if broken.remedy.startswith("satmachine ") else named


#: Without the one that breaks every cash entry at once.
ALONE = [(kind, sql) for kind, sql, _ in PLANTED if kind not in TYPED_IN and sql != "DELETE FROM dca_cash_notes"]
ALONE += NO_FIGURES


@pytest.mark.parametrize(("kind", "sql"), ALONE, ids=[f"{kind}-{number}" for number, (kind, _) in enumerate(ALONE)])
def test_the_command_of_a_break_runs_and_mends_what_it_is_to_mend(desk: Desk, kind: BreakKind, sql: str) -> None:
    if kind is BreakKind.UNSETTLED:  # what has left the wallet was sent
        desk.invoice("dca:alice", settlement_id=3)
    with atomic(desk.conn):
        desk.conn.execute(sql)
    planted = [broken for broken in check_books(desk.conn) if broken.kind is kind]
    assert planted
    for command in dict.fromkeys(command for broken in planted for command in commands_of(broken)):
        typed(desk, command.replace("ADDRESS", "maria@example.org"))
    left = [broken for broken in check_books(desk.conn) if broken.kind is kind]
    assert bool(left) is (kind not in MENDS), left


@pytest.mark.parametrize("kind", sorted(SHOW_THE_SALE))
def test_what_a_wallet_lacks_leads_to_its_sale(desk: Desk, kind: BreakKind) -> None:
    facts = {"subject": "sale 1", "machine_id": "panajachel-1", "settlement_id": 1, "leg": "super", "sent_sats": 1}
    broken = make_break(kind, facts | {"gross_sats": 1, "payment_hash": "ab"})
    assert "Sale 1" in typed(desk, broken.remedy)


def test_the_command_of_every_break_is_typed_somewhere() -> None:
    root = Path(__file__).parents[2]
    assert {kind for kind, _ in ALONE} | SHOW_THE_SALE | TYPED_IN.keys() == set(BreakKind)
    for kind, place in TYPED_IN.items():
        assert f"Kind.{kind.name}" in (root / place).read_text(), place
