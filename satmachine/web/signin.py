"""How somebody comes in: one-time links, signatures with a Nostr key, sessions and bearer tokens (SPEC section 14).

A secret is 32 random octets, shown once; only its SHA-256 is kept. A signature is a NIP-98 event (kind 27235) over the
address and method of the sign-in, made for this moment and used once. What is wrong is a value, never an exception.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from zoneinfo import ZoneInfo

import orjson

from satmachine.config.model import WebPerson
from satmachine.nostr.event import AuthorKeys, Event, parse_event, verify
from satmachine.store import passes
from satmachine.store.passes import PassKind
from satmachine.web.access import Viewer

#: NIP-98 "HTTP Auth".
HTTP_AUTH_KIND = 27235
#: How far the clock of who signs may be away from ours, in seconds (NIP-98 suggests 60).
_SKEW_S = 60
_MAX_AUTHORIZATION_CHARS = 8_192
#: A session ends so long after its last use, whatever its full life.
IDLE_S = 7 * 86_400

_KEYRING = AuthorKeys(1_000)


@dataclass(frozen=True, slots=True)
class Held:
    """Who is signed in, and by which pass (its id)."""

    viewer: Viewer
    pass_id: int


def new_secret() -> tuple[str, str]:
    """(a secret to hand out, what is kept of it)."""
    secret = secrets.token_urlsafe(32)
    return secret, digest(secret)


def digest(secret: str) -> str:
    """What is kept of a secret. It has 256 random bits, so one round of SHA-256 is enough."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def viewer_of(people: Mapping[str, WebPerson], person: str) -> Viewer | None:
    """Somebody of the configuration as it is now; None where it no longer names them."""
    found = people.get(person)
    if found is None:
        return None
    return Viewer(
        person=found.id,
        name=found.name,
        operator=None if found.operator == "*" else found.operator,
        client=found.client,
        language=found.language,
        tz=ZoneInfo(found.tz) if found.tz else UTC,
    )


def by_secret(
    conn: sqlite3.Connection, people: Mapping[str, WebPerson], kind: PassKind, secret: str, now: int
) -> Held | None:
    """Whose session or token this is, if it still counts."""
    found = passes.find(conn, kind, digest(secret), now)
    if found is None:
        return None
    if kind is PassKind.SESSION and now > (found.used_at or found.created_at) + IDLE_S:
        return None
    viewer = viewer_of(people, found.person)
    if viewer is None:
        return None
    passes.seen(conn, found.id, now)
    return Held(viewer, found.id)


def begin_session(conn: sqlite3.Connection, person: str, *, now: int, lives_s: int) -> str:
    """The secret of a new session, for the browser's cookie."""
    secret, kept = new_secret()
    passes.add(conn, PassKind.SESSION, person, kept, now=now, lives_s=lives_s)
    return secret


def by_signature(
    conn: sqlite3.Connection, people: Mapping[str, WebPerson], authorization: str, *, url: str, method: str, now: int
) -> WebPerson | str:
    """Who has signed this sign-in, or why it does not count, in words. `url` is the address as browsers see it."""
    event = _signed(authorization)
    if isinstance(event, str):
        return event
    if event.kind != HTTP_AUTH_KIND:
        return f"the signed event is of kind {event.kind}, not {HTTP_AUTH_KIND}"
    if abs(now - event.created_at) > _SKEW_S:
        return f"it was signed more than {_SKEW_S} seconds from now: look at the clock of this device"
    if _tag(event, "u") != url or (_tag(event, "method") or "").upper() != method:
        return "it was signed for another address"
    fault = verify(event, _KEYRING)
    if fault is not None:
        return "the signature is false"
    person = next((one for one in people.values() if one.pubkey == event.pubkey), None)
    if person is None:
        return "nobody is known by this key here"
    if not passes.first_use(conn, event.id, now + 2 * _SKEW_S):
        return "this signature was used before: sign again"
    return person


def _signed(authorization: str) -> Event | str:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "nostr" or len(encoded) > _MAX_AUTHORIZATION_CHARS:
        return "there is no signed event in it"
    try:
        decoded = orjson.loads(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        return "there is no signed event in it"
    event = parse_event(decoded)
    return event if isinstance(event, Event) else "there is no signed event in it"


def _tag(event: Event, name: str) -> str | None:
    """The value of the only tag of this name; None where there is none, or more than one."""
    values = [tag[1] for tag in event.tags if tag[0] == name and len(tag) > 1]
    return values[0] if len(values) == 1 else None
