"""Collects `Facts`: every wallet through LNbits itself (never through the fault proxy), and the books."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from pathlib import Path

from chaos.check import BookedLeg, BookedSale, Facts, Movement, Sale
from satmachine.models import Answer
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import WalletKeys


async def collect(
    lnbits_url: str, wallets: Mapping[str, WalletKeys], machines: Collection[str], sales: Iterable[Sale], database: Path
) -> Facts:
    """Read everything. Raises WalletError where LNbits is down."""
    known = {(sale.machine_id, sale.payment_hash): sale for sale in sales}
    movements: list[Movement] = []
    balances_msat: dict[str, int] = {}
    async with Lnbits(lnbits_url, instance_id="chaos") as client:
        for name, keys in wallets.items():
            balances_msat[name] = (await client.wallet(keys.admin_key)).balance_msat
            for row in await client.payments(keys.admin_key):
                movements.append(
                    Movement(name, row.payment_hash, row.leg_key, row.amount_msat, row.fee_msat, row.status)
                )
                if name in machines and row.incoming and row.status is Answer.SUCCESS:
                    # Its answer may have been lost on the way to the customer: LNbits' record is what counts.
                    told = row.extra.get("source") == "bitspire"
                    known.setdefault((name, row.payment_hash), Sale(name, row.payment_hash, row.amount_sats, told))
    settlements, legs = read_books(database)
    return Facts(tuple(known.values()), tuple(movements), balances_msat, settlements, legs, frozenset(machines))


def read_books(database: Path) -> tuple[tuple[BookedSale, ...], tuple[BookedLeg, ...]]:
    """Settlements and legs; nothing where there is no database."""
    if not database.exists():
        return (), ()
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as conn:
        conn.row_factory = sqlite3.Row
        settlements = tuple(
            BookedSale(**{**dict(row), "planned": bool(row["planned"])}) for row in conn.execute(_SETTLEMENTS)
        )
        legs = tuple(BookedLeg(**dict(row)) for row in conn.execute(_LEGS))
    return settlements, legs


_SETTLEMENTS = """
SELECT id, machine_id, payment_hash, status, gross_sats, retained_sats, planned_at IS NOT NULL AS planned,
       coalesce(hold_reason || ': ', '') || coalesce(error, '') AS why
FROM dca_settlements ORDER BY id
"""

_LEGS = """
SELECT settlement_id, machine_id, leg_key, status, sent_sats, payment_hash,
       CASE status WHEN 'completed' THEN sent_sats + fee_sats ELSE amount_sats END AS counted_sats,
       coalesce(hold_reason || ': ', '') || coalesce(error, '') AS why
FROM dca_payments ORDER BY id
"""
