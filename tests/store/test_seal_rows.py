"""Seals in the books: what the daemon's connection plans is sealed, what others write is not, and keys change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.models import Leg, LegInvoice
from satmachine.seals import Keyring
from satmachine.settlements.pay.seal_check import strange
from satmachine.store import legs, seal_rows
from satmachine.store.database import Connection, _open, atomic, prepare
from testkit.books import MACHINE, NOW, fresh_books, give_invoice, landed, plan
from tests.store.test_version_2 import version_2


def ring_of(*keys: str) -> Keyring:
    ring = Keyring()
    for key in keys:
        ring.learn(MACHINE, key)
    return ring


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Connection]:
    """The daemon's connection, with a planned sale."""
    with fresh_books(tmp_path), closing(_open(tmp_path / "satmachine.db", busy_timeout_s=1)) as conn:
        conn.keyring = ring_of("key")
        plan(conn, landed(conn, 1))
        yield conn


def all_legs(conn: sqlite3.Connection) -> list[tuple[Leg, LegInvoice | None]]:
    ids = [row["id"] for row in conn.execute("SELECT id FROM dca_payments WHERE status <> 'skipped' ORDER BY id")]
    return [legs.get(conn, leg_id) for leg_id in ids]


def why_not(conn: sqlite3.Connection) -> list[str | None]:
    found = [strange(conn, leg, invoice) for leg, invoice in all_legs(conn)]
    return [None if one is None else one.why for one in found]


def test_what_the_daemon_plans_may_be_paid(books: Connection) -> None:
    assert all_legs(books)
    assert set(why_not(books)) == {None}


def test_what_another_connection_plans_may_not(tmp_path: Path, books: Connection) -> None:
    with closing(_open(tmp_path / "satmachine.db", busy_timeout_s=1)) as other:
        plan(other, landed(other, 2))
    planned = [why for (leg, _), why in zip(all_legs(books), why_not(books), strict=True) if leg.settlement_id == 2]
    assert planned
    assert all("has not planned this payment as it stands" in str(why) for why in planned)


def test_a_payee_that_the_daemon_learns_or_is_told_keeps_the_seal_and_a_stranger_gets_none(
    books: Connection,
) -> None:
    leg, _ = all_legs(books)[0]
    elsewhere = PayeeIdentity(PayeeKind.LIGHTNING_ADDRESS, "b@example.org")
    with atomic(books):
        assert legs.repoint(books, leg, elsewhere, "b@example.org", "super", NOW)
    assert why_not(books)[0] is None
    books.execute("DROP TRIGGER dca_payments_keep_amount")
    books.execute("UPDATE dca_payments SET amount_sats = amount_sats + 1, payee_ref = NULL WHERE id = ?", (leg.id,))
    changed, _ = legs.get(books, leg.id)
    with atomic(books):
        assert legs.learn_payee(books, changed, "w", NOW)
        assert legs.repoint(books, replace(changed, payee_ref="w"), elsewhere, "b@example.org", "super", NOW)
    assert legs.get(books, leg.id)[0].seal is None
    assert why_not(books)[0] is not None


def test_a_sale_does_not_pay_what_was_given_up_beside_what_took_its_place(books: Connection) -> None:
    """The rows of a former plan have seals too: put back, they would be paid once more."""
    gross = int(books.execute("SELECT gross_sats FROM dca_settlements").fetchone()[0])
    more = replace(all_legs(books)[0][0], leg_key="sm1:x:r1:more", leg="more", amount_sats=gross)
    seal = seal_rows.seal_of(books, seal_rows.ordered(more, gross))
    books.execute(
        "INSERT INTO dca_payments (settlement_id, machine_id, leg_type, leg, leg_key, label, client_id, amount_sats, "
        "payee, effective_at, planned_at, payee_kind, payee_ref, payee_scope, seal) "
        "SELECT settlement_id, machine_id, leg_type, 'more', 'sm1:x:r1:more', label, client_id, ?, payee, 1, 1, "
        "payee_kind, payee_ref, payee_scope, ? FROM dca_payments WHERE id = ?",
        (gross, seal, more.id),
    )
    assert all(f"for a sale that brought {gross}" in str(why) for why in why_not(books))


def test_another_key_of_the_machine_takes_over_what_was_sealed_and_nothing_else(books: Connection) -> None:
    sealed, forged = all_legs(books)[:2]
    with atomic(books):
        give_invoice(books, sealed[0].id, "cc" * 32, internal=False)
        books.execute("UPDATE dca_payments SET seal = 'x' WHERE id = ?", (forged[0].id,))
    assert books.keyring is not None
    assert books.keyring.learn(MACHINE, "new key")
    with atomic(books):
        assert seal_rows.renew(books, MACHINE) == len(all_legs(books)) - 1
    books.keyring = ring_of("new key")
    assert [why is None for why in why_not(books)] == [leg.id != forged[0].id for leg, _ in all_legs(books)]


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A database that was just brought up to date, with work in every state."""
    version_2(tmp_path / "old.db", monkeypatch)
    prepare(tmp_path / "old.db")
    with closing(_open(tmp_path / "old.db", busy_timeout_s=1)) as conn:
        conn.keyring = ring_of("key")
        yield conn


def test_what_an_older_version_has_left_open_is_sealed_once_as_it_stands(old: Connection) -> None:
    assert not seal_rows.has_begun(old, MACHINE)
    with atomic(old):
        count = seal_rows.take_over_open(old, MACHINE)
        seal_rows.begin(old, MACHINE, NOW)
    assert seal_rows.has_begun(old, MACHINE)
    found = [legs.get(old, row["id"]) for row in old.execute("SELECT id FROM dca_payments")]
    left_open = [(leg, invoice) for leg, invoice in found if leg.status in (*legs.OPEN, "held")]
    assert len(left_open) == count
    assert {leg.status for leg, _ in left_open} >= {"pending", "invoiced", "sending", "failed", "held"}
    assert [strange(old, leg, invoice) for leg, invoice in left_open] == [None] * count
    assert all(leg.seal is None for leg, _ in found if leg.status == "completed")


def test_opening_a_database_trusts_nothing_in_it(old: Connection) -> None:
    open_ones = [leg for leg, _ in all_legs(old) if leg.status in legs.OPEN]
    assert open_ones
    assert all(strange(old, leg, None) is not None for leg in open_ones)
