"""2,000 LPs at one machine: one sale, one transaction, every sat shared."""

from __future__ import annotations

import sqlite3
from decimal import Decimal

from satmachine.store import balances, clients, deposits
from satmachine.store.database import atomic
from testkit.books import MACHINE
from tests.clients.sales import dca_legs, plan_sale

LPS = 2_000


def test_two_thousand_lps_share_one_sale(books: sqlite3.Connection) -> None:
    with atomic(books):
        for number in range(LPS):
            client_id = clients.add(
                books,
                machine_id=MACHINE,
                label=f"lp-{number}",
                person="many",
                payee_kind="lightning_address",
                payee="lp@example.org",
                actor="test",
                now=1,
            )
            deposit_id = deposits.add(books, client_id=client_id, amount_minor=1_000 + number, actor="test", now=1)
            deposits.confirm(books, deposit_id, actor="test", now=1)
    begun: list[str] = []
    books.set_trace_callback(lambda text: begun.append(text) if text.startswith("BEGIN") else None)
    sale = plan_sale(books, 1, net_sats=1_000_003, rate=Decimal("145.37"))
    books.set_trace_callback(None)
    legs = dca_legs(books, sale.id)
    assert (len(legs), sum(leg.amount_sats for leg in legs)) == (LPS, 1_000_003)
    assert begun == ["BEGIN IMMEDIATE"]
    reserved = {balance.client_id: balance.reserved_minor for balance in balances.find(books)}
    assert reserved == {leg.client_id: leg.fiat_amount_minor for leg in legs}
