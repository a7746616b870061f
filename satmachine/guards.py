"""Catches what nobody has thought of: whatever fails in one piece of work ends that piece, is logged, and no more.

(recorder.py and sweeper.py do the same for one event and one wallet.)
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from satmachine.errors import DatabaseBusy, Refused, SatmachineError, StoreError
from satmachine.logs import about
from satmachine.models import LegStatus
from satmachine.settlements.worker import Work
from satmachine.store import legs, settlements
from satmachine.store.database import Store
from satmachine.store.intent_rows import Ended

log = logging.getLogger(__name__)


class Guards:
    """One for each way in which work is begun."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now

    async def work(self, item: Work, run: Callable[[], Awaitable[None]]) -> None:
        """Run one piece of work; an unexpected error in it is logged and postpones only its rows."""
        leg = item.ids[0] if item.kind == "leg" else None
        sale = next(iter(item.sales)) if len(item.sales) == 1 else None
        with about(settlement=sale, machine=item.machine_id, leg=leg):
            try:
                await run()
            except DatabaseBusy as error:
                log.warning("%s: %s", item, error)
                await anyio.sleep(1)
            except Exception:
                log.exception("%s of %s: an unexpected error; it is tried again in a minute", item, item.machine_id)
                with anyio.move_on_after(5):
                    await self._postpone(item)

    async def order(self, action: Callable[[], Awaitable[Ended]]) -> Ended:
        """Carry out what a person ordered; after an unexpected error it is refused, so that it does not block the next
        one."""
        try:
            return await action()
        except SatmachineError:
            raise
        except Exception:
            log.exception("a request could not be carried out")
            raise Refused("satmachine itself failed here; its log says where. Nothing was changed") from None

    async def forever(self, task: Callable[[], Awaitable[None]]) -> None:
        """Keep a task running: whatever ends it is logged, and it starts again from what the database says."""
        while True:
            try:
                await task()
            except Exception:
                log.exception("%s ended with an unexpected error; it starts again", getattr(task, "__qualname__", task))
            await anyio.sleep(1)

    async def _postpone(self, item: Work) -> None:
        error = "satmachine itself failed here; see the log"
        until = self._now() + 60
        try:
            for kind, row_id in item.rows:
                if kind == "settlement":
                    await self._store.write(settlements.postpone, row_id, until=until, error=error)
                    continue
                leg, _ = await self._store.read(legs.get, row_id)
                await self._store.write(legs.postpone, leg, status=LegStatus(leg.status), until=until, error=error)
        except StoreError as store_error:
            log.error("%s could not be postponed: %s", item, store_error)  # noqa: TRY400
            await anyio.sleep(5)
