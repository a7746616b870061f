"""Beacons, in whatever order they arrive -> the present state of a machine (SPEC section 7). Pure.

Per field the newest beacon that has it wins, across `d` tags. "Newest" is NIP-01's rule for addressable events: the
greater `created_at`; on a tie the lower id. `absorb` is therefore associative, commutative and idempotent on sets
of beacons: replays are harmless, and the order of arrival cannot be seen in the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from satmachine.telemetry.beacons import BeaconRecord

#: A machine that invents new keys for ever keeps only the newest of them.
MAX_EXTRA_FIELDS = 256


class Origin(NamedTuple):
    """The beacon that a field is from."""

    created_at: int
    event_id: str

    def beats(self, other: Origin) -> bool:
        """Whether this beacon is newer; the lower id wins a tie (NIP-01)."""
        return (self.created_at, other.event_id) > (other.created_at, self.event_id)


class FieldValue(NamedTuple):
    """A field's value and where it is from."""

    value: Any
    origin: Origin


@dataclass(slots=True)
class State:
    """A machine's merged fields, and its newest beacon's content and time of arrival."""

    columns: dict[str, FieldValue] = field(default_factory=dict)
    extra: dict[str, FieldValue] = field(default_factory=dict)
    newest: Origin | None = None
    raw: str = ""
    received_at: int = 0

    def absorb(self, beacon: BeaconRecord) -> None:
        """Take from a beacon what is newer than what is known."""
        origin = Origin(beacon.created_at, beacon.event_id)
        _take(self.columns, beacon.fields.columns, origin)
        _take(self.extra, beacon.fields.extra, origin)
        if len(self.extra) > MAX_EXTRA_FIELDS:
            self.extra = _newest_fields(self.extra)
        if self.newest is None or origin.beats(self.newest):
            self.newest, self.raw, self.received_at = origin, beacon.content, beacon.received_at


def _take(known: dict[str, FieldValue], told: Mapping[str, Any], origin: Origin) -> None:
    for name, value in told.items():
        if name not in known or origin.beats(known[name].origin):
            known[name] = FieldValue(value, origin)


def _newest_fields(extra: Mapping[str, FieldValue]) -> dict[str, FieldValue]:
    """The newest fields, by origin and name. A dropped one cannot come back by an older beacon: the order holds."""
    by_id = sorted(extra, key=lambda name: (extra[name].origin.event_id, name))
    by_age = sorted(by_id, key=lambda name: extra[name].origin.created_at, reverse=True)
    return {name: extra[name] for name in by_age[:MAX_EXTRA_FIELDS]}
