"""What the daemon has not ordered is not paid; and what a person with the key answers for is, once and as it stands."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from satmachine.errors import Refused
from satmachine.models import By, HoldReason, Leg, LegInvoice, LegStatus, PlannedLeg, Settlement, SettlementStatus
from satmachine.seals import Keyring, is_beyond
from satmachine.settlements.pay.seal_check import Strange, approve, beyond, strange
from satmachine.store import corrections, legs, seal_rows, settlements
from satmachine.store.database import Connection, _open, atomic
from testkit.books import MACHINE, NOW, add_provider, fresh_books, give_invoice, landed, plan
from tests.clients.sales import add_client, complete, deposit

BY = By("ana", "I have asked the partner", NOW)
GROSS = 266_800


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Connection]:
    """The daemon's connection, with a planned sale of 266,800 sats: super, two partners, and an LP."""
    with fresh_books(tmp_path), closing(_open(tmp_path / "satmachine.db", busy_timeout_s=1)) as conn:
        conn.keyring = Keyring()
        conn.keyring.learn(MACHINE, "key")
        add_provider(conn, "alice", 200_000)
        plan(conn, landed(conn, 1))
        yield conn


def by_name(conn: sqlite3.Connection, name: str) -> tuple[Leg, LegInvoice | None]:
    row = conn.execute("SELECT id FROM dca_payments WHERE leg = ? ORDER BY id DESC", (name,)).fetchone()
    return legs.get(conn, row["id"])


def invoiced(conn: sqlite3.Connection, name: str, payment_hash: str = "cc" * 32) -> tuple[Leg, LegInvoice]:
    leg, _ = by_name(conn, name)
    with atomic(conn):
        give_invoice(conn, leg.id, payment_hash, internal=False)
    leg, invoice = legs.get(conn, leg.id)
    assert invoice is not None
    return leg, invoice


def altered(conn: sqlite3.Connection, statement: str, *values: object) -> None:
    """As somebody does who may write the file."""
    for trigger in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {trigger['name']}")
    conn.execute(statement, values)


def held(conn: sqlite3.Connection, name: str, *, too_much: bool, invoice: bool = True) -> Leg:
    """A payment that the daemon has found strange."""
    leg = invoiced(conn, name)[0] if invoice else by_name(conn, name)[0]
    with atomic(conn):
        legs.hold(conn, leg, reason=HoldReason.UNORDERED, error="strange", evidence={"too_much": too_much})
        assert leg.settlement_id is not None
        settlements.refresh_status(conn, leg.settlement_id, NOW)
    return legs.get(conn, leg.id)[0]


class TestStrange:
    def test_everything_of_a_plan_may_be_paid_with_and_without_an_invoice(self, books: Connection) -> None:
        for name in ("super", "split:owner", "split:technician", "dca:alice"):
            assert strange(books, *by_name(books, name)) is None
        assert strange(books, *invoiced(books, "super")) is None

    def test_a_person_reads_what_is_wrong_and_both_ways_out(self, books: Connection) -> None:
        altered(books, "UPDATE dca_payments SET amount_sats = amount_sats + 1 WHERE leg = 'super'")
        leg, _ = by_name(books, "super")
        found = strange(books, leg, None)
        assert found is not None
        assert found.text == f"{found.why}. {found.way_out}"
        assert not found.too_much
        for words in ("has not planned this payment", f"payments cancel {leg.id}", f"payments approve {leg.id}"):
            assert words in found.text

    @pytest.mark.parametrize(
        "change",
        ["bolt11 = 'lnbc9'", "payment_hash = 'ee'", "amount_sats = 1", "wallet_id = 'w9'", "internal = 1 - internal"],
    )
    def test_an_invoice_that_was_changed_is_not_paid(self, books: Connection, change: str) -> None:
        leg, _ = invoiced(books, "super")
        altered(books, f"UPDATE dca_invoices SET {change} WHERE payment_id = ?", leg.id)
        found = strange(books, *by_name(books, "super"))
        assert found is not None
        assert "not the one that the daemon was given" in found.why
        assert f"payments resolve {leg.id} --unpaid" in found.way_out

    def test_an_invoice_that_is_given_up_is_no_matter(self, books: Connection) -> None:
        leg, _ = invoiced(books, "super")
        altered(books, "UPDATE dca_invoices SET bolt11 = 'lnbc9', dead_at = 5 WHERE payment_id = ?", leg.id)
        assert strange(books, *by_name(books, "super")) is None

    def test_what_was_paid_of_a_sale_and_put_back_to_be_paid_again_is_too_much(self, books: Connection) -> None:
        """Every row is as the daemon sealed it; only their sum tells."""
        leg, _ = by_name(books, "dca:alice")
        with atomic(books):
            corrections.void(books, leg, None)
            again = replace(settlements.get(books, 1), revision=2)
            _plan_again(books, again, leg)
        assert strange(books, *by_name(books, "super")) is None
        altered(books, "UPDATE dca_payments SET status = 'pending' WHERE id = ?", leg.id)
        found = strange(books, *by_name(books, "super"))
        assert found is not None
        assert found.too_much
        assert f"the books plan {GROSS + leg.amount_sats} sats for a sale that brought {GROSS}" in found.why

    @pytest.mark.parametrize("status", ["failed", "held", "sending", "invoiced"])
    def test_whatever_is_not_ended_yet_counts_as_planned(self, books: Connection, status: str) -> None:
        leg, _ = by_name(books, "dca:alice")
        with atomic(books):
            corrections.void(books, leg, None)
            _plan_again(books, replace(settlements.get(books, 1), revision=2), leg)
        why = "unordered" if status == "held" else None
        altered(books, "UPDATE dca_payments SET status = ?, hold_reason = ? WHERE id = ?", status, why, leg.id)
        assert strange(books, *by_name(books, "super")) is not None

    def test_a_row_that_others_wrote_stops_none_of_what_the_daemon_has_ordered(self, books: Connection) -> None:
        """It is not paid itself; if it counted, anybody with the file could stop every sale."""
        leg, _ = by_name(books, "dca:alice")
        with atomic(books):
            corrections.void(books, leg, None)
            _plan_again(books, replace(settlements.get(books, 1), revision=2), leg)
        altered(books, "UPDATE dca_payments SET status = 'pending', seal = 'forged' WHERE id = ?", leg.id)
        assert strange(books, *by_name(books, "super")) is None
        assert strange(books, *legs.get(books, leg.id)) is not None

    def test_what_a_person_approved_beyond_its_sale_is_paid_whatever_the_sum(self, books: Connection) -> None:
        leg, _ = by_name(books, "dca:alice")
        with atomic(books):
            corrections.void(books, leg, None)
            _plan_again(books, replace(settlements.get(books, 1), revision=2), leg)
        altered(books, "UPDATE dca_payments SET status = 'pending' WHERE id = ?", leg.id)
        assert strange(books, *by_name(books, "super")) is not None
        approved = held(books, "super", too_much=True)
        assert books.keyring is not None
        with atomic(books):
            approve(books, approved.id, books.keyring, BY)
        assert strange(books, *legs.get(books, approved.id)) is None

    def test_a_forward_from_the_lps_own_wallet_is_no_part_of_what_its_sale_pays(self, books: Connection) -> None:
        client_id = add_client(books, "maria", autoforward="m@example.org", autoforward_key_file="/keys/maria")
        deposit(books, client_id, 10**7)
        plan(books, landed(books, 2))
        complete(books, by_name(books, "dca:maria")[0])
        forward, _ = by_name(books, "fwd:maria")
        assert forward.status is LegStatus.PENDING
        assert strange(books, forward, None) is None
        assert strange(books, *by_name(books, "super")) is None


def _plan_again(conn: Connection, sale: Settlement, leg: Leg) -> None:
    """What took the place of a payment that was given up."""
    planned = PlannedLeg(
        leg.leg_type,
        leg.leg,
        leg.amount_sats,
        leg.payee,
        leg.identity,
        scope=leg.payee_scope,
        label=leg.label,
        client_id=leg.client_id,
        fiat_amount_minor=leg.fiat_amount_minor,
    )
    legs.insert_planned(conn, sale, [planned], revision=sale.revision, now=NOW)


class TestBeyond:
    """The books may be those of a backup: the wallet remembers what they have forgotten."""

    def test_up_to_what_came_in_is_paid_and_not_one_sat_more(self, books: Connection) -> None:
        leg, invoice = invoiced(books, "super")
        rest = GROSS - invoice.amount_sats
        assert beyond(books, leg, invoice, {}) is None
        assert beyond(books, leg, invoice, {"other": rest}) is None
        found = beyond(books, leg, invoice, {"other": rest - 1, "another": 2})
        assert isinstance(found, Strange)
        assert found.too_much
        assert (
            f"with what the wallet has paid it would be {GROSS + 1} sats for a sale that brought {GROSS}" in found.why
        )

    def test_the_invoices_own_payment_is_not_counted_against_it(self, books: Connection) -> None:
        """It may be under way already, or the answer was lost."""
        leg, invoice = invoiced(books, "super", "cc" * 32)
        rest = GROSS - invoice.amount_sats
        assert beyond(books, leg, invoice, {"cc" * 32: 10**9, "other": rest}) is None

    def test_a_top_up_for_the_customer_may_be_paid_out_too(self, books: Connection) -> None:
        leg, invoice = invoiced(books, "super")
        paid = {"other": GROSS - invoice.amount_sats + 500}
        assert beyond(books, leg, invoice, paid) is not None
        altered(books, "UPDATE dca_settlements SET topped_up_sats = 500")
        assert beyond(books, leg, invoice, paid) is None

    def test_a_payout_belongs_to_no_sale_and_has_no_such_limit(self, books: Connection) -> None:
        leg, invoice = invoiced(books, "super")
        payout = replace(leg, settlement_id=None)
        assert beyond(books, payout, invoice, {"other": 10**12}) is None

    def test_a_person_with_the_key_may_go_beyond(self, books: Connection) -> None:
        leg, invoice = invoiced(books, "super")
        paid = {"other": GROSS}
        assert beyond(books, leg, invoice, paid) is not None
        assert books.keyring is not None
        seal = books.keyring.seal(seal_rows.ordered(leg, GROSS), beyond=True)
        assert beyond(books, replace(leg, seal=seal), invoice, paid) is None


class TestApprove:
    def approved(self, books: Connection, leg_id: int) -> tuple[Leg, LegInvoice | None]:
        assert books.keyring is not None
        with atomic(books):
            said = approve(books, leg_id, books.keyring, BY)
        leg, invoice = legs.get(books, leg_id)
        assert said == f"payment {leg_id} is approved: {leg.amount_sats} sats go to {leg.payee} within seconds"
        return leg, invoice

    def test_a_payment_that_was_changed_is_paid_as_it_stands_now(self, books: Connection) -> None:
        leg, _ = by_name(books, "super")
        altered(books, "UPDATE dca_payments SET amount_sats = 7 WHERE id = ?", leg.id)
        assert strange(books, *legs.get(books, leg.id)) is not None
        found, _ = self.approved(books, leg.id)
        assert (found.amount_sats, found.status) == (7, LegStatus.PENDING)
        assert strange(books, found, None) is None
        assert not is_beyond(found.seal)

    def test_a_held_payment_whose_invoice_is_alive_is_looked_up_before_anything_is_sent(
        self, books: Connection
    ) -> None:
        leg = held(books, "super", too_much=False)
        found, invoice = self.approved(books, leg.id)
        assert (found.status, found.hold_reason) == (LegStatus.SENDING, None)
        assert invoice is not None
        assert invoice.dead_at is None
        assert strange(books, found, invoice) is None

    def test_a_held_payment_without_an_invoice_gets_one(self, books: Connection) -> None:
        leg = held(books, "super", too_much=False, invoice=False)
        found, _ = self.approved(books, leg.id)
        assert (found.status, found.next_attempt_at) == (LegStatus.FAILED, 0)
        assert strange(books, found, None) is None

    def test_a_changed_invoice_is_answered_for_with_its_payment(self, books: Connection) -> None:
        leg = held(books, "super", too_much=False)
        altered(books, "UPDATE dca_invoices SET bolt11 = 'lnbc9' WHERE payment_id = ?", leg.id)
        found, invoice = self.approved(books, leg.id)
        assert strange(books, found, invoice) is None

    def test_an_invoice_that_is_given_up_is_not_answered_for(self, books: Connection) -> None:
        leg = held(books, "super", too_much=False)
        altered(books, "UPDATE dca_invoices SET bolt11 = 'lnbc9', dead_at = 5 WHERE payment_id = ?", leg.id)
        seal = legs.get(books, leg.id)[1]
        found, invoice = self.approved(books, leg.id)
        assert seal is not None
        assert invoice is not None
        assert invoice.seal == seal.seal
        assert found.status is LegStatus.FAILED

    @pytest.mark.parametrize("too_much", [True, False])
    def test_only_what_was_held_for_being_too_much_is_approved_beyond_its_sale(
        self, books: Connection, too_much: bool
    ) -> None:
        leg = held(books, "super", too_much=too_much)
        assert is_beyond(self.approved(books, leg.id)[0].seal) is too_much

    @pytest.mark.parametrize("evidence", ["1", '"true"', "null"])
    def test_evidence_that_somebody_wrote_in_another_form_approves_nothing_beyond(
        self, books: Connection, evidence: str
    ) -> None:
        leg = held(books, "super", too_much=False)
        altered(books, "UPDATE dca_payments SET evidence = ? WHERE id = ?", f'{{"too_much": {evidence}}}', leg.id)
        assert not is_beyond(self.approved(books, leg.id)[0].seal)

    def test_the_sale_goes_on_and_the_word_stays(self, books: Connection) -> None:
        leg = held(books, "super", too_much=False)
        assert settlements.get(books, 1).status is SettlementStatus.ERRORED
        self.approved(books, leg.id)
        assert settlements.get(books, 1).status is SettlementStatus.PENDING
        row = books.execute("SELECT * FROM audit_log WHERE action = 'leg.approve'").fetchone()
        assert (row["actor"], row["subject"], row["reason"]) == ("ana", f"payment {leg.id}", BY.reason)
        assert json.loads(row["before"]) == {"status": "held", "hold_reason": "unordered"}
        assert json.loads(row["after"])["amount_sats"] == leg.amount_sats

    @pytest.mark.parametrize("paid", [True, False])
    def test_what_has_ended_is_not_approved_into_life(self, books: Connection, paid: bool) -> None:
        leg, _ = by_name(books, "super")
        if paid:
            complete(books, leg)
        else:
            with atomic(books):
                corrections.void(books, leg, None)
        assert books.keyring is not None
        status = "completed" if paid else "voided"
        with pytest.raises(Refused, match=f"is {status}: there is nothing to approve"), atomic(books):
            approve(books, leg.id, books.keyring, BY)
        assert legs.get(books, leg.id)[0].status == status

    def test_what_is_held_for_another_reason_is_not_approved(self, books: Connection) -> None:
        """That one may have been paid."""
        leg, _ = invoiced(books, "super")
        with atomic(books):
            legs.hold(books, leg, reason=HoldReason.DEBIT_WITHOUT_CREDIT, error="x", evidence={})
        assert books.keyring is not None
        with pytest.raises(Refused, match="debit_without_credit"), atomic(books):
            approve(books, leg.id, books.keyring, BY)
