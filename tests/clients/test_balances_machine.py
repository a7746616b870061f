"""Deposits, sales, failures, voids and payouts in any order: the balances always add up (SPEC section 8).

Beside the books the test keeps a plain log of what happened, and recomputes every balance from that.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from satmachine.clients.payout import plan_balance_payout
from satmachine.errors import Refused
from satmachine.models import Balance, LegStatus, Retained, RetainedReason
from satmachine.store import balances, client_legs, clients, deposits, legs, settlements
from satmachine.store.database import atomic
from testkit.books import MACHINE, NOW, fresh_books
from tests.clients.sales import add_client, complete, dca_legs, deposit, plan_sale

DAY_S = 86_400
RATES = st.sampled_from([Decimal("145.37"), Decimal("0.5"), Decimal(7), Decimal(0), Decimal("1234.567")])


@dataclass
class Entry:
    """One line of the log; `status` is open, completed or voided for a leg."""

    client_id: int
    at: int
    fiat_minor: int
    is_leg: bool
    is_dca: bool = False
    status: str = ""


class BalancesMachine(RuleBasedStateMachine):
    """Every rule does one thing to the books and writes one line into the log."""

    lps = Bundle("lps")
    open_legs = Bundle("open_legs")
    brought = Bundle("brought")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.books = self.stack.enter_context(fresh_books(folder))
        self.books.execute("PRAGMA synchronous = OFF")
        self.clock = NOW
        self.sales = 0
        self.log: dict[str, Entry] = {}
        self.limits: dict[int, int | None] = {}

    def teardown(self) -> None:
        self.stack.close()

    @initialize(target=lps)
    def some_are_there_already(self) -> object:
        """Cash of ten days ago, so that late sales find something."""
        for number, limit_minor in enumerate((None, None, 20_000)):
            client_id = add_client(self.books, f"lp-{number}", limit_minor=limit_minor)
            self.limits[client_id] = limit_minor
            at = NOW - 10 * DAY_S
            deposit_id = deposit(self.books, client_id, 60_000 + 7 * number, at=at)
            self.log[f"deposit {deposit_id}"] = Entry(client_id, at, 60_000 + 7 * number, is_leg=False)
        return multiple(*self.limits)

    # --- what happens

    @rule(target=lps, limit_minor=st.none() | st.integers(1, 60_000))
    @precondition(lambda self: len(self.limits) < 5)
    def join(self, limit_minor: int | None) -> int:
        client_id = add_client(self.books, f"lp-{len(self.limits)}", limit_minor=limit_minor)
        self.limits[client_id] = limit_minor
        return client_id

    @rule(target=brought, client_id=lps, amount_minor=st.integers(1, 100_000))
    def bring_cash(self, client_id: int, amount_minor: int) -> int:
        deposit_id = deposit(self.books, client_id, amount_minor, at=self.clock)
        self.log[f"deposit {deposit_id}"] = Entry(client_id, self.clock, amount_minor, is_leg=False)
        return deposit_id

    @rule(client_id=lps, amount_minor=st.integers(1, 100_000), late_s=st.integers(0, 3 * DAY_S))
    def enter_cash_late(self, client_id: int, amount_minor: int, late_s: int) -> None:
        """It counts from when it came, unless a sale was shared out since."""
        at = self.clock - late_s
        row = self.books.execute("SELECT max(occurred_at) AS at FROM dca_settlements WHERE planned_at IS NOT NULL")
        latest = row.fetchone()["at"]
        try:
            with atomic(self.books):
                deposit_id = deposits.add(
                    self.books,
                    client_id=client_id,
                    amount_minor=amount_minor,
                    effective_at=at,
                    actor="test",
                    now=self.clock,
                )
                deposits.confirm(self.books, deposit_id, actor="test", now=self.clock)
        except Refused:
            assert latest is not None
            assert latest >= at
            return
        assert latest is None or latest < at
        self.log[f"deposit {deposit_id}"] = Entry(client_id, at, amount_minor, is_leg=False)

    @rule(client_id=lps, amount_minor=st.integers(1, 100_000))
    def take_cash_home(self, client_id: int, amount_minor: int) -> None:
        available_minor = self.recomputed(client_id, None).available_minor
        try:
            with atomic(self.books):
                taken = deposits.withdraw(self.books, client_id, amount_minor, actor="test", now=self.clock)
        except Refused:
            assert amount_minor > available_minor
            return
        assert amount_minor <= available_minor
        self.log[f"deposit {taken.id}"] = Entry(client_id, self.clock, -amount_minor, is_leg=False)

    @rule(deposit_id=brought)
    def reverse_a_deposit(self, deposit_id: int) -> None:
        entry = self.log[f"deposit {deposit_id}"]
        before = self.log.get(f"reversal {deposit_id}")
        available_minor = self.recomputed(entry.client_id, None).available_minor
        try:
            with atomic(self.books):
                deposits.reverse(self.books, deposit_id, reason="counted again", actor="test", now=self.clock)
        except Refused:
            assert before is not None or entry.fiat_minor > available_minor
            return
        assert before is None
        assert entry.fiat_minor <= available_minor
        self.log[f"reversal {deposit_id}"] = Entry(entry.client_id, self.clock, -entry.fiat_minor, is_leg=False)

    @rule(client_id=lps, status=st.sampled_from(["active", "paused"]))
    def pause_or_go_on(self, client_id: int, status: str) -> None:
        with atomic(self.books):
            client = clients.get(self.books, client_id)
            clients.update(self.books, client, {"status": status}, actor="test", now=self.clock)

    @rule(seconds=st.integers(1, 2 * DAY_S))
    def time_passes(self, seconds: int) -> None:
        self.clock += seconds

    @rule(target=open_legs, net_sats=st.integers(1, 200_000), rate=RATES, late_s=st.just(0) | st.integers(1, 3 * DAY_S))
    def sell(self, net_sats: int, rate: Decimal, late_s: int) -> object:
        self.sales += 1
        sale = plan_sale(
            self.books,
            self.sales,
            net_sats=net_sats,
            rate=rate,
            commission_sats=net_sats // 10,
            occurred_at=self.clock - late_s,
            now=self.clock,
        )
        planned = [leg for leg in dca_legs(self.books, sale.id) if leg.status == "pending"]
        for leg in planned:
            assert leg.client_id is not None
            assert leg.fiat_amount_minor is not None
            entry = Entry(leg.client_id, sale.occurred_at, leg.fiat_amount_minor, True, is_dca=True, status="open")
            self.log[f"leg {leg.id}"] = entry
        return multiple(*(leg.id for leg in planned))

    @rule(leg_id=consumes(open_legs))
    def pay(self, leg_id: int) -> None:
        leg, _ = legs.get(self.books, leg_id)
        complete(self.books, leg, now=self.clock)
        self.log[f"leg {leg_id}"].status = "completed"

    @rule(leg_id=open_legs)
    def fail(self, leg_id: int) -> None:
        leg, _ = legs.get(self.books, leg_id)
        if leg.status in legs.OPEN:
            with atomic(self.books):
                legs.postpone(self.books, leg, status=LegStatus.FAILED, until=self.clock, error="no route")

    @rule(leg_id=consumes(open_legs))
    def void(self, leg_id: int) -> None:
        """What closing a sale as partial does to a leg that is proven unpaid."""
        leg, _ = legs.get(self.books, leg_id)
        with atomic(self.books):
            self.books.execute("UPDATE dca_payments SET status = 'voided' WHERE id = ?", (leg_id,))
            if leg.settlement_id is not None:
                kept = Retained(RetainedReason.VOIDED_LEG, leg.amount_sats, leg.leg)
                settlements.retain(self.books, leg.settlement_id, leg.revision, [kept], self.clock)
        self.log[f"leg {leg_id}"].status = "voided"

    @rule(target=open_legs, client_id=lps, part=st.integers(1, 100), rate=RATES)
    def settle(self, client_id: int, part: int, rate: Decimal) -> object:
        amount_minor = self.recomputed(client_id, None).available_minor * part // 100
        number = client_legs.next_payout_number(self.books, client_id)
        try:
            with atomic(self.books):
                planned = plan_balance_payout(
                    self.books,
                    client_id,
                    exchange_rate=rate,
                    amount_minor=amount_minor,
                    number=number,
                    actor="test",
                    now=self.clock,
                )
        except Refused:
            worthless = amount_minor * rate < 100
            assert worthless
            return multiple()
        assert planned is not None
        leg_id = int(self.books.execute("SELECT max(id) FROM dca_payments").fetchone()[0])
        self.log[f"leg {leg_id}"] = Entry(client_id, self.clock, amount_minor, True, status="open")
        return leg_id

    @rule(client_id=lps)
    def settling_more_than_there_is_is_refused(self, client_id: int) -> None:
        too_much_minor = self.recomputed(client_id, None).available_minor + 1
        number = client_legs.next_payout_number(self.books, client_id)
        before = self.books.total_changes
        try:
            with atomic(self.books):
                plan_balance_payout(
                    self.books,
                    client_id,
                    exchange_rate=Decimal(1000),
                    amount_minor=too_much_minor,
                    number=number,
                    actor="test",
                    now=self.clock,
                )
        except Refused:
            assert self.books.total_changes == before
        else:
            raise AssertionError("more than the balance was paid out")

    # --- what always holds

    @invariant()
    def balances_are_the_recomputed_ones_and_never_below_zero(self) -> None:
        assert balances.wrong_totals(self.books) == []
        for found in balances.find(self.books):
            assert found == self.recomputed(found.client_id, None)
            assert found.available_minor >= 0

    @invariant()
    def as_of_answers_are_the_recomputed_ones(self) -> None:
        times = {entry.at for entry in self.log.values()}
        for at in sorted({time + shift for time in times for shift in (-1, 0)})[-8:]:
            for found in balances.find(self.books, as_of=at):
                assert found == self.recomputed(found.client_id, at)

    @invariant()
    def every_sale_conserves_its_sats(self) -> None:
        rows = self.books.execute(
            "SELECT s.gross_sats, s.retained_sats, (SELECT coalesce(sum(amount_sats), 0) FROM dca_payments p "
            "WHERE p.settlement_id = s.id AND p.status NOT IN ('voided', 'skipped')) AS legs_sats "
            "FROM dca_settlements s"
        )
        assert all(row["gross_sats"] == row["retained_sats"] + row["legs_sats"] for row in rows)

    @invariant()
    def nobody_in_fixed_mode_spends_more_than_the_limit_on_a_day(self) -> None:
        spent: dict[tuple[int, int], int] = {}
        for entry in self.log.values():
            if entry.is_dca and entry.status != "voided":
                key = (entry.client_id, entry.at // DAY_S)
                spent[key] = spent.get(key, 0) + entry.fiat_minor
        for (client_id, _), fiat_minor in spent.items():
            limit_minor = self.limits[client_id]
            assert limit_minor is None or fiat_minor <= limit_minor

    @invariant()
    def a_statement_ends_with_what_is_available(self) -> None:
        for client_id in self.limits:
            moved = sum(movement.amount_minor for movement in balances.movements(self.books, client_id))
            assert moved == self.recomputed(client_id, None).available_minor

    def recomputed(self, client_id: int, as_of: int | None) -> Balance:
        """A balance from the log alone, by hand."""
        mine = [e for e in self.log.values() if e.client_id == client_id and (as_of is None or e.at <= as_of)]
        label = f"lp-{list(self.limits).index(client_id)}"
        return Balance(
            client_id=client_id,
            machine_id=MACHINE,
            label=label,
            person=label,
            currency="GTQ",
            confirmed_minor=sum(e.fiat_minor for e in mine if not e.is_leg),
            spent_minor=sum(e.fiat_minor for e in mine if e.status == "completed"),
            reserved_minor=sum(e.fiat_minor for e in mine if e.status == "open"),
        )


BalancesMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
test_balances_always_add_up = BalancesMachine.TestCase
