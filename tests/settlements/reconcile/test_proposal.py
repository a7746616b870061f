"""Books that lack payments take them in: nothing is paid twice afterwards, and every sat is accounted for."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satmachine import identity
from satmachine.audit.proof import check_books
from satmachine.audit.remedies import BreakKind
from satmachine.clients.payout import plan_balance_payout
from satmachine.config import Machine
from satmachine.errors import Refused
from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.models import By, LegStatus, Proof, Settlement, SettlementStatus
from satmachine.settlements.correct import changes, stops
from satmachine.settlements.correct.changes import ProvenUnpaid
from satmachine.settlements.plan.planning import plan_settlement
from satmachine.settlements.reconcile.machine_case import CustomerPayment, Fate, WalletAnswers
from satmachine.settlements.reconcile.proposal import accept, preview, questions
from satmachine.settlements.reconcile.reconcile_rules import Choice, Reconciliation, Resolution
from satmachine.settlements.reconcile.sale import STOPPED_S
from satmachine.store import balances, client_legs, legs, restored, settlements, wallet_rows
from satmachine.store.database import atomic
from satmachine.store.wallet_rows import Outgoing
from testkit.books import (
    BOUNDS,
    MACHINE,
    NOW,
    TERMS,
    a_rule,
    add_provider,
    fresh_books,
    give_invoice,
    landed,
    on_word,
    plan,
)

BY = By("ana", "restored from a copy", NOW + 1_000)
CONFIG = cast(
    "Machine",
    SimpleNamespace(
        id=MACHINE, npub="npub1", currency="GTQ", fallback_commission_pct=Decimal("0.05"), payouts_since=NOW - 1_000_000
    ),
)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path) as conn:
        for label, amount in (("alice", 100_000), ("bruno", 60_000), ("carla", 40_000)):
            add_provider(conn, label, amount)
        yield conn
        assert [broken for broken in check_books(conn) if broken.kind is not BreakKind.UNKNOWN_PAYMENT] == []


def pay(
    books: sqlite3.Connection,
    leg: str,
    sats: int,
    *,
    sale: int = 1,
    revision: int = 1,
    status: str = "success",
    key: str | None = None,
    name: str | None = None,
    inside: bool = False,
    **extra: object,
) -> str:
    """The wallet shows a payment, `inside` its LNbits or to elsewhere; returns its hash."""
    leg_key = key or identity.sale_leg_key(f"{sale:064x}", revision, leg)
    payment_hash = name or f"{books.execute('SELECT count(*) FROM dca_foreign_payments').fetchone()[0] + 500:064x}"
    found = Outgoing(payment_hash, leg_key, "lnbc1", sats, status, None, extra, NOW + 10, inside=inside)
    with atomic(books):
        wallet_rows.note_outgoing(books, MACHINE, [found], NOW + 20)
        wallet_rows.refresh_safe_mode(books, MACHINE)
    return payment_hash


def pay_plan(books: sqlite3.Connection, sale: Settlement, *names: str) -> None:
    """The wallet shows the payments that a plan wants, of these legs or of all."""
    for leg in legs.of_settlement(books, sale.id):
        if not names or leg.leg in names:
            pay(books, leg.leg, leg.amount_sats, fiat_amount_minor=leg.fiat_amount_minor, leg_sats=leg.amount_sats)


def reconcile(
    books: sqlite3.Connection,
    look: WalletAnswers | None = None,
    choices: Mapping[str, Choice] | None = None,
    by: By = BY,
) -> Reconciliation:
    """Accept what is proposed."""
    look, choices = look or WalletAnswers(), choices or {}
    shown = preview(books, CONFIG, TERMS, look, choices, by)
    with atomic(books):
        accept(books, CONFIG, TERMS, look, choices, by, digest=shown.digest)
    assert check_books(books) == []
    return shown


def verdicts(report: Reconciliation) -> dict[str, Resolution]:
    return {line.leg_key.split(":", 3)[-1]: line.verdict for line in report.payments}


def standing(books: sqlite3.Connection, settlement_id: int) -> dict[str, str]:
    return {f"r{leg.revision}:{leg.leg}": str(leg.status) for leg in legs.of_settlement(books, settlement_id)}


def safe_mode(books: sqlite3.Connection) -> str | None:
    row = books.execute("SELECT safe_mode FROM dca_wallets WHERE machine_id = ?", (MACHINE,)).fetchone()
    return None if row["safe_mode"] is None else str(row["safe_mode"])


def audited(books: sqlite3.Connection) -> list[str]:
    return [str(row["action"]) for row in books.execute("SELECT action FROM audit_log WHERE actor = 'ana' ORDER BY id")]


# --- payments that the books plan too


def test_payments_of_the_plan_become_their_legs(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    pay_plan(books, sale)
    report = reconcile(books)
    assert set(verdicts(report).values()) == {Resolution.ADOPT}
    assert set(standing(books, sale.id).values()) == {"completed"}, "external payees: nothing more can be seen"
    assert settlements.get(books, sale.id).status is SettlementStatus.PROCESSED
    assert safe_mode(books) is None
    assert audited(books) == ["payment.adopt"] * 6 + ["machine.reconcile"]


def test_a_wallet_of_this_lnbits_is_looked_at_on_both_sides(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    books.execute("UPDATE dca_payments SET payee_kind = 'wallet' WHERE leg = 'super'")
    pay_plan(books, sale, "super")
    reconcile(books)
    assert standing(books, sale.id)["r1:super"] == "sending"
    row = books.execute("SELECT i.* FROM dca_invoices i JOIN dca_payments p ON p.id = i.payment_id").fetchone()
    assert (row["adopted"], row["internal"]) == (1, 1)


def test_what_routing_left_of_an_adopted_leg_is_retained(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    pay(books, "super", 2_300, leg_sats=2_390)
    reconcile(books)
    assert settlements.get(books, sale.id).retained_sats == 90


def test_a_payment_that_is_under_way_is_taken_over_and_not_believed(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    name = pay(books, "super", 2_390, status="pending")
    assert questions(books, MACHINE, {}).outgoing == (name,)
    reconcile(books, WalletAnswers(outgoing={name: Fate("pending")}))
    assert standing(books, sale.id)["r1:super"] == "sending"


def test_a_payment_that_was_under_way_and_failed_is_forgotten(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    name = pay(books, "super", 2_390, status="pending")
    assert verdicts(reconcile(books, WalletAnswers(outgoing={name: Fate("failure")}))) == {"super": Resolution.FAILED}
    assert standing(books, sale.id)["r1:super"] == "pending"
    assert safe_mode(books) is None


# --- payments that the books do not plan


def test_a_correction_that_the_copy_does_not_know_is_booked_and_not_paid_on_top(books: sqlite3.Connection) -> None:
    """The copy was made before a partial dispense, which was paid as revision 2."""
    sale = plan(books, landed(books))
    pay(books, "super", 1_195, revision=2)
    pay(books, "dca:alice", 64_709, revision=2, fiat_amount_minor=45_000)
    report = reconcile(books)
    assert verdicts(report) == {"super": Resolution.BOOK, "dca:alice": Resolution.BOOK}
    after = settlements.get(books, sale.id)
    assert {status for name, status in standing(books, sale.id).items() if name.startswith("r1:")} == {"voided"}
    assert after.retained_sats == 266_800 - 1_195 - 64_709
    assert after.status is SettlementStatus.PROCESSED
    assert after.revision == 3, "no key of the other life is ever made again"
    assert legs.due(books, NOW + 9, [MACHINE], per_payee=9, limit=9) == []
    [alice] = [row for row in balances.find(books, machine=MACHINE) if row.label == "alice"]
    assert (alice.spent_minor, alice.reserved_minor) == (45_000, 0)


def test_a_redistribution_that_the_copy_does_not_know_comes_out_of_what_is_retained(books: sqlite3.Connection) -> None:
    terms = TERMS.__class__(TERMS.super_fee_pct, None, TERMS.ruleset_source, TERMS.rules)
    settlement_id = landed(books)
    plan(books, settlement_id, terms)
    pay_plan(books, settlements.get(books, settlement_id))
    reconcile(books)
    assert settlements.get(books, settlement_id).retained_sats == 2_390
    pay(books, "super", 2_390, revision=2)
    reconcile(books)
    after = settlements.get(books, settlement_id)
    assert (after.retained_sats, after.status) == (0, SettlementStatus.PROCESSED)


def test_another_amount_than_planned_is_booked_as_it_was(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    pay(books, "dca:alice", 130_000, fiat_amount_minor=90_405)
    report = reconcile(books)
    assert verdicts(report) == {"dca:alice": Resolution.BOOK}
    stood = standing(books, sale.id)
    assert (stood["r1:dca:alice"], stood["r1:dca:alice:2"]) == ("voided", "completed")
    assert stood["r1:dca:bruno"] == "pending", "the others' shares are paid as planned, but for what is missing"
    assert "voided" in {stood["r1:split:owner"], stood["r1:dca:carla"], stood["r1:super"], stood["r1:split:technician"]}


def test_a_leg_that_is_completed_already_was_paid_twice(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    pay_plan(books, sale, "super")
    reconcile(books)
    pay(books, "super", 2_390)
    report = reconcile(books)
    assert verdicts(report) == {"super": Resolution.NOT_OURS}
    assert "paid twice" in report.payments[0].words
    assert settlements.get(books, sale.id).retained_sats == 0


def test_more_than_the_sale_brought_is_not_booked(books: sqlite3.Connection) -> None:
    plan(books, landed(books))
    pay(books, "super", 300_000, revision=2)
    report = reconcile(books)
    assert "not enough left" in report.payments[0].words
    assert verdicts(report) == {"super": Resolution.NOT_OURS}


def test_a_leg_that_may_have_been_paid_by_its_own_invoice_waits_for_the_wallets_word(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    for leg in legs.of_settlement(books, sale.id):
        books.execute(
            "INSERT INTO dca_invoices (payment_id, generation, amount_sats, asked_at, payment_hash, internal, sent_at) "
            "VALUES (?, 1, ?, 1, ?, 0, 1)",
            (leg.id, leg.amount_sats, f"{leg.id + 900:064x}"),
        )
        books.execute("UPDATE dca_payments SET generation = 1, status = 'sending' WHERE id = ?", (leg.id,))
    own = [f"{leg.id + 900:064x}" for leg in legs.of_settlement(books, sale.id)]
    pay(books, "super", 1_000, revision=2)
    assert questions(books, MACHINE, {}).outgoing == tuple(own)
    with pytest.raises(Refused, match="may be paid by an invoice of these books"):
        reconcile(books)
    seen = WalletAnswers(outgoing=dict.fromkeys(own, Fate("absent")))
    with pytest.raises(Refused, match="may be paid by an invoice of these books"):
        reconcile(books, seen, by=By("ana", "too soon", NOW + 30))
    reconcile(books, seen)
    assert {status for name, status in standing(books, sale.id).items() if name.startswith("r1:")} == {"voided"}


def test_the_wallets_word_that_a_leg_is_paid_keeps_it(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    books.execute(
        "INSERT INTO dca_invoices (payment_id, generation, amount_sats, asked_at, payment_hash, internal, sent_at) "
        "SELECT id, 1, amount_sats, 1, ?, 0, 1 FROM dca_payments WHERE leg = 'super'",
        ("99" * 32,),
    )
    books.execute(
        "UPDATE dca_payments SET generation = 1, status = 'sending', payment_hash = ? WHERE leg = 'super'", ("99" * 32,)
    )
    pay(books, "dca:alice", 50_000, revision=2, fiat_amount_minor=30_000)
    reconcile(books, WalletAnswers(outgoing={"99" * 32: Fate("success")}))
    assert standing(books, sale.id)["r1:super"] == "sending"


# --- sales that are not there, or not planned


def customer(settled_at: int = NOW, sats: int = 266_800, **extra: object) -> CustomerPayment:
    said = {"source": "bitspire", "net_sats": 258_835, "fee_sats": 7_965, "exchange_rate": Decimal("143.797"), **extra}
    return CustomerPayment(sats, settled_at, settled_at, said)


def test_lost_books_take_their_sale_and_its_payments_in_again(books: sqlite3.Connection) -> None:
    key = f"{1:064x}"
    for leg, sats in (("super", 2_390), ("split:owner", 3_902), ("split:technician", 1_673)):
        pay(books, leg, sats)
    pay(books, "dca:alice", 129_418, fiat_amount_minor=90_001)
    assert questions(books, MACHINE, {}).incoming == (key,)
    report = reconcile(books, WalletAnswers(incoming={key: customer()}))
    [sale_id] = [row["id"] for row in books.execute("SELECT id FROM dca_settlements")]
    stood = standing(books, sale_id)
    assert verdicts(report)["super"] is Resolution.ADOPT
    assert stood["r1:super"] == "completed"
    assert stood["r1:dca:bruno"] == "pending", "what the other life had not paid is paid now"
    sale = settlements.get(books, sale_id)
    assert (sale.proof, sale.settlement_key) == ("proven", key)


def test_an_old_sale_is_only_booked(books: sqlite3.Connection) -> None:
    key = f"{1:064x}"
    pay(books, "super", 2_390)
    reconcile(books, WalletAnswers(incoming={key: customer(NOW - 2_000_000)}))
    [sale] = [settlements.get(books, row["id"]) for row in books.execute("SELECT id FROM dca_settlements")]
    assert standing(books, sale.id) == {"r1:super": "completed"}
    assert sale.retained_sats == 266_800 - 2_390
    reasons = {row["reason"] for row in books.execute("SELECT reason FROM dca_retained GROUP BY reason")}
    assert reasons == {"before_payouts_since"}
    assert sale.status is SettlementStatus.PROCESSED


def test_a_payment_without_any_sale_is_not_ours_and_stops_the_sale_if_it_comes(books: sqlite3.Connection) -> None:
    pay(books, "super", 2_390)
    assert verdicts(reconcile(books)) == {"super": Resolution.NOT_OURS}
    with atomic(books):
        books.execute("UPDATE dca_foreign_payments SET decided_at = ?", (NOW - 5,))
    settlement_id = landed(books)
    with atomic(books):
        outcome = plan_settlement(books, settlement_id, TERMS, BOUNDS, NOW)
    assert outcome is not None
    assert outcome.held == "unknown_payments"
    name = str(books.execute("SELECT payment_hash FROM dca_foreign_payments").fetchone()[0])
    report = reconcile(books, choices={name: Choice(settlement_id=settlement_id)})
    assert verdicts(report) == {"super": Resolution.ADOPT}
    assert standing(books, settlement_id)["r1:super"] == "completed"


def test_a_sale_that_is_not_proven_waits(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    books.execute("UPDATE dca_settlements SET proof = 'waiting', settlement_key = NULL, proven_at = NULL")
    pay(books, "super", 2_390)
    with pytest.raises(Refused, match="not proven"):
        reconcile(books)
    reconcile(books, WalletAnswers(incoming={f"{1:064x}": customer()}))
    assert standing(books, settlement_id)["r1:super"] == "completed"


def closed_unproven(books: sqlite3.Connection) -> int:
    """A sale whose customer's payment never came; a person has closed it. Another life has paid it without proof."""
    settlement_id = landed(books)
    books.execute("UPDATE dca_settlements SET proof = 'waiting', settlement_key = NULL, proven_at = NULL")
    pay(books, "super", 2_390)
    pay(books, "dca:alice", 40_000, fiat_amount_minor=28_000, exchange_rate="142.857")
    with pytest.raises(Refused, match=f"settlements close {settlement_id}"):
        reconcile(books)
    with atomic(books):
        changes.close(books, settlement_id, ProvenUnpaid(), BY)
    return settlement_id


def test_what_was_paid_of_a_sale_that_is_closed_unproven_does_not_keep_the_machine_waiting(
    books: sqlite3.Connection,
) -> None:
    settlement_id = closed_unproven(books)
    assert verdicts(reconcile(books)) == {"super": Resolution.NOT_OURS, "dca:alice": Resolution.PAYOUT}
    assert safe_mode(books) is None
    assert balances.of_client(books, 1).available_minor == 72_000
    assert settlements.get(books, settlement_id).status is SettlementStatus.PARTIAL


def test_where_its_payment_comes_after_all_nothing_is_paid_on_top(books: sqlite3.Connection) -> None:
    settlement_id = closed_unproven(books)
    reconcile(books)
    with atomic(books):
        settlements.take_back_retained(books, settlements.get(books, settlement_id), NOW)
        books.execute("UPDATE dca_settlements SET status = 'pending', finished_at = NULL")  # released after it came
        settlements.mark_proven(
            books,
            settlements.get(books, settlement_id),
            payment_hash=f"{1:064x}",
            settlement_key=f"{1:064x}",
            occurred_at=NOW,
            proof="proven",
            now=NOW + 60,
        )
        outcome = plan_settlement(books, settlement_id, TERMS, BOUNDS, NOW + 60)
    assert outcome is not None
    assert outcome.held in ("marks_conflict", "unknown_payments")


def test_where_its_payment_is_there_by_now_the_sale_is_paid_from_it(books: sqlite3.Connection) -> None:
    settlement_id = closed_unproven(books)
    reconcile(books, WalletAnswers(incoming={f"{1:064x}": customer()}))
    assert standing(books, settlement_id)["r1:super"] == "completed"


# --- LPs


def test_an_lp_that_the_books_do_not_know_is_added_first(books: sqlite3.Connection) -> None:
    plan(books, landed(books))
    pay(books, "dca:dora", 1_000, fiat_amount_minor=700)
    with pytest.raises(Refused, match=r"clients add --machine machine-1 --label dora"):
        reconcile(books)


def test_a_balance_that_would_be_overdrawn_lacks_a_deposit(books: sqlite3.Connection) -> None:
    settlement_id = landed(books)
    plan(books, settlement_id)
    pay(books, "dca:alice", 129_418, revision=2, fiat_amount_minor=100_001)
    with pytest.raises(Refused, match="deposits add 1 AMOUNT --at"):
        reconcile(books)


def test_a_balance_paid_out_in_another_life_is_off_the_balance(books: sqlite3.Connection) -> None:
    key = identity.balance_leg_key(MACHINE, "alice", 3)
    pay(books, "", 40_000, key=key, fiat_amount_minor=28_000, exchange_rate="142.857")
    report = reconcile(books)
    assert [line.verdict for line in report.payments] == [Resolution.PAYOUT]
    [alice] = [row for row in balances.find(books, machine=MACHINE) if row.label == "alice"]
    assert alice.available_minor == 72_000
    assert client_legs.next_payout_number(books, alice.client_id) == 4


def test_a_payment_without_its_fiat_value_is_not_taken_off_a_balance(books: sqlite3.Connection) -> None:
    name = pay(books, "", 40_000, key=identity.balance_leg_key(MACHINE, "alice", 1))
    with pytest.raises(Refused, match="does not say its fiat value"):
        reconcile(books)
    assert [line.verdict for line in reconcile(books, choices={name: Choice()}).payments] == [Resolution.NOT_OURS]


def test_a_share_paid_twice_can_be_taken_off_the_balance(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    books.execute("UPDATE dca_clients SET status = 'active'")
    pay_plan(books, sale, "dca:carla")
    reconcile(books)
    with atomic(books):
        books.execute(
            "INSERT INTO dca_deposits (client_id, machine_id, amount_minor, currency, status, recorded_by, "
            "recorded_at, decided_by, decided_at, effective_at) "
            "VALUES (3, ?, 50000, 'GTQ', 'confirmed', 't', 1, 't', 1, 1)",
            (MACHINE,),
        )
    name = pay(books, "dca:carla", 51_767, fiat_amount_minor=36_000)
    report = reconcile(books, choices={name: Choice(client_id=3)})
    assert [line.verdict for line in report.payments] == [Resolution.PAYOUT]
    assert balances.of_client(books, 3).spent_minor == 36_000 + 36_000


def test_a_payout_whose_key_another_life_has_paid_is_given_up_where_it_was_never_sent(
    books: sqlite3.Connection,
) -> None:
    """It plans the whole balance, so that what was paid under its key would leave less than nothing; nor can it ever be
    sent: a key is paid once."""
    with atomic(books):
        plan_balance_payout(books, 1, exchange_rate=Decimal(100), amount_minor=100_000, number=1, actor="ana", now=NOW)
    key = identity.balance_leg_key(MACHINE, "alice", 1)
    name = pay(books, "", 40_000, key=key, fiat_amount_minor=28_000, exchange_rate="142.857")
    with pytest.raises(Refused, match=r"does not fit bal:alice:1 .*decide HASH=client:1 or HASH=not-ours"):
        reconcile(books)
    [line] = reconcile(books, choices={name: Choice(client_id=1)}).payments
    assert (line.verdict, "never sent and is given up" in line.words) == (Resolution.PAYOUT, True)
    legs_now = books.execute("SELECT status, leg, amount_sats FROM dca_payments ORDER BY id").fetchall()
    assert [tuple(row) for row in legs_now] == [
        ("voided", "bal:alice:1", 100_000),
        ("completed", "bal:alice:2", 40_000),
    ]
    assert balances.of_client(books, 1).available_minor == 72_000
    assert "leg.cancel" in audited(books)


def test_a_payout_that_may_have_been_sent_is_not_given_up_for_another_one(books: sqlite3.Connection) -> None:
    with atomic(books):
        plan_balance_payout(books, 1, exchange_rate=Decimal(100), amount_minor=50_000, number=1, actor="ana", now=NOW)
        give_invoice(books, 1, "99" * 32)
    key = identity.balance_leg_key(MACHINE, "alice", 1)
    name = pay(books, "", 40_000, key=key, fiat_amount_minor=28_000, exchange_rate="142.857")
    reconcile(books, choices={name: Choice(client_id=1)})
    assert legs.get(books, 1)[0].status == LegStatus.INVOICED


def test_a_payment_that_a_person_books_to_an_lp_gives_up_no_leg_of_a_sale(books: sqlite3.Connection) -> None:
    """It has the key of an open leg. What the sale plans for that LP is the sale's: given up, it would be nobody's."""
    add_provider(books, "dora", 300_000)
    sale = plan(books, landed(books))
    name = pay(books, "dca:dora", 40_000, fiat_amount_minor=28_000, exchange_rate="142.857")
    [line] = reconcile(books, choices={name: Choice(client_id=4)}).payments
    assert (line.verdict, "given up" in line.words) == (Resolution.PAYOUT, False)
    assert standing(books, sale.id)["r1:dca:dora"] == "pending"


# --- whatever a wallet shows


LEG_NAMES = st.sampled_from(["super", "split:owner", "split:technician", "dca:alice", "dca:bruno", "refund:1"])
SHOWN = st.lists(st.tuples(LEG_NAMES, st.integers(1, 3), st.integers(1, 150_000), st.integers(0, 500)), max_size=8)


@settings(max_examples=80, deadline=None)
@given(shown=SHOWN, planned=st.booleans(), paid=st.sets(LEG_NAMES), marked=st.booleans(), old=st.booleans())
def test_whatever_a_wallet_shows_every_sat_is_accounted_for(
    shown: list[tuple[str, int, int, int]], planned: bool, paid: set[str], marked: bool, old: bool
) -> None:
    """Conservation is asserted inside for every sale, and the audit finds nothing afterwards."""
    with tempfile.TemporaryDirectory() as folder, fresh_books(Path(folder)) as books:
        for label in ("alice", "bruno"):
            add_provider(books, label, 10**9)
        settlement_id = landed(books)
        if planned:
            sale = plan(books, settlement_id)
            for name in paid:
                pay_plan(books, sale, name)
            reconcile(books)
        for leg, revision, sats, fee in shown:
            fiat: dict[str, Any] = {"fiat_amount_minor": sats * 100 // 144} if leg.startswith("dca") else {}
            pay(books, leg, sats, revision=revision, leg_sats=sats + fee, **fiat)
        if marked:
            mark(books, "aa", {identity.sale_leg_key(f"{1:064x}", 2, "super"): "77" * 32})
        arrived = {f"{1:064x}": customer(NOW - 2_000_000 if old else NOW)}
        reconcile(books, WalletAnswers(incoming=arrived))
        assert safe_mode(books) is None
        assert check_books(books) == []
        sale = settlements.get(books, settlement_id)
        keys = {leg.leg_key for leg in legs.of_settlement(books, settlement_id) if leg.status != "voided"}
        seen = max([0, *(revision for _, revision, _, _ in shown)])
        booked = books.execute("SELECT count(*) FROM dca_payments WHERE proof = 'booked'").fetchone()[0]
        assert booked <= len(keys)
        assert sale.revision >= seen or not shown


# --- what was shown is what is decided


def test_something_new_since_it_was_shown_is_refused(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    pay_plan(books, sale, "super")
    shown = preview(books, CONFIG, TERMS, WalletAnswers(), {}, BY)
    pay(books, "split:owner", 3_902)
    with pytest.raises(Refused, match="not what was shown"), atomic(books):
        accept(books, CONFIG, TERMS, WalletAnswers(), {}, BY, digest=shown.digest)
    assert standing(books, sale.id)["r1:super"] == "pending"
    assert safe_mode(books) is not None


def test_a_payment_that_is_declared_not_ours_says_what_is_still_paid(books: sqlite3.Connection) -> None:
    plan(books, landed(books))
    name = pay(books, "super", 2_390)
    [line] = reconcile(books, choices={name: Choice()}).payments
    assert line.words.endswith("super of 2390 sats is still paid")


def test_a_preview_writes_nothing(books: sqlite3.Connection) -> None:
    plan(books, landed(books))
    pay(books, "super", 1_000, revision=2)
    before = list(books.iterdump())
    preview(books, CONFIG, TERMS, WalletAnswers(), {}, BY)
    assert list(books.iterdump()) == before


# --- restored copies


def test_a_restored_copy_without_anything_strange_is_let_go_by_a_person(books: sqlite3.Connection) -> None:
    restored.flag(books, NOW - 9)
    with atomic(books):
        restored.take_over(books, NOW)
    with pytest.raises(Refused, match="was not read since"):
        reconcile(books)
    books.execute("UPDATE dca_wallets SET last_sweep_at = ?", (NOW + 1,))
    assert not reconcile(books).found
    assert safe_mode(books) is None


# --- marks


def mark(
    books: sqlite3.Connection,
    name: str,
    invoices: dict[str, str],
    *prev: str,
    sale: int = 1,
    own: bool = False,
    stopped: tuple[str, ...] = (),
    bundle: str | None = None,
) -> None:
    bundle = bundle or identity.sale_bundle(f"{sale:064x}")
    content = json.dumps({"prev": list(prev), "invoices": invoices, "stopped": list(stopped)})
    table, when = ("dca_marks", "written_at") if own else ("dca_foreign_marks", "first_seen_at")
    books.execute(
        f"INSERT INTO {table} (id, machine_id, bundle, content, {when}) VALUES (?, ?, ?, ?, ?)",
        (name, MACHINE, bundle, content, NOW),
    )


def test_marks_are_decided_with_the_payments(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    pay_plan(books, sale)
    paid = {
        str(row["leg_key"]): str(row["payment_hash"]) for row in books.execute("SELECT * FROM dca_foreign_payments")
    }
    mark(books, "aa", paid)
    report = reconcile(books)
    assert [(line.invoices, line.unpaid) for line in report.marks] == [(6, 0)]
    assert settlements.get(books, sale.id).status is SettlementStatus.PROCESSED
    assert books.execute("SELECT count(*) FROM dca_foreign_marks WHERE decided_at IS NULL").fetchone()[0] == 0


def test_a_mark_that_names_what_is_unpaid_says_that_a_daemon_may_be_alive(books: sqlite3.Connection) -> None:
    plan(books, landed(books))
    mark(books, "aa", {identity.sale_leg_key(f"{1:064x}", 1, "super"): "77" * 32})
    [line] = reconcile(books).marks
    assert line.unpaid == 1
    assert "may be alive" in line.words


def test_a_leg_that_a_person_had_stopped_in_another_life_waits(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    super_key = identity.sale_leg_key(f"{1:064x}", 1, "super")
    mark(books, "aa", {super_key: "77" * 32}, own=True)
    mark(books, "bb", {}, "aa")
    reconcile(books)
    after = settlements.get(books, sale.id)
    assert (after.status, after.hold_reason) == (SettlementStatus.HELD, "marks_conflict")
    assert f"settlements release {sale.id}" in str(after.error)


def only_asked_for(books: sqlite3.Connection, leg: str) -> str:
    """These books have an invoice of the leg, which no mark of theirs names; returns its hash."""
    name = "88" * 32
    books.execute(
        "INSERT INTO dca_invoices (payment_id, generation, amount_sats, asked_at, payment_hash, internal) "
        "SELECT id, 1, amount_sats, 1, ?, 0 FROM dca_payments WHERE leg = ?",
        (name, leg),
    )
    books.execute(
        "UPDATE dca_payments SET generation = 1, status = 'invoiced', payment_hash = ? WHERE leg = ?", (name, leg)
    )
    return name


def test_an_invoice_that_these_books_never_sent_may_have_been_paid_in_another_life(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    name = only_asked_for(books, "super")
    pay(books, "dca:alice", 50_000, revision=2, fiat_amount_minor=30_000)
    assert questions(books, MACHINE, {}).outgoing == (name,)
    shown = preview(books, CONFIG, TERMS, WalletAnswers(outgoing={name: Fate("success")}), {}, BY)
    assert not any("super" in line.words for line in shown.sales), "what the wallet has paid is not voided"
    reconcile(books, WalletAnswers(outgoing={name: Fate("absent")}), by=By("ana", "at once", NOW + 21))
    assert standing(books, sale.id)["r1:super"] == "voided"


def test_a_leg_that_is_paid_was_not_stopped(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    name = only_asked_for(books, "super")
    keys = {leg.leg: leg.leg_key for leg in legs.of_settlement(books, sale.id)}
    mark(books, "aa", {keys["super"]: name})
    mark(books, "bb", {keys["split:owner"]: "77" * 32}, "aa")  # the first was paid meanwhile
    reconcile(books, WalletAnswers(outgoing={name: Fate("success")}))
    assert settlements.get(books, sale.id).status is SettlementStatus.PENDING


def test_a_later_revision_that_only_a_mark_knows_stops_the_former(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    mark(books, "aa", {identity.sale_leg_key(f"{1:064x}", 2, "super"): "77" * 32})
    reconcile(books)
    after = settlements.get(books, sale.id)
    assert (after.status, after.revision) == (SettlementStatus.HELD, 3)
    assert {leg.status for leg in legs.of_settlement(books, sale.id)} == {LegStatus.PENDING}


# --- what LNbits moved inside itself


def invoices_of(books: sqlite3.Connection, leg: str) -> list[tuple[int, int]]:
    found = books.execute(
        "SELECT i.adopted, i.internal FROM dca_invoices i JOIN dca_payments p ON p.id = i.payment_id WHERE p.leg = ?",
        (leg,),
    )
    return [(row["adopted"], row["internal"]) for row in found]


def test_a_booked_payment_inside_lnbits_is_looked_up_on_both_sides(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    pay(books, "super", 1_000, revision=2, inside=True)
    [line] = reconcile(books).payments
    assert line.verdict is Resolution.BOOK
    assert "looked up on both sides" in line.words
    assert standing(books, sale.id)["r2:super"] == "sending", "that it left this wallet does not prove that it arrived"
    assert settlements.get(books, sale.id).status is SettlementStatus.PENDING


def test_where_it_is_looked_up_is_where_its_payee_is_named(books: sqlite3.Connection) -> None:
    plan(books, landed(books))
    wallet = replace(TERMS, super_payee=replace(a_rule("super"), identity=PayeeIdentity(PayeeKind.WALLET, None)))
    pay(books, "super", 1_000, revision=2, inside=True)
    shown = preview(books, CONFIG, wallet, WalletAnswers(), {}, BY)
    with atomic(books):
        accept(books, CONFIG, wallet, WalletAnswers(), {}, BY, digest=shown.digest)
    assert invoices_of(books, "super") == [(1, 1)]


def test_an_adopted_payment_to_an_address_of_the_same_lnbits_is_not_believed(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    [leg] = [leg for leg in legs.of_settlement(books, sale.id) if leg.leg == "super"]
    pay(books, "super", leg.amount_sats, leg_sats=leg.amount_sats, inside=True)
    reconcile(books)
    assert standing(books, sale.id)["r1:super"] == "sending"


# --- payments of a sale that was paid on the machine's word


def test_what_an_lp_got_of_an_unknown_sale_is_off_their_balance(books: sqlite3.Connection) -> None:
    pay(books, "dca:alice", 40_000, sale=7, fiat_amount_minor=28_000, exchange_rate="142.857")
    assert verdicts(reconcile(books)) == {"dca:alice": Resolution.PAYOUT}
    assert balances.of_client(books, 1).available_minor == 72_000


def test_a_sale_whose_payment_was_booked_to_a_balance_is_closed_and_not_paid(books: sqlite3.Connection) -> None:
    pay(books, "dca:alice", 40_000, fiat_amount_minor=28_000, exchange_rate="142.857")
    reconcile(books)
    settlement_id = landed(books)
    for _ in range(2):
        with atomic(books):
            outcome = plan_settlement(books, settlement_id, TERMS, BOUNDS, NOW)
        assert outcome is not None
        assert outcome.held == "marks_conflict"
        assert f"settlements close {settlement_id}" in str(settlements.get(books, settlement_id).error)
        with atomic(books):
            stops.release(books, settlement_id, BY)  # nobody can release that


def test_a_sale_that_is_planned_leaves_balances_to_what_was_paid(books: sqlite3.Connection) -> None:
    """Both sales are of the whole of alice's cash; of the second one she was paid."""
    for number in (1, 2):
        landed(books, number, occurred_at=NOW + number)
    pay(books, "super", 2_390, sale=1)
    pay(books, "dca:alice", 140_000, sale=2, fiat_amount_minor=100_000)
    reconcile(books)
    assert balances.of_client(books, 1).available_minor == 0
    assert not [leg for leg in legs.of_settlement(books, 1) if leg.leg == "dca:alice" and leg.amount_sats]


# --- what another life of the books had stopped


def test_a_leg_that_a_mark_says_is_stopped_waits_although_no_invoice_of_it_was_named(books: sqlite3.Connection) -> None:
    sale = plan(books, landed(books))
    mark(books, "bb", {}, stopped=(identity.sale_leg_key(f"{1:064x}", 1, "dca:alice"),))
    [line] = reconcile(books).marks
    assert "has stopped or redirected r1:dca:alice" in line.words
    assert settlements.get(books, sale.id).hold_reason == "marks_conflict"


def test_a_sale_that_was_stopped_as_a_whole_waits_also_where_it_was_planned_meanwhile(
    books: sqlite3.Connection,
) -> None:
    sale = plan(books, landed(books))
    mark(books, "bb", {}, stopped=(identity.sale_bundle(f"{1:064x}"),))
    reconcile(books)
    assert settlements.get(books, sale.id).hold_reason == "marks_conflict"


def test_a_sale_that_is_held_here_and_was_closed_in_another_life_says_so_before_it_goes_on(
    books: sqlite3.Connection,
) -> None:
    """A copy from between the hold and the close: whoever releases what they had held is to know that it was closed."""
    sale = plan(books, landed(books))
    with atomic(books):
        stops.hold(books, sale.id, BY)
    mark(books, "bb", {}, stopped=(identity.sale_bundle(f"{1:064x}"),))
    reconcile(books)
    now = settlements.get(books, sale.id)
    assert (now.status, now.hold_reason) == (SettlementStatus.HELD, "marks_conflict")
    assert "another life of these books had stopped or changed payments" in str(now.error)


def test_a_question_that_another_life_has_answered_by_closing_the_sale_says_so_when_it_is_answered_otherwise(
    books: sqlite3.Connection,
) -> None:
    """A copy from between the question and the answer."""
    plan(books, on_word(books, 1))
    asked = on_word(books, 2)
    assert plan(books, asked).hold_reason == "told_twice"
    mark(books, "bb", {}, stopped=(identity.sale_bundle(f"{902:064x}"),), sale=902)
    reconcile(books)
    with atomic(books):
        stops.release(books, asked, BY)
    assert plan(books, asked).hold_reason == "marks_conflict"
    with atomic(books):
        stops.release(books, asked, BY)
    assert plan(books, asked).hold_reason is None


@pytest.mark.parametrize(
    "what",
    [
        {"invoices": {}, "stopped": (identity.sale_bundle(f"{1:064x}"),)},
        {"invoices": {}, "stopped": (identity.sale_leg_key(f"{1:064x}", 1, "dca:alice"),)},
        {"invoices": {identity.sale_leg_key(f"{1:064x}", 2, "super"): "77" * 32}},
    ],
    ids=["closed", "a payment stopped", "corrected"],
)
def test_what_another_life_had_stopped_waits_also_where_the_sale_comes_after_the_marks_were_decided(
    books: sqlite3.Connection, what: dict[str, Any]
) -> None:
    """Lost books: the relay that has the sale's event answers only after the machine was reconciled."""
    mark(books, "bb", **what)
    reconcile(books, by=replace(BY, now=NOW + STOPPED_S + 1))
    sale = plan(books, landed(books))
    assert (sale.status, sale.hold_reason) == (SettlementStatus.HELD, "marks_conflict")
    assert f"settlements release {sale.id}" in str(sale.error)
    with atomic(books):
        stops.release(books, sale.id, BY)
    assert plan(books, sale.id).hold_reason is None


def test_a_mark_of_payments_that_nobody_has_stopped_holds_no_sale_that_comes_later(books: sqlite3.Connection) -> None:
    mark(books, "bb", {identity.sale_leg_key(f"{1:064x}", 1, "super"): "77" * 32})
    reconcile(books, by=replace(BY, now=NOW + STOPPED_S + 1))
    assert plan(books, landed(books)).hold_reason is None


def test_a_payout_that_another_life_gave_up_is_held_and_not_paid(books: sqlite3.Connection) -> None:
    with atomic(books):
        plan_balance_payout(books, 1, exchange_rate=Decimal(100), amount_minor=1_000, number=1, actor="ana", now=NOW)
    key = identity.balance_leg_key(MACHINE, "alice", 1)
    mark(books, "aa", {}, stopped=(key,), bundle=key)
    reconcile(books)
    [leg] = [legs.get(books, row["id"])[0] for row in books.execute("SELECT id FROM dca_payments")]
    assert (leg.status, leg.hold_reason) == (LegStatus.HELD, "marks_conflict")
    assert f"payments cancel {leg.id}" in str(leg.error)


def test_a_mark_that_was_seen_just_now_waits_for_what_its_daemon_has_begun(books: sqlite3.Connection) -> None:
    plan(books, landed(books))
    mark(books, "aa", {identity.sale_leg_key(f"{1:064x}", 1, "super"): "77" * 32})
    with pytest.raises(Refused, match="seen just now"):
        reconcile(books, by=By("ana", "at once", NOW + STOPPED_S - 1))
    reconcile(books, by=By("ana", "later", NOW + STOPPED_S))


# --- another invoice of the books' own


def test_a_second_payment_of_a_completed_leg_is_listed_and_decided(books: sqlite3.Connection) -> None:
    """Its first invoice was taken for dead, its second one paid it, and now the wallet shows the first paid too."""
    sale = plan(books, landed(books))
    first = only_asked_for(books, "super")
    with atomic(books):
        leg = next(leg for leg in legs.of_settlement(books, sale.id) if leg.leg == "super")
        legs.mark_invoice_dead(books, leg, now=NOW)
        leg = give_invoice(books, leg.id, "99" * 32)
        legs.complete(books, leg, sent_sats=2_390, fee_sats=0, preimage=None, proof=Proof.BOTH_SIDES, now=NOW)
    pay(books, "super", 2_390, name=first)
    assert safe_mode(books) is not None
    [line] = reconcile(books).payments
    assert (line.verdict, "paid twice" in line.words) == (Resolution.NOT_OURS, True)
    assert safe_mode(books) is None
