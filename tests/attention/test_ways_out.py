"""Every reason for which a sale or a payment waits for a person: the command that the list prints is typed as it is
printed, the item is gone, and the books add up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from satmachine.attention.items import CONDITIONS, Item, Thresholds
from satmachine.attention.look import Viewpoint, look
from satmachine.audit.proof import check_books
from satmachine.models import HoldReason
from satmachine.store import legs, settlements
from satmachine.store.database import atomic
from testkit.books import NOW
from testkit.sale_desk import Desk, add_provider, copied, open_desk
from tests.cli.typed import typed

ROOT = Path(__file__).parents[2]
#: A sale that is planned, and one of whose payments was sent; one that is not planned yet.
SALE, UNPLANNED = 1, 2
LEG = "dca:alice"

#: For which the whole sale waits; for which one of its payments does.
OF_SALES = {
    HoldReason.BY_OPERATOR,
    HoldReason.PAID_AFTER_CLOSE,
    HoldReason.PAYMENT_NOT_FOUND,
    HoldReason.PAYMENT_MISMATCH,
    HoldReason.BEFORE_PAYOUTS_SINCE,
    HoldReason.NO_PAYMENT_HASH,
    HoldReason.COMMISSION_OUT_OF_BOUNDS,
    HoldReason.RATE_OUT_OF_BOUNDS,
    HoldReason.DAILY_LIMIT,
    HoldReason.NOT_A_SALE,
    HoldReason.TOLD_TWICE,
    HoldReason.MACHINE_ERROR,
}
OF_LEGS = {
    HoldReason.DEBIT_WITHOUT_CREDIT,
    HoldReason.PAID_BY_ANOTHER,
    HoldReason.WALLET_ROLLED_BACK,
    HoldReason.BAD_PREIMAGE,
    HoldReason.AMOUNT_MISMATCH,
    HoldReason.CONTRADICTION,
    HoldReason.CREDIT_UNSEEN,
    HoldReason.PAYEE_CHANGED,
    HoldReason.UNORDERED,
}
#: Found before anything of the payment was sent.
NEVER_SENT = {HoldReason.PAYEE_CHANGED, HoldReason.UNORDERED}
#: Whose command needs a daemon or a wallet: the test on real parts that types it.
ON_REAL_PARTS = {
    HoldReason.MACHINE_INACTIVE: "tests/day/test_ways_out.py",
    HoldReason.UNKNOWN_PAYMENTS: "tests/day/test_ways_out.py",
    HoldReason.MARKS_CONFLICT: "tests/day/test_ways_out.py",
}

#: Where a condition of the list ends by its printed command, or by what that shows to do.
ENDED_IN = {
    "daemon_down": "tests/day/test_ways_out.py",
    "daemon_frozen": "tests/day/test_day.py",
    "safe_mode": "tests/day/test_ways_out.py",
    "machine_error": "tests/day/test_day.py",
    "settlement_held": "tests/day/test_corrections.py",
    "payment_failing": "tests/day/test_changes.py",
    "payouts_paused": "tests/day/test_corrections.py",
    "wallet_low": "tests/day/test_ways_out.py",
    "cassette_low": "tests/day/test_ways_out.py",
    "cash_differs": "tests/day/test_ways_out.py",
    "quarantined": "tests/day/test_day.py",
    "rate_unknown": "tests/day/test_ways_out.py",
    "shortfall_waits": "tests/day/test_corrections.py",
    "unmatched": "tests/day/test_ways_out.py",
}
#: Whose command only shows what is wrong, because it is mended elsewhere, or leads to a sale or payment of the above:
#: tests/attention/test_look.py runs each.
SHOWN = {
    "books_broken",
    "settlement_errored",
    "payment_waits",
    "wallet_unreachable",
    "machine_silent",
    "cash_out_soon",
    "relay_quiet",
    "request_waits",
}


@pytest.fixture(scope="module")
def sales(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = open_desk(tmp_path_factory.mktemp("sales"))
    add_provider(desk, "alice", 10_000_000)
    for number in (SALE, UNPLANNED):
        assert desk.land(number) == number
    desk.plan(SALE)
    desk.invoice(LEG, settlement_id=SALE)
    return desk


@pytest.fixture
def desk(sales: Desk, tmp_path: Path) -> Iterator[Desk]:
    """A copy of the sales for one test."""
    with copied(sales, tmp_path) as found:
        yield found


def the_item(desk: Desk, settlement_id: int) -> Item | None:
    """What the list says of a sale."""
    found = look(desk.conn, Viewpoint(Thresholds(), NOW + 60), daemon_runs=True)
    return next((item for item in found.items if item.settlement_id == settlement_id), None)


@pytest.mark.parametrize("reason", sorted(OF_SALES))
def test_a_held_sale_goes_on_by_the_command_that_is_printed(desk: Desk, reason: HoldReason) -> None:
    with atomic(desk.conn):
        assert settlements.hold(desk.conn, UNPLANNED, reason=reason, error="as it was")
    item = the_item(desk, UNPLANNED)
    assert item is not None
    typed(desk, item.command)
    assert the_item(desk, UNPLANNED) is None
    assert desk.sale(UNPLANNED).status in ("pending", "partial")
    if desk.sale(UNPLANNED).status == "pending":
        desk.plan(UNPLANNED)
        desk.pay_all(UNPLANNED)
    assert check_books(desk.conn) == []


@pytest.mark.parametrize("reason", sorted(OF_LEGS))
def test_a_held_payment_goes_on_by_the_command_that_is_printed(desk: Desk, reason: HoldReason) -> None:
    sale = SALE
    if reason in NEVER_SENT:
        desk.plan(sale := UNPLANNED)
    with atomic(desk.conn):
        assert legs.hold(desk.conn, desk.leg(LEG, sale), reason=reason, error="as it was", evidence={})
        settlements.refresh_status(desk.conn, sale, NOW)
    item = the_item(desk, sale)
    assert item is not None
    typed(desk, item.command)
    assert desk.leg(LEG, sale).status != "held"
    assert the_item(desk, sale) is None
    desk.pay_all(sale)
    assert check_books(desk.conn) == []


def test_every_reason_is_walked_out_of() -> None:
    assert OF_SALES | OF_LEGS | ON_REAL_PARTS.keys() == set(HoldReason)
    for reason, place in ON_REAL_PARTS.items():
        assert f"HoldReason.{reason.name}" in (ROOT / place).read_text(), reason


def test_every_condition_is_walked_out_of_or_shown() -> None:
    assert ENDED_IN.keys() | SHOWN == set(CONDITIONS)
    assert not ENDED_IN.keys() & SHOWN
    for condition, place in ENDED_IN.items():
        assert condition in (ROOT / place).read_text(), condition


def test_the_page_of_corrections_says_what_to_do_about_every_held_sale() -> None:
    page = (ROOT / "docs" / "corrections.md").read_text()
    table = page.partition("## A sale is held")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    of_legs_alone = OF_LEGS - {HoldReason.MARKS_CONFLICT}
    assert told == set(HoldReason) - of_legs_alone
