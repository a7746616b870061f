"""What fails unexpectedly waits a minute, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from satmachine.daemon import Daemon
from satmachine.settlements.worker import Work
from satmachine.store import legs, settlements
from satmachine.store.database import open_store
from testkit.books import MACHINE, NOW, fresh_books, landed, plan
from tests.settlements.sweep.test_sweeper import a_config

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
        daemon = Daemon(store, a_config(tmp_path, 1), now=lambda: NOW)
        await daemon._guard(Work("bundle", ids[0], MACHINE, sale, leg_ids=ids), fails)
        for leg_id in ids:
            leg, _ = await store.read(legs.get, leg_id)
            assert leg.next_attempt_at == NOW + 60
        assert (await store.read(settlements.get, other)).attempts == 0
