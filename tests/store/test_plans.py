"""What the daemon asks again and again is answered along the open rows, never along the history of a machine or all."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from satmachine.store import (
    alert_rows,
    corrections,
    legs,
    mark_rows,
    reconciling,
    registry,
    settlements,
    wallet_rows,
)
from testkit.books import MACHINE, NOW, fresh_books, landed

QUESTIONS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "legs that are due": lambda conn: legs.due(conn, NOW, [MACHINE], per_payee=2, limit=9),
    "sales that are due": lambda conn: settlements.due_to_prove(conn, NOW, per_machine=2, limit=9),
    "a wallet has answered": lambda conn: wallet_rows.note_answer(
        conn, MACHINE, wallet_id="w", balance_sats=1, version="1", now=NOW
    ),
    "safe mode": lambda conn: wallet_rows.refresh_safe_mode(conn, MACHINE),
    "what is in trouble": lambda conn: settlements.with_trouble(conn, None),
    "what of an operator is in trouble": lambda conn: settlements.with_trouble(conn, "atitlan"),
    "machines that are active again": settlements.release_reactivated,
    "an invoice for a refund": lambda conn: corrections.invoice_is_known(conn, "aa" * 32, "lnbc1"),
    "machines that were dropped": lambda conn: registry.dropped_with_open_work(conn, NO_MACHINES),
    "machines that change hands": lambda conn: registry.changed_operator(conn, NO_MACHINES),
    "alarms to be delivered": lambda conn: alert_rows.due(conn, NOW),
    "cash in every machine": lambda conn: conn.execute("SELECT * FROM cash_now").fetchall(),
}


class _NoMachines:
    machines: tuple[()] = ()


NO_MACHINES: Any = _NoMachines()


WHOLE = re.compile(
    r"SCAN (s|p|i|dca_settlements|dca_payments|dca_invoices|alert_messages)( USING INDEX dca_settlements_ledger)?$"
)


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_history_is_read(question: str, tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        statements: list[str] = []
        conn.set_trace_callback(statements.append)
        QUESTIONS[question](conn)
        conn.set_trace_callback(None)
        assert statements
        for statement in statements:
            plan = [str(row["detail"]) for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}")]
            whole = [step for step in plan if WHOLE.match(step)]
            of_a_machine = [step for step in plan if re.search(r"_(payments|settlements)_machine( |$)", step)]
            assert whole + of_a_machine == [], statement


@pytest.mark.parametrize("question", ["known", "stopped"])
def test_the_marks_of_a_sale_are_read_and_not_those_of_every_sale_that_lost_books_have_found(
    question: str, tmp_path: Path
) -> None:
    with fresh_books(tmp_path) as conn:
        sale = settlements.get(conn, landed(conn))
        statements: list[str] = []
        conn.set_trace_callback(statements.append)
        if question == "known":
            mark_rows.known(conn, MACHINE, "sm1:aa")
        else:
            reconciling.stopped_before(conn, sale)
        conn.set_trace_callback(None)
        [statement] = statements
        plan = [str(row["detail"]) for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert any(step.endswith("USING INDEX dca_foreign_marks_decided (bundle=?)") for step in plan), plan
