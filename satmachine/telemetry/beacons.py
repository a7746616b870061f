"""A verified event of kind 30078 or 30079 -> what is stored of it, or why it is not (SPEC sections 2 and 7). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from satmachine.models import Rejection
from satmachine.nostr.event import BEACON_KIND, TELEMETRY_KINDS, Event
from satmachine.telemetry import exact_json
from satmachine.telemetry.parse import Fields, parse_beacon

#: How far ahead of ours a machine's clock may be, unless the configuration says otherwise.
MAX_FUTURE_S = 900
_MAX_D_TAG = 256


@dataclass(frozen=True, slots=True)
class BeaconRecord:
    """One beacon. `created_at` (the machine's clock) and `received_at` (ours) are Unix seconds, `event_id` is hex."""

    machine_id: str
    event_id: str
    created_at: int
    received_at: int
    d_tag: str
    content: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """One fleet snapshot: any JSON, kept as it came, because its schema is not settled (`lamassu-next#42`)."""

    machine_id: str
    event_id: str
    created_at: int
    received_at: int
    d_tag: str
    content: str


def read(
    event: Event, machine_id: str, received_at: int, *, content: str, currency: str, max_future_s: int = MAX_FUTURE_S
) -> BeaconRecord | SnapshotRecord | Rejection:
    """Read a telemetry event whose `content` is decrypted already; `currency` is the machine's in the registry.

    An event from the future is refused: it would win against every true beacon until its time has come.
    """
    if event.kind not in TELEMETRY_KINDS:
        raise ValueError(f"kind {event.kind} is no telemetry")
    ahead_s = event.created_at - received_at
    if ahead_s > max_future_s:
        return Rejection("future", f"its created_at is {ahead_s} s in the future: is the machine's clock right?")
    if event.kind == BEACON_KIND:
        fields = parse_beacon(content, currency)
        if isinstance(fields, Rejection):
            return fields
        return BeaconRecord(machine_id, event.id, event.created_at, received_at, d_tag(event), content, fields)
    try:
        exact_json.loads(content)
    except ValueError as error:
        return Rejection("bad_json", f"the fleet snapshot is not valid JSON ({error})")
    return SnapshotRecord(machine_id, event.id, event.created_at, received_at, d_tag(event), content)


def d_tag(event: Event) -> str:
    """NIP-01: the first `d` tag; a missing one means the empty string."""
    value = next((tag[1] for tag in event.tags if tag[0] == "d" and len(tag) > 1), "")
    return value[:_MAX_D_TAG]
