"""Open payments go to whom the file names now: which may go, where to, and what stays written of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from satmachine.errors import Refused
from satmachine.identity import PayeeIdentity, PayeeKind
from satmachine.models import HoldReason, Leg, LegStatus, LegType
from satmachine.settlements.correct.repoint import Move, Target, is_there, repoint, target_of
from satmachine.store import clients, legs, payees, settlements
from satmachine.store.database import atomic
from testkit.books import NOW
from testkit.sale_desk import Desk, add_provider, open_desk
from tests.settlements.correct.persons import BY

ELSEWHERE = Target(PayeeIdentity(PayeeKind.LIGHTNING_ADDRESS, "new@example.org"), "new@example.org", "super")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = open_desk(tmp_path)
    add_provider(found, "alice", 500_000)
    found.land()
    found.plan()
    with closing(found.conn):
        yield found


def leg_of(conn: sqlite3.Connection, name: str) -> Leg:
    row = conn.execute("SELECT id FROM dca_payments WHERE leg = ?", (name,)).fetchone()
    return legs.get(conn, row["id"])[0]


class TestWhereTo:
    @pytest.mark.parametrize(
        ("name", "payee", "scope"),
        [
            ("split:technician", "tech@example.org", "operator:atitlan:technician"),
            ("split:owner", "LNbits wallet (key from environment variable OWNER_KEY)", "operator:atitlan:owner"),
            ("super", "LNbits wallet (key from environment variable SUPER_KEY)", "super"),
        ],
    )
    def test_what_the_file_pays_goes_to_whom_the_file_names(
        self, desk: Desk, name: str, payee: str, scope: str
    ) -> None:
        found = target_of(desk.conn, leg_of(desk.conn, name), desk.config)
        assert (found.payee, found.scope) == (payee, scope)

    def test_an_lps_share_goes_to_whom_the_lps_row_names(self, desk: Desk) -> None:
        leg = leg_of(desk.conn, "dca:alice")
        assert leg.client_id is not None
        with atomic(desk.conn):
            client = clients.get(desk.conn, leg.client_id)
            wish = {"payee_kind": "lightning_address", "payee": "a2@example.org"}
            clients.update(desk.conn, client, wish, actor="ana", now=NOW)
        found = target_of(desk.conn, leg, desk.config)
        assert found.identity == PayeeIdentity(PayeeKind.LIGHTNING_ADDRESS, "a2@example.org")
        assert (found.payee, found.scope) == ("a2@example.org", f"client:{leg.client_id}")

    @pytest.mark.parametrize("change", [{"label": "gone"}, {"machine_id": "machine-9"}], ids=str)
    def test_what_nobody_is_named_for_stays_and_both_ways_out_are_told(
        self, desk: Desk, change: dict[str, str]
    ) -> None:
        leg = replace(leg_of(desk.conn, "split:owner"), **change)  # type: ignore[arg-type]
        with pytest.raises(Refused, match="the file names no payee for split:owner") as refused:
            target_of(desk.conn, leg, desk.config)
        assert f"settlements close {leg.settlement_id}" in str(refused.value)


class TestWhichMayGo:
    @pytest.mark.parametrize("status", [LegStatus.PENDING, LegStatus.INVOICED, LegStatus.SENDING, LegStatus.FAILED])
    def test_everything_open_may_go(self, desk: Desk, status: LegStatus) -> None:
        leg = replace(leg_of(desk.conn, "super"), status=status)
        assert target_of(desk.conn, leg, desk.config).scope == "super"

    @pytest.mark.parametrize("status", [LegStatus.COMPLETED, LegStatus.VOIDED, LegStatus.SKIPPED])
    def test_what_has_ended_goes_nowhere(self, desk: Desk, status: LegStatus) -> None:
        leg = replace(leg_of(desk.conn, "super"), status=status)
        with pytest.raises(Refused, match=f"payment {leg.id} is {status}: it goes nowhere any more"):
            target_of(desk.conn, leg, desk.config)

    @pytest.mark.parametrize("reason", [reason for reason in HoldReason if reason != HoldReason.PAYEE_CHANGED])
    def test_what_is_held_may_have_been_paid_and_is_decided_first(self, desk: Desk, reason: HoldReason) -> None:
        leg = replace(leg_of(desk.conn, "super"), status=LegStatus.HELD, hold_reason=reason)
        with pytest.raises(Refused, match=f"payments resolve {leg.id}"):
            target_of(desk.conn, leg, desk.config)

    def test_what_is_held_for_its_payee_alone_may_go(self, desk: Desk) -> None:
        leg = replace(leg_of(desk.conn, "super"), status=LegStatus.HELD, hold_reason=HoldReason.PAYEE_CHANGED)
        assert target_of(desk.conn, leg, desk.config).scope == "super"

    @pytest.mark.parametrize(
        ("leg_type", "words"),
        [(LegType.REFUND, "refund to another invoice"), (LegType.AUTOFORWARD, "--autoforward ADDRESS")],
    )
    def test_what_a_customer_or_an_lp_has_named_is_changed_where_they_named_it(
        self, desk: Desk, leg_type: LegType, words: str
    ) -> None:
        leg = replace(leg_of(desk.conn, "super"), leg_type=leg_type)
        with pytest.raises(Refused, match=words):
            target_of(desk.conn, leg, desk.config)


class TestIsThere:
    ADDRESS = PayeeIdentity(PayeeKind.LIGHTNING_ADDRESS, "a@example.org")

    @pytest.mark.parametrize(
        ("kind", "reference", "hold_reason", "there"),
        [
            (PayeeKind.LIGHTNING_ADDRESS, "a@example.org", None, True),
            (PayeeKind.LIGHTNING_ADDRESS, "b@example.org", None, False),
            (PayeeKind.LNURL, "a@example.org", None, False),
            (PayeeKind.LIGHTNING_ADDRESS, "a@example.org", HoldReason.PAYEE_CHANGED, False),
        ],
    )
    def test_who_is_paid_already_needs_no_order(
        self, desk: Desk, kind: PayeeKind, reference: str, hold_reason: str | None, there: bool
    ) -> None:
        leg = replace(leg_of(desk.conn, "super"), payee_kind=kind, payee_ref=reference, hold_reason=hold_reason)
        assert is_there(leg, Target(self.ADDRESS, "a", "super")) is there

    def test_a_wallet_that_was_not_asked_yet_may_be_another(self, desk: Desk) -> None:
        leg = replace(leg_of(desk.conn, "super"), payee_kind=PayeeKind.WALLET, payee_ref="w1")
        assert not is_there(leg, Target(PayeeIdentity(PayeeKind.WALLET, None), "w", "super"))
        assert is_there(leg, Target(PayeeIdentity(PayeeKind.WALLET, "w1"), "w", "super"))


class TestRepoint:
    def moved(self, desk: Desk, *moves: Move, left: tuple[str, ...] = ()) -> str:
        with atomic(desk.conn):
            return repoint(desk.conn, moves=moves, left=left, by=BY)

    def test_the_payment_its_name_and_the_word_are_written_together(self, desk: Desk) -> None:
        leg = leg_of(desk.conn, "super")
        said = self.moved(desk, Move(leg, ELSEWHERE), left=("payment 9 is paid",))
        assert said == f"payment {leg.id} goes to new@example.org now; payment 9 is paid"
        found = leg_of(desk.conn, "super")
        assert (found.payee, found.identity, found.payee_scope) == (
            "new@example.org",
            ELSEWHERE.identity,
            "super",
        )
        assert payees.completed(desk.conn, "super", ELSEWHERE.identity) == ELSEWHERE.identity
        row = desk.conn.execute("SELECT * FROM audit_log WHERE action = 'leg.repoint'").fetchone()
        assert (row["actor"], row["subject"], row["reason"]) == ("ana", f"settlement {leg.settlement_id}", BY.reason)
        assert json.loads(row["before"])["payee"] == leg.payee
        assert json.loads(row["after"]) == {"payee": "new@example.org", "payee_ref": "new@example.org"}
        note = desk.conn.execute("SELECT notes FROM dca_settlements").fetchone()[0]
        assert note.endswith(
            f" ana] Payment {leg.id} (super) goes to new@example.org instead of {leg.payee}: {BY.reason}."
        )
        assert leg.settlement_id is not None
        assert settlements.get(desk.conn, leg.settlement_id).person_acted_at == NOW

    def test_a_wallet_that_is_not_learnt_yet_is_forgotten_until_it_is_asked(self, desk: Desk) -> None:
        leg, unknown = leg_of(desk.conn, "super"), PayeeIdentity(PayeeKind.WALLET, None)
        with atomic(desk.conn):
            payees.learn(desk.conn, "super", PayeeIdentity(PayeeKind.WALLET, "w-old"), NOW)
        self.moved(desk, Move(leg, Target(unknown, "LNbits wallet", "super")))
        assert payees.completed(desk.conn, "super", unknown) == unknown
        assert leg_of(desk.conn, "super").payee_ref is None

    def test_several_go_in_one_order_or_none(self, desk: Desk) -> None:
        first, second = leg_of(desk.conn, "super"), leg_of(desk.conn, "split:owner")
        said = self.moved(
            desk, Move(first, ELSEWHERE), Move(second, replace(ELSEWHERE, scope="operator:atitlan:owner"))
        )
        assert said == f"payment {first.id}, {second.id} goes to new@example.org now"
        stale = replace(leg_of(desk.conn, "split:technician"), generation=7)
        before = leg_of(desk.conn, "dca:alice")
        with pytest.raises(Refused, match="was changed in the meantime"):
            self.moved(desk, Move(before, replace(ELSEWHERE, scope=str(before.payee_scope))), Move(stale, ELSEWHERE))
        assert leg_of(desk.conn, "dca:alice") == before
