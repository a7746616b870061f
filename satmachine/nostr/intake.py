"""What happens to every event that any relay sends: the ladder from raw JSON to a lane (no I/O of its own).

Cheapest first: id seen; shape; author and kind; budget; id true; signature. Only what its author really signed is
recorded as seen, or a forgery would keep the true event out.

Whose fault is it? What a known author has signed is the author's, of whatever shape: the relay only keeps it, and is
not disconnected for it, or one stolen key would cut all machines off. Everything else is the relay's.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from satmachine.nostr.event import (
    RELAY_LIST_KIND,
    SETTLEMENT_KIND,
    TELEMETRY_KINDS,
    AuthorKeys,
    Event,
    Fault,
    parse_event,
    signer_of,
    verify,
)
from satmachine.nostr.lane import Lane, Received
from satmachine.nostr.limits import Limits
from satmachine.nostr.pace import BucketPerAuthor, TokenBucket
from satmachine.nostr.protocol import scan_event_id
from satmachine.nostr.seen import SeenIds
from satmachine.nostr.wire import Octets

_EVENT_OVERHEAD_BYTES = 1_024
_VALUE_OVERHEAD_BYTES = 56


class Dropped(StrEnum):
    """Why an event that may be perfectly good goes no further."""

    DUPLICATE = "duplicate"
    SHED = "shed"  # beyond what its author's budget, or for telemetry the queue, takes
    MALFORMED = "malformed"  # its author signed it, but it is no event that anybody could use


class _Budgets:
    """One author's share, in events and in octets."""

    def __init__(self, burst: float, per_s: float, burst_bytes: float, bytes_per_s: float) -> None:
        self._events = BucketPerAuthor(burst, per_s)
        self._bytes = BucketPerAuthor(burst_bytes, bytes_per_s)

    def of(self, author: str, now: float) -> tuple[TokenBucket, TokenBucket]:
        return self._events.of(author, now), self._bytes.of(author, now)


class Intake:
    """Shared by all relays of a pool. `clock` gives Unix seconds. `relay_lists` are taken like telemetry, if at all."""

    def __init__(
        self,
        settlements: Lane,
        telemetry: Lane,
        limits: Limits,
        clock: Callable[[], float],
        *,
        relay_lists: bool = False,
    ) -> None:
        self._side_kinds = TELEMETRY_KINDS | {RELAY_LIST_KIND} if relay_lists else TELEMETRY_KINDS
        self.seen = SeenIds(limits.seen_ids)
        self._settlements = settlements
        self._telemetry = telemetry
        self._clock = clock
        self._keyring = AuthorKeys()
        self._budgets = _Budgets(
            limits.telemetry_burst,
            limits.telemetry_per_s,
            limits.telemetry_burst_bytes,
            limits.telemetry_bytes_per_s,
        )
        self._sales_budgets = _Budgets(
            limits.settlement_burst,
            limits.settlements_per_s,
            limits.settlement_burst_bytes,
            limits.settlement_bytes_per_s,
        )

    @property
    def must_wait(self) -> bool:
        """When the queue of settlements is full, the sockets wait (`room`); one author alone cannot fill it."""
        return self._settlements.full

    async def room(self) -> None:
        await self._settlements.room()

    def is_duplicate(self, frame: Octets) -> bool:
        """Before parsing, from the raw frame; see `scan_event_id` for what this may not be used for."""
        event_id = scan_event_id(frame)
        return event_id is not None and event_id in self.seen

    def take(
        self, raw_event: object, authors: frozenset[str], relay_url: str, size: int = 0
    ) -> Event | Dropped | Fault:
        """The event if it was taken; `authors` are those whom this relay was asked for, `size` is the frame's."""
        event = parse_event(raw_event)
        if isinstance(event, Fault):
            return self.blame(raw_event, authors, size, event)
        event_id = bytes.fromhex(event.id)
        if event_id in self.seen:
            return Dropped.DUPLICATE
        if event.pubkey not in authors:
            return Fault.UNKNOWN_AUTHOR
        if event.kind == SETTLEMENT_KIND:
            return self._take_within(self._sales_budgets, event, self._settlements, relay_url, size)
        if event.kind in self._side_kinds:
            if self._telemetry.full:
                return Dropped.SHED
            return self._take_within(self._budgets, event, self._telemetry, relay_url, size)
        return Fault.WRONG_KIND

    def blame(self, raw_event: object, authors: frozenset[str], size: int, fault: Fault) -> Dropped | Fault:
        """What cannot be used is its author's if a known author signed it; otherwise it is the relay's `fault`."""
        author = raw_event.get("pubkey") if isinstance(raw_event, dict) else None
        if not isinstance(author, str) or author not in authors:
            return fault
        now = self._clock()
        events, octets = self._budgets.of(author, now)
        if not (events.allows(now) and octets.allows(now, size)):
            return Dropped.SHED
        signed = signer_of(raw_event, self._keyring)
        if signed is None:
            return fault
        events.charge()
        octets.charge(size)
        # It will never be anything else: the next copy is dropped unread.
        self.seen.add(bytes.fromhex(signed[0]))
        return Dropped.MALFORMED

    def _take_within(
        self, budgets: _Budgets, event: Event, lane: Lane, relay_url: str, size: int
    ) -> Event | Dropped | Fault:
        now = self._clock()
        events, octets = budgets.of(event.pubkey, now)
        weight = weight_of(event, size)
        if not (events.allows(now) and octets.allows(now, weight) and lane.has_share_for(event.pubkey, weight)):
            return Dropped.SHED
        fault = verify(event, self._keyring)
        if fault is not None:
            return fault
        # Only what the author signed is charged to it: a relay cannot use up a machine's budget by forgeries.
        events.charge()
        octets.charge(weight)
        self.seen.add(bytes.fromhex(event.id))
        lane.put(Received(event, relay_url, int(now), weight))
        return event


def weight_of(event: Event, size: int) -> int:
    """About what an event of a frame of `size` octets takes in memory: many short tags take far more than they are."""
    return size + _EVENT_OVERHEAD_BYTES + sum(_VALUE_OVERHEAD_BYTES * (1 + len(tag)) for tag in event.tags)
