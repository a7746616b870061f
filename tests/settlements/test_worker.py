"""What is worked on together, and what becomes of it when something unexpected happens."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.guards import Guards
from satmachine.models import LegStatus
from satmachine.settlements.worker import TOGETHER, Work, Worker, _due, _plan_as_judged, _together
from satmachine.store import legs, settlements
from satmachine.store.database import Store, atomic, open_store
from testkit.books import BOUNDS, MACHINE, NOW, TERMS, fresh_books, landed, plan
from testkit.sale_desk import open_desk
from tests.settlements.correct.test_changes import a_payment
from tests.settlements.sweep.test_sweeper import a_config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from satmachine.config import Config, Machine
    from satmachine.models import Settlement
    from satmachine.settlements.pay.payer import Payer
    from satmachine.wallet.lnbits import Lnbits
    from satmachine.wallet.rows import WalletPayment

pytestmark = pytest.mark.anyio


async def test_a_surprise_in_a_bundle_postpones_its_payments_and_no_sale_of_the_same_number(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        plan(conn, sale := landed(conn, 1))
        other = landed(conn, 2)
        ids = tuple(leg.id for leg in legs.of_settlement(conn, sale) if leg.status == "pending" and leg.id >= other)
    assert ids[0] == other, "a payment and a sale that is not planned yet have the same number"

    async def fails() -> None:
        raise RuntimeError("nobody has thought of this")

    async with open_store(tmp_path / "satmachine.db") as store:
        await Guards(store, lambda: NOW).work(Work("bundle", ids, MACHINE, frozenset({sale})), fails)
        for leg_id in ids:
            leg, _ = await store.read(legs.get, leg_id)
            assert leg.next_attempt_at == NOW + 60
        assert (await store.read(settlements.get, other)).attempts == 0


def a_worker(store: Store, config: Config, clock: list[int], lnbits: object = None) -> Worker:
    def now() -> int:
        return clock[0]

    lnbits = cast("Lnbits", lnbits or SimpleNamespace(latency_s=0.01))
    return Worker(store, lnbits, cast("Payer", None), lambda: config, now, guard=Guards(store, now).work)


def sale(number: int, machine_id: str = MACHINE, *, alone: bool = False) -> Work:
    return Work("settlement", (number,), machine_id, frozenset({number}), alone=alone)


def bundle(*legs_of_it: int, sale: int | None = None, machine_id: str = MACHINE) -> Work:
    sales = frozenset() if sale is None else frozenset({sale})
    return Work("bundle", legs_of_it, machine_id, sales, alone=False)


def test_sales_of_one_machine_that_wait_are_one_piece_of_work_in_their_order() -> None:
    items = [sale(1), sale(2, "other"), sale(3), sale(4, alone=True), bundle(11, 12, sale=5), sale(6)]
    joined = _together(items, 64)
    assert [(item.kind, item.ids, item.machine_id) for item in joined] == [
        ("settlement", (1, 3, 6), MACHINE),
        ("settlement", (2,), "other"),
        ("settlement", (4,), MACHINE),
        ("bundle", (11, 12), MACHINE),
    ]
    assert joined[0].sales == {1, 3, 6}
    assert joined[0].rows == [("settlement", 1), ("settlement", 3), ("settlement", 6)]


def test_no_more_sales_are_joined_than_one_look_should_serve() -> None:
    joined = _together([sale(number) for number in range(1, 2 * TOGETHER + 2)], 64)
    assert [len(item.ids) for item in joined] == [TOGETHER, TOGETHER, 1]


@pytest.mark.parametrize(("most_legs", "sizes"), [(0, [3, 3, 3]), (5, [3, 3, 3]), (6, [6, 3]), (64, [9])])
def test_no_more_legs_are_prepared_together_than_can_be_paid_soon(most_legs: int, sizes: list[int]) -> None:
    items = [bundle(1, 2, 3, sale=1), bundle(4, 5, 6, sale=2), bundle(7, 8, 9)]  # the last is a balance payout's
    assert [len(item.ids) for item in _together(items, most_legs)] == sizes


def test_no_more_payouts_are_joined_than_fit_into_an_address() -> None:
    """Each name is in the query, and something in between may refuse an address of 8 kB."""
    joined = _together([bundle(number) for number in range(2 * TOGETHER + 1)], 64)
    assert [len(item.ids) for item in joined] == [TOGETHER, TOGETHER, 1]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans(), st.integers(1, 9)), max_size=40),
    st.integers(0, 40),
)
def test_joining_loses_no_row_and_takes_none_twice(waiting: list[tuple[str, bool, int]], most_legs: int) -> None:
    numbers = iter(range(1_000))
    items = [
        replace(bundle(*(next(numbers) for _ in range(size)), sale=at, machine_id=machine), alone=alone)
        for at, (machine, alone, size) in enumerate(waiting)
    ]
    joined = _together(items, most_legs)
    assert sorted(row for item in joined for row in item.rows) == sorted(row for item in items for row in item.rows)
    by_row = {row: item for item in items for row in item.rows}
    for item in joined:
        parts = {by_row[row] for row in item.rows}
        assert {part.machine_id for part in parts} == {item.machine_id}
        assert item.sales == frozenset().union(*(part.sales for part in parts))
        assert len(parts) == 1 or (len(item.ids) <= most_legs and not any(part.alone for part in parts))


async def test_what_has_failed_in_company_is_tried_alone(tmp_path: Path) -> None:
    """One of them may be more than LNbits can answer for in time."""
    with fresh_books(tmp_path) as conn:
        numbers = [landed(conn, number) for number in (1, 2, 3)]
    clock, taken = [NOW], list[tuple[int, ...]]()
    async with open_store(tmp_path / "satmachine.db") as store:
        worker = a_worker(store, a_config(tmp_path, 1), clock)

        async def is_refused(item: Work) -> None:
            taken.append(item.ids)
            for number in item.ids:
                if len(item.ids) > 1:
                    await worker._postpone(await store.read(settlements.get, number), "too slow")

        worker._do = is_refused  # type: ignore[method-assign]
        for _ in range(2):
            for item in await worker._take():
                await worker._work(item)
            clock[0] += 61
        assert taken[0] == tuple(numbers)
        assert sorted(taken[1:]) == [(number,) for number in numbers]


async def test_a_bundle_with_a_payment_that_has_failed_is_tried_alone(tmp_path: Path) -> None:
    with fresh_books(tmp_path) as conn:
        for number in (1, 2, 3):
            plan(conn, landed(conn, number))
        failed = legs.of_settlement(conn, 2)[0]
        with atomic(conn):
            conn.execute("UPDATE dca_payments SET payee_kind = 'wallet'")
            legs.postpone(conn, failed, status=LegStatus.PENDING, until=NOW, error="too slow")
        due = _due(conn, NOW, frozenset({MACHINE}))
    assert [(sorted(item.sales), item.alone) for item in _together(due, 64)] == [([1, 3], False), ([2], True)]


async def test_figures_that_came_after_the_proof_are_not_planned_on_it(tmp_path: Path) -> None:
    """What the wallet shows was compared with other ones: the sale is still due, and is looked at again."""
    with fresh_books(tmp_path) as conn:
        number = landed(conn)
    async with open_store(tmp_path / "satmachine.db") as store:
        worker = a_worker(store, a_config(tmp_path, 1), [NOW])
        judged = await store.read(settlements.get, number)

        def revised(conn: sqlite3.Connection) -> None:
            conn.execute("UPDATE dca_settlements SET revision = revision + 1")

        await store.write(revised)
        outcome = await store.write(_plan_as_judged, judged, TERMS, BOUNDS, NOW)
        assert outcome is None
        assert (await store.read(settlements.get, number)).planned_at is None
        assert [item.ids for item in await worker._take()] == [(number,)]


async def test_after_a_surprise_in_company_each_sale_is_on_its_own(tmp_path: Path) -> None:
    """The one that surprises does not take the others with it, again and again."""
    with fresh_books(tmp_path) as conn:
        numbers = [landed(conn, number) for number in (1, 2, 3)]
    clock = [NOW]
    async with open_store(tmp_path / "satmachine.db") as store:
        worker = a_worker(store, a_config(tmp_path, 1), clock)
        taken: list[tuple[int, ...]] = []

        async def fails(item: Work) -> None:
            taken.append(item.ids)
            raise RuntimeError("nobody has thought of this")

        worker._do = fails  # type: ignore[method-assign]
        for _ in range(2):
            for item in await worker._take():
                await worker._work(item)
            clock[0] += 61
        assert taken[0] == tuple(numbers)
        assert sorted(taken[1:]) == [(number,) for number in numbers]


@pytest.mark.parametrize(("amiss_sats", "proof"), [(0, "proven"), (-1, "waived")])
async def test_where_proof_was_waived_and_is_required_now_the_wallet_is_asked(
    tmp_path: Path, amiss_sats: int, proof: str
) -> None:
    desk = open_desk(tmp_path)
    with closing(desk.conn) as conn:
        number = desk.land()
        conn.execute("UPDATE dca_settlements SET proof = 'waived'")
        conn.execute("UPDATE dca_wallets SET wallet_id = 'w'")
        found = settlements.get(conn, number)
    name = str(found.payment_hash)
    row = replace(
        a_payment("none"),
        payment_hash=name,
        checking_id=name,
        amount_msat=(found.gross_sats + amiss_sats) * 1_000,
        external_id=None,
        created_at=found.occurred_at,
        updated_at=found.occurred_at,
    )

    async def payments(_key: str, *, payment_hash: str) -> list[WalletPayment]:
        return [row] if payment_hash == name else []

    async with open_store(desk.config.database.path) as store:
        lnbits = SimpleNamespace(latency_s=0.01, payments=payments)
        worker = a_worker(store, desk.config, [NOW], lnbits)
        planned: list[int] = []

        async def plan_them(sales: Sequence[Settlement], _machine: Machine) -> None:
            planned.extend(sale.id for sale in sales)

        worker._plan = plan_them  # type: ignore[method-assign, assignment]
        for item in await worker._take():
            await worker._work(item)
        after = await store.read(settlements.get, number)
    assert (after.proof, after.status) == (proof, "pending" if proof == "proven" else "held")
    assert planned == ([number] if proof == "proven" else [])
