"""Nostr events: shape, id and signature (NIP-01, BIP-340). Pure.

An event from outside goes through `parse_event` (is it shaped like one?) and `verify` (is its id the hash of
its content, and its signature by its author?). What is wrong with it is a value, `Fault`, not an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    A tuple, because one is made for every frame that comes in, and a frozen dataclass takes four times as long.
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

    Bounded: a ring that is full starts afresh, which costs time but nothing else.
    """

    def __init__(self, max_keys: int = 50_000) -> None:
        self._max_keys = max_keys
        self._keys: dict[str, PublicKeyXOnly] = {}

    def key_of(self, pubkey: str) -> PublicKeyXOnly | None:
        """None where the hex is no point on the curve."""
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
    """An event out of decoded JSON; proves its shape only. Members that NIP-01 doesn't know are left out."""
    if not isinstance(obj, dict):
        return Fault.BAD_SHAPE
    get = obj.get
    event_id, pubkey, sig = get("id"), get("pubkey"), get("sig")
    created_at, kind, content = get("created_at"), get("kind"), get("content")
    if type(event_id) is not str or type(pubkey) is not str or type(sig) is not str:
        return Fault.BAD_SHAPE
    if not _are_lower_hex(event_id, pubkey, sig):
        return Fault.BAD_SHAPE
    # type() and not isinstance(): a bool is an int, and true is no time.
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
    compare it with another implementation. ValueError: a lone surrogate, which is no text and has no UTF-8.
    """
    try:
        canonical = orjson.dumps([0, pubkey, created_at, kind, tags, content])
    except orjson.JSONEncodeError as error:
        raise ValueError(f"this event cannot be serialised: {error}") from None
    return sha256(canonical).hexdigest()


def verify(event: Event, keyring: AuthorKeys) -> Fault | None:
    """None if the id is true and the author signed it. The hash comes first: it costs a twentieth."""
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
    """(id, author) of what has a true id and signature, whatever shape it has otherwise; None: nobody signed it.

    Tells whose fault an event is that `parse_event` does not take: its author's, or the relay's that made it up.
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
    except orjson.JSONEncodeError:  # nested without end, or half a character
        return None
    key = keyring.key_of(pubkey) if true_id == named else None
    if key is None or not key.verify(bytes.fromhex(sig), bytes.fromhex(named)):
        return None
    return named, pubkey


def sign(kind: int, content: str, tags: Sequence[Sequence[str]], created_at: int, secret: bytes) -> Event:
    """A new event by the owner of `secret`, signed by pynostr. ValueError for a bad secret or text that is no Unicode.

    The id is computed once more on our side: what leaves here is what others will verify.
    """
    from pynostr.event import Event as Draft  # brings a whole HTTP library: nobody waits for it who signs nothing

    draft = Draft(content, public_key_of(secret), created_at, kind, [list(tag) for tag in tags])
    draft.sign(secret.hex())
    signed = Event(str(draft.id), str(draft.pubkey), created_at, kind, tuple(map(tuple, tags)), content, str(draft.sig))
    assert signed.id == event_id(signed.pubkey, created_at, kind, tags, content), "pynostr serialises as NIP-01 says"
    return signed


def _are_lower_hex(event_id: str, pubkey: str, sig: str) -> bool:
    """64, 64 and 128 digits. One round trip for all is quicker than a regular expression for each."""
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
