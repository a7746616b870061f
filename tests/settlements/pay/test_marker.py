"""Marks of several sales that are written and looked for together: what is wrong with one of them stops that one."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import anyio
import httpx
import pytest

from satmachine import identity, marks
from satmachine.config import Config
from satmachine.errors import WalletUnavailable
from satmachine.marks import Mark
from satmachine.settlements.pay.marker import Marker, MarkNotShown, Purse, Standoff
from satmachine.store import settlements
from satmachine.store.database import Store, atomic, open_store
from satmachine.wallet.lnbits import Lnbits
from simulator.lnbits import ModelLnbits
from testkit.books import MACHINE, NOW, fresh_books, give_invoice, landed, plan
from testkit.lnbits import WalletKeys

pytestmark = pytest.mark.anyio

SALES = 4
CONFIG = cast("Config", SimpleNamespace(payouts=SimpleNamespace(invoice_expiry_s=600)))
NOTHING = httpx.Response(200, json={"data": [], "total": 0})


@dataclass(slots=True)
class Wire:
    """All requests go through here; `spoil` may answer one in the wallet's place."""

    model: httpx.AsyncBaseTransport
    spoil: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    sent: list[httpx.Request] = field(default_factory=list)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return self.spoil(request) or await self.model.handle_async_request(request)

    @property
    def looks(self) -> list[int]:
        """For how many sales each look asked."""
        return [len(asked) for request in self.sent if (asked := asked_for(request))]


def asked_for(request: httpx.Request) -> list[str]:
    return request.url.params.get_list("external_id[like]")


@dataclass(slots=True)
class Desk:
    """Books with planned sales that have an invoice each, the wallet that pays them, and the marker between."""

    marker: Marker
    purses: list[Purse]
    wire: Wire
    lnbits: Lnbits
    store: Store
    machine: WalletKeys

    @property
    def bundles(self) -> list[str]:
        return [purse.bundle for purse in self.purses]

    async def marked(self) -> list[bool]:
        """Which sales' invoices may be paid."""
        keys = await self.store.read(_marked_keys)
        return [any(identity.belongs(key, bundle) for key in keys) for bundle in self.bundles]

    async def somebody_marks(self, bundle: str) -> None:
        """Another daemon has marked invoices of its own."""
        mark = Mark("f" * 16, bundle, (), {f"{bundle}:r1:super": "ab" * 32})
        extra = {"tag": "t", **marks.extra_of(mark, self.machine.admin_key)}
        await self.lnbits.create_invoice(
            self.machine.admin_key,
            amount_sats=1,
            memo="m",
            expiry_s=600,
            extra=extra,
            external_id=identity.mark_key(bundle, mark.id),
        )


def _marked_keys(conn: sqlite3.Connection) -> list[str]:
    found = conn.execute(
        "SELECT p.leg_key FROM dca_payments p JOIN dca_invoices i ON i.payment_id = p.id WHERE i.marked_at IS NOT NULL"
    )
    return [row["leg_key"] for row in found]


def _purse_of_a_sale(conn: sqlite3.Connection, number: int, machine: WalletKeys) -> Purse:
    plan(conn, sale := landed(conn, number))
    bundle = identity.sale_bundle(str(settlements.get(conn, sale).settlement_key))
    return Purse(MACHINE, machine.id, machine.admin_key, "t", bundle)


def _give_an_invoice(conn: sqlite3.Connection, bundle: str, name: str) -> None:
    """To the first payment of a sale; `name` decides which invoice it is."""
    (leg_id,) = conn.execute(
        "SELECT min(id) FROM dca_payments WHERE status = 'pending' AND instr(leg_key, ?) = 1", (f"{bundle}:",)
    ).fetchone()
    give_invoice(conn, leg_id, hashlib.sha256(name.encode()).hexdigest(), marked=False)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async def sleep(_: float) -> None:
        await anyio.lowlevel.checkpoint()

    model = ModelLnbits(clock=lambda: float(NOW), chance=random.Random(3), sleep=sleep)
    machine = model.create_wallet("machine")
    with fresh_books(tmp_path) as conn:
        purses = [_purse_of_a_sale(conn, number, machine) for number in range(1, SALES + 1)]
        with atomic(conn):
            for purse in purses:
                _give_an_invoice(conn, purse.bundle, purse.bundle)
    wire = Wire(model.transport("daemon-a"))
    http = httpx.AsyncClient(transport=httpx.MockTransport(wire))
    async with (
        open_store(tmp_path / "satmachine.db") as store,
        http,
        Lnbits("http://lnbits.test", http=http, instance_id="i") as lnbits,
    ):
        marker = Marker(store, lnbits, lambda: CONFIG, lambda: NOW, sleep=sleep)
        await lnbits.probe(machine.admin_key)
        wire.sent.clear()
        yield Desk(marker, purses, wire, lnbits, store, machine)


async def test_marks_of_several_sales_are_seen_in_one_look(desk: Desk) -> None:
    assert await desk.marker.establish(desk.purses) == {}
    assert desk.wire.looks == [SALES]
    assert await desk.marked() == [True] * SALES
    assert all(desk.marker.is_fresh(bundle) for bundle in desk.bundles)
    assert await desk.marker.establish(desk.purses) == {}, "they are there already: nothing is asked"
    assert desk.wire.looks == [SALES]


async def test_another_daemons_mark_stops_its_sale_and_no_other(desk: Desk) -> None:
    await desk.somebody_marks(desk.bundles[1])
    wrong = await desk.marker.establish(desk.purses)
    assert list(wrong) == [desk.bundles[1]]
    assert isinstance(wrong[desk.bundles[1]], Standoff)
    assert await desk.marked() == [True, False, True, True]
    assert not desk.marker.is_fresh(desk.bundles[1])


async def test_before_planning_only_the_sale_that_is_strange_is_named(desk: Desk) -> None:
    await desk.somebody_marks(desk.bundles[2])
    wrong = await desk.marker.look(desk.purses)
    assert {bundle: type(why) for bundle, why in wrong.items()} == {desk.bundles[2]: Standoff}
    assert desk.wire.looks == [SALES]


async def test_a_mark_that_a_common_look_does_not_show_is_looked_for_by_itself(desk: Desk) -> None:
    """A gateway that keeps one of several values, for example."""
    desk.wire.spoil = lambda request: NOTHING if len(asked_for(request)) > 1 else None
    assert await desk.marker.establish(desk.purses) == {}
    assert desk.wire.looks == [SALES, 1, 1, 1, 1]
    assert await desk.marked() == [True] * SALES


async def test_a_mark_that_is_never_shown_allows_nothing(desk: Desk) -> None:
    hidden = desk.bundles[3]
    desk.wire.spoil = lambda request: NOTHING if hidden in asked_for(request) else None
    wrong = await desk.marker.establish(desk.purses)
    assert {bundle: type(why) for bundle, why in wrong.items()} == {hidden: MarkNotShown}
    assert await desk.marked() == [True, True, True, False]
    desk.wire.spoil = lambda _: None
    assert await desk.marker.establish(desk.purses) == {}, "it is written once more, with the same content"
    assert await desk.marked() == [True] * SALES


async def test_where_one_answer_for_all_cannot_be_believed_each_is_asked_for(desk: Desk) -> None:
    unreadable = httpx.Response(200, json={"data": [{"payment_hash": 5}], "total": 1})
    bad = desk.bundles[0]
    desk.wire.spoil = lambda request: unreadable if bad in asked_for(request) else None
    wrong = await desk.marker.establish(desk.purses)
    assert {bundle: type(why).__name__ for bundle, why in wrong.items()} == {bad: "WalletLied"}
    assert await desk.marked() == [False, True, True, True]


async def test_where_something_in_between_refuses_a_long_question_each_is_asked_for(desk: Desk) -> None:
    refused = httpx.Response(414, html="<h1>414 Request-URI Too Large</h1>")
    desk.wire.spoil = lambda request: refused if len(asked_for(request)) > 1 else None
    assert await desk.marker.establish(desk.purses) == {}
    assert desk.wire.looks == [SALES, 1, 1, 1, 1]


async def test_where_lnbits_falls_silent_what_was_written_is_still_looked_for(desk: Desk) -> None:
    def silent_after_two(request: httpx.Request) -> httpx.Response | None:
        written = sum(sent.method == "POST" for sent in desk.wire.sent)
        if request.method == "POST" and written > 2:
            raise httpx.ConnectError("gone")
        return None

    desk.wire.spoil = silent_after_two
    wrong = await desk.marker.establish(desk.purses)
    assert {bundle: type(why) for bundle, why in wrong.items()} == dict.fromkeys(desk.bundles[2:], WalletUnavailable)
    assert sum(sent.method == "POST" for sent in desk.wire.sent) == 3, "the fourth is not tried"
    assert await desk.marked() == [True, True, False, False]


async def test_rows_of_another_wallet_stop_the_sale_that_they_are_of(desk: Desk) -> None:
    purses = [*desk.purses[:3], Purse(MACHINE, "another wallet", desk.machine.admin_key, "t", desk.bundles[3])]
    wrong = await desk.marker.establish(purses)
    assert {bundle: type(why) for bundle, why in wrong.items()} == {desk.bundles[3]: WalletUnavailable}
    assert await desk.marked() == [True, True, True, False]


@pytest.mark.parametrize("seed", range(6))
async def test_two_daemons_whose_groups_overlap_in_part(tmp_path: Path, seed: int) -> None:
    """Of what both have, never both may pay; of what only one has, that one may."""
    chance = random.Random(seed)

    async def some_turns(_: object = None) -> None:
        for _ in range(chance.randrange(30)):
            await anyio.lowlevel.checkpoint()

    model = ModelLnbits(clock=lambda: float(NOW), chance=chance, sleep=some_turns, pause=some_turns)
    machine = model.create_wallet("machine")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    with fresh_books(ours) as conn:
        purses = [_purse_of_a_sale(conn, number, machine) for number in range(1, SALES + 1)]
    shutil.copytree(ours, theirs)
    may_pay: dict[Path, set[str]] = {}

    async def daemon(books: Path, mine: Sequence[Purse]) -> None:
        http = httpx.AsyncClient(transport=model.transport(books.name))
        async with (
            open_store(books / "satmachine.db") as store,
            http,
            Lnbits("http://lnbits.test", http=http, instance_id=books.name) as lnbits,
        ):
            for purse in mine:
                await store.write(_give_an_invoice, purse.bundle, f"{books.name}{purse.bundle}")
            marker = Marker(store, lnbits, lambda: CONFIG, lambda: NOW, sleep=some_turns)
            await lnbits.probe(machine.admin_key)
            await some_turns()
            await marker.establish(mine)
            may_pay[books] = {purse.bundle for purse in mine if marker.is_fresh(purse.bundle)}

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(daemon, ours, purses[:3])
        tasks.start_soon(daemon, theirs, purses[1:])
    assert not may_pay[ours] & may_pay[theirs]
    assert purses[0].bundle in may_pay[ours]
    assert purses[3].bundle in may_pay[theirs]


async def test_payments_of_a_sale_that_need_a_look_at_the_same_time_share_it(desk: Desk) -> None:
    await desk.marker.establish(desk.purses)
    desk.marker._looked_at.clear()
    desk.wire.sent.clear()
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(desk.marker.look_unless_fresh, desk.purses[0])


async def test_a_refused_key_is_the_payers_trouble_and_no_payees(desk: Desk) -> None:
    refused = httpx.Response(404, json={"detail": "Wallet not found."})
    desk.wire.spoil = lambda request: refused if request.method == "POST" else None
    wrong = await desk.marker.establish(desk.purses)
    assert {type(why) for why in wrong.values()} == {WalletUnavailable}
    assert set(wrong) == set(desk.bundles)
    desk.wire.spoil = lambda request: refused if request.method == "GET" else None
    wrong = await desk.marker.establish(desk.purses)
    assert {type(why) for why in wrong.values()} == {WalletUnavailable}
    assert "Wallet not found" in str(wrong[desk.bundles[0]])


async def test_what_was_refused_is_not_said_to_be_unanswered(desk: Desk) -> None:
    def first_refused_then_silent(request: httpx.Request) -> httpx.Response | None:
        if request.method == "POST" and len(desk.wire.sent) == 1:
            return httpx.Response(404, json={"detail": "Wallet not found."})
        raise httpx.ConnectError("gone")

    desk.wire.spoil = first_refused_then_silent
    wrong = await desk.marker.establish(desk.purses)
    assert ["Wallet not found" in str(wrong[bundle]) for bundle in desk.bundles] == [True, False, False, False]


async def test_legs_of_a_bundle_that_become_due_together_look_once(desk: Desk) -> None:
    assert await desk.marker.establish(desk.purses) == {}
    desk.marker._looked_at.clear()  # as after ten seconds
    desk.wire.sent.clear()
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(desk.marker.look_unless_fresh, desk.purses[0])
    assert desk.wire.looks == [1]
