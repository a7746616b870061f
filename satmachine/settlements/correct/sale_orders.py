"""Carries out people's orders about the figures of a sale, in the daemon (SPEC section 9).

A correction cannot race a payment: the worker sets the sale aside first, then the invoices of every unpaid leg are
withdrawn and both sides read (`proven_unpaid.py`), and only then one transaction changes the books and ends the order,
if nothing has changed since. A crash before that changes nothing: the order is still open, and begins again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from satmachine.errors import Refused
from satmachine.models import Settlement
from satmachine.orders import Close, Order, PartialDispense, Redistribute, Refund
from satmachine.settlements.correct import changes
from satmachine.settlements.correct.carries_out import CarriesOut, numbers_after
from satmachine.settlements.correct.changes import ProvenUnpaid
from satmachine.settlements.correct.correction_rules import CorrectionKind, Dispensed
from satmachine.settlements.correct.redistribute import Wish, redistribute
from satmachine.settlements.plan.planning import terms_for
from satmachine.store import corrections
from satmachine.store.intent_rows import Ended, OpenOrder


class SaleOrders(CarriesOut):
    """Partial dispense, close, redistribute and refund."""

    @property
    def actions(self) -> Mapping[type[Order], Callable[[OpenOrder, Any], Awaitable[Ended]]]:
        """What the desk can have done here."""
        return {
            PartialDispense: self.partial_dispense,
            Close: self.close,
            Redistribute: self.redistribute,
            Refund: self.refund,
        }

    async def partial_dispense(self, asked: OpenOrder, order: PartialDispense) -> Ended:
        """`part` of `whole` was dispensed."""
        dispensed = Dispensed(order.part, order.whole)
        async with self._worker.set_aside(order.settlement_id):
            settlement = await self._store.read(changes.allowed, CorrectionKind.PARTIAL_DISPENSE, order.settlement_id)
            await self._store.read(changes.new_figures, settlement, dispensed)
            change = partial(
                changes.partial_dispense,
                settlement_id=order.settlement_id,
                dispensed=dispensed,
                proof=await self._withdrawn(settlement),
                by=self._by(asked, order.reason),
            )
            return await self._carry_out(asked, change)

    async def close(self, asked: OpenOrder, order: Close) -> Ended:
        """Void what is unpaid, keep the rest."""
        async with self._worker.set_aside(order.settlement_id):
            settlement = await self._store.read(changes.allowed, CorrectionKind.CLOSE, order.settlement_id)
            change = partial(
                changes.close,
                settlement_id=order.settlement_id,
                proof=await self._withdrawn(settlement),
                by=self._by(asked, order.reason),
            )
            return await self._carry_out(asked, change)

    async def redistribute(self, asked: OpenOrder, order: Redistribute) -> Ended:
        """Plan what is retained, under a revision that no wallet has seen yet."""
        settlement = await self._store.read(changes.allowed, CorrectionKind.REDISTRIBUTE, order.settlement_id)
        paid = await self._require_known_payments(settlement)
        change = partial(
            redistribute,
            settlement_id=order.settlement_id,
            terms=terms_for(self._config(), settlement.machine_id),
            wish=Wish(order.rate, order.as_of, order.to),
            revision=1 + max([settlement.revision, *numbers_after(":r", paid)]),
            by=self._by(asked, order.reason),
        )
        return await self._carry_out(asked, change)

    async def refund(self, asked: OpenOrder, order: Refund) -> Ended:
        """Plan a refund to an invoice or a Lightning address; the payer pays it as every other leg."""
        settlement = await self._store.read(changes.allowed, CorrectionKind.REFUND, order.settlement_id)
        changes.require_retained(settlement, order.amount_sats)
        number = await self._refund_number(settlement)
        cost_sats = await self._cost_of(settlement.machine_id, order.to, order.amount_sats, order.draw_sats)
        if cost_sats > settlement.retained_sats:
            raise Refused(
                f"sale {settlement.id} retains {settlement.retained_sats} sats: too little for "
                f"{order.amount_sats} sats and up to {cost_sats - order.amount_sats} sats of routing fees. Ask for a "
                "smaller invoice, or use a Lightning address"
            )
        change = partial(
            changes.refund,
            settlement_id=order.settlement_id,
            amount_sats=cost_sats,
            payee=order.to,
            number=number,
            by=self._by(asked, order.reason),
        )
        return await self._carry_out(asked, change)

    # --- the wallets

    async def _withdrawn(self, settlement: Settlement) -> ProvenUnpaid:
        """Nothing that is unpaid of the sale can be paid any more. Raises Refused, naming the leg that may be."""
        unpaid = await self._store.read(corrections.unpaid_legs, settlement.id)
        return await self._unpaid.withdrawn(settlement.machine_id, settlement.bundle, unpaid, sale=True)
