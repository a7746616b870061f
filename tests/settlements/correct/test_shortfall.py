"""A jam that is seen when all is paid: booked, topped up, refunded, or taken back; money and cash are conserved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satmachine.audit.proof import check_books
from satmachine.errors import NotFound, Refused
from satmachine.ledger import entries
from satmachine.ledger.postings import is_balanced
from satmachine.models import LegStatus
from satmachine.settlements.correct.shortfall import refund_sats
from satmachine.settlements.explain import explain_settlement
from satmachine.settlements.land.landing import contradiction
from satmachine.settlements.pay import seal_check
from satmachine.settlements.plan.shortfall_refund import top_up_id
from satmachine.store import clients, deposits, legs, list_queries, shortfalls
from satmachine.store.database import atomic
from satmachine.store.ledger import Span
from testkit.books import a_claim
from testkit.sale_desk import MACHINE, Desk, add_provider, open_desk
from tests.settlements.correct.test_changes import an_invoice

EVER = Span(0, 2**40)
#: Of 1,800 quetzales for 266,800 sats, 600 were not handed out.
SHORT: dict[str, Any] = {"short_minor": 60_000, "refund_sats": 88_933, "topup_sats": 88_933, "to": "ana@example.org"}


@pytest.fixture
def paid(tmp_path: Path) -> Iterator[Desk]:
    """The sale of the worked example, paid to the last sat."""
    desk = a_paid_sale(tmp_path)
    with closing(desk.conn):
        yield desk


def a_paid_sale(folder: Path) -> Desk:
    desk = open_desk(folder)
    for label, amount_minor in (("alice", 100_000), ("bruno", 60_000), ("carla", 40_000)):
        add_provider(desk, label, amount_minor)
    desk.land()
    desk.plan()
    desk.pay_all()
    return desk


def cash(desk: Desk, view: str, column: str) -> int:
    return int(desk.conn.execute(f"SELECT {column} FROM {view} WHERE machine_id = ?", (MACHINE,)).fetchone()[0])


def sound(desk: Desk) -> None:
    """The books prove themselves; every entry of the ledger is balanced, and its accounts are the sums of all."""
    assert [*check_books(desk.conn)] == []
    found = [*entries.entries(desk.conn, EVER)]
    assert all(is_balanced(entry.postings) for entry in found)
    assert len({entry.id for entry in found}) == len(found)
    sums: entries.Balances = Counter()
    for entry in found:
        entries.add(sums, entry.postings)
    assert entries.nonzero(sums) == entries.balances(desk.conn, EVER.until)


@pytest.mark.parametrize(("short_minor", "sats"), [(60_000, 88_933), (180_000, 266_800), (1, 1), (90_000, 133_400)])
def test_the_customer_is_owed_their_part_of_the_whole_payment(paid: Desk, short_minor: int, sats: int) -> None:
    assert refund_sats(paid.sale(), short_minor) == sats


def test_nothing_goes_back_before_the_top_up_is_here(paid: Desk) -> None:
    said = paid.do("shortfall", **SHORT)
    assert "600.00 GTQ less was handed out" in said
    sale = paid.sale()
    assert (sale.status, sale.fiat_amount_minor, sale.shortfall_minor) == ("processed", 120_000, 60_000)
    assert sale.topped_up_sats == 0
    assert paid.legs("pending") == {}
    sound(paid)

    paid.pay_top_up()
    sale = paid.sale()
    assert (sale.status, sale.topped_up_sats, sale.retained_sats) == ("pending", 88_933, 0)
    assert paid.legs("pending") == {"r1:refund:1": 88_933}
    sound(paid)

    paid.pay_top_up()  # seen again by the next sweep
    assert paid.legs("pending") == {"r1:refund:1": 88_933}
    paid.pay("refund:1")
    assert paid.sale().status == "refunded"
    sound(paid)


def test_the_refund_is_sealed_with_all_that_came_in(paid: Desk) -> None:
    paid.do("shortfall", **SHORT)
    paid.pay_top_up()
    leg, invoice = legs.get(paid.conn, paid.leg("refund:1").id)
    assert seal_check.strange(paid.conn, leg, invoice) is None
    with atomic(paid.conn):  # who can write the books takes back what came in
        paid.conn.execute("UPDATE dca_settlements SET topped_up_sats = 0")
    assert seal_check.strange(paid.conn, leg, invoice) is not None


@pytest.mark.parametrize("forged", ["another top-up", "another payee", "less"])
def test_a_top_up_that_is_not_named_for_it_refunds_nothing(paid: Desk, forged: str) -> None:
    paid.do("shortfall", **SHORT)
    if forged == "another top-up":
        paid.pay_top_up(topup_id="0123456789abcdef")
    elif forged == "another payee":
        key = str(paid.sale().settlement_key)
        paid.pay_top_up(topup_id=top_up_id(key, 1, "mallory@example.org", 88_933))
    else:
        paid.pay_top_up(sats=1_000)
    assert paid.legs("pending") == {}
    assert paid.sale().topped_up_sats == 0
    sound(paid)


def test_the_cash_that_stayed_is_the_operators_or_whom_it_is_said(paid: Desk) -> None:
    with atomic(paid.conn):
        paid.conn.execute(
            "INSERT INTO dca_cash (id, root_id, machine_id, kind, at, amount_minor, currency, actor, recorded_at) "
            "VALUES (1, 1, ?, 'load', 1, 200000, 'GTQ', 'test', 1)",
            (MACHINE,),
        )
        paid.conn.execute("INSERT INTO dca_cash_notes (cash_id, position, amount_minor) VALUES (1, 0, 200000)")
    assert (cash(paid, "cash_now", "cash_minor"), cash(paid, "cash_now", "own_minor")) == (20_000, 0)
    paid.do("shortfall", **SHORT)
    assert (cash(paid, "cash_now", "cash_minor"), cash(paid, "cash_now", "own_minor")) == (80_000, 60_000)
    paid.do("undo_shortfall")
    alice = clients.by_label(paid.conn, MACHINE, "alice")
    assert alice is not None
    paid.do("shortfall", **SHORT, client_id=alice.id)
    assert (cash(paid, "cash_now", "cash_minor"), cash(paid, "cash_now", "own_minor")) == (80_000, 0)
    assert cash(paid, "cash_sales", "sold_minor") == 120_000
    accounts = entries.balances(paid.conn, EVER.until)
    assert accounts["Assets:Cash:Panajachel-1", "GTQ"] == 200_000 - 120_000
    sound(paid)


def test_who_was_paid_by_hand_gets_no_refund(paid: Desk) -> None:
    said = paid.do("shortfall", short_minor=60_000, refund_sats=0, topup_sats=0)
    assert said == "the cash of sale 1 is corrected: 600.00 GTQ less was handed out"
    found = shortfalls.latest(paid.conn, 1)
    assert found is not None
    assert not found.waits
    assert paid.sale().status == "processed"
    sound(paid)


def test_it_is_taken_back_before_the_top_up_and_after_it_but_not_once_the_refund_is_paid(paid: Desk) -> None:
    alice = clients.by_label(paid.conn, MACHINE, "alice")
    assert alice is not None
    paid.do("shortfall", **SHORT, client_id=alice.id)
    assert "is a top-up like any other" in paid.do("undo_shortfall")
    assert (paid.sale().fiat_amount_minor, paid.sale().shortfall_minor) == (180_000, 0)
    assert deposits.find(paid.conn, client_id=alice.id)[0].amount_minor == -60_000
    sound(paid)

    paid.do("shortfall", **SHORT)
    paid.pay_top_up()
    paid.invoice("refund:1", sent=False)
    assert "the 88933 sats of its top-up stay in the wallet" in paid.do("undo_shortfall")
    assert paid.leg("refund:1").status is LegStatus.VOIDED
    sale = paid.sale()
    assert (sale.status, sale.topped_up_sats, sale.retained_sats) == ("processed", 0, 0)
    sound(paid)

    paid.do("shortfall", **SHORT)
    paid.pay_top_up()
    paid.pay("refund:2")
    with pytest.raises(Refused, match="its shortfall stands"):
        paid.do("undo_shortfall")
    with pytest.raises(NotFound, match="no sale 99"):
        paid.do("undo_shortfall", settlement_id=99)
    sound(paid)


def test_a_dead_invoice_of_the_customer_frees_the_sats_for_another(paid: Desk) -> None:
    paid.do(
        "shortfall", **{**SHORT, "refund_sats": 2_000, "short_minor": 1_349, "topup_sats": 2_020, "to": an_invoice()}
    )
    paid.pay_top_up()
    paid.do("close")
    assert paid.sale().retained_sats == 2_020
    with pytest.raises(Refused, match="retains nothing that could be shared out"):
        paid.do("redistribute")
    paid.do("refund", amount_sats=2_020, to="ana@example.org")
    paid.pay("refund:2")
    assert paid.sale().status == "refunded"
    with pytest.raises(Refused, match="refunded in another way"):
        paid.do("undo_shortfall")
    sound(paid)


def test_only_a_sale_that_ended_and_only_what_it_sold(paid: Desk) -> None:
    with pytest.raises(Refused, match="less than that"):
        paid.do("shortfall", **{**SHORT, "short_minor": 180_001, "refund_sats": 266_801, "topup_sats": 266_801})
    with pytest.raises(Refused, match="ask again"):
        paid.do("shortfall", **{**SHORT, "refund_sats": 88_000})
    paid.do("shortfall", **SHORT)
    with pytest.raises(Refused, match="waits for its top-up"):
        paid.do("shortfall", **SHORT)
    number = paid.land(2)
    with pytest.raises(Refused, match=r"partial-dispense 2 --fraction 0\.5` corrects it while nothing"):
        paid.do("shortfall", settlement_id=number, **SHORT)
    paid.plan(number)
    with pytest.raises(Refused, match="is being paid out"):
        paid.do("shortfall", settlement_id=number, **SHORT)
    unknown = paid.land(3, fiat_amount_minor=None)
    paid.plan(unknown)
    paid.pay_all(unknown)
    with pytest.raises(Refused, match="does not say how much cash"):
        paid.do("shortfall", settlement_id=unknown, **SHORT)


def test_what_the_machine_says_again_contradicts_nothing(paid: Desk) -> None:
    paid.do("shortfall", **SHORT)
    assert contradiction(paid.sale(), a_claim(machine_id=MACHINE, payment_hash=paid.sale().payment_hash)) is None


def test_explain_accounts_for_the_top_up(paid: Desk) -> None:
    paid.do("shortfall", **SHORT)
    paid.pay_top_up()
    [row] = list_queries.find_settlements(paid.conn, None, "1")
    told = explain_settlement(row, list_queries.legs_of(paid.conn, 1), list_queries.retained_of(paid.conn, 1))
    assert told.conserves
    assert told.total == "266800 sats + 88933 sats topped up = 355733 sats in payments + 0 sats that stay in the wallet"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("book"), st.integers(1, 180_000), st.booleans(), st.booleans()),
        st.tuples(st.sampled_from(["top up", "pay", "undo", "close", "refund"])),
    ),
    min_size=3,
    max_size=9,
)


@given(steps=STEPS)
@settings(max_examples=25, deadline=None)
def test_whatever_is_done_in_whatever_order_money_and_cash_are_conserved(steps: list[tuple[object, ...]]) -> None:
    with TemporaryDirectory() as folder, closing((desk := a_paid_sale(Path(folder))).conn):
        for step in steps:
            with suppress(Refused, NotFound):  # a good answer to a bad wish
                _do(desk, *step)
            sound(desk)
            sale = desk.sale()
            assert sale.fiat_amount_minor is not None
            assert sale.fiat_amount_minor + sale.shortfall_minor == 180_000
            assert legs.completed_sats(desk.conn, 1) <= sale.came_in_sats


def _do(desk: Desk, what: object, *details: object) -> None:
    sale = desk.sale()
    if what == "book":
        short_minor, owner, by_hand = int(str(details[0])), details[1], details[2]
        alice = clients.by_label(desk.conn, MACHINE, "alice")
        sats = 0 if by_hand else refund_sats(sale, short_minor)
        whom: dict[str, Any] = {"client_id": None if alice is None or not owner else alice.id}
        if not by_hand:
            whom["to"] = "ana@example.org"
        desk.do("shortfall", short_minor=short_minor, refund_sats=sats, topup_sats=sats, **whom)
    elif what == "top up":
        found = shortfalls.latest(desk.conn, 1)
        if found is not None and found.topup_hash is not None:
            desk.pay_top_up()
    elif what == "pay":
        desk.pay_all()
    elif what == "refund":
        if sale.retained_sats:
            desk.do("refund", amount_sats=sale.retained_sats, to="ana@example.org")
    else:
        desk.do({"undo": "undo_shortfall", "close": "close"}[str(what)])
