"""What the operator sees about a relay. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum

from satmachine.nostr.event import Fault


class RelayState(StrEnum):
    CONNECTING = "connecting"
    CONNECTED = "connected"  # not everything that was asked for is live yet
    SUBSCRIBED = "subscribed"
    BACKING_OFF = "backing_off"
    STOPPED = "stopped"


@dataclass(slots=True)
class RelayHealth:
    """Times are Unix seconds; counts are since the daemon started.

    `events` came from this relay first, `duplicates` had arrived before (mostly from other relays); `shed` is what
    exceeds its author's budget, or telemetry that exceeds the queue; `malformed` is what its author signed but nobody
    can use (not the relay's fault); `missed` counts the events in a row that other relays delivered since this one last
    delivered anything. `named`: a machine named it, not the operator.
    """

    url: str
    state: RelayState = RelayState.CONNECTING
    since: int | None = None  # when the state was entered
    latency_ms: float | None = None
    last_connected_at: int | None = None
    last_event_at: int | None = None
    events: int = 0
    duplicates: int = 0
    shed: int = 0
    malformed: int = 0
    missed: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    error: str = ""
    eose: bool = False
    quiet: bool = False
    named: bool = False

    def enter(self, state: RelayState, now: float) -> None:
        if state is not self.state or self.since is None:
            self.state = state
            self.since = int(now)
        self.eose = state is RelayState.SUBSCRIBED

    def copy(self, *, quiet: bool) -> RelayHealth:
        return replace(self, faults=Counter(self.faults), quiet=quiet)


def printable(text: str, limit: int = 200) -> str:
    """What a relay wrote, made safe for the log: one line, no control characters, not long."""
    return "".join(char if char.isprintable() else " " for char in text[:limit]).strip()
