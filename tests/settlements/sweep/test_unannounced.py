"""What can be made to look like no sale, or like one, by whoever has a wallet's invoice key: it is in every machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from satmachine.config import Machine
from satmachine.config.model import Unannounced
from satmachine.models import Answer, By
from satmachine.settlements.correct import changes, stops
from satmachine.settlements.correct.changes import ProvenUnpaid
from satmachine.settlements.land.landing import land_claim
from satmachine.settlements.sweep.arrivals import Arrived, note_incoming
from satmachine.settlements.sweep.hints import may_be_incoming
from satmachine.settlements.sweep.own_wallets import WalletOwner
from satmachine.settlements.sweep.topups import extra_of, genuine_id, topup_key
from satmachine.settlements.sweep.unannounced import ANNOUNCED_AFTER_S
from satmachine.store import incoming
from satmachine.store.database import atomic
from satmachine.store.incoming import TopUp
from satmachine.wallet.rows import WalletPayment
from testkit.books import HASH, MACHINE, NOW, OTHER_HASH, RULES, a_claim, fresh_books
from testkit.config_files import VALID, load_text

KEY = "admin-key-of-the-machine"
SATS = 266_800


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path) as conn:
        yield conn


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    [configured] = load_text(tmp_path, VALID).machines
    rule = Unannounced(sales="share", memo="^ATM ")
    return configured.model_copy(update={"id": MACHINE, "payouts_since": 0, "unannounced": rule})


def paid(payment_hash: str = HASH, **fields: Any) -> WalletPayment:
    row = WalletPayment(
        payment_hash, "x", "w", SATS * 1_000, 0, Answer.SUCCESS, "ATM 17", None, {}, None, "", None, NOW, NOW
    )
    return replace(row, **fields)


def takes_in(
    books: sqlite3.Connection, machine: Machine, *rows: WalletPayment, payer: WalletOwner | None = None
) -> Arrived:
    named = [
        (row.payment_hash, topup_id)
        for row in rows
        if (topup_id := genuine_id(row.extra, machine.id, row.amount_sats, KEY)) is not None
    ]
    payers = {row.payment_hash: payer for row in rows}
    with atomic(books):
        return note_incoming(books, machine, rows, may_land=True, named_top_ups=named, payers=payers, now=NOW)


def listed(books: sqlite3.Connection) -> dict[str, str]:
    """The kind of every payment that is no sale."""
    return {row["payment_hash"]: row["kind"] for row in books.execute("SELECT * FROM dca_unmatched_payments")}


def made(books: sqlite3.Connection, topup_id: str, payment_hash: str) -> None:
    """`machines top-up` has made this invoice."""
    with atomic(books):
        incoming.add_top_up(books, TopUp(MACHINE, payment_hash, topup_id, SATS, NOW, "mario", "", NOW + 9, "lnbc1"))


def top_up(payment_hash: str, topup_id: str = "t-1", **fields: Any) -> WalletPayment:
    """A payment whose invoice bears the words of a top-up, as LNbits shows them to every key of the wallet."""
    return paid(payment_hash, extra=extra_of(MACHINE, topup_id, SATS, KEY), **fields)


def test_a_customers_payment_is_shared(books: sqlite3.Connection, machine: Machine) -> None:
    assert takes_in(books, machine, paid()).landed == 1


#: A payment of a machine that announces its sales; no event with its hash has come.
LATE = paid(created_at=NOW - ANNOUNCED_AFTER_S, updated_at=NOW - ANNOUNCED_AFTER_S)


def announced(books: sqlite3.Connection) -> int:
    """A sale that its machine has told of, without the hash of its payment."""
    claim = a_claim(payment_hash=None, gross_sats=SATS)
    with atomic(books):
        sale = land_claim(books, claim, RULES, NOW, event_id="ab" * 32).settlement_id
    assert sale is not None
    return sale


@pytest.mark.parametrize("word", ["held", "closed"])
def test_a_payment_that_may_be_of_a_sale_that_a_person_has_stopped_is_listed(
    books: sqlite3.Connection, machine: Machine, word: str
) -> None:
    """The sale was announced without its payment's hash: only the amount and the day tell."""
    sale = announced(books)
    by = By("ana", "the customer got nothing", NOW)
    with atomic(books):
        if word == "held":
            stops.hold(books, sale, by)
        else:
            changes.close(books, sale, ProvenUnpaid(), by)
    assert takes_in(books, machine, LATE).landed == 0
    row = books.execute("SELECT reason FROM dca_unmatched_payments").fetchone()
    assert row["reason"] == f"sale {sale} of the same amount was stopped by a person: this may be its payment"


def test_a_sale_that_merely_waits_for_its_payment_does_not_keep_it_from_being_shared(
    books: sqlite3.Connection, machine: Machine
) -> None:
    announced(books)
    assert takes_in(books, machine, LATE).landed == 1


def test_the_words_of_a_top_up_beside_a_customers_invoice_hide_no_sale(
    books: sqlite3.Connection, machine: Machine
) -> None:
    made(books, "t-1", HASH)
    assert takes_in(books, machine, top_up(HASH), top_up(OTHER_HASH)).landed == 1
    assert listed(books) == {HASH: "top_up"}


def test_nor_do_they_before_the_top_up_is_paid(books: sqlite3.Connection, machine: Machine) -> None:
    made(books, "t-1", HASH)
    assert takes_in(books, machine, top_up(OTHER_HASH)).landed == 1
    assert takes_in(books, machine, top_up(HASH)) == Arrived()
    assert listed(books) == {HASH: "top_up"}


def test_of_a_top_up_of_lost_books_one_payment_counts_the_first_one(
    books: sqlite3.Connection, machine: Machine
) -> None:
    assert takes_in(books, machine, top_up(HASH)).landed == 0
    assert takes_in(books, machine, top_up(OTHER_HASH)).landed == 1
    assert listed(books) == {HASH: "top_up"}


def test_the_key_of_a_top_up_that_is_copied_too_waits_for_a_person(books: sqlite3.Connection, machine: Machine) -> None:
    made(books, "t-1", HASH)
    copied = top_up(OTHER_HASH, external_id=topup_key(MACHINE, "t-1"))
    assert takes_in(books, machine, copied) == Arrived(unmatched=1)
    assert listed(books) == {OTHER_HASH: "unknown"}


@pytest.mark.parametrize("key", ["sm1:" + "aa" * 32 + ":r1:super", "sm1:" + "aa" * 32 + ":mark:0", "sm1:anything"])
def test_a_key_of_satmachines_that_these_books_have_not_given_hides_no_payment(
    books: sqlite3.Connection, machine: Machine, key: str
) -> None:
    for row in (paid(external_id=key), paid(OTHER_HASH, extra={"leg_key": key})):
        assert takes_in(books, machine, row) == Arrived(unmatched=1)
    assert listed(books) == {HASH: "unknown", OTHER_HASH: "unknown"}
    # Its event, if there is one, lands it: nothing says that it is no sale.
    assert incoming.no_sale(books, MACHINE, HASH) is None


def test_a_partner_who_pays_under_the_machines_own_memo_is_not_shared_out(
    books: sqlite3.Connection, machine: Machine
) -> None:
    partner = WalletOwner("the wallet of owner", is_machine=False)
    assert takes_in(books, machine, paid(), payer=partner) == Arrived(unmatched=1)
    assert listed(books) == {HASH: "unknown"}


def test_a_memo_that_only_contains_the_machines_is_reported(books: sqlite3.Connection, machine: Machine) -> None:
    assert takes_in(books, machine, paid(memo="for the ATM 17")) == Arrived(unmatched=1)


def test_the_same_page_twice_or_in_another_order_is_the_same(books: sqlite3.Connection, machine: Machine) -> None:
    made(books, "t-1", HASH)
    rows = [top_up(HASH), paid(OTHER_HASH)]
    assert takes_in(books, machine, *rows).landed == 1
    assert takes_in(books, machine, *reversed(rows)) == Arrived()
    [sale] = books.execute("SELECT payment_hash FROM dca_settlements").fetchall()
    assert sale["payment_hash"] == OTHER_HASH


@pytest.mark.parametrize(
    ("told", "hint"),
    [
        ('{"payment": {"amount": 5, "status": "success"}}', True),
        ('{"payment": {"amount": -5, "status": "success"}}', False),
        ('{"payment": {"amount": 5, "status": "pending"}}', False),
        ('{"payment": {"amount": true, "status": 7}}', True),
        ("nonsense", True),
        ("[" * 5_000, True),
        ("null", True),
    ],
)
def test_a_lie_over_the_websocket_costs_a_look_or_saves_one_and_nothing_else(told: str, hint: bool) -> None:
    assert may_be_incoming(told) is hint
