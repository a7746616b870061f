"""The ways out for people: each checks the state, changes it, and leaves an audit row; none can pay twice."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from satmachine.errors import Refused
from satmachine.models import By, Cause, HoldReason, Leg, LegStatus, Proof, SettlementStatus
from satmachine.settlements.correct import ways_out
from satmachine.settlements.plan.planning import Bounds
from satmachine.store import incoming, legs, settlements, wallets
from satmachine.store.database import atomic
from testkit.books import BOUNDS, MACHINE, NOW, add_provider, give_invoice, landed, on_word, plan
from testkit.config_files import VALID, load_text

BY = By("ana", "looked at it", NOW)
TIGHT = Bounds(BOUNDS.max_commission_pct, BOUNDS.max_rate_deviation, 1)


Declare = Callable[..., str]


def audited(books: sqlite3.Connection) -> list[str]:
    return [str(row["action"]) for row in books.execute("SELECT action FROM audit_log WHERE actor = 'ana' ORDER BY id")]


def held_leg(books: sqlite3.Connection, *, invoice: bool, evidence: dict[str, object]) -> tuple[int, Leg]:
    settlement = plan(books, landed(books))
    leg = next(leg for leg in legs.of_settlement(books, settlement.id) if leg.leg == "super")
    with atomic(books):
        if invoice:
            leg = give_invoice(books, leg.id, "cd" * 32)
        legs.hold(books, leg, reason=HoldReason.DEBIT_WITHOUT_CREDIT, error="x", evidence=evidence)
        settlements.refresh_status(books, settlement.id, NOW)
    return settlement.id, legs.get(books, leg.id)[0]


def test_hold_stops_sending_and_release_goes_on(books: sqlite3.Connection) -> None:
    settlement = plan(books, landed(books))
    with atomic(books):
        ways_out.hold(books, settlement.id, BY)
    assert legs.due(books, NOW, [MACHINE], per_payee=9, limit=9) == []
    with atomic(books):
        assert ways_out.release(books, settlement.id, BY) == SettlementStatus.PENDING
    assert legs.due(books, NOW, [MACHINE], per_payee=9, limit=9)
    assert audited(books) == ["settlement.hold", "settlement.release"]


def test_a_finished_sale_cannot_be_held(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    books.execute("UPDATE dca_settlements SET status = 'processed' WHERE id = ?", (settlement_id,))
    with pytest.raises(Refused, match="nothing to hold"), atomic(books):
        ways_out.hold(books, settlement_id, BY)


def test_a_released_guard_is_not_asked_again(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    assert plan(books, settlement_id, bounds=TIGHT).hold_reason == HoldReason.DAILY_LIMIT
    with atomic(books):
        ways_out.release(books, settlement_id, BY)
    assert plan(books, settlement_id, bounds=TIGHT).planned_at == NOW


def test_releasing_is_a_persons_word_and_holding_is_not_yet(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    with atomic(books):
        ways_out.hold(books, settlement_id, BY)
    assert settlements.get(books, settlement_id).person_acted_at is None
    with atomic(books):
        ways_out.release(books, settlement_id, BY)
    assert settlements.get(books, settlement_id).person_acted_at == NOW


def test_retry_looks_again_at_a_held_leg_with_its_own_invoice(books: sqlite3.Connection) -> None:
    settlement_id, leg = held_leg(books, invoice=True, evidence={"source": None, "destination": None})
    with atomic(books):
        assert ways_out.retry(books, settlement_id, BY) == 1
    assert legs.get(books, leg.id)[0].status is LegStatus.SENDING


def test_retry_leaves_a_leg_alone_for_which_the_wallet_shows_another_payment(books: sqlite3.Connection) -> None:
    settlement_id, leg = held_leg(books, invoice=True, evidence={"another_payment": "ef" * 32})
    with atomic(books):
        assert ways_out.retry(books, settlement_id, BY) == 0
    assert legs.get(books, leg.id)[0].status is LegStatus.HELD
    with pytest.raises(Refused, match="another payment"), atomic(books):
        ways_out.declare_unpaid(books, leg=legs.get(books, leg.id)[0], by=BY)


def test_a_person_declares_a_leg_paid(books: sqlite3.Connection) -> None:
    _, leg = held_leg(books, invoice=True, evidence={"source": None})
    with atomic(books):
        ways_out.declare_paid(books, leg=leg, by=BY)
    paid, _ = legs.get(books, leg.id)
    assert paid.status is LegStatus.COMPLETED
    assert paid.error is None
    row = books.execute("SELECT proof, vouched_by FROM dca_payments WHERE id = ?", (leg.id,)).fetchone()
    assert tuple(row) == (Proof.PERSON, "ana: looked at it")
    assert audited(books) == ["leg.declare_paid"]


def test_a_payment_of_less_than_the_leg_is_booked_as_it_was_and_the_rest_retained(books: sqlite3.Connection) -> None:
    evidence: dict[str, object] = {"payment": "ef" * 32, "amount_sats": 100}
    settlement_id, leg = held_leg(books, invoice=False, evidence=evidence)
    before = settlements.get(books, settlement_id).retained_sats
    with atomic(books):
        ways_out.declare_paid(books, leg=leg, by=BY)
    assert settlements.get(books, settlement_id).retained_sats - before == leg.amount_sats - 100


def test_a_person_declares_a_leg_unpaid_and_its_invoice_dead(books: sqlite3.Connection) -> None:
    _, leg = held_leg(books, invoice=True, evidence={"source": None})
    with atomic(books):
        ways_out.declare_unpaid(books, leg=legs.get(books, leg.id)[0], by=BY)
    renewed, invoice = legs.get(books, leg.id)
    assert renewed.status is LegStatus.FAILED
    assert renewed.generation == 1, "the payer asks the wallet for the leg before it makes another invoice"
    assert invoice is not None
    assert invoice.dead_at == NOW


@pytest.mark.parametrize("declare", [ways_out.declare_paid, ways_out.declare_unpaid])
def test_a_leg_that_has_moved_on_cannot_be_declared_anything(books: sqlite3.Connection, declare: Declare) -> None:
    _, leg = held_leg(books, invoice=True, evidence={"source": None})
    with atomic(books):
        legs.look_again(books, leg)
    with pytest.raises(Refused, match="was changed meanwhile"), atomic(books):
        declare(books, leg=leg, by=BY)


def test_pause_and_resume(books: sqlite3.Connection) -> None:
    settlement = plan(books, landed(books))
    leg = next(leg for leg in legs.of_settlement(books, settlement.id) if leg.amount_sats)
    with atomic(books):
        ways_out.pause(books, None, BY)
        begun = give_invoice(books, leg.id, "cd" * 32)
        assert not legs.mark_sending(books, begun, now=NOW), "what was already in work is not sent any more"
    with pytest.raises(Refused, match="paused already"), atomic(books):
        ways_out.pause(books, None, BY)
    with atomic(books):
        ways_out.resume(books, None, BY)
        assert legs.mark_sending(books, begun, now=NOW)
    assert audited(books) == ["payouts.pause", "payouts.resume"]


def test_a_wallet_that_was_funded_wakes_what_waits_for_it(books: sqlite3.Connection) -> None:
    settlement = plan(books, landed(books))
    leg = next(leg for leg in legs.of_settlement(books, settlement.id) if leg.amount_sats)

    def reached(balance_sats: int) -> None:
        with atomic(books):
            wallets.note_answer(books, MACHINE, wallet_id="w", balance_sats=balance_sats, version="1", now=NOW)

    reached(10)
    with atomic(books):
        legs.postpone(books, leg, status=LegStatus.FAILED, until=NOW + 500, error="not paid", cause=Cause.NO_FUNDS)
    reached(10)
    assert legs.get(books, leg.id)[0].next_attempt_at == NOW + 500
    reached(11)
    assert legs.get(books, leg.id)[0].next_attempt_at == NOW


def test_retry_looks_for_a_payment_that_was_not_found(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    with atomic(books):
        settlements.hold(books, settlement_id, reason=HoldReason.PAYMENT_NOT_FOUND, error="x")
        assert ways_out.retry(books, settlement_id, BY) == 1
    assert settlements.get(books, settlement_id).status is SettlementStatus.PENDING


class TestPayoutsOfABalance:
    """They belong to no sale, so they have ways out of their own."""

    def planned(self, books: sqlite3.Connection) -> Leg:
        client_id = add_provider(books, "maria", 100_000)
        with atomic(books):
            books.execute(
                "INSERT INTO dca_payments (machine_id, leg_type, leg, leg_key, client_id, amount_sats, "
                "fiat_amount_minor, exchange_rate, currency, payee, effective_at, planned_at) VALUES "
                "(?, 'settlement', 'bal:maria:1', 'sm1:bal:machine-1:maria:1', ?, 1000, 700, '143', 'GTQ', "
                "'maria@example.org', ?, ?)",
                (MACHINE, client_id, NOW, NOW),
            )
        return legs.get(books, 1)[0]

    def test_a_failed_one_is_tried_again(self, books: sqlite3.Connection) -> None:
        leg = self.planned(books)
        with atomic(books):
            legs.postpone(books, leg, status=LegStatus.FAILED, until=None, error="the address does not exist")
            ways_out.retry_payment(books, leg.id, BY)
        assert legs.get(books, leg.id)[0].next_attempt_at == 0
        assert audited(books) == ["leg.retry"]


def test_a_payment_that_may_be_of_a_sale_paid_on_a_word_is_landed_when_a_person_knows_better(
    books: sqlite3.Connection, tmp_path: Path
) -> None:
    [machine] = load_text(tmp_path, VALID).machines
    machine = machine.model_copy(update={"id": MACHINE, "payouts_since": 0})
    plan(books, on_word(books, 1))
    with atomic(books):
        incoming.note(
            books,
            MACHINE,
            payment_hash="77" * 32,
            amount_sats=266_800,
            memo="",
            extra={},
            settled_at=NOW,
            reason="?",
            kind="unknown",
            now=NOW,
        )
        with pytest.raises(Refused, match=f"land {'77' * 32} --machine {MACHINE} --another-sale"):
            ways_out.land(books, machine, "77" * 32, BY)
        landing = ways_out.land(books, machine, "77" * 32, BY, another_sale=True)
        assert landing.settlement_id is not None
        sale = settlements.get(books, landing.settlement_id)
        settlements.mark_proven(
            books,
            sale,
            payment_hash="77" * 32,
            settlement_key="77" * 32,
            occurred_at=NOW,
            proof="proven",
            now=NOW,
        )
    assert plan(books, landing.settlement_id).hold_reason is None
