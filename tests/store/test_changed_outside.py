"""Whoever writes the file with SQL leaves a row in the audit log when it changes whom an LP's sats go to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from satmachine.audit.proof import check_books
from satmachine.audit.remedies import BreakKind
from satmachine.models import Client
from satmachine.store import clients
from satmachine.store.database import atomic
from testkit.books import MACHINE, NOW, add_provider, fresh_books

INSERTED = (
    "INSERT INTO dca_clients (machine_id, label, person, mode, payee_kind, payee, created_at, created_by) "
    f"VALUES ('{MACHINE}', 'thief', 'thief', 'flow', 'lightning_address', 'thief@example.org', 1, 'thief')"
)


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path) as conn:
        add_provider(conn, "alice", 10_000)
        yield conn


def alarms(conn: sqlite3.Connection) -> list[str]:
    return [broken.subject for broken in check_books(conn) if broken.kind is BreakKind.CHANGED_OUTSIDE]


def change(conn: sqlite3.Connection, **changes: object) -> Client:
    with atomic(conn):
        return clients.update(conn, clients.get(conn, 1), changes, actor="maria", now=NOW)


def test_what_satmachine_s_commands_do_is_no_alarm(conn: sqlite3.Connection) -> None:
    change(conn, payee="alice@other.example", person="Alice")
    change(conn, payee_kind="invoice_key_file", payee="/keys/alice")
    change(conn, autoforward="alice@example.org", autoforward_key_file="/keys/alice-admin")
    change(conn, autoforward=None, autoforward_key_file=None)
    change(conn, status="paused")
    with atomic(conn):
        clients.mark_removed(conn, clients.get(conn, 1), actor="maria", now=NOW)
    actions = [row["action"] for row in conn.execute("SELECT action FROM audit_log ORDER BY id")]
    assert actions == ["client.add", *["client.update"] * 5, "client.remove"]
    assert alarms(conn) == []


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE dca_clients SET payee = 'thief@example.org' WHERE id = 1",
        "UPDATE dca_clients SET payee_kind = 'lnurl' WHERE id = 1",
        "UPDATE dca_clients SET autoforward = 'thief@example.org', autoforward_key_file = '/k' WHERE id = 1",
    ],
)
def test_a_changed_payee_is_noted_and_told_until_a_person_has_named_the_right_one(
    conn: sqlite3.Connection, sql: str
) -> None:
    conn.execute(sql)
    row = conn.execute("SELECT * FROM audit_log ORDER BY id DESC LIMIT 1").fetchone()
    assert (row["action"], row["subject"], row["machine_id"]) == ("client.changed_outside", "client 1", MACHINE)
    assert "alice@example.org" in row["before"]
    assert alarms(conn) == ["client 1"]
    change(conn, person="Alice")
    assert alarms(conn) == ["client 1"], "another change does not settle it"
    found = clients.get(conn, 1)
    change(conn, payee_kind=found.payee_kind, payee=found.payee)
    assert alarms(conn) == [], "the payee as it is was named by a person"


def test_an_inserted_client_is_noted(conn: sqlite3.Connection) -> None:
    conn.execute(INSERTED)
    assert alarms(conn) == ["client 2"]


def test_an_announcement_of_something_else_does_not_cover_it(conn: sqlite3.Connection) -> None:
    change(conn, person="Alice")
    conn.execute("UPDATE dca_clients SET payee = 'thief@example.org' WHERE id = 1")
    change(conn, payee="alice@true.example")
    conn.execute("UPDATE dca_clients SET payee = 'thief@example.org' WHERE id = 1")
    assert alarms(conn) == ["client 1"]
    assert conn.execute("SELECT count(*) FROM audit_log WHERE action = 'client.changed_outside'").fetchone()[0] == 2
