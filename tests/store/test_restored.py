"""A copy of the books knows that it is one: nothing is planned or paid from it before a person has reconciled."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from satmachine.ops.backup import make_backup
from satmachine.settlements.plan.planning import plan_settlement
from satmachine.store import legs, restored, settlements, wallet_rows
from satmachine.store.database import atomic, connect
from testkit.books import BOUNDS, MACHINE, NOW, TERMS, fresh_books, landed, plan


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path) as conn:
        yield conn


@pytest.fixture
def copy(tmp_path: Path, books: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A copy of books with one sale that is planned and one that is only proven."""
    plan(books, landed(books, 1))
    landed(books, 2)
    make_backup(tmp_path / "satmachine.db", tmp_path / "copy.db")
    with closing(connect(tmp_path / "copy.db")) as conn:
        yield conn


def safe_modes(conn: sqlite3.Connection) -> set[str]:
    return {str(row["safe_mode"]) for row in conn.execute("SELECT safe_mode FROM dca_wallets")}


def test_a_backup_flags_the_copy_and_not_the_books(books: sqlite3.Connection, copy: sqlite3.Connection) -> None:
    with atomic(books):
        assert restored.take_over(books, NOW) is None
    with atomic(copy):
        assert restored.take_over(copy, NOW) is not None
    assert safe_modes(books) == {"None"}
    assert all("these books are a copy of" in why for why in safe_modes(copy))


def test_the_flag_is_taken_over_once(copy: sqlite3.Connection) -> None:
    with atomic(copy):
        restored.take_over(copy, NOW)
        assert restored.take_over(copy, NOW + 1) is None
    [since] = {row["reconcile_since"] for row in copy.execute("SELECT reconcile_since FROM dca_wallets")}
    assert since == NOW
    assert [row["action"] for row in copy.execute("SELECT action FROM audit_log")] == ["books.restored"]


def test_a_copy_pays_and_plans_nothing(copy: sqlite3.Connection) -> None:
    waiting = [row.id for row in settlements.due_to_prove(copy, NOW, per_machine=9, limit=9)]
    assert legs.due(copy, NOW, [MACHINE], per_payee=9, limit=9)
    assert len(waiting) == 1
    with atomic(copy):
        restored.take_over(copy, NOW)
    assert legs.due(copy, NOW, [MACHINE], per_payee=9, limit=9) == []
    assert settlements.due_to_prove(copy, NOW, per_machine=9, limit=9) == []
    with atomic(copy):
        assert plan_settlement(copy, waiting[0], TERMS, BOUNDS, NOW) is None


def test_a_sale_that_comes_after_a_restore_is_still_proven(copy: sqlite3.Connection) -> None:
    with atomic(copy):
        restored.take_over(copy, NOW)
    copy.execute("UPDATE dca_settlements SET proof = 'waiting', settlement_key = NULL WHERE planned_at IS NULL")
    assert len(settlements.due_to_prove(copy, NOW, per_machine=9, limit=9)) == 1


def test_a_clean_sweep_does_not_end_the_pause(copy: sqlite3.Connection) -> None:
    with atomic(copy):
        restored.take_over(copy, NOW)
        assert "copy" in str(wallet_rows.refresh_safe_mode(copy, MACHINE))
