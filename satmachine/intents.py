"""What people ordered through the CLI, carried out by the daemon: one order, one result in words.

The CLI never pays and never races the payer: it writes an order, and this desk has it carried out, by a table from the
kind of order to the code that does it. Each ends in the transaction of its effect (`store.intent_rows.carry_out`), so
that it is carried out once: whatever happens before that transaction has changed nothing, and starts again.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

import anyio

from satmachine.clients import payout
from satmachine.errors import Refused, SatmachineError, StoreError
from satmachine.models import Rejection
from satmachine.nostr.event import Event, parse_event
from satmachine.nostr.intake import Received
from satmachine.orders import Order, RetryQuarantined, SettleBalance, Unreadable
from satmachine.settlements.land.landing import Landing
from satmachine.store import intent_rows, quarantine_rows
from satmachine.store.database import Store
from satmachine.store.intent_rows import Ended, OpenOrder

log = logging.getLogger(__name__)

#: How often new orders are looked for.
EVERY_S = 0.5
#: A sealed order that was not carried out within this time must be given again, so that a copied order is of no use
#: later.
SEALED_ORDER_S = 86_400

#: Carries out one kind of order (the second argument), to its end. Raises SatmachineError if it is refused before
#: anything is written.
Action = Callable[[OpenOrder, Any], Awaitable[Ended]]
Actions = Mapping[type[Order], Action]

#: Lands a message again, as one transaction.
LandAgain = Callable[[sqlite3.Connection], Landing | Rejection]


class IntentDesk:
    """Carries out open orders, oldest first. Some take minutes, because they wait for a request of another daemon: what
    concerns other sales continues meanwhile, and what concerns the same one waits for its turn."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], int],
        *,
        read_again: Callable[[Received], LandAgain | Rejection],
        actions: Actions,
        guard: Callable[[Callable[[], Awaitable[Ended]]], Awaitable[Ended]],
        order_key: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`guard` carries out one action and turns an unexpected error in it into Refused (the daemon's).

        `order_key`: the key with which orders must be sealed; None if the operator has named none. Raises ConfigError.
        """
        self._store = store
        self._now = now
        self._read_again = read_again
        self._guard = guard
        self._order_key = order_key
        self._in_hand: dict[int, OpenOrder] = {}
        self._actions: Actions = {
            RetryQuarantined: self._retry_quarantined,
            SettleBalance: self._settle_balance,
            **actions,
        }

    async def run(self, ended: Callable[[], None]) -> None:
        """Until cancelled; `ended` is called after each order that has."""
        async with anyio.create_task_group() as group:
            while True:
                for asked in await self._take():
                    group.start_soon(self._work, asked, ended)
                await anyio.sleep(EVERY_S)

    async def carry_out_open(self) -> int:
        """Do what is open, each order once; returns how many have ended. The others wait until the database can be
        written."""
        tried: set[int] = set()
        ended: list[int] = []
        while taken := await self._take(but=tried):
            tried |= {asked.id for asked in taken}
            async with anyio.create_task_group() as group:
                for asked in taken:
                    group.start_soon(self._work, asked, lambda: ended.append(1))
        return len(ended)

    async def _take(self, but: Collection[int] = ()) -> list[OpenOrder]:
        """Open orders that no order in work, and no earlier open order, blocks."""
        taken = []
        touched = {name for asked in self._in_hand.values() for name in asked.touches}
        for asked in await self._store.read(intent_rows.open_orders):
            if asked.id not in self._in_hand and asked.id not in but and not asked.touches & touched:
                self._in_hand[asked.id] = asked
                taken.append(asked)
            touched |= asked.touches
        return taken

    async def _work(self, asked: OpenOrder, ended: Callable[[], object]) -> None:
        try:
            came_of_it = await self._carry_out(asked)
        except StoreError as error:
            log.warning("%s of %s is carried out later: %s", asked.action, asked.subject, error)
            return
        finally:
            del self._in_hand[asked.id]
        kind, _, record_id = asked.subject.partition(" ")
        extra = {kind: record_id} if kind in ("settlement", "machine") else {}
        log.info("%s asked for %s of %s: %s", asked.actor, asked.action, asked.subject, came_of_it.result, extra=extra)
        ended()

    async def _carry_out(self, asked: OpenOrder) -> Ended:
        """Raises StoreError: the order is still open, and nothing of it was done."""
        order = asked.order
        if isinstance(order, Unreadable):
            return await self._store.write(
                intent_rows.refuse, asked.id, f"this cannot be carried out: {order.why}", self._now()
            )
        try:
            await self._require_right(asked)
            return await self._guard(partial(self._actions[type(order)], asked, order))
        except StoreError:
            raise
        except SatmachineError as error:
            return await self._store.write(intent_rows.refuse, asked.id, str(error), self._now())

    async def _require_right(self, asked: OpenOrder) -> None:
        """If orders are sealed: raises Refused for one that somebody without the key has written, or copied."""
        key = self._order_key()
        if key is None:
            return
        if not asked.is_sealed(key):
            raise Refused(
                "whoever ordered this does not have the key for orders ([payouts] order_key). If it was you, run the "
                "command as a user who may read that key"
            )
        is_old = abs(self._now() - asked.created_at) > SEALED_ORDER_S
        if is_old or await self._store.read(intent_rows.was_carried_out, asked):
            raise Refused("this order is more than a day old, or was carried out before: ask again")

    async def _settle_balance(self, asked: OpenOrder, order: SettleBalance) -> Ended:
        now = self._now()
        change = partial(payout.carry_out, order=order, actor=asked.actor, now=now)
        return await self._store.write(intent_rows.carry_out, asked.id, change, now)

    async def _retry_quarantined(self, asked: OpenOrder, order: RetryQuarantined) -> Ended:
        now = self._now()
        row = await self._store.read(quarantine_rows.get, order.quarantine_id)
        event = parse_event(json.loads(row.raw))
        assert isinstance(event, Event), "what is in quarantine was verified"
        land_again = self._read_again(Received(event, row.relay_url, row.received_at))
        change = partial(_land_again, quarantine_id=row.id, land_again=land_again, now=now)
        return await self._store.write(intent_rows.carry_out, asked.id, change, now)


def _land_again(conn: sqlite3.Connection, *, quarantine_id: int, land_again: LandAgain | Rejection, now: int) -> str:
    outcome = land_again if isinstance(land_again, Rejection) else land_again(conn)
    if isinstance(outcome, Rejection):
        quarantine_rows.note_retry(conn, quarantine_id, outcome, now)
        return f"it still cannot be used: {outcome.detail}"
    return f"{outcome.result}: sale {outcome.settlement_id}"
