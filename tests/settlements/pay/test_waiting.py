"""A leg that is not paid now: how long it waits, who is called, and what is never given up by itself."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.errors import ConfigError, WalletError, WalletRefused, WalletUnavailable
from satmachine.models import Cause, HoldReason, Leg, LegStatus, SettlementStatus
from satmachine.settlements.pay.jobs import Stuck
from satmachine.settlements.pay.marker import Standoff
from satmachine.settlements.pay.seal_check import Strange
from satmachine.settlements.pay.waiting import FIRST_RETRY_S, FORWARD_TRIES, LAST_RETRY_S, Waiting, backoff_s
from satmachine.store import legs, settlements, wallet_rows
from satmachine.store.database import Store, atomic, open_store
from testkit.books import MACHINE, NOW, add_provider, fresh_books, give_invoice, landed, plan
from tests.clients.sales import add_client, complete, deposit

pytestmark = pytest.mark.anyio


class TestBackoff:
    @pytest.mark.parametrize(
        ("attempts", "wait_s"), [(0, 5), (1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (8, 600), (10**6, 600)]
    )
    def test_it_doubles_from_five_seconds_to_ten_minutes(self, attempts: int, wait_s: float) -> None:
        assert backoff_s(attempts, 0.5) == pytest.approx(wait_s)

    @given(st.integers(0, 1_000), st.floats(0, 1))
    def test_chance_moves_it_by_a_fifth_at_most(self, attempts: int, chance: float) -> None:
        """So that a hundred legs that failed together do not come back together."""
        middle = backoff_s(attempts, 0.5)
        assert 0.8 * middle <= backoff_s(attempts, chance) * 1.000001
        assert backoff_s(attempts, chance) <= 1.2 * middle * 1.000001

    def test_both_ends_of_the_chance_are_used(self) -> None:
        assert backoff_s(0, 0) == pytest.approx(4)
        assert backoff_s(0, 1) == pytest.approx(6)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path) as conn:
        add_provider(conn, "alice", 500_000)
        plan(conn, landed(conn))
        yield conn


@pytest.fixture
async def store(tmp_path: Path, books: sqlite3.Connection) -> AsyncIterator[Store]:
    async with open_store(tmp_path / "satmachine.db") as opened:
        yield opened


@pytest.fixture
def waiting(store: Store) -> Waiting:
    """Without chance: the wait itself."""
    return Waiting(store, lambda: NOW, lambda: 0.5)


def leg_of(conn: sqlite3.Connection, name: str = "super") -> Leg:
    row = conn.execute("SELECT id FROM dca_payments WHERE leg = ?", (name,)).fetchone()
    return legs.get(conn, row["id"])[0]


def sent(conn: sqlite3.Connection, name: str = "super") -> Leg:
    """Its invoice is marked, and a request to pay it went out."""
    with atomic(conn):
        leg = give_invoice(conn, leg_of(conn, name).id, "cc" * 32, internal=False)
        assert legs.mark_sending(conn, leg, now=NOW)
    return leg_of(conn, name)


def seen(leg: Leg) -> tuple[str, str | None, int | None]:
    return leg.status, leg.cause, None if leg.next_attempt_at is None else leg.next_attempt_at - NOW


class TestAfter:
    @pytest.mark.parametrize(
        ("trouble", "cause", "wait_s"),
        [
            (WalletUnavailable("LNbits does not answer"), Cause.PAYEE_UNREACHABLE, 5),
            (WalletUnavailable("busy", retry_after_s=90), Cause.PAYEE_UNREACHABLE, 90),
            (WalletUnavailable("busy", retry_after_s=1), Cause.PAYEE_UNREACHABLE, 5),
            (WalletError("odd"), Cause.PAYEE_UNREACHABLE, 5),
            (Standoff("another daemon"), Cause.MARKS, 600),
            (ConfigError("key", ["its file is not there"]), Cause.KEY_UNREADABLE, 600),
        ],
    )
    async def test_what_may_pass_by_itself_is_tried_again(
        self, books: sqlite3.Connection, waiting: Waiting, trouble: Exception, cause: Cause, wait_s: int
    ) -> None:
        leg = leg_of(books)
        await waiting.after(leg.id, trouble)
        assert seen(leg_of(books)) == ("pending", cause, wait_s)

    async def test_once_there_is_an_invoice_it_is_the_wallet_that_is_not_reached(
        self, books: sqlite3.Connection, waiting: Waiting
    ) -> None:
        leg = sent(books)
        await waiting.after(leg.id, WalletUnavailable("no answer"))
        assert seen(leg_of(books)) == ("sending", Cause.WALLET_UNREACHABLE, 5)

    async def test_every_problem_of_a_key_is_told(self, books: sqlite3.Connection, waiting: Waiting) -> None:
        await waiting.after(leg_of(books).id, ConfigError("key", ["it is empty", "others can read it"]))
        assert leg_of(books).error == "it is empty; others can read it"

    async def test_each_setback_waits_longer(self, books: sqlite3.Connection, waiting: Waiting) -> None:
        waits = []
        for _ in range(9):
            await waiting.after(leg_of(books).id, WalletError("no"))
            waits.append(seen(leg_of(books))[2])
        assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]
        assert leg_of(books).attempts == 9

    @pytest.mark.parametrize(
        ("trouble", "cause", "wait_s"),
        [
            (Stuck(Cause.NO_FUNDS, "too little in it"), Cause.NO_FUNDS, 600),
            (Stuck(Cause.NO_PAYEE, "nobody is named"), Cause.NO_PAYEE, 600),
            (Stuck(Cause.PAYEE_CHANGED, "another wallet"), Cause.PAYEE_CHANGED, 600),
            (Stuck(Cause.FEES_NOT_COVERED, "too dear"), Cause.FEES_NOT_COVERED, None),
            (Stuck(Cause.INVOICE_DEAD, "dead"), Cause.INVOICE_DEAD, None),
            (WalletRefused("no such address", status=404), Cause.PAYEE_UNREACHABLE, 600),
        ],
    )
    async def test_what_only_a_person_can_mend_waits_for_them(
        self, books: sqlite3.Connection, waiting: Waiting, trouble: Exception, cause: Cause, wait_s: int | None
    ) -> None:
        leg = leg_of(books)
        await waiting.after(leg.id, trouble)
        assert seen(leg_of(books)) == ("failed", cause, wait_s)
        assert leg_of(books).error == str(trouble)
        assert leg.settlement_id is not None
        assert settlements.get(books, leg.settlement_id).status is SettlementStatus.ERRORED

    @pytest.mark.parametrize("cause", [Cause.NO_FUNDS, Cause.FEES_NOT_COVERED])
    async def test_what_may_have_been_sent_is_looked_up_and_never_called_failed(
        self, books: sqlite3.Connection, waiting: Waiting, cause: Cause
    ) -> None:
        leg = sent(books)
        await waiting.after(leg.id, Stuck(cause, "x"))
        assert seen(leg_of(books)) == ("sending", cause, 600)

    async def test_an_invoice_that_was_only_made_is_no_reason_to_wait_as_if_it_were_sent(
        self, books: sqlite3.Connection, waiting: Waiting
    ) -> None:
        with atomic(books):
            leg = give_invoice(books, leg_of(books).id, "cc" * 32, internal=False)
        await waiting.after(leg.id, Stuck(Cause.NO_FUNDS, "x"))
        assert seen(leg_of(books)) == ("failed", Cause.NO_FUNDS, 600)


class TestTooSmall:
    """A leg that no fee leaves anything of is given up, as one of nothing is; but only what is surely unpaid."""

    def small(self, books: sqlite3.Connection, sats: int) -> Leg:
        leg = leg_of(books)
        books.execute("DROP TRIGGER dca_payments_keep_amount")
        books.execute("UPDATE dca_payments SET amount_sats = ? WHERE id = ?", (sats, leg.id))
        return leg_of(books)

    @pytest.mark.parametrize("sats", [1, 2])
    async def test_its_sats_stay_with_their_reason(
        self, books: sqlite3.Connection, waiting: Waiting, sats: int
    ) -> None:
        leg = self.small(books, sats)
        await waiting.after(leg.id, Stuck(Cause.FEES_NOT_COVERED, "too dear"))
        assert leg_of(books).status is LegStatus.VOIDED
        row = books.execute("SELECT reason, leg, amount_sats FROM dca_retained").fetchone()
        assert tuple(row) == ("voided_leg", "super", sats)
        assert leg.settlement_id is not None
        assert settlements.get(books, leg.settlement_id).retained_sats == sats

    @pytest.mark.parametrize(("sats", "cause"), [(3, Cause.FEES_NOT_COVERED), (2, Cause.NO_FUNDS), (2, Cause.NO_PAYEE)])
    async def test_more_than_that_or_another_cause_waits(
        self, books: sqlite3.Connection, waiting: Waiting, sats: int, cause: Cause
    ) -> None:
        leg = self.small(books, sats)
        await waiting.after(leg.id, Stuck(cause, "x"))
        assert leg_of(books).status is LegStatus.FAILED
        assert books.execute("SELECT count(*) FROM dca_retained").fetchone()[0] == 0

    async def test_what_has_an_invoice_may_be_paid_and_is_not_given_up(
        self, books: sqlite3.Connection, waiting: Waiting
    ) -> None:
        self.small(books, 2)
        leg = sent(books)
        await waiting.after(leg.id, Stuck(Cause.FEES_NOT_COVERED, "too dear"))
        assert leg_of(books).status is LegStatus.SENDING


class TestForward:
    """What an LP gets is theirs already; to forward it is tried for about an hour."""

    @pytest.fixture
    def forward(self, books: sqlite3.Connection) -> Leg:
        client_id = add_client(books, "maria", autoforward="m@example.org", autoforward_key_file="/keys/maria")
        deposit(books, client_id, 10**7)
        plan(books, landed(books, 2))
        complete(books, leg_of(books, "dca:maria"))
        return leg_of(books, "fwd:maria")

    @pytest.mark.parametrize(
        ("tries", "status", "goes_on"),
        [
            (FORWARD_TRIES - 1, LegStatus.FAILED, True),
            (FORWARD_TRIES, LegStatus.FAILED, False),
            (FORWARD_TRIES + 5, LegStatus.FAILED, False),
            (FORWARD_TRIES, LegStatus.SENDING, True),
            (FORWARD_TRIES, LegStatus.PENDING, True),
        ],
    )
    async def test_it_ends_after_a_dozen_tries_unless_it_may_have_been_sent(
        self,
        books: sqlite3.Connection,
        waiting: Waiting,
        forward: Leg,
        tries: int,
        status: LegStatus,
        goes_on: bool,
    ) -> None:
        books.execute("UPDATE dca_payments SET attempts = ? WHERE id = ?", (tries, forward.id))
        await waiting.try_later(forward.id, status, Cause.NOT_PAID, "no route")
        assert (leg_of(books, "fwd:maria").next_attempt_at is not None) is goes_on

    async def test_a_sales_own_leg_never_ends_by_itself(self, books: sqlite3.Connection, waiting: Waiting) -> None:
        leg = leg_of(books)
        books.execute("UPDATE dca_payments SET attempts = 10000 WHERE id = ?", (leg.id,))
        await waiting.try_later(leg.id, LegStatus.FAILED, Cause.NOT_PAID, "no route")
        assert seen(leg_of(books)) == ("failed", Cause.NOT_PAID, 600)

    async def test_a_forward_of_a_sat_is_not_given_up_in_the_sales_name(
        self, books: sqlite3.Connection, waiting: Waiting, forward: Leg
    ) -> None:
        books.execute("DROP TRIGGER dca_payments_keep_amount")
        books.execute("UPDATE dca_payments SET amount_sats = 1 WHERE id = ?", (forward.id,))
        await waiting.after(forward.id, Stuck(Cause.FEES_NOT_COVERED, "too dear"))
        assert leg_of(books, "fwd:maria").status is LegStatus.FAILED
        assert books.execute("SELECT count(*) FROM dca_retained WHERE leg = 'fwd:maria'").fetchone()[0] == 0


class TestHeld:
    @pytest.mark.parametrize(
        "reason",
        [
            HoldReason.DEBIT_WITHOUT_CREDIT,
            HoldReason.PAID_BY_ANOTHER,
            HoldReason.BAD_PREIMAGE,
            HoldReason.AMOUNT_MISMATCH,
            HoldReason.CONTRADICTION,
            HoldReason.CREDIT_UNSEEN,
        ],
    )
    async def test_what_must_not_be_stops_this_leg_with_its_evidence(
        self, books: sqlite3.Connection, waiting: Waiting, reason: HoldReason
    ) -> None:
        leg = sent(books)
        await waiting.hold(leg, reason, {"source": "success"})
        found = leg_of(books)
        assert (found.status, found.hold_reason, found.next_attempt_at) == (LegStatus.HELD, reason, None)
        assert found.error
        assert legs.evidence(books, leg.id) == {"source": "success"}
        assert not wallet_rows.is_stopped(books, MACHINE)

    async def test_a_wallet_that_has_forgotten_payments_pays_nothing_more_at_all(
        self, books: sqlite3.Connection, waiting: Waiting
    ) -> None:
        await waiting.hold(sent(books), HoldReason.WALLET_ROLLED_BACK, {})
        assert wallet_rows.is_stopped(books, MACHINE)

    async def test_a_mark_that_was_forgotten_stops_the_wallet_too(
        self, books: sqlite3.Connection, waiting: Waiting
    ) -> None:
        await waiting.hold_rolled_back(sent(books))
        found = leg_of(books)
        assert (found.hold_reason, "has forgotten the mark" in str(found.error)) == ("wallet_rolled_back", True)
        assert wallet_rows.is_stopped(books, MACHINE)

    @pytest.mark.parametrize("too_much", [False, True])
    async def test_what_the_daemon_has_not_ordered_waits_and_its_sale_says_so(
        self, books: sqlite3.Connection, waiting: Waiting, too_much: bool
    ) -> None:
        leg = leg_of(books)
        await waiting.hold_unordered(leg, Strange("somebody wrote it", "Cancel it", too_much))
        found = leg_of(books)
        assert (found.status, found.hold_reason, found.error) == (
            LegStatus.HELD,
            HoldReason.UNORDERED,
            "somebody wrote it. Cancel it",
        )
        assert legs.evidence(books, leg.id) == {"too_much": too_much}
        assert leg.settlement_id is not None
        assert settlements.get(books, leg.settlement_id).status is SettlementStatus.ERRORED


def test_the_waits_are_those_that_people_read_of() -> None:
    """SPEC section 5: after 5 seconds, up to 10 minutes; autoforwards stop after twelve attempts."""
    assert (FIRST_RETRY_S, LAST_RETRY_S, FORWARD_TRIES) == (5, 600, 12)
