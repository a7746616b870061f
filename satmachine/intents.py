"""What people asked for through the CLI, carried out by the daemon: one intent, one outcome in words.

The CLI never pays and never races the payer: it writes an intent, and this desk decides, in the daemon.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Literal

from satmachine.clients import payout
from satmachine.config import Config
from satmachine.errors import SatmachineError
from satmachine.models import Rejection
from satmachine.nostr.event import Event, parse_event
from satmachine.nostr.lane import Received
from satmachine.settlements.land import Landing
from satmachine.store import intents, quarantine
from satmachine.store.database import Store

log = logging.getLogger(__name__)

#: Carries out one request; returns what came of it, in a sentence. Raises SatmachineError where it is refused.
Action = Callable[[intents.Intent], Awaitable[str]]


class IntentDesk:
    """Carries out open intents, oldest first."""

    def __init__(
        self,
        store: Store,
        config: Callable[[], Config],
        now: Callable[[], int],
        *,
        retry_event: Callable[[Received], Awaitable[Landing | Rejection]],
        corrections: Mapping[str, Action] | None = None,
        guard: Callable[[Callable[[], Awaitable[str]]], Awaitable[str]],
    ) -> None:
        """`guard` carries out one action and turns a surprise in it into Refused (the daemon's; DESIGN)."""
        self._store = store
        self._config = config
        self._now = now
        self._retry_event = retry_event
        self._guard = guard
        self._actions: Mapping[str, Action] = {
            "quarantine.retry": self._retry_quarantined,
            "clients.settle": self._settle_balance,
            **(corrections or {}),
        }

    async def carry_out_open(self) -> int:
        """Do what is open; returns how many intents there were."""
        found = await self._store.read(intents.open_intents)
        for intent in found:
            await self._carry_out(intent)
        return len(found)

    async def _carry_out(self, intent: intents.Intent) -> None:
        action = self._actions.get(intent.action)
        status: Literal["done", "refused"]
        try:
            if action is None:
                status, result = "refused", f"this daemon does not know {intent.action}; is it older than the command?"
            else:
                status, result = "done", await self._guard(partial(action, intent))
        except SatmachineError as error:
            status, result = "refused", str(error)
        await self._store.write(intents.finish, intent.id, status, result, self._now())
        kind, _, record_id = intent.subject.partition(" ")
        extra = {kind: record_id} if kind in ("settlement", "machine") else {}
        log.info("%s asked for %s of %s: %s", intent.actor, intent.action, intent.subject, result, extra=extra)

    async def _settle_balance(self, intent: intents.Intent) -> str:
        return await self._store.write(payout.carry_out, intent.params, intent.actor, self._now())

    async def _retry_quarantined(self, intent: intents.Intent) -> str:
        row = await self._store.read(quarantine.get, int(str(intent.params["quarantine_id"])))
        event = parse_event(json.loads(row.raw))
        assert isinstance(event, Event), "what is in quarantine was verified"
        outcome = await self._retry_event(Received(event, row.relay_url, row.received_at))
        if isinstance(outcome, Rejection):
            await self._store.write(quarantine.note_retry, row.id, outcome, self._now())
            return f"still cannot be used: {outcome.detail}"
        return f"{outcome.result}: settlement {outcome.settlement_id}"
