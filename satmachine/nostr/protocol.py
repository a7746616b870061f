"""The relay protocol without I/O: text in, typed messages out (NIP-01, NIP-42). Pure.

`parse_message` never raises: what is no message is a `Fault`. JSON that says things twice, nests too deep
(orjson stops at 1,024), or has numbers beyond 64 bits (they become floats, and no field takes a float) is
harmless: an event counts only as far as its own hash and signature prove exactly the values that were read.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from satmachine.nostr.event import Event, Fault

_ID_KEYS = (b'"id":"', b'"id": "')
_ID_DIGITS = 64
_EVENT_FRAME = b'["EVENT"'


class EventMessage(NamedTuple):
    """An event for a subscription; `raw_event` is decoded JSON that nobody has looked at."""

    subscription: str
    raw_event: object


@dataclass(frozen=True, slots=True)
class Eose:
    """End of stored events: from here on the subscription is live."""

    subscription: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The relay ended a subscription. `prefix` is the machine-readable word ("" if there is none)."""

    subscription: str
    prefix: str
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    text: str


@dataclass(frozen=True, slots=True)
class Ok:
    """The relay's answer to an EVENT or AUTH of ours."""

    event_id: str
    accepted: bool
    text: str


@dataclass(frozen=True, slots=True)
class Auth:
    """The relay asks who we are (NIP-42)."""

    challenge: str


RelayMessage = EventMessage | Eose | Closed | Notice | Ok | Auth


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a subscription asks for. `since` also filters live events, by their `created_at`; `limit` bounds
    stored ones only."""

    kinds: tuple[int, ...]
    authors: tuple[str, ...]
    since: int | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        # To a relay, a filter without authors means everybody.
        assert self.kinds, "a filter names its kinds"
        assert self.authors, "a filter names its authors"

    def to_dict(self) -> dict[str, object]:
        wanted: dict[str, object] = {"kinds": self.kinds, "authors": self.authors}
        if self.since is not None:
            wanted["since"] = self.since
        if self.limit is not None:
            wanted["limit"] = self.limit
        return wanted


def parse_message(frame: bytes | bytearray | str) -> RelayMessage | Fault:
    """One message of a relay."""
    try:
        parts = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return Fault.NOT_JSON
    if type(parts) is not list or len(parts) < 2:
        return Fault.BAD_SHAPE
    verb = parts[0]
    if verb == "EVENT":
        if len(parts) != 3 or type(parts[1]) is not str:
            return Fault.BAD_SHAPE
        return EventMessage(parts[1], parts[2])
    return _parse_control(verb, parts[1:])


def scan_event_id(frame: bytes | bytearray | str) -> bytes | None:
    """What looks like the id of the event (its 32 octets) in an EVENT frame, found without parsing; None: parse it.

    For one purpose only: to drop an event that was taken before, at a tenth of the cost. The answer
    is a guess. In well-formed JSON the key cannot be imitated inside a string (its quotes would be escaped),
    but a hostile relay can write `"id"` twice or in a place of its own, and so make a *new* event look like an
    old one. By that it suppresses its own delivery only, which it could do as well by not delivering; the
    honest relays still deliver the event. A forged event can gain nothing: a hit drops it.
    """
    octets = frame.encode(errors="replace") if isinstance(frame, str) else frame
    if not octets.startswith(_EVENT_FRAME):
        return None
    for key in _ID_KEYS:
        at = octets.find(key)
        if at >= 0:
            start = at + len(key)
            end = start + _ID_DIGITS
            if octets[end : end + 1] != b'"':
                return None
            try:
                return unhexlify(octets[start:end])
            except ValueError:
                return None
    return None


def req(subscription: str, filters: Sequence[Filter]) -> str:
    return _text(["REQ", subscription, *(wanted.to_dict() for wanted in filters)])


def close(subscription: str) -> str:
    return _text(["CLOSE", subscription])


def auth(event: Event) -> str:
    return _text(["AUTH", event.to_dict()])


def publish(event: Event) -> str:
    return _text(["EVENT", event.to_dict()])


def _text(parts: list[object]) -> str:
    return orjson.dumps(parts).decode()


def _parse_control(verb: object, arguments: list[object]) -> RelayMessage | Fault:
    match verb, arguments:
        case "EOSE", [str(subscription), *_]:
            return Eose(subscription)
        case "CLOSED", [str(subscription)]:
            return Closed(subscription, "", "")
        case "CLOSED", [str(subscription), str(reason), *_]:
            return Closed(subscription, *_split_reason(reason))
        case "NOTICE", [str(text), *_]:
            return Notice(text)
        case "OK", [str(event_id), bool(accepted), *rest]:
            return Ok(event_id, accepted, rest[0] if rest and isinstance(rest[0], str) else "")
        case "AUTH", [str(challenge), *_]:
            return Auth(challenge)
        case (("EOSE" | "CLOSED" | "NOTICE" | "OK" | "AUTH"), _):
            return Fault.BAD_SHAPE
    return Fault.UNKNOWN_MESSAGE


def _split_reason(reason: str) -> tuple[str, str]:
    """NIP-01: a machine-readable word, a colon, and words for people."""
    prefix, colon, text = reason.partition(":")
    if not colon or not prefix.replace("-", "").isalpha():
        return "", reason
    return prefix, text.strip()
