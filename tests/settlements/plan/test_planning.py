"""Plans: the worked example to the sat, conservation always, and the guards against a stolen key."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine import identity
from satmachine.errors import Refused
from satmachine.models import By, HoldReason, Position, Settlement, SettlementStatus
from satmachine.settlements.correct import changes, stops
from satmachine.settlements.correct.changes import ProvenUnpaid
from satmachine.settlements.correct.correction_rules import Dispensed
from satmachine.settlements.land.landing import land_claim
from satmachine.settlements.plan import planning
from satmachine.settlements.plan.amounts import Plan, Terms, make_plan
from satmachine.settlements.plan.planning import Bounds, plan_settlement
from satmachine.store import corrections, legs, settlements, wallet_rows
from satmachine.store.database import atomic
from satmachine.store.wallet_rows import Outgoing
from testkit.books import (
    BOUNDS,
    MACHINE,
    NOW,
    RULES,
    TERMS,
    a_claim,
    a_rule,
    a_settlement,
    add_provider,
    landed,
    on_word,
    plan,
)


def test_the_worked_example(books: sqlite3.Connection) -> None:
    for label, amount in (("alice", 100_000), ("bruno", 60_000), ("carla", 40_000)):
        add_provider(books, label, amount)
    settlement = plan(books, landed(books))
    planned = {leg.leg: leg.amount_sats for leg in legs.of_settlement(books, settlement.id)}
    assert planned == {
        "super": 2_390,
        "split:owner": 3_902,
        "split:technician": 1_673,
        "dca:alice": 129_418,
        "dca:bruno": 77_650,
        "dca:carla": 51_767,
    }
    assert (settlement.platform_fee_sats, settlement.operator_fee_sats) == (2_390, 5_575)
    assert settlement.retained_sats == 0


def test_leg_keys_come_from_the_sale_and_never_from_a_row(books: sqlite3.Connection) -> None:
    add_provider(books, "alice", 500_000)
    settlement = plan(books, landed(books, number=7))
    keys = [leg.leg_key for leg in legs.of_settlement(books, settlement.id)]
    assert keys[0] == f"sm1:{7:064x}:r1:super"
    assert f"sm1:{7:064x}:r1:dca:alice" in keys


@pytest.mark.parametrize(
    ("terms", "reason", "amount_sats"),
    [
        (replace(TERMS, super_payee=None), "no_super_payee", 2_390),
        (replace(TERMS, ruleset_source="none", rules=()), "no_ruleset", 5_575),
    ],
)
def test_what_has_no_payee_is_retained_with_its_reason(
    books: sqlite3.Connection, terms: Terms, reason: str, amount_sats: int
) -> None:
    add_provider(books, "alice", 500_000)
    settlement = plan(books, landed(books), terms)
    rows = books.execute("SELECT reason, amount_sats FROM dca_retained").fetchall()
    assert [tuple(row) for row in rows] == [(reason, amount_sats)]
    assert settlement.retained_sats == amount_sats


@pytest.mark.parametrize(("rate", "reason"), [(Decimal(0), "unknown_rate"), (Decimal("143.797"), "no_lp_balance")])
def test_without_rate_or_balances_the_net_amount_stays(books: sqlite3.Connection, rate: Decimal, reason: str) -> None:
    settlement = plan(books, landed(books, exchange_rate=rate))
    row = books.execute("SELECT reason, amount_sats FROM dca_retained").fetchone()
    assert tuple(row) == (reason, 258_835)
    assert settlement.status is SettlementStatus.PENDING


def test_a_zero_leg_is_recorded_as_skipped(books: sqlite3.Connection) -> None:
    settlement = plan(books, landed(books), replace(TERMS, super_fee_pct=Decimal(0)))
    assert [leg.status for leg in legs.of_settlement(books, settlement.id) if leg.leg == "super"] == ["skipped"]


def test_a_sale_that_leaves_nothing_to_pay_is_processed_at_once(books: sqlite3.Connection) -> None:
    terms = replace(TERMS, super_payee=None, ruleset_source="none", rules=())
    assert plan(books, landed(books), terms).status is SettlementStatus.PROCESSED


def test_a_settlement_is_planned_once(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    plan(books, settlement_id)
    with atomic(books):
        assert plan_settlement(books, settlement_id, TERMS, BOUNDS, NOW) is None


def test_two_sales_planned_at_once_cannot_overdraw(books: sqlite3.Connection) -> None:
    add_provider(books, "alice", 200_000)
    first, second = landed(books, 1), landed(books, 2)
    plan(books, first)
    plan(books, second)
    spent = books.execute("SELECT sum(fiat_amount_minor) FROM dca_payments WHERE client_id IS NOT NULL").fetchone()[0]
    assert spent <= 200_000
    assert settlements.get(books, second).retained_sats > 0


def test_a_deposit_confirmed_after_the_sale_does_not_count(books: sqlite3.Connection) -> None:
    add_provider(books, "alice", 200_000, confirmed_at=NOW + 1)
    settlement = plan(books, landed(books))
    assert settlement.retained_sats == 258_835


class TestGuards:
    def held(self, books: sqlite3.Connection, settlement_id: int, bounds: Bounds = BOUNDS) -> str | None:
        return plan(books, settlement_id, bounds=bounds).hold_reason

    def test_an_absurd_commission_is_held(self, books: sqlite3.Connection) -> None:
        settlement_id = landed(books, net_sats=200_000, commission_sats=66_800)
        assert self.held(books, settlement_id) == HoldReason.COMMISSION_OUT_OF_BOUNDS
        assert legs.of_settlement(books, settlement_id) == []

    def test_the_bound_itself_is_still_fine(self, books: sqlite3.Connection) -> None:
        settlement_id = landed(books, gross_sats=125, net_sats=100, commission_sats=25)
        assert self.held(books, settlement_id) is None

    def test_an_absurd_rate_is_held_once_the_machine_has_five_sales(self, books: sqlite3.Connection) -> None:
        for number in range(1, 5):
            assert self.held(books, landed(books, number)) is None
        assert self.held(books, landed(books, 10, exchange_rate=Decimal(1000))) is None  # only four sales so far
        assert self.held(books, landed(books, 11, exchange_rate=Decimal(1000))) == HoldReason.RATE_OUT_OF_BOUNDS
        assert self.held(books, landed(books, 12, exchange_rate=Decimal(150))) is None

    def test_dust_does_not_move_the_usual_rate(self, books: sqlite3.Connection) -> None:
        """44 sats of sales, each within the bound of the last, once led from 130 to 307 within seconds."""
        for number in range(1, 6):
            self.held(books, landed(books, number, exchange_rate=Decimal(130)))
        for number, rate in enumerate(range(132, 308, 4), start=100):
            self.held(
                books, landed(books, number, gross_sats=1, net_sats=1, commission_sats=0, exchange_rate=Decimal(rate))
            )
        assert self.held(books, landed(books, 900, exchange_rate=Decimal(307))) == HoldReason.RATE_OUT_OF_BOUNDS
        assert self.held(books, landed(books, 901, exchange_rate=Decimal(131))) is None

    def test_sales_of_today_do_not_move_the_usual_rate_however_large(self, books: sqlite3.Connection) -> None:
        day = 86_400
        for number in range(1, 6):
            self.held(books, landed(books, number, exchange_rate=Decimal(130), occurred_at=NOW - day - number))
        for number, rate in enumerate((150, 160, 162), start=100):
            sale = landed(
                books, number, gross_sats=10**9, net_sats=10**9, commission_sats=0, exchange_rate=Decimal(rate)
            )
            assert self.held(books, sale) is None
        assert self.held(books, landed(books, 900, exchange_rate=Decimal(200))) == HoldReason.RATE_OUT_OF_BOUNDS
        tomorrow = landed(books, 901, exchange_rate=Decimal(200), occurred_at=NOW + day)
        assert self.held(books, tomorrow) is None, "a price that lasts is followed within a day"

    def test_last_week_tells_the_usual_rate_and_before_that_what_there_was(self, books: sqlite3.Connection) -> None:
        week = 7 * 86_400
        for number in range(1, 6):
            self.held(books, landed(books, number, exchange_rate=Decimal(100), occurred_at=NOW - 2 * week))
        assert self.held(books, landed(books, 50, exchange_rate=Decimal(200))) == HoldReason.RATE_OUT_OF_BOUNDS
        for number in range(60, 65):
            sale = landed(books, number, exchange_rate=Decimal(120), occurred_at=NOW - week)
            assert self.held(books, sale) is None
        assert self.held(books, landed(books, 51, exchange_rate=Decimal(149))) is None

    @pytest.mark.parametrize(("rate", "held"), [("99.99", True), ("100", False), ("400", False), ("400.01", True)])
    def test_absolute_bounds_hold_from_the_first_sale_on(
        self, books: sqlite3.Connection, rate: str, held: bool
    ) -> None:
        bounds = replace(BOUNDS, rate_min=Decimal(100), rate_max=Decimal(400))
        found = self.held(books, landed(books, exchange_rate=Decimal(rate)), bounds)
        assert found == (HoldReason.RATE_OUT_OF_BOUNDS if held else None)

    @pytest.mark.parametrize(
        ("cash_minor", "derived", "held"),
        [
            (180_000, False, False),
            (183_600, False, False),
            (90_000, False, True),
            (190_000, False, True),
            (90_000, True, False),
        ],
    )
    def test_the_cash_must_be_what_the_sats_buy_at_the_rate(
        self, books: sqlite3.Connection, cash_minor: int, derived: bool, held: bool
    ) -> None:
        """258,835 sats at 143.797 are 1,800.00; a derived split is only about right."""
        found = self.held(books, landed(books, fiat_amount_minor=cash_minor, used_fallback_split=derived))
        assert found == (HoldReason.RATE_OUT_OF_BOUNDS if held else None)

    def test_a_daily_ceiling_holds_what_is_above_it(self, books: sqlite3.Connection) -> None:
        bounds = replace(BOUNDS, daily_limit_sats=500_000)
        assert self.held(books, landed(books, 1), bounds) is None
        assert self.held(books, landed(books, 2), bounds) == HoldReason.DAILY_LIMIT
        next_day = landed(books, 3, occurred_at=NOW + 86_400)
        assert self.held(books, next_day, bounds) is None

    def test_a_person_can_override_a_guard(self, books: sqlite3.Connection) -> None:
        settlement_id = landed(books, net_sats=200_000, commission_sats=66_800)
        self.held(books, settlement_id)
        with atomic(books):
            books.execute("UPDATE dca_settlements SET overrides = hold_reason WHERE id = ?", (settlement_id,))
            settlements.release(books, settlement_id)
        assert self.held(books, settlement_id) is None


AMOUNT = st.integers(min_value=0, max_value=10**12)
PCT = st.decimals(min_value=0, max_value=1, places=4)


@given(
    net_sats=AMOUNT,
    commission_sats=AMOUNT,
    super_pct=PCT,
    payee=st.sampled_from([None, "the platform"]),
    owner_pct=PCT,
    has_rules=st.booleans(),
    rate=st.decimals(min_value=0, max_value=10**6, places=6),
    weights=st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 10**9)), max_size=6),
)
def test_every_plan_conserves_every_sat(
    net_sats: int,
    commission_sats: int,
    super_pct: Decimal,
    payee: str | None,
    owner_pct: Decimal,
    has_rules: bool,
    rate: Decimal,
    weights: list[tuple[int, int]],
) -> None:
    rules = (a_rule("owner", owner_pct), a_rule("tech", 1 - owner_pct)) if has_rules else ()
    terms = Terms(
        super_pct,
        None if payee is None else a_rule("super", super_pct, payee),
        "operator" if has_rules else "none",
        rules,
    )
    positions = [
        Position(number, f"lp-{number}", "flow", "p", a_rule("p").identity, weight, min(weight, cap))
        for number, (weight, cap) in enumerate(weights)
    ]
    settlement = replace(a_settlement(), net_sats=net_sats, commission_sats=commission_sats, exchange_rate=rate)
    made = make_plan(settlement, terms, positions)
    total = sum(leg.amount_sats for leg in made.legs) + sum(row.amount_sats for row in made.retained)
    assert total == net_sats + commission_sats
    assert all(row.amount_sats > 0 for row in made.retained)
    assert len({leg.leg for leg in made.legs}) == len(made.legs)
    for leg in made.legs:
        if leg.fiat_amount_minor is not None:
            assert leg.client_id is not None
            assert leg.fiat_amount_minor <= positions[leg.client_id].cap_minor


def test_a_plan_that_would_use_more_than_came_in_fails_whole(
    books: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_much(settlement: Settlement, terms: Terms, lps: Sequence[Position]) -> Plan:
        plan = make_plan(settlement, terms, lps)
        return replace(plan, legs=(*plan.legs, replace(plan.legs[0], leg="split:thief", amount_sats=1)))

    monkeypatch.setattr(planning, "make_plan", too_much)
    settlement_id = landed(books)
    with pytest.raises(AssertionError, match="more than came in"):
        plan(books, settlement_id)
    assert legs.of_settlement(books, settlement_id) == []
    assert settlements.get(books, settlement_id).planned_at is None


# --- a sale that was told of before


def held_as(books: sqlite3.Connection, settlement_id: int) -> str | None:
    return plan(books, settlement_id).hold_reason


ANOTHER_SPLIT = {"net_sats": 258_834, "commission_sats": 7_966}
UNKNOWN = {"exchange_rate": Decimal(0)}


@pytest.mark.parametrize("second", [{}, ANOTHER_SPLIT, UNKNOWN, {"txid": "tx-1"}], ids=str)
def test_a_sale_that_nothing_tells_from_another_one_waits_for_a_person(
    books: sqlite3.Connection, second: dict[str, Any]
) -> None:
    assert held_as(books, on_word(books, 1)) is None
    again = on_word(books, 2, **second)
    assert held_as(books, again) == HoldReason.TOLD_TWICE
    assert f"settlements close {again}" in str(settlements.get(books, again).error)
    with atomic(books):
        stops.release(books, again, By("ana", "two customers", NOW))
    assert held_as(books, again) is None


@pytest.mark.parametrize(
    "second",
    [
        {"gross_sats": 266_801, "commission_sats": 7_966},
        {"exchange_rate": Decimal("143.8")},
        {"fiat_amount_minor": 180_001},
        {"occurred_at": NOW + 90_000},
    ],
    ids=str,
)
def test_what_is_certainly_another_sale_goes_on(books: sqlite3.Connection, second: dict[str, Any]) -> None:
    first = {"fiat_amount_minor": 180_000}
    assert held_as(books, on_word(books, 1, **first)) is None
    assert held_as(books, on_word(books, 2, **{**first, **second})) is None


@pytest.mark.parametrize("name", ["txid", "payment_hash"])
def test_two_names_of_one_kind_are_two_sales(books: sqlite3.Connection, name: str) -> None:
    assert held_as(books, on_word(books, 1, **{name: "11" * 32})) is None
    assert held_as(books, on_word(books, 2, **{name: "22" * 32})) is None


def test_a_proven_sale_is_only_held_beside_one_that_was_paid_on_a_word(books: sqlite3.Connection) -> None:
    assert plan(books, landed(books, 1)).hold_reason is None
    assert plan(books, landed(books, 2)).hold_reason is None
    assert held_as(books, on_word(books, 3)) == HoldReason.TOLD_TWICE


def paid_elsewhere(books: sqlite3.Connection, sats: int, made_at: int, sale: str = "77") -> None:
    """The wallet shows a payment of a sale that these books do not have, and a person has said that it is not ours."""
    key = identity.sale_leg_key(sale * 32, 1, "super")
    with atomic(books):
        wallet_rows.note_outgoing(
            books, MACHINE, [Outgoing(sale * 32, key, "lnbc1", sats, "success", None, {}, made_at)], NOW
        )
        books.execute("UPDATE dca_foreign_payments SET settled_by = 'ana', decided_at = ?", (NOW,))


@pytest.mark.parametrize(
    ("sats", "made_at", "hold"),
    [
        (2_390, NOW + 5, HoldReason.TOLD_TWICE),
        (300_000, NOW + 5, None),
        (2_390, NOW + 90_000, None),
        (2_390, NOW - 3_600, None),
    ],
)
def test_a_sale_that_books_before_these_may_have_paid_waits_for_a_person(
    books: sqlite3.Connection, sats: int, made_at: int, hold: HoldReason | None
) -> None:
    paid_elsewhere(books, sats, made_at)
    assert plan(books, landed(books)).hold_reason == hold


def test_a_sale_that_waits_because_its_payments_were_dismissed_is_not_paid_because_it_is_told_again(
    books: sqlite3.Connection,
) -> None:
    """Lost books had paid it by its first event; both events come again, and the first is held."""
    key = identity.sale_leg_key(f"{901:064x}", 1, "super")
    with atomic(books):
        found = [Outgoing("c1" * 32, key, "lnbc1", 2_390, "success", None, {}, NOW + 5)]
        wallet_rows.note_outgoing(books, MACHINE, found, NOW)
        books.execute("UPDATE dca_foreign_payments SET settled_by = 'ana', decided_at = ?", (NOW - 1,))
    assert held_as(books, on_word(books, 1)) == HoldReason.UNKNOWN_PAYMENTS
    again = on_word(books, 2)
    assert held_as(books, again) == HoldReason.TOLD_TWICE
    assert f"sm1:{901:064x}" in str(settlements.get(books, again).error)
    assert held_as(books, landed(books, 3, txid="tx-3", gross_sats=2_000, net_sats=1_900, commission_sats=100)) is None


def test_a_person_who_lets_a_sale_go_has_read_of_every_sale_that_it_may_be(books: sqlite3.Connection) -> None:
    """Or the answer about one of them would stand for the others, and the same sale be paid twice."""
    paid_elsewhere(books, 2_390, NOW + 5, "77")
    paid_elsewhere(books, 2_391, NOW + 6, "78")
    assert held_as(books, on_word(books, 1)) == HoldReason.TOLD_TWICE
    with atomic(books):
        stops.release(books, 1, By("ana", "neither", NOW))
    assert held_as(books, 1) is None
    sale = on_word(books, 2)
    assert held_as(books, sale) == HoldReason.TOLD_TWICE
    error = str(settlements.get(books, sale).error)
    assert all(words in error for words in ("sale 1 is", "77" * 32, "78" * 32)), error


def release(books: sqlite3.Connection, settlement_id: int, reason: str) -> None:
    with atomic(books):
        stops.release(books, settlement_id, By("ana", reason, NOW))


def test_what_a_person_answered_about_one_sale_does_not_stand_for_one_that_came_since(
    books: sqlite3.Connection,
) -> None:
    """The same sale was told without its hash (2), and then with it (3): paid, while a person read of sale 1 only."""
    assert held_as(books, on_word(books, 1, payment_hash="11" * 32)) is None
    nameless = on_word(books, 2)
    assert held_as(books, nameless) == HoldReason.TOLD_TWICE
    assert held_as(books, on_word(books, 3, payment_hash="33" * 32)) is None
    release(books, nameless, "not sale 1")
    assert held_as(books, nameless) == HoldReason.TOLD_TWICE
    sale = settlements.get(books, nameless)
    assert "sales 1, 3 are of the same amount and day" in str(sale.error)
    assert (sale.twins, sale.overrides) == ("1 3", "")
    release(books, nameless, "neither of them")
    assert held_as(books, nameless) is None


def test_a_word_about_a_limit_is_no_word_about_what_else_a_sale_may_be(books: sqlite3.Connection) -> None:
    assert held_as(books, on_word(books, 1, payment_hash="11" * 32)) is None
    nameless = on_word(books, 2)
    assert held_as(books, nameless) == HoldReason.TOLD_TWICE
    release(books, nameless, "not sale 1")
    assert held_as(books, on_word(books, 3, payment_hash="33" * 32)) is None
    tight = replace(BOUNDS, daily_limit_sats=1)
    assert plan(books, nameless, bounds=tight).hold_reason == HoldReason.DAILY_LIMIT
    release(books, nameless, "a good day")
    assert held_as(books, nameless) == HoldReason.TOLD_TWICE


ANA = By("ana", "the cash was jammed", NOW)


def correct(books: sqlite3.Connection, settlement_id: int, fraction: str) -> None:
    unpaid = {leg.id: leg for leg in corrections.unpaid_legs(books, settlement_id)}
    with atomic(books):
        proof = ProvenUnpaid(unpaid, dict.fromkeys(unpaid))
        changes.partial_dispense(books, settlement_id, Dispensed.fraction(Decimal(fraction)), proof, ANA)


def close(books: sqlite3.Connection, settlement_id: int) -> None:
    with atomic(books):
        changes.close(books, settlement_id, ProvenUnpaid(), ANA)


def stop(books: sqlite3.Connection, settlement_id: int, word: str) -> None:
    if word == "closed":
        close(books, settlement_id)
        return
    with atomic(books):
        stops.hold(books, settlement_id, ANA)


def nameless(books: sqlite3.Connection) -> int:
    """A sale that was announced without its payment's hash; it waits for its proof."""
    with atomic(books):
        landing = land_claim(books, a_claim(payment_hash=None), RULES, NOW, event_id="ab" * 32)
    assert landing.settlement_id is not None
    return landing.settlement_id


CASH = {"fiat_amount_minor": 180_000}


def test_a_sale_that_a_person_has_corrected_is_told_again_as_the_machine_told_it_first(
    books: sqlite3.Connection,
) -> None:
    """Half of the cash was handed out: the corrected cash once made the same sale, told again, another one."""
    first = on_word(books, 1, **CASH)
    assert held_as(books, first) is None
    correct(books, first, "0.5")
    assert held_as(books, first) is None
    assert held_as(books, on_word(books, 2, **CASH)) == HoldReason.TOLD_TWICE


def test_a_sale_that_is_corrected_before_it_is_paid_is_compared_without_its_cash(books: sqlite3.Connection) -> None:
    first, again = on_word(books, 1, **CASH), on_word(books, 2, **CASH)
    assert held_as(books, first) is None
    stop(books, again, "held")
    correct(books, again, "0.5")
    release(books, again, "it was half of it")
    assert held_as(books, again) == HoldReason.TOLD_TWICE


def test_a_rate_that_a_person_has_given_makes_no_other_sale(books: sqlite3.Connection) -> None:
    first = on_word(books, 1, exchange_rate=Decimal(0))
    assert held_as(books, first) is None
    with atomic(books):
        settlement = replace(settlements.get(books, first), status=settlements.refresh_status(books, first, NOW))
        corrections.reopen(books, settlement, revision=2, exchange_rate=Decimal(150))
        settlements.person_acted(books, first, NOW)
    assert held_as(books, on_word(books, 2)) == HoldReason.TOLD_TWICE


@pytest.mark.parametrize("word", ["held", "closed"])
@pytest.mark.parametrize("again", [landed, on_word], ids=["with its payment", "on its word"])
@pytest.mark.parametrize("first", [nameless, lambda books: on_word(books, 1)], ids=["waits for proof", "on its word"])
def test_what_a_person_has_stopped_is_not_paid_because_it_is_told_again(
    books: sqlite3.Connection, first: Any, again: Any, word: str
) -> None:
    stopped = first(books)
    stop(books, stopped, word)
    told = again(books, 5)
    assert held_as(books, told) == HoldReason.TOLD_TWICE
    assert f"sale {stopped} is of the same amount" in str(settlements.get(books, told).error)
    release(books, told, "another customer")
    assert held_as(books, told) is None


def test_a_sale_that_is_stopped_after_its_payment_became_another_one_stops_that_too(books: sqlite3.Connection) -> None:
    """The wallet's payment was shared out as a sale of its own, with a beacon's rate: two minutes before the hold."""
    first = nameless(books)
    of_wallet = landed(books, 5, source="wallet", exchange_rate=Decimal(140), rate_source="beacon")
    stop(books, first, "held")
    assert held_as(books, of_wallet) == HoldReason.TOLD_TWICE
    error = str(settlements.get(books, of_wallet).error)
    assert f"A person has stopped {first}: close that one, if this one is to be paid in its place" in error


def test_a_sale_that_only_waits_for_its_payment_stops_no_other_one(books: sqlite3.Connection) -> None:
    nameless(books)
    assert held_as(books, landed(books, 5)) is None


def test_a_sale_is_not_asked_about_the_one_that_was_closed_as_itself(books: sqlite3.Connection) -> None:
    first, again = on_word(books, 1, **CASH), on_word(books, 2, **CASH)
    assert held_as(books, first) is None
    assert held_as(books, again) == HoldReason.TOLD_TWICE
    close(books, again)
    correct(books, first, "0.5")
    assert held_as(books, first) is None
    assert held_as(books, on_word(books, 3, **CASH)) == HoldReason.TOLD_TWICE, "the third one may be either"
    assert settlements.get(books, 3).twins == "1 2"


def test_a_sale_is_asked_about_one_that_was_let_go_and_closed_later(books: sqlite3.Connection) -> None:
    """It was released, perhaps in place of the first one: that it was closed then does not say what was paid."""
    first, again = on_word(books, 1, **CASH), on_word(books, 2, **CASH)
    assert held_as(books, first) is None
    assert held_as(books, again) == HoldReason.TOLD_TWICE
    release(books, again, "pay this one")
    close(books, again)
    correct(books, first, "0.5")
    assert held_as(books, first) == HoldReason.TOLD_TWICE


def test_the_slower_of_two_people_does_not_answer_a_question_that_they_have_not_read(books: sqlite3.Connection) -> None:
    assert held_as(books, on_word(books, 1, payment_hash="11" * 32)) is None
    asked = on_word(books, 2)
    assert held_as(books, asked) == HoldReason.TOLD_TWICE
    read = settlements.get(books, asked)
    assert held_as(books, on_word(books, 3, payment_hash="33" * 32)) is None
    release(books, asked, "not sale 1")
    assert held_as(books, asked) == HoldReason.TOLD_TWICE
    with pytest.raises(Refused, match="held for something else by now"), atomic(books):
        stops.release(books, asked, By("eva", "not sale 1", NOW), read=(read.hold_reason, read.error))
    now = settlements.get(books, asked)
    assert now.hold_reason == HoldReason.TOLD_TWICE
    with atomic(books):
        stops.release(books, asked, By("eva", "neither", NOW), read=(now.hold_reason, now.error))
    assert held_as(books, asked) is None


def test_each_payment_that_was_declared_not_to_be_ours_is_named_with_the_command_that_books_it(
    books: sqlite3.Connection,
) -> None:
    for leg, name in (("super", "c1"), ("split:owner", "c2")):
        key = identity.sale_leg_key(f"{7:064x}", 1, leg)
        with atomic(books):
            found = [Outgoing(name * 32, key, "lnbc1", 50, "success", None, {}, NOW + 5)]
            wallet_rows.note_outgoing(books, MACHINE, found, NOW)
            books.execute("UPDATE dca_foreign_payments SET settled_by = 'ana', decided_at = ?", (NOW - 1,))
    sale = landed(books, 7)
    assert held_as(books, sale) == HoldReason.UNKNOWN_PAYMENTS
    command = f"satmachine machines reconcile {MACHINE} --book {'c2' * 32}=sale:{sale} --book {'c1' * 32}=sale:{sale}"
    assert f"were declared not to be satmachine's; book them with `{command}`" in str(
        settlements.get(books, sale).error
    )
