"""What anybody can store with a machine's invoice key stops no payment (SPEC sections 6.3 and 6.7)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from chaos.world import World
from testkit.lnbits import LnbitsServer
from tests.found.parts import PLENTY_MINOR, all_paid, came_true, paid, runs, world_of

pytestmark = pytest.mark.anyio

LPS = {"alice": PLENTY_MINOR}
LEGS = 4

#: More than any page may weigh: so many rows with so much in each.
FAT_ROWS = 450
FAT_EXTRA = "x" * 90_000


async def store_nan(world: World, external_id: str = "x") -> None:
    """LNbits answers 400, and keeps the row: from now on lists with it are answered with 400."""
    machine = world.system.machines[0]
    key = machine.wallet.invoice_key
    extra = f'{{"a": NaN, "tag": "satmachine:{machine.signer.npub}"}}'
    body = f'{{"out": false, "amount": 21, "memo": "x", "extra": {extra}, "external_id": "{external_id}"}}'
    headers = {"X-Api-Key": key, "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=world.system.lnbits.url, trust_env=False) as http:
        await http.post("/api/v1/payments", headers=headers, content=body)
        listed = await http.get("/api/v1/payments/paginated", headers=headers)
    assert listed.status_code != 200, "the row does no harm any more: this test has lost its point"


@contextmanager
def fat_rows(world: World) -> Iterator[None]:
    """One fat invoice, made with the invoice key, many times; the rows are gone afterwards."""
    wallet = world.system.machines[0].wallet
    made = httpx.post(
        f"{world.system.lnbits.url}/api/v1/payments",
        headers={"X-Api-Key": wallet.invoice_key},
        json={"out": False, "amount": 21, "memo": "fat", "extra": {"a": FAT_EXTRA}},
        timeout=30,
    )
    assert made.status_code == 201, made.text[:200]
    with closing(sqlite3.connect(world.system.lnbits.data_dir / "database.sqlite3", timeout=30)) as conn:
        columns = [row[1] for row in conn.execute("PRAGMA table_info(apipayments)")]
        values = [f"{name} || '-' || n" if name in ("checking_id", "payment_hash") else name for name in columns]
        numbers = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {FAT_ROWS})"
        conn.execute(
            f"{numbers} INSERT INTO apipayments ({', '.join(columns)}) SELECT {', '.join(values)} "
            "FROM apipayments, numbers WHERE payment_hash = ?",
            (made.json()["payment_hash"],),
        )
        conn.commit()
        try:
            yield
        finally:
            conn.execute("DELETE FROM apipayments WHERE wallet_id = ? AND memo = 'fat'", (wallet.id,))
            conn.commit()


async def is_paid(world: World, payment_hash: str) -> None:
    done = await came_true(lambda: all_paid(world, payment_hash, LEGS), timeout_s=40)
    assert done, f"a sale was not paid: {world.system.log_tail(6)}"


async def test_a_number_that_is_none_in_one_invoice_stops_no_payment(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        await store_nan(world)
        await runs(world)
        sale = await world.sell()
        await is_paid(world, sale.payment_hash)


async def test_many_fat_invoices_stop_no_payment(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        with fat_rows(world):
            await runs(world)
            sale = await world.sell()
            await is_paid(world, sale.payment_hash)


async def test_a_sale_that_only_the_wallet_tells_of_is_found_beside_a_bad_row(
    tmp_path: Path, lnbits: LnbitsServer
) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        before = await world.sell(announce=False)
        await store_nan(world)
        after = await world.sell(announce=False)
        await runs(world)
        await is_paid(world, before.payment_hash)
        await is_paid(world, after.payment_hash)


async def test_a_bad_row_under_one_sale_s_keys_stops_that_sale_at_most(tmp_path: Path, lnbits: LnbitsServer) -> None:
    async with world_of(tmp_path, lnbits, LPS) as world:
        hit = await world.sell(announce=False)
        await store_nan(world, f"sm1:{hit.payment_hash}:r1:super")
        await runs(world)
        sale = await world.sell()
        await is_paid(world, sale.payment_hash)
        assert max((await paid(world)).values()) == 1
