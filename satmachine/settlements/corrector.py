"""Carries out what people ask of a sale's figures, in the daemon (SPEC section 9).

A correction cannot race a payment: the worker sets the sale aside first, then both sides of every unpaid leg are
read, and only then one transaction changes the books, provided that nothing has moved since. A crash before it
changes nothing: the request is still open, and is carried out again.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from satmachine.config import Config, Machine
from satmachine.errors import Refused
from satmachine.models import Answer, Leg, LegStatus, Settlement
from satmachine.settlements import correcting
from satmachine.settlements.correct import Command, Dispensed, why_not_unpaid
from satmachine.settlements.correcting import Author, Proof
from satmachine.settlements.pay import payment_tag
from satmachine.settlements.payees import terms_for
from satmachine.settlements.redistribute import Wish, redistribute
from satmachine.settlements.transition import View
from satmachine.store import corrections, legs
from satmachine.store.database import Store
from satmachine.store.intents import Intent
from satmachine.wallet import bolt11 as invoices
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.rows import WalletPayment

#: An invoice that expires sooner than this is refused: the customer makes a new one.
MIN_VALID_S = 120


class SetsAside(Protocol):
    """The worker, as far as corrections need it."""

    def set_aside(self, settlement_id: int) -> AbstractAsyncContextManager[None]: ...


class LooksUp(Protocol):
    """The payer, as far as corrections need it."""

    async def look_up(self, leg_id: int) -> View | None: ...


@dataclass(frozen=True, slots=True)
class GivenInvoice:
    """A customer's invoice, read: what it asks for, and until when."""

    payment_hash: str
    amount_sats: int
    expires_at: int


class Corrector:
    """Partial dispense, close, redistribute and refund."""

    def __init__(
        self,
        store: Store,
        lnbits: Lnbits,
        payer: LooksUp,
        worker: SetsAside,
        config: Callable[[], Config],
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._lnbits = lnbits
        self._payer = payer
        self._worker = worker
        self._config = config
        self._now = now

    @property
    def actions(self) -> Mapping[str, Callable[[Intent], Awaitable[str]]]:
        """What the desk can ask for, by the action of the request."""
        return {
            "settlement.partial_dispense": self.partial_dispense,
            "settlement.close": self.close,
            "settlement.redistribute": self.redistribute,
            "settlement.refund": self.refund,
        }

    async def partial_dispense(self, intent: Intent) -> str:
        """`part` of `whole` was dispensed."""
        dispensed = Dispensed(_number(intent, "part"), _number(intent, "whole"))
        settlement_id = _number(intent, "settlement_id")
        async with self._worker.set_aside(settlement_id):
            settlement = await self._store.read(correcting.allowed, Command.PARTIAL_DISPENSE, settlement_id)
            await self._store.read(correcting.new_figures, settlement, dispensed)
            proof = await self._prove_unpaid(settlement)
            return await self._store.write(
                correcting.partial_dispense, settlement_id, dispensed, proof, _author(intent), self._now()
            )

    async def close(self, intent: Intent) -> str:
        """Void what is unpaid, keep the rest."""
        settlement_id = _number(intent, "settlement_id")
        async with self._worker.set_aside(settlement_id):
            settlement = await self._store.read(correcting.allowed, Command.CLOSE, settlement_id)
            proof = await self._prove_unpaid(settlement)
            return await self._store.write(correcting.close, settlement_id, proof, _author(intent), self._now())

    async def redistribute(self, intent: Intent) -> str:
        """Plan what is retained, under a revision that no wallet has seen yet."""
        settlement_id = _number(intent, "settlement_id")
        settlement = await self._store.read(correcting.allowed, Command.REDISTRIBUTE, settlement_id)
        paid = await self._require_known_payments(settlement)
        rate, as_of = intent.params.get("rate"), intent.params.get("as_of")
        wish = Wish(None if rate is None else Decimal(str(rate)), None if as_of is None else int(str(as_of)))
        return await self._store.write(
            redistribute,
            settlement_id,
            terms_for(self._config(), settlement.machine_id),
            wish,
            revision=1 + max([settlement.revision, *_numbers_after(":r", paid)]),
            author=_author(intent),
            now=self._now(),
        )

    async def refund(self, intent: Intent) -> str:
        """Plan a refund to an invoice or a Lightning address; the payer pays it as every other leg."""
        settlement_id, payee = _number(intent, "settlement_id"), str(intent.params["to"])
        settlement = await self._store.read(correcting.allowed, Command.REFUND, settlement_id)
        amount_sats = _number(intent, "amount_sats")
        correcting.require_retained(settlement, amount_sats)
        if "@" not in payee:
            amount_sats = await self._cost_of(settlement, payee, amount_sats)
        paid = await self._require_known_payments(settlement)
        number = await self._store.read(corrections.next_refund_number, settlement_id)
        return await self._store.write(
            correcting.refund,
            settlement_id,
            amount_sats=amount_sats,
            payee=payee,
            number=max([number, *(taken + 1 for taken in _numbers_after(":refund:", paid))]),
            author=_author(intent),
            now=self._now(),
        )

    # --- the wallets, only read

    async def _prove_unpaid(self, settlement: Settlement) -> Proof:
        """Read both sides of every unpaid leg. Raises Refused, naming the leg whose fate is not proven."""
        unpaid = await self._store.read(corrections.unpaid_legs, settlement.id)
        if unpaid:
            self._machine(settlement)
        views = {leg.id: await self._look_up(leg) for leg in unpaid}
        for leg in unpaid:
            view = views[leg.id]
            why = None if view is None else why_not_unpaid(view, sent=await self._may_be_under_way(leg))
            if why is not None:
                raise Refused(
                    f"leg {leg.leg} of settlement {settlement.id} is not proven unpaid: {why}. Nothing was changed; "
                    "try again in a few minutes"
                )
        # Last, whatever else was paid for this sale: without an invoice in these books, or in another life of them.
        for row in await self._paid_for(settlement):
            if not await self._store.read(corrections.is_completed, row.payment_hash):
                raise Refused(
                    f"the machine's wallet shows a payment for settlement {settlement.id} that these books do not have "
                    f"as completed ({row.leg_key}). Nothing was changed; try again in a few minutes"
                )
        return Proof({leg.id: leg for leg in unpaid}, {leg_id: _evidence(view) for leg_id, view in views.items()})

    async def _look_up(self, leg: Leg) -> View | None:
        """None where no invoice could still be paid: there is none, or it was proven (or declared) dead before."""
        _, invoice = await self._store.read(legs.get, leg.id)
        return None if invoice is None or invoice.dead_at is not None else await self._payer.look_up(leg.id)

    async def _may_be_under_way(self, leg: Leg) -> bool:
        """Whether a request to pay the leg went out of which LNbits has not certainly said the end."""
        _, invoice = await self._store.read(legs.get, leg.id)
        sent = invoice is not None and invoice.sent_at is not None
        return sent and leg.status in (LegStatus.SENDING, LegStatus.HELD)

    async def _require_known_payments(self, settlement: Settlement) -> list[WalletPayment]:
        """Everything the wallet has paid for this sale, all of it known here, or accepted by a person."""
        paid = await self._paid_for(settlement)
        accepted = await self._store.read(corrections.accepted_payments, settlement.machine_id)
        for row in paid:
            if row.payment_hash not in accepted and not await self._store.read(legs.knows_payment, row.payment_hash):
                raise Refused(
                    f"the machine's wallet shows a payment for settlement {settlement.id} that these books do not know "
                    f"({row.leg_key}); look at it, then `satmachine machines reconcile {settlement.machine_id}`"
                )
        return paid

    async def _paid_for(self, settlement: Settlement) -> list[WalletPayment]:
        """The wallet's payments for this sale that have moved sats, or still may."""
        if settlement.settlement_key is None:
            return []
        machine = self._machine(settlement)
        key = machine.wallet.admin_key.resolve(self._config().environ)
        prefix = f"sm1:{settlement.settlement_key}:"
        found = await self._lnbits.find_by_settlement_key(key, prefix, payment_tag(machine))
        return [row for row in found if row.outgoing and row.status is not Answer.FAILURE]

    async def _cost_of(self, settlement: Settlement, bolt11: str, amount_sats: int) -> int:
        """What a refund to an invoice draws: its amount and, where the payee bears fees, the reserve for them."""
        invoice = read_invoice(bolt11, amount_sats, self._now())
        if await self._store.read(corrections.invoice_is_known, invoice.payment_hash, bolt11):
            raise Refused("this invoice was used for a payment already; ask the customer for a new one")
        key = self._machine(settlement).wallet.admin_key.resolve(self._config().environ)
        if await self._lnbits.payments(key, payment_hash=invoice.payment_hash):
            raise Refused("the machine's own wallet knows this invoice; ask the customer for one of theirs")
        if self._config().payouts.routing_fees == "machine":
            return amount_sats
        reserve_sats = await self._lnbits.fee_reserve_sats(key, bolt11)
        if amount_sats + reserve_sats > settlement.retained_sats:
            raise Refused(
                f"settlement {settlement.id} retains {settlement.retained_sats} sats: too little for {amount_sats} "
                f"sats and up to {reserve_sats} sats of routing fees. Ask for a smaller invoice, or use a Lightning "
                "address"
            )
        return amount_sats + reserve_sats

    def _machine(self, settlement: Settlement) -> Machine:
        machine = self._config().machine(settlement.machine_id)
        if machine is None:
            raise Refused(f"machine {settlement.machine_id} is no longer in the configuration: put it back first")
        return machine


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


def _author(intent: Intent) -> Author:
    return Author(intent.actor, str(intent.params["reason"]))


def _number(intent: Intent, name: str) -> int:
    return int(str(intent.params[name]))


def _numbers_after(mark: str, found: Sequence[WalletPayment]) -> list[int]:
    """The revisions (":r") or refund numbers (":refund:") in the keys of payments."""
    keys = [row.leg_key or "" for row in found]
    return [int(digits) for key in keys for digits in re.findall(re.escape(mark) + r"(\d{1,9})(?=:|$)", key)]


def _evidence(view: View | None) -> dict[str, object] | None:
    if view is None:
        return None
    return {"source": view.source, "destination": view.destination, "expired": view.expired}
