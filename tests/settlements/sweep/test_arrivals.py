"""What a sweep of a machine's wallet does with incoming payments, and how far it says that it has read."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest

from satmachine.config import Machine
from satmachine.config.model import LONGEST_AFTER_S
from satmachine.models import Answer, HoldReason
from satmachine.settlements.sweep.arrivals import note_incoming
from satmachine.settlements.sweep.one_sweep import OVERLAP_S, _ReadTo
from satmachine.settlements.sweep.unannounced import ANNOUNCED_AFTER_S
from satmachine.store import settlements, wallet_rows
from satmachine.store.database import atomic
from satmachine.store.wallet_rows import ReadUntil
from satmachine.wallet.rows import WalletPayment
from testkit.books import HASH, MACHINE, NOW
from testkit.config_files import VALID, load_text

WHOLE = {"source": "bitspire", "net_sats": 258_835, "fee_sats": 7_965, "exchange_rate": 143, "currency": "GTQ"}
GROSS_ONLY = {"source": "bitspire", "exchange_rate": 143}
NO_RATE = {key: value for key, value in WHOLE.items() if key != "exchange_rate"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    [configured] = load_text(tmp_path, VALID).machines
    return configured.model_copy(update={"id": MACHINE, "payouts_since": 0})


def paid(extra: Mapping[str, object], *, created_at: int = NOW, settled_at: int = NOW) -> WalletPayment:
    """The customer's payment in the machine's wallet."""
    return WalletPayment(
        payment_hash=HASH,
        checking_id="x",
        wallet_id="w",
        amount_msat=266_800_000,
        fee_msat=0,
        status=Answer.SUCCESS,
        memo="",
        tag=None,
        extra=extra,
        external_id=None,
        bolt11="",
        preimage=None,
        created_at=created_at,
        updated_at=settled_at,
    )


def sweep(books: sqlite3.Connection, machine: Machine, row: WalletPayment, *, now: int) -> tuple[int, int]:
    with atomic(books):
        arrived = note_incoming(books, machine, [row], may_land=True, now=now)
    return arrived.landed, arrived.unmatched


def test_a_payment_that_carries_the_whole_sale_is_landed_at_once(books: sqlite3.Connection, machine: Machine) -> None:
    assert sweep(books, machine, paid(WHOLE), now=NOW) == (1, 0)


@pytest.mark.parametrize("extra", [GROSS_ONLY, NO_RATE], ids=["no split", "no rate"])
def test_one_that_does_not_waits_for_the_machines_own_figures(
    books: sqlite3.Connection, machine: Machine, extra: dict[str, object]
) -> None:
    assert sweep(books, machine, paid(extra), now=NOW + ANNOUNCED_AFTER_S - 1) == (0, 0)
    assert sweep(books, machine, paid(extra), now=NOW + ANNOUNCED_AFTER_S) == (1, 0)


def test_waiting_ends_before_the_sweep_stops_reading_the_payment() -> None:
    assert ANNOUNCED_AFTER_S <= LONGEST_AFTER_S < OVERLAP_S


def test_an_invoice_from_before_payouts_since_is_listed_and_never_landed(
    books: sqlite3.Connection, machine: Machine
) -> None:
    late = machine.model_copy(update={"payouts_since": NOW})
    assert sweep(books, late, paid(WHOLE, created_at=NOW - 60), now=NOW + 60) == (0, 1)


def test_a_payment_for_a_sale_that_was_closed_unpaid_comes_back_to_a_person(
    books: sqlite3.Connection, machine: Machine
) -> None:
    sweep(books, machine, paid(WHOLE), now=NOW)
    with atomic(books):
        books.execute("UPDATE dca_settlements SET status = 'partial', finished_at = ?", (NOW,))
    sweep(books, machine, paid(WHOLE), now=NOW + 60)
    settlement = settlements.get(books, 1)
    assert (settlement.status, settlement.hold_reason) == ("held", "paid_after_close")
    assert "after this sale was closed" in str(settlement.error)


def test_a_sale_that_a_person_closed_although_it_was_paid_stays_closed(
    books: sqlite3.Connection, machine: Machine
) -> None:
    sweep(books, machine, paid(WHOLE), now=NOW)
    sweep(books, machine, paid(WHOLE), now=NOW + 5)  # the wallet has shown it: it is held, and the person closes it
    with atomic(books):
        settlements.hold(books, 1, reason=HoldReason.PAYMENT_MISMATCH, error="other figures", payment_seen=True)
        books.execute("UPDATE dca_settlements SET status = 'partial', hold_reason = NULL, finished_at = ?", (NOW,))
    sweep(books, machine, paid(WHOLE), now=NOW + 60)
    assert settlements.get(books, 1).status == "partial"


def test_a_sale_that_was_closed_again_after_the_payment_came_stays_closed(
    books: sqlite3.Connection, machine: Machine
) -> None:
    sweep(books, machine, paid(WHOLE), now=NOW)
    for _ in range(2):
        with atomic(books):
            books.execute("UPDATE dca_settlements SET status = 'partial', hold_reason = NULL, finished_at = ?", (NOW,))
        sweep(books, machine, paid(WHOLE), now=NOW + 60)
    assert settlements.get(books, 1).status == "partial"


def marks_after(books: sqlite3.Connection, reached: _ReadTo, now: int) -> ReadUntil:
    with atomic(books):
        wallet_rows.mark_swept(books, MACHINE, reached.marks(), now)
    return wallet_rows.read_until(books, MACHINE)


def test_marks_follow_the_rows_that_were_read_not_our_clock(books: sqlite3.Connection) -> None:
    a_day_ahead = _ReadTo(NOW + 86_400)
    a_day_ahead.incoming([NOW - 50, NOW])
    assert marks_after(books, a_day_ahead, NOW).swept_until == NOW - OVERLAP_S


def test_a_sweep_that_read_nothing_moves_no_mark(books: sqlite3.Connection) -> None:
    assert marks_after(books, _ReadTo(NOW), NOW) == ReadUntil(0, 0)


def test_a_mark_that_a_wrong_clock_set_ahead_is_taken_back(books: sqlite3.Connection) -> None:
    with atomic(books):
        books.execute("UPDATE dca_wallets SET swept_until = ?", (NOW + 86_400,))
    reached = _ReadTo(NOW)
    reached.incoming([NOW - 5])
    assert marks_after(books, reached, NOW).swept_until == NOW - 5 - OVERLAP_S
