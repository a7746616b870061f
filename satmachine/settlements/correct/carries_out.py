"""What everybody shares who carries out people's orders: what the wallets say, the worker, and how an order ends."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from satmachine.config import Config
from satmachine.errors import Refused
from satmachine.models import By, Settlement
from satmachine.settlements.correct.proven_unpaid import Pays, Unpaid
from satmachine.store import corrections, intent_rows, legs
from satmachine.store.database import Store
from satmachine.store.intent_rows import Ended, OpenOrder
from satmachine.wallet import bolt11 as invoices
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import WalletPayment

#: An invoice that expires sooner than this is refused: the customer makes a new one.
MIN_VALID_S = 120


class SetsAside(Protocol):
    """The worker, as far as corrections need it."""

    def set_aside(self, settlement_id: int) -> AbstractAsyncContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class GivenInvoice:
    """A customer's invoice, read: what it asks for, and until when."""

    payment_hash: str
    amount_sats: int
    expires_at: int


class CarriesOut:
    """What everybody needs who carries out orders: what the wallets say, the worker, and how an order ends."""

    def __init__(
        self,
        store: Store,
        lnbits: Lnbits,
        payer: Pays,
        worker: SetsAside,
        config: Callable[[], Config],
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._lnbits = lnbits
        self._worker = worker
        self._config = config
        self._now = now
        self._unpaid = Unpaid(store, lnbits, payer, config, now)

    async def _carry_out(self, asked: OpenOrder, change: Callable[[sqlite3.Connection], str]) -> Ended:
        return await self._store.write(intent_rows.carry_out, asked.id, change, self._now())

    def _by(self, asked: OpenOrder, reason: str) -> By:
        return By(asked.actor, reason, self._now())

    async def _require_known_payments(self, settlement: Settlement) -> list[WalletPayment]:
        """Everything the wallet has paid for this sale, all of it known here, or accepted by a person."""
        bundle = settlement.bundle
        paid = [] if bundle is None else await self._unpaid.paid_for(settlement.machine_id, bundle)
        accepted = await self._store.read(corrections.accepted_payments, settlement.machine_id)
        for row in paid:
            if row.payment_hash not in accepted and not await self._store.read(legs.knows_payment, row.payment_hash):
                raise Refused(
                    f"the machine's wallet shows a payment for sale {settlement.id} that these books do not know "
                    f"({row.leg_key}); look at it, then `satmachine machines reconcile {settlement.machine_id}`"
                )
        return paid

    async def _refund_number(self, settlement: Settlement) -> int:
        """The first that neither the books nor the wallet have seen."""
        paid = await self._require_known_payments(settlement)
        number = await self._store.read(corrections.next_refund_number, settlement.id)
        return max([number, *(taken + 1 for taken in numbers_after(":refund:", paid))])

    async def _cost_of(self, machine_id: str, to: str, amount_sats: int, draw_sats: int | None) -> int:
        """What a refund draws: its amount and, for an invoice whose payee bears fees, the reserve for them. As it was
        shown to the person who ordered it (`draw_sats`), or not at all."""
        if "@" in to:
            return amount_sats  # the invoice that is asked for leaves the reserve
        invoice = read_invoice(to, amount_sats, self._now())
        if await self._store.read(corrections.invoice_is_known, invoice.payment_hash, to):
            raise Refused("this invoice was used for a payment already; ask the customer for a new one")
        key = self._unpaid.key(machine_id)
        if await self._lnbits.payments(key, payment_hash=invoice.payment_hash):
            raise Refused("the machine's own wallet knows this invoice; ask the customer for one of theirs")
        if self._config().payouts.routing_fees == "machine":
            return amount_sats
        reserve_sats = await self._lnbits.fee_reserve_sats(key, to)
        shown_sats = None if draw_sats is None else draw_sats - amount_sats
        if shown_sats is not None and reserve_sats > shown_sats:
            raise Refused(
                f"the wallet sets {reserve_sats} sats aside for routing fees, not {shown_sats}: ask again with "
                f"--reserve {reserve_sats}"
            )
        return amount_sats + (reserve_sats if shown_sats is None else shown_sats)


def read_invoice(bolt11: str, amount_sats: int, now: int) -> GivenInvoice:
    """A customer's invoice over exactly `amount_sats`. Raises Refused for any other."""
    try:
        asked = invoices.decode(bolt11)
    except invoices.InvoiceError as error:
        raise Refused(f"this is no Lightning invoice: {error}") from None
    if asked.amount_msat is None:
        raise Refused(f"the invoice names no amount; ask the customer for one over exactly {amount_sats} sats")
    if asked.amount_msat != amount_sats * 1000:
        raise Refused(f"the invoice is over {asked.amount_msat} msats, the refund over {amount_sats * 1000}")
    if asked.expires_at < now + MIN_VALID_S:
        raise Refused("the invoice has expired, or is about to; ask the customer for a new one")
    return GivenInvoice(asked.payment_hash, amount_sats, asked.expires_at)


def numbers_after(mark: str, found: Sequence[WalletPayment]) -> list[int]:
    """The revisions (":r") or refund numbers (":refund:") in the keys of payments."""
    keys = [row.leg_key or "" for row in found]
    return [int(digits) for key in keys for digits in re.findall(re.escape(mark) + r"(\d{1,9})(?=:|$)", key)]
