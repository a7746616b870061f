"""The proof against the wallets: what is a break, what is only told beside it, and what may move meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import anyio
import pytest

from satmachine.audit.proof import check_books
from satmachine.audit.remedies import Break, BreakKind
from satmachine.audit.wallets import WalletAudit, WalletProof
from satmachine.identity import tag
from satmachine.models import Answer
from satmachine.store import legs
from satmachine.store.database import atomic
from satmachine.wallet.lnbits import Lnbits, WalletInfo
from satmachine.wallet.rows import WalletPayment
from testkit.books import NOW
from testkit.sale_desk import MACHINE, Desk, add_provider, open_desk

#: Keys, as the desk's environment has them.
MACHINE_KEY, SUPER_KEY, OWNER_KEY = "wallet_1", "super_key", "owner_key"
LATER = NOW + 100


@dataclass
class Wallets:
    """An LNbits that shows these rows."""

    rows: dict[str, list[WalletPayment]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    async def wallet(self, key: str) -> WalletInfo:
        balance_msat = sum(row.amount_msat - row.fee_msat for row in self.rows[key])
        return WalletInfo("id", "a wallet", balance_msat, can_pay=True)

    async def wallet_of(self, key: str) -> str | None:
        return self.ids.get(key)

    async def payments(self, key: str) -> list[WalletPayment]:
        return list(self.rows.get(key, []))

    async def iter_ours(
        self, key: str, prefix: str = "sm1:", *, incoming: bool, created_since: int
    ) -> AsyncIterator[list[WalletPayment]]:
        yield [
            row
            for row in self.rows.get(key, [])
            if (row.leg_key or "").startswith(prefix) and incoming == row.incoming and row.created_at >= created_since
        ]


def a_row(payment_hash: str, sats: int, *, tag: str | None = None, leg_key: str | None = None) -> WalletPayment:
    """A settled payment; negative sats go out."""
    return WalletPayment(
        payment_hash=payment_hash,
        checking_id=payment_hash,
        wallet_id="w",
        amount_msat=sats * 1000,
        fee_msat=0,
        status=Answer.SUCCESS,
        memo="",
        tag=tag,
        extra={},
        external_id=leg_key,
        bolt11="",
        preimage=None,
        created_at=NOW,
        updated_at=NOW,
    )


@dataclass
class Case:
    """A paid sale in the books, and the same in the wallets."""

    desk: Desk
    wallets: Wallets

    @property
    def tag(self) -> str:
        machine = self.desk.config.machine(MACHINE)
        assert machine is not None
        return tag(machine.npub)

    def audit(self, *, began_at: int = LATER, since: int = 0) -> tuple[WalletProof, list[Break]]:
        machine = self.desk.config.machine(MACHINE)
        assert machine is not None
        auditor = WalletAudit(cast("Lnbits", self.wallets), self.desk.config, began_at, since)
        return anyio.run(auditor.audit, machine, self.desk.conn)

    def kinds(self) -> set[BreakKind]:
        return {found.kind for found in self.audit()[1]}

    def show(self, name: str) -> None:
        """Let both wallets show a leg's payment."""
        leg = self.desk.leg(name)
        assert leg.payment_hash is not None
        row = a_row(leg.payment_hash, -leg.amount_sats, tag=self.tag, leg_key=leg.leg_key)
        self.wallets.rows[MACHINE_KEY].append(row)
        credit = replace(row, amount_msat=-row.amount_msat)
        self.wallets.rows.setdefault({"super": SUPER_KEY, "split:owner": OWNER_KEY}.get(name, name), []).append(credit)


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    desk = open_desk(tmp_path)
    add_provider(desk, "alice", 1_000_000)
    desk.land()
    desk.plan()
    desk.pay_all()
    found = Case(desk, Wallets({MACHINE_KEY: [a_row(f"{1:064x}", 266_800)]}))
    for leg in legs.of_settlement(desk.conn, 1):
        found.show(leg.leg)
    with closing(desk.conn):
        yield found


def test_what_agrees_has_no_break(case: Case) -> None:
    statement, breaks = case.audit()
    assert breaks == []
    assert (statement.balance_sats, statement.wallet_sats, statement.books_sats) == (0, 0, 0)
    assert statement.unseen_payees == ()


def test_two_wallets_under_the_same_description_are_two_payees(case: Case) -> None:
    with atomic(case.desk.conn):
        case.desk.conn.execute("UPDATE dca_payments SET payee = 'LNbits wallet (key in the file)'")
    assert case.audit()[1] == []


def test_a_key_that_leads_to_another_wallet_by_now_shows_nothing_and_is_no_break(case: Case) -> None:
    case.wallets.rows[OWNER_KEY].clear()
    case.wallets.ids[OWNER_KEY] = "another"
    with atomic(case.desk.conn):
        case.desk.conn.execute("UPDATE dca_payments SET payee_ref = 'owners' WHERE leg = 'split:owner'")
    statement, breaks = case.audit()
    assert breaks == []
    assert len(statement.unseen_payees) == 1


def test_a_payment_that_the_machines_wallet_does_not_show(case: Case) -> None:
    case.wallets.rows[MACHINE_KEY].pop(1)
    assert case.kinds() == {BreakKind.NOT_DEBITED, BreakKind.WALLET_SUM}


def test_a_payment_that_the_payee_never_got(case: Case) -> None:
    case.wallets.rows[OWNER_KEY].clear()
    [found] = case.audit()[1]
    assert found.kind is BreakKind.NOT_CREDITED
    assert "r1:split:owner is completed, but the payee's wallet does not show its 3902 sats" in found.detail


def test_another_amount_than_the_books_say(case: Case) -> None:
    case.wallets.rows[SUPER_KEY][0] = replace(case.wallets.rows[SUPER_KEY][0], amount_msat=1000)
    assert case.kinds() == {BreakKind.NOT_CREDITED}


def test_a_sale_that_the_wallet_does_not_show(case: Case) -> None:
    case.wallets.rows[MACHINE_KEY].pop(0)
    assert case.kinds() == {BreakKind.SALE_MISSING, BreakKind.WALLET_SUM}


def test_a_payment_of_satmachine_that_nothing_explains(case: Case) -> None:
    case.wallets.rows[MACHINE_KEY].append(a_row("ff", -5, tag=case.tag, leg_key="sm1:x:r1:super"))
    assert case.kinds() == {BreakKind.UNKNOWN_PAYMENT, BreakKind.WALLET_SUM}
    with atomic(case.desk.conn):
        case.desk.conn.execute(
            "INSERT INTO dca_foreign_payments (machine_id, payment_hash, leg_key, amount_sats, status, extra, made_at, "
            "first_seen_at, settled_by) VALUES (?, 'ff', 'sm1:x:r1:super', 5, 'success', '{}', 1, 1, 'maria')",
            (MACHINE,),
        )
    statement, breaks = case.audit()
    assert breaks == []
    assert statement.accepted_sats == 5


def test_a_leg_that_was_voided_and_paid_after_all(case: Case) -> None:
    case.desk.land(2)
    case.desk.plan(2)
    leg = case.desk.invoice("super", settlement_id=2)
    case.wallets.rows[MACHINE_KEY].append(a_row(f"{2:064x}", 266_800))
    case.wallets.rows[MACHINE_KEY].append(
        a_row(str(leg.payment_hash), -leg.amount_sats, tag=case.tag, leg_key=leg.leg_key)
    )
    assert case.audit()[0].under_way_sats == 2_390
    assert case.kinds() == set()
    with atomic(case.desk.conn):
        case.desk.conn.execute("UPDATE dca_payments SET status = 'voided' WHERE id = ?", (leg.id,))
    assert BreakKind.PAID_BUT_VOIDED in case.kinds()


def test_a_leg_that_a_person_has_declared_paid_is_told_and_is_no_break(case: Case) -> None:
    row = case.wallets.rows[MACHINE_KEY].pop(1)
    case.wallets.rows[SUPER_KEY].clear()
    with atomic(case.desk.conn):
        case.desk.conn.execute(
            "UPDATE dca_payments SET payment_hash = 'dd', proof = 'person', vouched_by = 'maria: seen' "
            "WHERE leg = 'super'"
        )
    case.wallets.rows[MACHINE_KEY].append(replace(row, payment_hash="dd"))
    statement, breaks = case.audit()
    assert (breaks, check_books(case.desk.conn)) == ([], [])
    assert statement.vouched_legs == ("settlement 1 r1:super",)


def test_top_ups_and_withdrawals_are_told_and_are_no_breaks(case: Case) -> None:
    case.wallets.rows[MACHINE_KEY] += [a_row("aa", 500), replace(a_row("bb", -70), fee_msat=1_500)]
    statement, breaks = case.audit()
    assert breaks == []
    assert (statement.top_ups_sats, statement.withdrawals_sats) == (500, 72)


def test_what_is_completed_while_the_wallets_are_read_makes_no_false_alarm(case: Case) -> None:
    case.wallets.rows[MACHINE_KEY].pop(1)
    case.wallets.rows[SUPER_KEY].clear()
    statement, breaks = case.audit(began_at=NOW)
    assert breaks == []
    assert statement.wallet_sats == statement.books_sats


def test_with_since_only_the_payments_are_compared(case: Case) -> None:
    case.wallets.rows[MACHINE_KEY] = [row for row in case.wallets.rows[MACHINE_KEY] if row.outgoing]
    statement, breaks = case.audit(since=NOW - 10)
    assert breaks == []
    assert statement.wallet_sats is None
    case.wallets.rows[MACHINE_KEY].pop()
    assert [found.kind for found in case.audit(since=NOW - 10)[1]] == [BreakKind.NOT_DEBITED]
