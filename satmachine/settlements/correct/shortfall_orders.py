"""Carries out people's orders about a shortfall, in the daemon: it asks the wallets first, then runs one
transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from satmachine.config import Config
from satmachine.errors import Refused
from satmachine.models import Leg, LegStatus
from satmachine.orders import Order, Shortfall, UndoShortfall
from satmachine.settlements.correct import shortfall
from satmachine.settlements.correct.carries_out import CarriesOut, SetsAside
from satmachine.settlements.correct.changes import ProvenUnpaid
from satmachine.settlements.correct.proven_unpaid import Pays
from satmachine.settlements.plan.shortfall_refund import top_up_id
from satmachine.store import corrections, legs, shortfalls
from satmachine.store.database import Store
from satmachine.store.incoming import TopUp
from satmachine.store.intent_rows import Ended, OpenOrder
from satmachine.wallet.lnbits import Lnbits

#: Makes the invoice of a top-up: (machine, id, sats, note, who asks).
MakesTopUp = Callable[[str, str, int, str, str], Awaitable[TopUp]]


class ShortfallOrders(CarriesOut):
    """Book what a customer did not get, and take that back."""

    def __init__(
        self,
        store: Store,
        lnbits: Lnbits,
        payer: Pays,
        worker: SetsAside,
        config: Callable[[], Config],
        now: Callable[[], int],
        *,
        make_top_up: MakesTopUp,
    ) -> None:
        super().__init__(store, lnbits, payer, worker, config, now)
        self._make_top_up = make_top_up

    @property
    def actions(self) -> Mapping[type[Order], Callable[[OpenOrder, Any], Awaitable[Ended]]]:
        """What the desk can have done here."""
        return {Shortfall: self.book, UndoShortfall: self.undo}

    async def book(self, asked: OpenOrder, order: Shortfall) -> Ended:
        """Make the invoice of the top-up, then book. An invoice that a crash leaves behind was shown to nobody."""
        sale = await self._store.read(shortfall.allowed, order.settlement_id, order.short_minor)
        number = await self._store.read(shortfalls.next_number, sale.id)
        made, refund_number = None, 1
        if order.to is not None:
            refund_number = await self._refund_number(sale)
            cost_sats = await self._cost_of(sale.machine_id, order.to, order.refund_sats, order.topup_sats)
            if cost_sats != order.topup_sats:
                raise Refused(f"the refund takes {cost_sats} sats, not {order.topup_sats}: ask again")
            name = top_up_id(str(sale.settlement_key), number, order.to, order.topup_sats)
            note = f"for the customer of sale {sale.id}"
            made = await self._make_top_up(sale.machine_id, name, order.topup_sats, note, asked.actor)
        change = partial(
            shortfall.book,
            order=order,
            number=number,
            refund_number=refund_number,
            top_up=made,
            by=self._by(asked, order.reason),
        )
        return await self._carry_out(asked, change)

    async def undo(self, asked: OpenOrder, order: UndoShortfall) -> Ended:
        """Prove that the refund is unpaid, and stays so; then take all of it back."""
        async with self._worker.set_aside(order.settlement_id):
            found = await self._store.read(shortfall.to_undo, order.settlement_id)
            proof = ProvenUnpaid()
            if found.payment_id is not None:
                leg, _ = await self._store.read(legs.get, found.payment_id)
                if leg.status is not LegStatus.VOIDED:
                    proof = await self._withdrawn(order.settlement_id, leg)
            change = partial(
                shortfall.undo,
                settlement_id=order.settlement_id,
                proof=proof,
                by=self._by(asked, order.reason),
            )
            return await self._carry_out(asked, change)

    async def _withdrawn(self, settlement_id: int, leg: Leg) -> ProvenUnpaid:
        sale = await self._store.read(corrections.find, settlement_id)
        return await self._unpaid.withdrawn(sale.machine_id, sale.bundle, [leg])
