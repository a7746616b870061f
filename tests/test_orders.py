"""Orders as rows: exact both ways, strict in reading, and what an earlier version wrote is read as it was meant."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from satmachine import orders
from satmachine.orders import (
    CancelPayout,
    Close,
    DeclarePaid,
    DeclareUnpaid,
    MakeTopUp,
    Order,
    PartialDispense,
    Redistribute,
    Refund,
    Repoint,
    RetryQuarantined,
    SettleBalance,
    Shortfall,
    SignStatement,
    SweepNow,
    UndoShortfall,
    Unreadable,
)

EVERY: list[Order] = [
    PartialDispense(12, 1, 3, "jam"),
    Close(12, "the technician has left"),
    Redistribute(12, "late", Decimal("143.7970"), 1_800_000_000, "dca:maria"),
    Redistribute(12, "late"),
    Refund(12, 1_000, "ana@example.org", "jam", 1_010),
    Refund(12, 1_000, "ana@example.org", "jam"),
    Shortfall(12, 50_000, 71_898, 72_000, "jam", "ana@example.org", 3),
    Shortfall(12, 50_000, 0, 0, "jam"),
    UndoShortfall(12, "it was another sale"),
    SettleBalance(3, Decimal("760.5"), 60_000, 2),
    RetryQuarantined(7),
    Repoint((31, 32), "new wallet"),
    CancelPayout(31, "mistyped"),
    DeclarePaid(31, "she has them"),
    DeclareUnpaid(31, "rolled back"),
    SignStatement(3, 1_800_000_000, None, "America/Guatemala"),
    SweepNow("m1"),
    MakeTopUp("m1", "ab" * 8, 250_000, "for refunds"),
]

#: Rows as version 2 wrote them.
OF_VERSION_2 = [
    ("settlement.partial_dispense", {"settlement_id": 1, "part": 1, "whole": 2, "reason": "jam"}),
    ("settlement.close", {"settlement_id": 1, "reason": "jam"}),
    ("settlement.redistribute", {"settlement_id": 1, "rate": "143.797", "as_of": None, "reason": "late"}),
    ("settlement.refund", {"settlement_id": 1, "amount_sats": 5, "to": "ana@example.org", "reason": "jam"}),
    ("clients.settle", {"client_id": 1, "exchange_rate": "145.37", "amount_minor": 60_000, "number": 1}),
    ("quarantine.retry", {"quarantine_id": 1}),
]


@pytest.mark.parametrize("order", EVERY)
def test_an_order_comes_back_from_its_row_as_it_was(order: Order) -> None:
    params = json.loads(json.dumps(orders.to_json(order)))
    assert orders.from_json(order.action, params) == order
    assert "0.0" not in json.dumps(params), "no binary float ever touches an order"


def test_every_kind_of_order_is_tried_here() -> None:
    assert {type(order) for order in EVERY} == set(orders.ORDERS.values())


@pytest.mark.parametrize(("action", "params"), OF_VERSION_2)
def test_what_version_2_wrote_is_read(action: str, params: dict[str, object]) -> None:
    order = orders.from_json(action, params)
    assert not isinstance(order, Unreadable)
    assert orders.to_json(order).items() >= params.items()


@pytest.mark.parametrize(
    ("action", "params", "words"),
    [
        ("settlement.burn", {}, "does not know settlement.burn"),
        ("settlement.close", [], "not a JSON object"),
        ("settlement.close", {"settlement_id": 1}, "does not say reason"),
        ("settlement.close", {"settlement_id": "1", "reason": "x"}, "its settlement_id is '1', not a whole number"),
        ("settlement.close", {"settlement_id": True, "reason": "x"}, "its settlement_id is True"),
        ("settlement.close", {"settlement_id": 1.0, "reason": "x"}, "its settlement_id is 1.0"),
        ("settlement.close", {"settlement_id": 1, "reason": None}, "its reason is None, not a text"),
        ("settlement.close", {"settlement_id": 1, "reason": "x", "burn": 1}, "says burn, which this daemon does not"),
        ("settlement.partial_dispense", {"settlement_id": 1, "part": 3, "whole": 2, "reason": "x"}, "3 of 2 is no"),
        ("settlement.partial_dispense", {"settlement_id": 1, "part": 0, "whole": 0, "reason": "x"}, "0 of 0 is no"),
        ("settlement.redistribute", {"settlement_id": 1, "reason": "x", "rate": 143.797}, "its rate is not a decimal"),
        ("settlement.redistribute", {"settlement_id": 1, "reason": "x", "rate": "NaN"}, "its rate is not a decimal"),
        ("settlement.redistribute", {"settlement_id": 1, "reason": "x", "rate": "-1"}, "is not above 0"),
        ("settlement.refund", {"settlement_id": 1, "amount_sats": 0, "to": "x", "reason": "x"}, "is not a refund"),
        (
            "settlement.refund",
            {"settlement_id": 1, "amount_sats": 5, "draw_sats": 4, "to": "x", "reason": "x"},
            "5 sats out of 4 is not a refund",
        ),
        ("payments.repoint", {"payment_ids": [], "reason": "x"}, "names no payment"),
        ("payments.repoint", {"payment_ids": [1, "2"], "reason": "x"}, "its payment_ids is not a list of numbers"),
    ],
)
def test_what_is_not_exactly_an_order_is_refused_in_words(action: str, params: object, words: str) -> None:
    found = orders.from_json(action, params)
    assert isinstance(found, Unreadable)
    assert words in found.why
