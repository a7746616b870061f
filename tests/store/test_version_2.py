"""A filled database of version 2, with work in every state, becomes one of this version and goes on.

`schema-2.sql` is what that version shipped; the rows are what its code wrote.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from satmachine.audit.proof import check_books
from satmachine.audit.remedies import BreakKind
from satmachine.settlements.plan.planning import plan_settlement
from satmachine.store import balances, client_legs, database, legs, settlements, wallet_rows
from satmachine.store.database import atomic, connect, prepare
from testkit.books import BOUNDS, MACHINE, NOW, TERMS
from tests.clients.sales import complete

ALICE, BOB, LNURL = "LNbits wallet (key from file /etc/k)", "bob@example.org", "LNURL of pay.example.org"
PREIMAGES = {number: f"{number:064x}" for number in range(1, 100)}


def preimage_hash(number: int) -> str:
    return hashlib.sha256(bytes.fromhex(PREIMAGES[number])).hexdigest()


class Old:
    """Writes rows as version 2 did."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self.legs = 0

    def insert(self, table: str, **values: object) -> int:
        names = ", ".join(values)
        places = ", ".join("?" for _ in values)
        cursor = self.conn.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(values.values()))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def sale(self, number: int, status: str, **changes: object) -> int:
        """A proven sale of 10,000 sats: 300 for the platform, 700 for the operator, 9,000 for LPs."""
        key = f"{number:064x}"
        values: dict[str, object] = {
            "payment_hash": key,
            "machine_id": MACHINE,
            "source": "event",
            "status": status,
            "gross_sats": 10_000,
            "net_sats": 9_000,
            "commission_sats": 1_000,
            "platform_fee_sats": 300,
            "operator_fee_sats": 700,
            "super_fee_pct": "0.30",
            "ruleset_source": "operator",
            "exchange_rate": "100",
            "currency": "GTQ",
            "settlement_key": key,
            "proof": "proven",
            "occurred_at": NOW - 1_000 + number,
            "landed_at": NOW,
            "proven_at": NOW,
            "planned_at": NOW,
            "bitspire_event_id": f"{number + 500:064x}",
        }
        return self.insert("dca_settlements", **(values | changes))

    def leg(self, sale: int | None, leg: str, sats: int, status: str, payee: str, **changes: object) -> int:
        """A leg with the invoice that such a state had; `sent` and `fee` are of a completed one."""
        self.legs += 1
        number = self.legs
        sent, fee = changes.pop("sent_sats", sats), changes.pop("fee_sats", 0)
        key = changes.pop("leg_key", f"sm1:{sale or 0:064x}:r1:{leg}")
        kind = leg.partition(":")[0]
        types = {"super": "super_fee", "split": "operator_split", "bal": "settlement", "fwd": "autoforward"}
        values: dict[str, object] = {
            "settlement_id": sale,
            "machine_id": MACHINE,
            "leg_type": types.get(kind, kind),
            "leg": leg,
            "leg_key": key,
            "label": leg.partition(":")[2] if kind == "split" else None,
            "amount_sats": sats,
            "payee": payee,
            "effective_at": NOW - 1_000,
            "planned_at": NOW,
            "status": status,
            "position": number,
        }
        if kind in ("dca", "bal"):
            values |= {"client_id": 1 if "alice" in leg else 2, "fiat_amount_minor": sats, "exchange_rate": "100"}
            values |= {"currency": "GTQ"}
        has_invoice = status not in ("pending", "skipped") and not changes.pop("bare", False)
        if has_invoice:
            values |= {"payment_hash": preimage_hash(number), "generation": 1}
        if status == "completed":
            values |= {"sent_sats": sent, "fee_sats": fee, "completed_at": NOW, "preimage": PREIMAGES[number]}
            values |= {"next_attempt_at": None}
        if status == "held":
            values |= {"hold_reason": "debit_without_credit", "error": "x", "evidence": "{}", "next_attempt_at": None}
        payment_id = self.insert("dca_payments", **(values | changes))
        if has_invoice:
            self.insert(
                "dca_invoices",
                payment_id=payment_id,
                generation=1,
                amount_sats=sent if status == "completed" else sats,
                asked_at=NOW,
                bolt11="lnbc1",
                payment_hash=preimage_hash(number),
                internal=int(payee == ALICE),
                sent_at=None if status in ("invoiced", "voided") else NOW,
                dead_at=NOW if status == "voided" else None,
            )
        return payment_id

    def retain(self, sale: int, reason: str, sats: int, leg: str = "") -> None:
        self.insert(
            "dca_retained", settlement_id=sale, revision=1, reason=reason, leg=leg, amount_sats=sats, created_at=NOW
        )


def fill(old: Old) -> None:
    """Work in every state."""
    old.insert("dca_operators", id="atitlan", name="Atitlan Cash", in_config=1)
    old.insert(
        "dca_machines",
        id=MACHINE,
        operator_id="atitlan",
        npub="npub1",
        pubkey="1" * 64,
        name="Machine",
        currency="GTQ",
        fallback_commission_pct="0.05",
        payouts_since=0,
        active=1,
        in_config=1,
        loaded_at=NOW,
    )
    old.insert("dca_wallets", machine_id=MACHINE, wallet_id="w", last_sweep_at=NOW)
    for label, kind, payee in (("alice", "invoice_key_file", "/etc/k"), ("bob", "lightning_address", BOB)):
        old.insert(
            "dca_clients",
            machine_id=MACHINE,
            label=label,
            person=label,
            mode="flow",
            payee_kind=kind,
            payee=payee,
            created_at=1,
            created_by="t",
        )
    for client, minor, status in ((1, 100_000, "confirmed"), (2, 100_000, "confirmed"), (1, 5, "pending")):
        decided = None if status == "pending" else 7
        old.insert(
            "dca_deposits",
            client_id=client,
            machine_id=MACHINE,
            amount_minor=minor,
            currency="GTQ",
            status=status,
            recorded_by="t",
            recorded_at=1,
            decided_by=decided and "t",
            decided_at=decided,
        )
    fill_sales(old)
    fill_rest(old)


def fill_sales(old: Old) -> None:
    done = old.sale(1, "processed", finished_at=NOW)
    old.leg(done, "super", 300, "completed", ALICE)
    old.leg(done, "split:owner", 700, "completed", BOB, sent_sats=690, fee_sats=3)
    old.retain(done, "unused_fee_reserve", 7, "split:owner")
    old.leg(done, "dca:alice", 5_000, "completed", ALICE)
    old.leg(done, "dca:bob", 4_000, "completed", BOB, error="declared paid by ana: he has them", preimage=None)
    old.leg(done, "fwd:alice", 5_000, "completed", "alice@example.org", sent_sats=4_950, fee_sats=2, client_id=1)
    work = old.sale(2, "errored", error="x")
    old.leg(work, "super", 300, "pending", ALICE)
    old.leg(work, "split:owner", 300, "invoiced", ALICE)
    old.leg(work, "split:other", 400, "failed", BOB, error="insufficient balance")
    old.leg(work, "dca:alice", 5_000, "sending", ALICE)
    old.leg(work, "dca:bob", 4_000, "held", BOB)
    closed = old.sale(3, "partial", finished_at=NOW)
    old.leg(closed, "super", 300, "completed", ALICE)
    old.leg(closed, "split:owner", 700, "voided", LNURL)
    old.leg(closed, "dca:alice", 9_000, "voided", ALICE, bare=True)
    old.retain(closed, "voided_leg", 700, "split:owner")
    old.retain(closed, "voided_leg", 9_000, "dca:alice")
    refunded = old.sale(
        4,
        "refunded",
        finished_at=NOW,
        undispensed_sats=10_000,
        net_sats=0,
        commission_sats=0,
        platform_fee_sats=0,
        operator_fee_sats=0,
    )
    old.leg(refunded, "super", 0, "skipped", ALICE)
    old.leg(refunded, "refund:1", 10_000, "completed", "lnbc100u1customer")
    unplanned = {"planned_at": None, "platform_fee_sats": None, "operator_fee_sats": None, "super_fee_pct": None}
    unplanned |= {"ruleset_source": None}
    old.sale(5, "held", hold_reason="daily_limit", error="x", **unplanned)
    old.sale(6, "pending", **unplanned)
    old.sale(7, "pending", proof="waiting", settlement_key=None, proven_at=None, **unplanned)
    empty = old.sale(8, "pending", source="operator")
    old.leg(empty, "dca:bob", 9_000, "pending", LNURL)
    old.leg(empty, "super", 300, "pending", BOB)
    old.retain(empty, "no_ruleset", 700, "split")


def fill_rest(old: Old) -> None:
    old.leg(None, "bal:bob:1", 1_000, "completed", BOB, sent_sats=980, fee_sats=5, leg_key=f"sm1:bal:{MACHINE}:bob:1")
    old.leg(None, "bal:bob:2", 1_000, "pending", BOB, leg_key=f"sm1:bal:{MACHINE}:bob:2")
    for number, (action, status) in enumerate((("settlement.refund", "open"), ("client.settle", "done")), 1):
        params = json.dumps({"settlement_id": 3, "amount_sats": 5, "to": "a@b.c", "reason": "x"})
        done_at = None if status == "open" else NOW
        old.insert(
            "intents", id=number, created_at=NOW, actor="ana", action=action, subject="settlement 3", params=params,
            status=status, done_at=done_at,
        )  # fmt: skip
    for name, key, settled_by in (
        (preimage_hash(1), f"sm1:{1:064x}:r1:super", "adopted"),
        ("ab" * 32, f"sm1:{6:064x}:r1:super", "ana"),
        ("cd" * 32, f"sm1:{77:064x}:r1:super", None),
    ):
        old.insert(
            "dca_foreign_payments", machine_id=MACHINE, payment_hash=name, leg_key=key, amount_sats=300,
            status="success", extra="{}", made_at=NOW, first_seen_at=NOW, settled_by=settled_by,
        )  # fmt: skip
    for action, subject in (("settlement.land", "settlement 8"), ("settlement.close", "settlement 3")):
        old.insert("audit_log", at=NOW, actor="ana", action=action, subject=subject)


def version_2(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of version 2 with work in every state."""
    second = Path(__file__).with_name("schema-2.sql").read_text("utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(database, "SCHEMA_VERSION", 2)
        patch.setattr(database, "schema_text", lambda: second)
        prepare(path)
        with closing(connect(path)) as conn, atomic(conn):
            fill(Old(conn))


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "old.db"
    version_2(path, monkeypatch)
    prepare(path)
    with closing(connect(path)) as conn:
        yield conn


def legs_of(books: sqlite3.Connection) -> dict[str, sqlite3.Row]:
    found = books.execute("SELECT coalesce(settlement_id, 0) || ' ' || leg AS name, * FROM dca_payments")
    return {str(row["name"]): row for row in found}


def test_the_books_are_as_whole_as_they_were(books: sqlite3.Connection) -> None:
    broken = {(found.kind, found.subject) for found in check_books(books)}
    # What waited for a person before waits still: a payment that nothing explains, and one that has not arrived.
    assert {kind for kind, _ in broken} <= {BreakKind.UNKNOWN_PAYMENT, "unsettled"}
    assert (BreakKind.UNKNOWN_PAYMENT, f"machine {MACHINE}") in broken
    assert balances.wrong_totals(books) == []
    assert books.execute("PRAGMA foreign_key_check").fetchall() == []


def test_whom_each_leg_is_for_stands_in_columns(books: sqlite3.Connection) -> None:
    told = {name: (row["payee_kind"], row["payee_ref"], row["payee_scope"]) for name, row in legs_of(books).items()}
    assert told["1 super"] == ("wallet", None, "super")
    assert told["1 split:owner"] == ("lightning_address", BOB, "operator:atitlan:owner")
    assert told["1 dca:alice"] == ("wallet", None, "client:1")
    assert told["1 fwd:alice"] == ("lightning_address", "alice@example.org", None)
    assert told["3 split:owner"] == ("lnurl", None, "operator:atitlan:owner")
    assert told["4 refund:1"] == ("invoice", "lnbc100u1customer", None)
    assert told["0 bal:bob:2"] == ("lightning_address", BOB, "client:2")


def test_what_completed_each_leg_stands_in_columns(books: sqlite3.Connection) -> None:
    told = {name: (row["proof"], row["vouched_by"], row["error"]) for name, row in legs_of(books).items()}
    assert told["1 super"] == ("both_sides", None, None)
    assert told["1 split:owner"] == ("preimage", None, None)
    assert told["1 dca:bob"] == ("person", "ana: he has them", None)
    assert told["2 split:other"] == (None, None, "insufficient balance")


def test_what_a_payout_left_over_is_in_the_books(books: sqlite3.Connection) -> None:
    found = books.execute("SELECT amount_sats, leg FROM dca_retained WHERE settlement_id IS NULL").fetchall()
    assert [tuple(row) for row in found] == [(15, "bal:bob:1")]
    assert settlements.get(books, 1).retained_sats == 7


def test_deposits_count_from_when_they_were_confirmed(books: sqlite3.Connection) -> None:
    found = books.execute("SELECT kind, status, effective_at FROM dca_deposits ORDER BY id").fetchall()
    assert [tuple(row) for row in found] == [
        ("deposit", "confirmed", 7),
        ("deposit", "confirmed", 7),
        ("deposit", "pending", None),
    ]
    with pytest.raises(sqlite3.IntegrityError, match="audit record"):
        books.execute("UPDATE dca_deposits SET notes = 'x' WHERE id = 1")


def test_a_persons_word_is_known(books: sqlite3.Connection) -> None:
    acted = {row["id"] for row in books.execute("SELECT id FROM dca_settlements WHERE person_acted_at IS NOT NULL")}
    assert acted == {3, 8}


def test_payments_that_were_adopted_know_their_leg(books: sqlite3.Connection) -> None:
    found = books.execute("SELECT leg_key, settled_by, payment_id FROM dca_foreign_payments ORDER BY leg_key")
    assert [tuple(row) for row in found] == [
        (f"sm1:{1:064x}:r1:super", "adopted", 1),
        (f"sm1:{6:064x}:r1:super", "ana", None),
        (f"sm1:{77:064x}:r1:super", None, None),
    ]


def test_a_payment_that_was_only_accepted_is_not_made_again(books: sqlite3.Connection) -> None:
    with atomic(books):
        outcome = plan_settlement(books, 6, TERMS, BOUNDS, NOW)
    assert outcome is not None
    assert outcome.held == "unknown_payments"
    assert "--book" in str(settlements.get(books, 6).error)


def test_open_requests_are_still_open(books: sqlite3.Connection) -> None:
    found = books.execute("SELECT action, status FROM intents ORDER BY id").fetchall()
    assert [tuple(row) for row in found] == [("settlement.refund", "open"), ("client.settle", "done")]


def test_what_was_open_goes_on(books: sqlite3.Connection) -> None:
    with atomic(books):
        assert "do not know" in str(wallet_rows.refresh_safe_mode(books, MACHINE))
        books.execute("UPDATE dca_foreign_payments SET settled_by = 'ana', decided_at = ?", (NOW,))
        assert wallet_rows.refresh_safe_mode(books, MACHINE) is None
    due = {row.leg_key.split(":", 3)[-1] for row in legs.due(books, NOW + 9, [MACHINE], per_payee=9, limit=99)}
    assert due == {"super", "split:owner", "split:other", "dca:alice", "dca:bob", "bob:2"}
    waiting = {row.id for row in settlements.due_to_prove(books, NOW + 9, per_machine=9, limit=9)}
    assert waiting == {6, 7}
    for name in ("8 dca:bob", "8 super"):
        complete(books, legs.get(books, int(legs_of(books)[name]["id"]))[0])
    assert settlements.get(books, 8).status == "processed"
    assert client_legs.next_payout_number(books, 2) == 3
    assert {found.kind for found in check_books(books)} <= {"unsettled"}
