"""Before a word replaces the daemon it is proven that nothing was paid; where it is not proven, nothing changes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from satmachine.errors import ConfigError, Refused, WalletRefused, WalletUnavailable
from satmachine.models import Answer, HoldReason, Leg, LegStatus, Proof
from satmachine.settlements.correct.proven_unpaid import ASK_AFTER_S, GIVEN_UP_S, Unpaid
from satmachine.settlements.pay.payer import complete_leg
from satmachine.settlements.pay.transition import Sighting, View
from satmachine.store import legs
from satmachine.store.database import atomic, open_store
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import WalletPayment
from testkit.books import MACHINE, NOW, fresh_books, give_invoice, landed, plan
from testkit.config_files import ENVIRON, changed, load_text

pytestmark = pytest.mark.anyio

A, P, S, F = Sighting.ABSENT, Sighting.PENDING, Sighting.SUCCESS, Sighting.FAILED
BUNDLE = f"sm1:{1:064x}"
OWN = "cc" * 32
ANYTHING = (Refused("no wallet"), WalletRefused("gone", status=404), ConfigError("key", ["it is not there"]))


@dataclass
class Wallets:
    """What the payer sees on both sides, and what the machine's wallet lists; and what was withdrawn, in order."""

    view: View | Exception | None = None
    rows: list[WalletPayment] = field(default_factory=list)
    done: list[Any] = field(default_factory=list)

    async def look_up(self, leg_id: int) -> View | None:
        self.done.append(("look", leg_id))
        if isinstance(self.view, Exception):
            raise self.view
        return self.view

    async def withdraw(self, leg_ids: Sequence[int], sale: tuple[str, str] | None = None) -> None:
        self.done.append(("withdraw", list(leg_ids), sale))

    async def bundle(self, key: str, bundle: str) -> list[WalletPayment]:
        assert key == ENVIRON["WALLET_1"]
        return [row for row in self.rows if str(row.leg_key).startswith(bundle)]

    async def payments(self, key: str, *, payment_hash: str) -> list[WalletPayment]:
        assert key == ENVIRON["WALLET_1"]
        return [row for row in self.rows if row.payment_hash == payment_hash]


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with fresh_books(tmp_path) as conn:
        plan(conn, landed(conn))
        yield conn


@pytest.fixture
def wallets() -> Wallets:
    return Wallets()


@dataclass
class Clock:
    now: int = NOW


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def unpaid(tmp_path: Path, books: sqlite3.Connection, wallets: Wallets, clock: Clock) -> AsyncIterator[Unpaid]:
    config = load_text(tmp_path, changed('id = "panajachel-1"', f'id = "{MACHINE}"'), ENVIRON)
    async with open_store(tmp_path / "satmachine.db") as store:
        yield Unpaid(store, cast("Lnbits", wallets), wallets, lambda: config, lambda: clock.now)


def leg_of(conn: sqlite3.Connection, name: str = "super") -> Leg:
    row = conn.execute("SELECT id FROM dca_payments WHERE leg = ?", (name,)).fetchone()
    return legs.get(conn, row["id"])[0]


def invoiced(conn: sqlite3.Connection, *, expires_at: int | None = None, marked: bool = True) -> Leg:
    with atomic(conn):
        give_invoice(conn, leg_of(conn).id, OWN, internal=False, expires_at=expires_at, marked=marked)
    return leg_of(conn)


def sent(conn: sqlite3.Connection, *, at: int = NOW, expires_at: int | None = None) -> Leg:
    leg = invoiced(conn, expires_at=expires_at)
    with atomic(conn):
        assert legs.mark_sending(conn, leg, now=at)
    return leg_of(conn)


def shown(leg: Leg, payment_hash: str = OWN, status: Answer = Answer.SUCCESS, **fields: Any) -> WalletPayment:
    """A payment that the machine's wallet lists under the leg's key."""
    row = WalletPayment(payment_hash, "x", "w", -1_000, 0, status, "", None, {}, leg.leg_key, "", None, NOW, NOW)
    return replace(row, **fields)


class TestProve:
    async def test_what_was_never_sent_is_unpaid_where_the_wallet_shows_nothing_of_it(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg = invoiced(books)
        proof = await unpaid.prove(MACHINE, BUNDLE, [leg])
        assert proof.legs == {leg.id: leg}
        assert proof.evidence == {leg.id: None}
        assert wallets.done == [], "an invoice that only was made is not asked about: nobody pays it"

    async def test_what_was_sent_is_looked_up_on_both_sides_and_both_are_kept(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg, wallets.view = sent(books), View(F, F, expired=True)
        proof = await unpaid.prove(MACHINE, BUNDLE, [leg])
        assert wallets.done == [("look", leg.id)]
        assert proof.evidence == {leg.id: {"source": F, "destination": F, "expired": True}}

    @pytest.mark.parametrize(
        ("view", "words"),
        [
            (View(S, None, expired=False), "the machine's wallet shows it paid"),
            (View(A, S, expired=False), "the payee's wallet shows it paid"),
            (View(P, F, expired=True), "the payment is on its way"),
            (View(A, P, expired=False), "LNbits may still be working on it"),
            (View(A, None, expired=False), "LNbits may still be working on it"),
            (View(F, None, expired=False), "could still be paid"),
            (View(A, A, expired=True), "proves nothing"),
        ],
        ids=str,
    )
    async def test_any_doubt_refuses_and_names_the_payment_and_its_sale(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets, view: View, words: str
    ) -> None:
        leg, wallets.view = sent(books), view
        with pytest.raises(Refused) as refused:
            await unpaid.prove(MACHINE, BUNDLE, [leg])
        told = str(refused.value)
        assert f"payment {leg.id} of sale {leg.settlement_id} is not proven unpaid" in told
        assert words in told
        assert "Nothing was changed; try again in a few minutes" in told

    async def test_where_lnbits_has_forgotten_only_the_payee_knows(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg, wallets.view = sent(books), View(A, None, expired=True, forgotten=True)
        with pytest.raises(Refused, match="ask the payee") as refused:
            await unpaid.prove(MACHINE, BUNDLE, [leg])
        for way_out in (f"payments resolve {leg.id} --paid", f"payments resolve {leg.id} --unpaid"):
            assert way_out in str(refused.value)

    @pytest.mark.parametrize("trouble", ANYTHING, ids=lambda trouble: type(trouble).__name__)
    async def test_a_payee_that_cannot_be_asked_any_more_is_a_persons_matter(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets, trouble: Exception
    ) -> None:
        leg, wallets.view = sent(books), trouble
        with pytest.raises(Refused, match="cannot be asked any more") as refused:
            await unpaid.prove(MACHINE, BUNDLE, [leg])
        assert f"payments resolve {leg.id} --unpaid" in str(refused.value)

    async def test_a_wallet_that_does_not_answer_proves_nothing(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg, wallets.view = sent(books), WalletUnavailable("no answer")
        with pytest.raises(WalletUnavailable):
            await unpaid.prove(MACHINE, BUNDLE, [leg])

    @pytest.mark.parametrize("status", [Answer.SUCCESS, Answer.PENDING, Answer.UNKNOWN])
    async def test_a_payment_of_the_sale_that_the_books_do_not_have_refuses_everything(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets, status: Answer
    ) -> None:
        leg = leg_of(books)
        wallets.rows = [shown(leg_of(books, "split:owner"), "ee" * 32, status)]
        with pytest.raises(Refused, match="these books do not have as completed") as refused:
            await unpaid.prove(MACHINE, BUNDLE, [leg])
        assert f"machines reconcile {MACHINE}" in str(refused.value)

    @pytest.mark.parametrize("row", [{"status": Answer.FAILURE}, {"amount_msat": 1_000}], ids=str)
    async def test_what_failed_or_came_in_is_no_payment(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets, row: dict[str, Any]
    ) -> None:
        leg = leg_of(books)
        wallets.rows = [shown(leg, "ee" * 32, **row)]
        assert (await unpaid.prove(MACHINE, BUNDLE, [leg])).legs == {leg.id: leg}

    async def test_what_the_books_have_as_paid_stops_nothing_of_the_rest(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        other = sent(books)
        with atomic(books):
            assert complete_leg(
                books, other, sent_sats=other.amount_sats, fee_sats=0, preimage=None, proof=Proof.BOTH_SIDES, now=NOW
            )
        wallets.rows = [shown(other)]
        leg = leg_of(books, "split:owner")
        assert (await unpaid.prove(MACHINE, BUNDLE, [leg])).legs == {leg.id: leg}

    async def test_a_payment_of_the_legs_own_invoice_is_told_as_such(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg = invoiced(books)
        wallets.rows = [shown(leg)]
        with pytest.raises(Refused, match=f"it was made for payment {leg.id}"):
            await unpaid.prove(MACHINE, BUNDLE, [leg])

    async def test_what_the_daemon_did_not_order_and_the_wallet_shows_is_approved_and_not_given_up(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg = invoiced(books)
        with atomic(books):
            legs.hold(books, leg, reason=HoldReason.UNORDERED, error="x", evidence={})
        leg = leg_of(books)
        wallets.rows = [shown(leg, "ee" * 32)]
        with pytest.raises(Refused, match=f"payments approve {leg.id}"):
            await unpaid.prove(MACHINE, BUNDLE, [leg])

    async def test_of_a_sale_without_proof_nothing_can_have_been_paid(self, unpaid: Unpaid, wallets: Wallets) -> None:
        proof = await unpaid.prove(MACHINE, None, [])
        assert (proof.legs, proof.evidence, wallets.done) == ({}, {}, [])


class TestWithdrawn:
    async def test_it_is_proven_before_and_after_the_invoices_are_withdrawn(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg, wallets.view = sent(books), View(F, F, expired=True)
        await unpaid.withdrawn(MACHINE, BUNDLE, [leg])
        assert wallets.done == [("look", leg.id), ("withdraw", [leg.id], None), ("look", leg.id)]

    async def test_what_is_plainly_under_way_keeps_its_invoice(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg, wallets.view = sent(books), View(P, None, expired=False)
        with pytest.raises(Refused):
            await unpaid.withdrawn(MACHINE, BUNDLE, [leg])
        assert wallets.done == [("look", leg.id)]

    @pytest.mark.parametrize(("sale", "bundle"), [(True, BUNDLE), (True, None), (False, BUNDLE)])
    async def test_a_whole_sale_is_stopped_by_its_own_name(
        self, unpaid: Unpaid, wallets: Wallets, sale: bool, bundle: str | None
    ) -> None:
        await unpaid.withdrawn(MACHINE, bundle, [], sale=sale)
        stopped = (MACHINE, BUNDLE) if sale and bundle else None
        assert wallets.done == [("withdraw", [], stopped)]


class TestRequirePerson:
    """Whose word is wanted at all: what the daemon settles by itself is not decided by hand."""

    async def test_a_held_payment_is_a_persons_matter(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg = sent(books)
        with atomic(books):
            legs.hold(books, leg, reason=HoldReason.CONTRADICTION, error="x", evidence={})
        await unpaid.require_person(leg_of(books), paid=True)
        assert wallets.done == []

    async def test_what_was_never_sent_needs_no_word(self, books: sqlite3.Connection, unpaid: Unpaid) -> None:
        for leg in (leg_of(books), invoiced(books, marked=False)):
            with pytest.raises(Refused, match="nothing of it was sent"):
                await unpaid.require_person(leg, paid=False)

    async def test_what_has_ended_needs_no_word(self, books: sqlite3.Connection, unpaid: Unpaid) -> None:
        leg = replace(sent(books), status=LegStatus.COMPLETED)
        with pytest.raises(Refused, match="is completed"):
            await unpaid.require_person(leg, paid=True)

    @pytest.mark.parametrize("trouble", ANYTHING, ids=lambda trouble: type(trouble).__name__)
    async def test_where_a_wallet_cannot_be_asked_any_more_a_person_may_say(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets, trouble: Exception
    ) -> None:
        leg, wallets.view = sent(books), trouble
        await unpaid.require_person(leg, paid=False)

    async def test_an_invoice_that_only_a_mark_names_is_asked_about(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg, wallets.view = invoiced(books), View(A, None, expired=True, forgotten=True)
        await unpaid.require_person(leg, paid=False)
        assert wallets.done == [("look", leg.id)]

    @pytest.mark.parametrize(
        "view", [None, View(A, P, expired=False), View(P, P, expired=False), View(S, S, expired=False)]
    )
    async def test_what_both_wallets_can_show_the_daemon_settles(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets, view: View | None
    ) -> None:
        leg, wallets.view = sent(books), view
        with pytest.raises(Refused, match=f"payments retry {leg.id}"):
            await unpaid.require_person(leg, paid=True)

    @pytest.mark.parametrize(
        ("paid", "since_sent_s", "since_expiry_s", "taken"),
        [
            (True, ASK_AFTER_S - 1, -10, False),
            (True, ASK_AFTER_S, -10, True),
            (False, ASK_AFTER_S, -10, False),
            (False, GIVEN_UP_S + 900, GIVEN_UP_S, False),
            (False, GIVEN_UP_S + 900, GIVEN_UP_S + 1, True),
            (False, 10, GIVEN_UP_S + 1, True),
        ],
    )
    async def test_a_payment_that_hangs_is_taken_as_paid_after_an_hour_and_as_unpaid_when_no_node_can_hold_it(
        self,
        books: sqlite3.Connection,
        unpaid: Unpaid,
        wallets: Wallets,
        clock: Clock,
        paid: bool,
        since_sent_s: int,
        since_expiry_s: int,
        taken: bool,
    ) -> None:
        clock.now = NOW + 10**7
        leg = sent(books, at=clock.now - since_sent_s, expires_at=clock.now - since_expiry_s)
        wallets.view = View(P, None, expired=since_expiry_s > 0)
        if taken:
            await unpaid.require_person(leg, paid=paid)
            return
        with pytest.raises(Refused, match="is on its way") as refused:
            await unpaid.require_person(leg, paid=paid)
        assert f"for {since_sent_s // 60} minutes" in str(refused.value)
        assert "15 days after its invoice has expired" in str(refused.value)

    async def test_an_invoice_without_an_end_is_never_given_up(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets, clock: Clock
    ) -> None:
        leg, wallets.view = sent(books), View(P, None, expired=False)
        clock.now = NOW + 10**9
        with pytest.raises(Refused):
            await unpaid.require_person(leg, paid=False)

    async def test_a_wallet_that_does_not_answer_now_is_asked_again_first(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg, wallets.view = sent(books), WalletUnavailable("no answer")
        with pytest.raises(WalletUnavailable):
            await unpaid.require_person(leg, paid=True)


class TestRequireNoDebit:
    async def test_without_an_invoice_nothing_left_the_wallet(self, books: sqlite3.Connection, unpaid: Unpaid) -> None:
        assert await unpaid.require_no_debit(leg_of(books)) is None

    async def test_what_the_wallet_does_not_show_or_shows_as_failed_was_not_paid(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets
    ) -> None:
        leg = sent(books)
        for rows in ([], [shown(leg, status=Answer.FAILURE)], [shown(leg, amount_msat=1_000)]):
            wallets.rows = rows
            assert await unpaid.require_no_debit(leg) is None

    @pytest.mark.parametrize("status", [Answer.SUCCESS, Answer.PENDING, Answer.UNKNOWN])
    async def test_a_debit_refuses_the_word_that_it_is_unpaid(
        self, books: sqlite3.Connection, unpaid: Unpaid, wallets: Wallets, status: Answer
    ) -> None:
        leg = sent(books, expires_at=NOW)
        wallets.rows = [shown(leg, status=status)]
        with pytest.raises(Refused, match=f"payment {leg.id} of sale {leg.settlement_id}: the machine's wallet shows"):
            await unpaid.require_no_debit(leg)

    @pytest.mark.parametrize(
        ("late_s", "inside", "status", "given_up"),
        [
            (1, False, Answer.PENDING, True),
            (0, False, Answer.PENDING, False),
            (1, True, Answer.PENDING, False),
            (1, False, Answer.SUCCESS, False),
        ],
    )
    async def test_only_what_the_network_cannot_hold_any_more_is_given_up_although_the_wallet_says_pending(
        self,
        books: sqlite3.Connection,
        unpaid: Unpaid,
        wallets: Wallets,
        clock: Clock,
        late_s: int,
        inside: bool,
        status: Answer,
        given_up: bool,
    ) -> None:
        leg = sent(books, expires_at=NOW)
        clock.now = NOW + GIVEN_UP_S + late_s
        wallets.rows = [shown(leg, status=status, checking_id="internal_x" if inside else "x")]
        if given_up:
            found = await unpaid.require_no_debit(leg)
            assert found is not None
            assert (found.payment_hash, found.status) == (OWN, "pending")
        else:
            with pytest.raises(Refused, match="it is not unpaid"):
                await unpaid.require_no_debit(leg)


def test_no_node_holds_a_payment_for_longer_than_that() -> None:
    """2016 blocks are two weeks; a day more for slow ones."""
    assert GIVEN_UP_S == 15 * 24 * 60 * 60
    assert ASK_AFTER_S == 60 * 60
