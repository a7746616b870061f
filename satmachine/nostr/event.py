"""Nostr events, and the messages of relays that carry them (NIP-01, NIP-42, BIP-340). Pure.

An event from outside goes through `parse_event` (is it shaped like one?) and `verify` (is its id the hash of
its content, and its signature by its author?). What is wrong with it is a value, `Fault`, not an exception.

`parse_message` never raises either: what is not a message is a `Fault`. JSON with duplicate keys, too much nesting
(orjson stops at 1,024), or has numbers beyond 64 bits (they become floats, and no field takes a float) is
harmless: an event counts only if its own hash and signature prove exactly the values that were read.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

import orjson
from coincurve import PublicKeyXOnly

from satmachine.nostr.keys import public_key_of

SETTLEMENT_KIND = 21000
RELAY_LIST_KIND = 10002
BEACON_KIND = 30078
FLEET_KIND = 30079
AUTH_KIND = 22242
TELEMETRY_KINDS = frozenset({BEACON_KIND, FLEET_KIND})

MAX_TAGS = 2_000
MAX_TAG_VALUES = 100
MAX_CREATED_AT = 2**53
MAX_KIND = 65_535

Tags = tuple[tuple[str, ...], ...]

#: A frame as it arrives.
Octets = bytes | bytearray

_ID_KEYS = (b'"id":"', b'"id": "')
_ID_DIGITS = 64
_EVENT_FRAME = b'["EVENT"'


class Fault(StrEnum):
    """What can be wrong with a message from a relay."""

    TOO_BIG = "too_big"
    NOT_JSON = "not_json"
    BAD_SHAPE = "bad_shape"
    UNKNOWN_MESSAGE = "unknown_message"
    UNKNOWN_SUBSCRIPTION = "unknown_subscription"
    UNKNOWN_AUTHOR = "unknown_author"
    WRONG_KIND = "wrong_kind"
    FALSE_ID = "false_id"
    BAD_SIGNATURE = "bad_signature"


class Event(NamedTuple):
    """A NIP-01 event. `created_at` is Unix seconds, UTC, as its author's clock had it.

    A tuple, because one is made for every frame that arrives, and a frozen dataclass takes four times as long.
    """

    id: str
    pubkey: str
    created_at: int
    kind: int
    tags: Tags
    content: str
    sig: str

    def to_dict(self) -> dict[str, object]:
        return {
            "id": self.id,
            "pubkey": self.pubkey,
            "created_at": self.created_at,
            "kind": self.kind,
            "tags": self.tags,
            "content": self.content,
            "sig": self.sig,
        }

    def to_json(self) -> str:
        return orjson.dumps(self.to_dict()).decode()


class AuthorKeys:
    """Parsed public keys by author: parsing one costs as much as a third of a verification.

    Bounded: when it is full it starts again empty, which costs only time.
    """

    def __init__(self, max_keys: int = 50_000) -> None:
        self._max_keys = max_keys
        self._keys: dict[str, PublicKeyXOnly] = {}

    def key_of(self, pubkey: str) -> PublicKeyXOnly | None:
        """None if the hex is not a point on the curve."""
        key = self._keys.get(pubkey)
        if key is not None:
            return key
        try:
            key = PublicKeyXOnly(bytes.fromhex(pubkey))
        except ValueError:
            return None
        if len(self._keys) >= self._max_keys:
            self._keys.clear()
        self._keys[pubkey] = key
        return key


def parse_event(obj: object) -> Event | Fault:
    """An event from decoded JSON; proves only its shape. Members that NIP-01 does not know are left out."""
    if not isinstance(obj, dict):
        return Fault.BAD_SHAPE
    get = obj.get
    event_id, pubkey, sig = get("id"), get("pubkey"), get("sig")
    created_at, kind, content = get("created_at"), get("kind"), get("content")
    if type(event_id) is not str or type(pubkey) is not str or type(sig) is not str:
        return Fault.BAD_SHAPE
    if not _are_lower_hex(event_id, pubkey, sig):
        return Fault.BAD_SHAPE
    # type(), not isinstance(): a bool is an int, but true is not a time.
    if type(created_at) is not int or not 0 <= created_at < MAX_CREATED_AT:
        return Fault.BAD_SHAPE
    if type(kind) is not int or not 0 <= kind <= MAX_KIND or type(content) is not str:
        return Fault.BAD_SHAPE
    tags = _parse_tags(get("tags"))
    if tags is None:
        return Fault.BAD_SHAPE
    return Event(event_id, pubkey, created_at, kind, tags, content, sig)


def event_id(pubkey: str, created_at: int, kind: int, tags: Sequence[Sequence[str]], content: str) -> str:
    """The id that NIP-01 gives an event: SHA-256 of its canonical serialisation, in hex.

    orjson escapes exactly what NIP-01 lists (and the other control characters as JSON must); the tests
    compare it with another implementation. ValueError: a lone surrogate, which is not text and has no UTF-8.
    """
    try:
        canonical = orjson.dumps([0, pubkey, created_at, kind, tags, content])
    except orjson.JSONEncodeError as error:
        raise ValueError(f"this event cannot be serialised: {error}") from None
    return sha256(canonical).hexdigest()


def verify(event: Event, keyring: AuthorKeys) -> Fault | None:
    """None if the id is right and the author signed it. The hash comes first: it costs a twentieth as much."""
    try:
        true_id = event_id(event.pubkey, event.created_at, event.kind, event.tags, event.content)
    except ValueError:
        return Fault.BAD_SHAPE
    if true_id != event.id:
        return Fault.FALSE_ID
    key = keyring.key_of(event.pubkey)
    if key is None or not key.verify(bytes.fromhex(event.sig), bytes.fromhex(event.id)):
        return Fault.BAD_SIGNATURE
    return None


def signer_of(obj: object, keyring: AuthorKeys) -> tuple[str, str] | None:
    """(id, author) of what has a right id and signature, whatever else its shape is; None: nobody signed it.

    Says whose fault it is if `parse_event` does not accept an event: its author's, or that of the relay that made it
    up.
    """
    if not isinstance(obj, dict):
        return None
    named, pubkey, sig = obj.get("id"), obj.get("pubkey"), obj.get("sig")
    if not (isinstance(named, str) and isinstance(pubkey, str) and isinstance(sig, str)):
        return None
    if not _are_lower_hex(named, pubkey, sig):
        return None
    signed = [0, pubkey, *(obj.get(name) for name in ("created_at", "kind", "tags", "content"))]
    try:
        true_id = sha256(orjson.dumps(signed)).hexdigest()
    except orjson.JSONEncodeError:  # nested endlessly, or half a character
        return None
    key = keyring.key_of(pubkey) if true_id == named else None
    if key is None or not key.verify(bytes.fromhex(sig), bytes.fromhex(named)):
        return None
    return named, pubkey


def sign(kind: int, content: str, tags: Sequence[Sequence[str]], created_at: int, secret: bytes) -> Event:
    """A new event by the owner of `secret`, signed by pynostr. ValueError for a bad secret, or text that is not
    Unicode.

    The id is computed once more by our own code: what leaves here is what others will verify.
    """
    from pynostr.event import Event as Draft  # imports a whole HTTP library: only those who sign wait for it

    draft = Draft(content, public_key_of(secret), created_at, kind, [list(tag) for tag in tags])
    draft.sign(secret.hex())
    signed = Event(str(draft.id), str(draft.pubkey), created_at, kind, tuple(map(tuple, tags)), content, str(draft.sig))
    assert signed.id == event_id(signed.pubkey, created_at, kind, tags, content), "pynostr serialises as NIP-01 says"
    return signed


def _are_lower_hex(event_id: str, pubkey: str, sig: str) -> bool:
    """64, 64 and 128 digits. One decoding for all is quicker than a regular expression for each."""
    if len(event_id) != 64 or len(pubkey) != 64 or len(sig) != 128:
        return False
    digits = event_id + pubkey + sig
    try:
        return bytes.fromhex(digits).hex() == digits
    except ValueError:
        return False


def _parse_tags(value: object) -> Tags | None:
    if type(value) is not list or len(value) > MAX_TAGS:
        return None
    for tag in value:
        if type(tag) is not list or not 1 <= len(tag) <= MAX_TAG_VALUES:
            return None
        for item in tag:
            if type(item) is not str:
                return None
    return tuple(map(tuple, value))


# --- messages


class EventMessage(NamedTuple):
    """An event for a subscription; `raw_event` is decoded JSON that nobody has checked."""

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
    """The relay's answer to our EVENT or AUTH."""

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
    """Which events a subscription asks for. `since` also filters live events, by their `created_at`; `limit` limits
    only stored ones."""

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


def parse_message(frame: Octets | str) -> RelayMessage | Fault:
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


def scan_event_id(frame: Octets | str) -> bytes | None:
    """What looks like the id of the event (its 32 octets) in an EVENT frame, found without parsing; None: parse it.

    For one purpose only: to drop an event that was accepted before, at a tenth of the cost. The answer is a guess. In
    well-formed JSON the key cannot be imitated inside a string (its quotes would be escaped), but a hostile relay can
    write `"id"` twice or in another place, and so make a *new* event look like an old one. In this way it suppresses
    only its own delivery, which it could also do by not delivering; the honest relays still deliver the event. A forged
    event gains nothing: a hit drops it.
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
    return _message(["REQ", subscription, *(wanted.to_dict() for wanted in filters)])


def close(subscription: str) -> str:
    return _message(["CLOSE", subscription])


def auth(event: Event) -> str:
    return _message(["AUTH", event.to_dict()])


def publish(event: Event) -> str:
    return _message(["EVENT", event.to_dict()])


def _message(parts: list[object]) -> str:
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
