"""Carries out people's orders for single payments, in the daemon: send it to another payee, give it up, vouch for it.

As with corrections: the sale is set aside, what may not be paid any more is withdrawn and proven unpaid, and one
transaction changes the books and ends the order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio

from satmachine.errors import Refused, SatmachineError, StoreError
from satmachine.models import HoldReason, Leg
from satmachine.orders import CancelPayout, DeclarePaid, DeclareUnpaid, Order, Repoint
from satmachine.settlements.correct import cancelled, vouched
from satmachine.settlements.correct.carries_out import CarriesOut
from satmachine.settlements.correct.repoint import Move, is_there, repoint, target_of
from satmachine.store import legs
from satmachine.store.intent_rows import Ended, OpenOrder


class LegOrders(CarriesOut):
    """Repoint, cancel, declare paid and unpaid."""

    @property
    def actions(self) -> Mapping[type[Order], Callable[[OpenOrder, Any], Awaitable[Ended]]]:
        """What the desk can have done here."""
        return {
            Repoint: self.repoint,
            CancelPayout: self.cancel,
            DeclarePaid: self.declare_paid,
            DeclareUnpaid: self.declare_unpaid,
        }

    async def repoint(self, asked: OpenOrder, order: Repoint) -> Ended:
        """Those that can be sent elsewhere are, together; the others stay, with the reason."""
        async with self._set_aside(order.payment_ids) as found:
            outcomes: dict[int, Move | StoreError | str] = {}
            async with anyio.create_task_group() as group:  # each may have to wait for the pay timeout
                for leg in found:
                    group.start_soon(self._try_move, leg, outcomes)
            for outcome in outcomes.values():
                if isinstance(outcome, StoreError):
                    raise outcome
            moves = [outcome for leg in found if isinstance(outcome := outcomes[leg.id], Move)]
            left = [outcome for leg in found if isinstance(outcome := outcomes[leg.id], str)]
            if not moves:
                raise Refused("; ".join(left))
            change = partial(repoint, moves=moves, left=left, by=self._by(asked, order.reason))
            return await self._carry_out(asked, change)

    async def _try_move(self, leg: Leg, outcomes: dict[int, Move | StoreError | str]) -> None:
        """Where the leg goes, or why it stays."""
        try:
            outcomes[leg.id] = await self._move(leg)
        except StoreError as error:
            outcomes[leg.id] = error
        except SatmachineError as error:
            outcomes[leg.id] = str(error)

    async def _move(self, leg: Leg) -> Move:
        """Raises Refused, WalletError, ConfigError."""
        target = await self._store.read(target_of, leg, self._config())
        if is_there(leg, target):
            raise Refused(f"payment {leg.id} goes there already")
        proof = await self._unpaid.withdrawn(leg.machine_id, leg.leg_key, [leg])
        return Move(proof.legs[leg.id], target)

    async def cancel(self, asked: OpenOrder, order: CancelPayout) -> Ended:
        """Give up a balance payout that is proven unpaid, or a payment that the daemon has not ordered."""
        async with self._set_aside([order.payment_id]) as [leg]:
            if leg.settlement_id is not None and leg.hold_reason != HoldReason.UNORDERED:
                raise Refused(f"payment {leg.id} is of a sale: `satmachine settlements close {leg.settlement_id}`")
            cancelled.require_unfinished(leg)
            proof = await self._unpaid.withdrawn(leg.machine_id, leg.leg_key, [leg])
            change = partial(cancelled.cancel_payout, proof=proof, leg_id=leg.id, by=self._by(asked, order.reason))
            return await self._carry_out(asked, change)

    async def declare_paid(self, asked: OpenOrder, order: DeclarePaid) -> Ended:
        """A person vouches that the payee has the sats."""
        return await self._declare(asked, order.payment_id, order.reason, paid=True)

    async def declare_unpaid(self, asked: OpenOrder, order: DeclareUnpaid) -> Ended:
        """A person vouches that the invoice is dead. Not where the machine's own wallet shows that it was paid."""
        return await self._declare(asked, order.payment_id, order.reason, paid=False)

    async def _declare(self, asked: OpenOrder, payment_id: int, reason: str, *, paid: bool) -> Ended:
        async with self._set_aside([payment_id]) as [leg]:
            await self._unpaid.require_person(leg, paid=paid)
            if not paid:
                await self._unpaid.require_no_debit(leg)
            await self._unpaid.withdraw([leg])
            by = self._by(asked, reason)
            if paid:
                return await self._carry_out(asked, partial(vouched.declare_paid, leg=leg, by=by))
            given_up = await self._unpaid.require_no_debit(leg)
            return await self._carry_out(asked, partial(vouched.declare_unpaid, leg=leg, given_up=given_up, by=by))

    # --- helpers

    @asynccontextmanager
    async def _set_aside(self, payment_ids: Sequence[int]) -> AsyncIterator[list[Leg]]:
        """The payments, while their sales are out of work. (A payout has no sale: its changes name the state that they
        start from, and what was withdrawn is not sent.)"""
        found = [(await self._store.read(legs.get, payment_id))[0] for payment_id in payment_ids]
        async with AsyncExitStack() as aside:
            for settlement_id in sorted({leg.settlement_id for leg in found if leg.settlement_id is not None}):
                await aside.enter_async_context(self._worker.set_aside(settlement_id))
            yield [(await self._store.read(legs.get, leg.id))[0] for leg in found]
