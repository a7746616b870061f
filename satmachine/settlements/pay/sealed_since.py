"""From which time are a machine's payments sealed? Its wallet stores that, because the database cannot.

Payments that an earlier version left open have no seals, and are sealed as they are, once. If the database said whether
this was done, somebody who can write to it could change that, or put a database of the old version in its place. So the
daemon leaves a row in the machine's wallet: an invoice that nobody pays. Nobody without the admin key can remove it,
and once it is there, no unsealed payment is accepted any more. (Anybody with the invoice key can write one: then a
person approves what an upgrade finds open.)
"""

from __future__ import annotations

import logging

from satmachine import identity
from satmachine.config import Machine
from satmachine.store import seal_rows
from satmachine.store.database import Store
from satmachine.wallet.lnbits import Lnbits

log = logging.getLogger(__name__)

_BUNDLE = f"{identity.PREFIX}seals"
_MEMO = "satmachine: do not pay, says that this wallet's payments are sealed"
_EXPIRY_S = 86_400


async def begin(store: Store, lnbits: Lnbits, machine: Machine, key: str, now: int) -> None:
    """Take over what is open, where nobody has yet; a call once in the life of a database. Raises WalletError."""
    if await store.read(seal_rows.has_begun, machine.id):
        return
    if not await lnbits.bundle(key, _BUNDLE):
        count = await store.write(seal_rows.take_over_open, machine.id)
        if count:
            log.warning("machine %s: %d open payment(s) of an earlier version go on as they stand", machine.id, count)
        await lnbits.create_invoice(
            key,
            amount_sats=1,
            memo=_MEMO,
            expiry_s=_EXPIRY_S,
            extra={"tag": identity.tag(machine.npub)},
            external_id=identity.mark_key(_BUNDLE, "begun"),
        )
    await store.write(seal_rows.begin, machine.id, now)
