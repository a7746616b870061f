"""Is this really the LP's own wallet? Checked before sats are forwarded with a key whose file the database names.

Somebody who can write to the database can name any file that the daemon may read: the admin key of a machine, or of
another LP. So the key must belong to the wallet into which the share was paid, and that wallet must not be a machine's.
"""

from __future__ import annotations

from satmachine.models import Answer, Leg
from satmachine.store import forward_source
from satmachine.store.database import Store
from satmachine.wallet.lnbits import Lnbits


async def foreign_source(store: Store, lnbits: Lnbits, forward: Leg, key: str) -> str | None:
    """Why nothing may be forwarded with this admin key, as a sentence; None where it is the right wallet's.

    Raises WalletUnavailable, WalletRefused where LNbits does not tell.
    """
    source = await store.read(forward_source.of_forward, forward)
    if source.payment_hash is None:
        return "the share that it would forward was not paid"
    wallet = await lnbits.wallet(key)
    owner = source.machine_wallets.get(wallet.wallet_id or "")
    if owner is not None:
        return f"its autoforward key is of the wallet of machine {owner}: nothing is forwarded from a machine's wallet"
    rows = await lnbits.payments(key, payment_hash=source.payment_hash, incoming=True)
    if not any(row.status is Answer.SUCCESS for row in rows):
        return "its autoforward key is not of the wallet into which the share was paid: correct --autoforward-key-file"
    return None
