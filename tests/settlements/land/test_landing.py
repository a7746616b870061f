"""Landing: every sale once, whatever comes again, from wherever, in whichever order (SPEC section 2)."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal

import pytest

from satmachine.models import Claim, LandingResult, Rejection
from satmachine.settlements.land.landing import Landing, Rules, land_claim, land_event
from satmachine.settlements.plan.amounts import Terms
from satmachine.settlements.plan.planning import Bounds, plan_settlement
from satmachine.store import legs, settlements
from satmachine.store.database import atomic
from satmachine.store.settlements import EventRecord
from testkit.books import HASH, MACHINE, NOW, OTHER_HASH, a_claim, a_rule, add_provider, give_invoice

RULES = Rules(machine_active=True, payouts_since=0)
WIDE = Bounds(Decimal(1), Decimal(1), None)
TERMS = Terms(Decimal("0.3"), a_rule("super"), "none", ())


def event(number: int = 1) -> EventRecord:
    return EventRecord(f"{number:064x}", NOW, NOW, "wss://relay.example", "{}")


def land(
    books: sqlite3.Connection, claim: Claim | Rejection, number: int = 1, rules: Rules = RULES
) -> Landing | Rejection:
    with atomic(books):
        return land_event(books, MACHINE, event(number), claim, rules, NOW)


def result(books: sqlite3.Connection, claim: Claim | Rejection, number: int = 1) -> LandingResult | str:
    outcome = land(books, claim, number)
    return outcome.reason if isinstance(outcome, Rejection) else outcome.result


def count(books: sqlite3.Connection, table: str) -> int:
    return int(books.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def prove_and_plan(books: sqlite3.Connection, settlement_id: int = 1) -> None:
    with atomic(books):
        settlement = settlements.get(books, settlement_id)
        settlements.mark_proven(
            books,
            settlement,
            payment_hash=HASH,
            settlement_key=HASH,
            occurred_at=NOW,
            proof="proven",
            now=NOW,
        )
        plan_settlement(books, settlement_id, TERMS, WIDE, NOW)


def test_a_new_sale_is_landed_with_its_event(books: sqlite3.Connection) -> None:
    assert result(books, a_claim()) is LandingResult.LANDED
    settlement = settlements.get(books, 1)
    assert (settlement.status, settlement.bitspire_event_id) == ("pending", event().event_id)
    assert settlements.event_ids(books, 1) == {event().event_id}


def test_the_same_event_again_changes_nothing(books: sqlite3.Connection) -> None:
    land(books, a_claim())
    for _ in range(10):
        assert result(books, a_claim()) is LandingResult.DUPLICATE
    assert count(books, "dca_settlements") == 1


@pytest.mark.parametrize(
    "again",
    [
        a_claim(),
        a_claim(txid="t-1"),
        a_claim(derived=True, net_sats=254_095),
        a_claim(exchange_rate=Decimal(0)),
        a_claim(fiat_amount_minor=180_000),
    ],
    ids=["the same", "with a txid", "without its split", "without its rate", "with its fiat amount"],
)
def test_a_sale_announced_again_under_a_new_id_is_attached(books: sqlite3.Connection, again: Claim) -> None:
    land(books, a_claim())
    assert result(books, again, 2) is LandingResult.ATTACHED
    assert count(books, "dca_settlements") == 1
    assert settlements.get(books, 1).net_sats == 258_835
    assert settlements.event_ids(books, 1) == {event(1).event_id, event(2).event_id}


@pytest.mark.parametrize(
    "again",
    [
        a_claim(gross_sats=266_801, net_sats=258_836),
        a_claim(net_sats=258_834),
        a_claim(exchange_rate=Decimal(140)),
        a_claim(txid="t-2"),
        a_claim(txid="t-1", payment_hash=OTHER_HASH),
    ],
    ids=["gross", "split", "rate", "another txid", "another hash"],
)
def test_a_different_word_about_the_same_sale_is_a_conflict(books: sqlite3.Connection, again: Claim) -> None:
    land(books, a_claim(txid="t-1", fiat_amount_minor=100))
    assert result(books, again, 2) == "conflict"
    assert count(books, "dca_settlements") == 1
    assert settlements.get(books, 1).net_sats == 258_835
    row = books.execute("SELECT reason, settlement_id, status FROM quarantine").fetchone()
    assert tuple(row) == ("conflict", 1, "open")


def test_a_hash_and_a_txid_of_two_settlements_are_a_conflict(books: sqlite3.Connection) -> None:
    land(books, a_claim(payment_hash=HASH))
    land(books, a_claim(payment_hash=None, txid="t-1"), 2)
    assert result(books, a_claim(payment_hash=HASH, txid="t-1"), 3) == "conflict"


def test_another_machines_claim_on_the_same_hash_does_not_block_the_sale(books: sqlite3.Connection) -> None:
    with atomic(books):
        stolen = a_claim(machine_id="machine-2")
        land_event(books, "machine-2", event(9), stolen, RULES, NOW)
    assert result(books, a_claim()) is LandingResult.LANDED


def test_what_cannot_be_used_is_kept_in_quarantine_once(books: sqlite3.Connection) -> None:
    for _ in range(2):
        land(books, Rejection("bad_json", "the content is not valid JSON"))
    assert count(books, "quarantine") == 1
    assert count(books, "dca_settlements") == 0


def test_a_sale_from_before_payouts_since_is_never_landed(books: sqlite3.Connection) -> None:
    outcome = land(books, a_claim(), rules=replace(RULES, payouts_since=NOW + 1))
    assert isinstance(outcome, Rejection)
    assert outcome.reason == "before_payouts_since"
    assert count(books, "dca_settlements") == 0


def test_a_sale_of_an_inactive_machine_is_landed_and_held(books: sqlite3.Connection) -> None:
    land(books, a_claim(), rules=replace(RULES, machine_active=False))
    assert settlements.get(books, 1).hold_reason == "machine_inactive"
    with atomic(books):
        assert settlements.release_reactivated(books) == [1]
    assert settlements.get(books, 1).status == "pending"


class TestAfterTheWalletToldFirst:
    """The sweep landed the sale from the payment; then the machine's event comes."""

    def from_wallet(self, books: sqlite3.Connection, claim: Claim) -> None:
        with atomic(books):
            assert land_claim(books, claim, RULES, NOW).result is LandingResult.LANDED
        assert settlements.get(books, 1).bitspire_event_id is None

    def test_the_event_with_the_same_amounts_attaches(self, books: sqlite3.Connection) -> None:
        self.from_wallet(books, a_claim(source="wallet"))
        assert result(books, a_claim()) is LandingResult.ATTACHED
        assert settlements.get(books, 1).bitspire_event_id == event().event_id

    def test_signed_figures_replace_derived_ones_before_anything_is_sent(self, books: sqlite3.Connection) -> None:
        add_provider(books, "alice", 1_000_000)
        self.from_wallet(books, a_claim(source="wallet", derived=True, net_sats=254_095))
        prove_and_plan(books)
        assert result(books, a_claim()) is LandingResult.REVISED
        settlement = settlements.get(books, 1)
        assert (settlement.net_sats, settlement.revision, settlement.planned_at) == (258_835, 2, None)
        assert not settlement.used_fallback_split
        assert {leg.status for leg in legs.of_settlement(books, 1)} == {"voided"}
        assert settlement.retained_sats == 0
        with atomic(books):
            plan_settlement(books, 1, TERMS, WIDE, NOW)
        live = [leg for leg in legs.of_settlement(books, 1) if leg.status == "pending"]
        assert sum(leg.amount_sats for leg in live) + settlements.get(books, 1).retained_sats == 266_800
        assert all(":r2:" in leg.leg_key for leg in live)

    def test_after_something_was_sent_it_is_a_conflict(self, books: sqlite3.Connection) -> None:
        add_provider(books, "alice", 1_000_000)
        self.from_wallet(books, a_claim(source="wallet", derived=True, net_sats=254_095))
        prove_and_plan(books)
        with atomic(books):
            leg = legs.of_settlement(books, 1)[0]
            give_invoice(books, leg.id, "ef" * 32)
        assert result(books, a_claim()) == "conflict"
        assert settlements.get(books, 1).net_sats == 254_095

    def test_after_a_person_has_decided_it_is_a_conflict(self, books: sqlite3.Connection) -> None:
        """A refund may be planned, of which nothing was sent: the LPs must not get the customer's sats."""
        self.from_wallet(books, a_claim(source="wallet", derived=True, net_sats=254_095))
        prove_and_plan(books)
        with atomic(books):
            settlements.person_acted(books, 1, NOW)
        assert result(books, a_claim()) == "conflict"
        settlement = settlements.get(books, 1)
        assert (settlement.net_sats, settlement.revision) == (254_095, 1)
        assert {leg.status for leg in legs.of_settlement(books, 1)} & {"voided"} == set()

    def test_what_agrees_attaches_after_a_person_has_decided(self, books: sqlite3.Connection) -> None:
        self.from_wallet(books, a_claim(source="wallet"))
        with atomic(books):
            settlements.person_acted(books, 1, NOW)
        assert result(books, a_claim()) is LandingResult.ATTACHED

    def test_an_event_brings_the_rate_that_the_wallet_did_not_know(self, books: sqlite3.Connection) -> None:
        self.from_wallet(books, a_claim(source="wallet", exchange_rate=Decimal(0)))
        prove_and_plan(books)
        assert settlements.get(books, 1).status == "pending"  # the super fee is still to be paid
        assert result(books, a_claim()) is LandingResult.REVISED
        assert settlements.get(books, 1).exchange_rate == Decimal("143.797")

    def test_a_split_that_the_payment_carried_is_not_replaced(self, books: sqlite3.Connection) -> None:
        self.from_wallet(books, a_claim(source="wallet"))
        assert result(books, a_claim(net_sats=250_000)) == "conflict"


def test_a_retried_event_leaves_quarantine_when_it_lands(books: sqlite3.Connection) -> None:
    land(books, Rejection("currency", "the sale is in USD"))
    with atomic(books):
        outcome = land_event(books, MACHINE, event(), a_claim(), RULES, NOW, retry=True)
    assert isinstance(outcome, Landing)
    assert outcome.result is LandingResult.LANDED
    assert tuple(books.execute("SELECT status, settlement_id FROM quarantine").fetchone()) == ("landed", 1)
