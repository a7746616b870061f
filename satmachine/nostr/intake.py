"""What happens to every event that any relay sends: the ladder from raw JSON to a lane (no I/O of its own).

The order is PERFORMANCE.md's, cheapest first: id seen; shape; author and kind; budget; id true; signature. Only
an event that passed all of it is recorded as seen, or a forgery would keep the true event out.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from satmachine.nostr.event import SETTLEMENT_KIND, TELEMETRY_KINDS, Event, Fault, Keyring, parse_event, verify
from satmachine.nostr.lane import Lane, Received
from satmachine.nostr.limits import Limits
from satmachine.nostr.messages import scan_event_id
from satmachine.nostr.pace import BucketPerAuthor
from satmachine.nostr.seen import SeenIds
from satmachine.nostr.wire import Octets


class Dropped(StrEnum):
    """Why an event that may be perfectly good goes no further."""

    DUPLICATE = "duplicate"
    SHED = "shed"  # beyond what its author's budget, or for telemetry the queue, takes


class Intake:
    """Shared by all relays of a pool. `clock` gives Unix seconds."""

    def __init__(self, settlements: Lane, telemetry: Lane, limits: Limits, clock: Callable[[], float]) -> None:
        self.seen = SeenIds(limits.seen_ids)
        self._settlements = settlements
        self._telemetry = telemetry
        self._clock = clock
        self._keyring = Keyring()
        self._budgets = BucketPerAuthor(limits.telemetry_burst, limits.telemetry_per_s)
        self._sales_budgets = BucketPerAuthor(limits.settlement_burst, limits.settlements_per_s)

    @property
    def must_wait(self) -> bool:
        """No queue sheds settlements: when theirs is full, the sockets wait (`room`)."""
        return self._settlements.full

    async def room(self) -> None:
        await self._settlements.room()

    def is_duplicate(self, frame: Octets) -> bool:
        """Before parsing, from the raw frame; see `scan_event_id` for what this may not be used for."""
        event_id = scan_event_id(frame)
        return event_id is not None and event_id in self.seen

    def take(self, raw_event: object, authors: frozenset[str], relay_url: str) -> Event | Dropped | Fault:
        """The event if it was taken; `authors` are those whom this relay was asked for."""
        event = parse_event(raw_event)
        if isinstance(event, Fault):
            return event
        event_id = bytes.fromhex(event.id)
        if event_id in self.seen:
            return Dropped.DUPLICATE
        if event.pubkey not in authors:
            return Fault.UNKNOWN_AUTHOR
        if event.kind == SETTLEMENT_KIND:
            return self._take_within(self._sales_budgets, event, self._settlements, relay_url)
        if event.kind in TELEMETRY_KINDS:
            if self._telemetry.full:
                return Dropped.SHED
            return self._take_within(self._budgets, event, self._telemetry, relay_url)
        return Fault.WRONG_KIND

    def _take_within(
        self, budgets: BucketPerAuthor, event: Event, lane: Lane, relay_url: str
    ) -> Event | Dropped | Fault:
        now = self._clock()
        budget = budgets.of(event.pubkey, now)
        if not budget.allows(now):
            return Dropped.SHED
        fault = verify(event, self._keyring)
        if fault is not None:
            return fault
        # Only what the author signed is charged to it: a relay cannot use up a machine's budget by forgeries.
        budget.charge()
        self.seen.add(bytes.fromhex(event.id))
        lane.put(Received(event, relay_url, int(now)))
        return event
