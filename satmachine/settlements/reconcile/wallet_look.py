"""Asks the machine's wallet before anything is reconciled; only reads (SPEC section 6.8)."""

from __future__ import annotations

from satmachine.errors import WalletUnavailable
from satmachine.models import Answer
from satmachine.settlements.reconcile.machine_case import CustomerPayment, Fate, WalletAnswers
from satmachine.settlements.reconcile.proposal import Questions
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import WalletPayment, require_wallet

#: With more questions than this, the wallet's incoming payments are read in one go.
_ONE_BY_ONE = 20

_WORDS = {Answer.SUCCESS: "success", Answer.PENDING: "pending", Answer.FAILURE: "failure"}


async def ask(
    lnbits: Lnbits, admin_key: str, machine_id: str, wallet_id: str | None, asked: Questions
) -> WalletAnswers:
    """Answer the questions. Raises WalletError, also for rows of another wallet than the machine's."""
    incoming: list[WalletPayment] = []
    if len(asked.incoming) > _ONE_BY_ONE:
        incoming = await lnbits.payments(admin_key, incoming=True)
    else:
        for payment_hash in asked.incoming:
            incoming += await lnbits.payments(admin_key, payment_hash=payment_hash)
    fates = {name: await _fate(lnbits, admin_key, machine_id, wallet_id, name) for name in asked.outgoing}
    require_wallet(incoming, wallet_id, machine_id)
    wanted = frozenset(asked.incoming)
    arrived = {
        row.payment_hash: CustomerPayment(row.amount_sats, row.created_at, row.updated_at, row.extra)
        for row in incoming
        if row.payment_hash in wanted and row.incoming and row.status is Answer.SUCCESS
    }
    return WalletAnswers(arrived, fates)


async def _fate(lnbits: Lnbits, admin_key: str, machine_id: str, wallet_id: str | None, payment_hash: str) -> Fate:
    rows = [row for row in await lnbits.payments(admin_key, payment_hash=payment_hash) if row.outgoing]
    require_wallet(rows, wallet_id, machine_id)
    if not rows:
        return Fate("absent")
    if rows[0].status not in _WORDS:
        raise WalletUnavailable(f"LNbits shows a payment in a state that is not known: {rows[0].checking_id}")
    return Fate(_WORDS[rows[0].status], rows[0].fee_sats)
