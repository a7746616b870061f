"""A leg is paid to whom it was planned for, and keys of payments are the same in every life of a database."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from satmachine.identity import PayeeKind, waived_settlement_key
from satmachine.models import LegType
from satmachine.settlements.pay.jobs import configured_payee, has_changed
from satmachine.store import client_legs, legs, registry
from satmachine.store.database import atomic
from testkit.books import HASH, MACHINE, NOW, add_provider, landed, plan
from testkit.config_files import VALID, load_text


def test_another_payee_under_the_same_label_is_not_paid_what_the_former_was_owed(
    books: sqlite3.Connection, tmp_path: Path
) -> None:
    config = load_text(tmp_path, VALID)
    sale = plan(books, landed(books))
    leg = next(leg for leg in legs.of_settlement(books, sale.id) if leg.leg_type is LegType.OPERATOR_SPLIT)
    leg = replace(leg, machine_id="panajachel-1", payee_kind=PayeeKind.WALLET, payee_ref="f" * 32)
    payee = configured_payee(config, leg)
    assert payee is not None
    assert not has_changed(payee, leg)
    moved = configured_payee(load_text(tmp_path, VALID.replace("OWNER_KEY", "NEW_OWNER_KEY")), leg)
    assert moved is not None
    assert not has_changed(moved, leg), "where a key is kept is no part of who a payee is"
    other = VALID.replace('{ invoice_key = { env = "OWNER_KEY" } }', '{ lightning_address = "other@example.org" }')
    assert other != VALID
    named_now = configured_payee(load_text(tmp_path, other), leg)
    assert named_now is not None
    assert has_changed(named_now, leg)


def test_a_machine_does_not_change_hands_while_a_sale_is_open(books: sqlite3.Connection, tmp_path: Path) -> None:
    config = load_text(tmp_path, VALID.replace("panajachel-1", MACHINE).replace('"atitlan"', '"other"'))
    assert registry.changed_operator(books, config) == []
    landed(books)
    [problem] = registry.changed_operator(books, config)
    assert "open sales of atitlan" in problem


def test_a_balance_payout_is_numbered_past_those_of_another_life(books: sqlite3.Connection) -> None:
    client_id = add_provider(books, "maria", 100_000)
    assert client_legs.next_payout_number(books, client_id) == 1
    with atomic(books):
        for number in (2, 10):
            books.execute(
                "INSERT INTO dca_foreign_payments (machine_id, payment_hash, leg_key, amount_sats, status, extra, "
                "made_at, first_seen_at) VALUES (?, ?, ?, 5, 'success', '{}', ?, ?)",
                (MACHINE, f"{number:064x}", f"sm1:bal:{MACHINE}:maria:{number}", NOW, NOW),
            )
    assert client_legs.next_payout_number(books, client_id) == 11


@pytest.mark.parametrize("txid", ["tx_17", "100 %", "a:b", "x" * 128])
def test_a_sale_paid_without_proof_has_a_key_that_lnbits_can_look_up(txid: str) -> None:
    key = waived_settlement_key(None, txid, "ee" * 32)
    assert len(key) == 64
    assert key == waived_settlement_key(None, txid, None)
    assert key.isalnum()


def test_the_payment_hash_comes_first() -> None:
    assert waived_settlement_key(HASH, "t", "ee" * 32) == HASH
