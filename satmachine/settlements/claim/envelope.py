"""A verified kind 21000 event -> what it claims: is it for us, is its time right, can it be read (SPEC section 2)?
Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from satmachine.config.model import Machine
from satmachine.models import Claim, Rejection
from satmachine.nostr import nip44
from satmachine.nostr.event import Event
from satmachine.settlements.claim.content import claim_from_event

#: A public key in hexadecimal digits; a tag may hold anything.
_KEY_CHARS = 64
#: Version 1, a nonce of 24 octets, and a text: "AQ" to "Af" begin every base64 of an octet 1.
_OLD_NIP44 = re.compile(r"A[Q-Za-f][0-9A-Za-z+/]{42,}={0,2}")
_NIP04 = re.compile(r"[0-9A-Za-z+/]{20,}={0,2}\?iv=[0-9A-Za-z+/]{20,}={0,2}")


@dataclass(frozen=True, slots=True)
class Window:
    """How far an event's `created_at` may be from now, in seconds."""

    max_age_s: int
    max_future_s: int


@dataclass(frozen=True, slots=True)
class DaemonKey:
    """The daemon's own Nostr key: what `p` tags name, and what opens encrypted content."""

    secret: bytes
    pubkey: str


@dataclass(frozen=True, slots=True)
class Transport:
    """Not for this daemon: kind 21000 is also how a machine speaks to its LNbits, encrypted to that one's key.

    `addressee` is whom its `p` tag names; `old_nip44`: it is in the format before NIP-44 version 2.
    """

    addressee: str
    old_nip44: bool


def read_event(
    event: Event, machine: Machine, *, key: DaemonKey | None, window: Window, now: int
) -> Claim | Rejection | Transport:
    """What an event is. A Rejection goes into quarantine; a Transport is counted."""
    named = [tag[1] for tag in event.tags if len(tag) > 1 and tag[0] == "p"]
    if named and (key is None or key.pubkey not in named):
        return Transport(named[0][:_KEY_CHARS], is_old_nip44(event.content))
    untimely = _untimely(event, window, now)
    if untimely is not None:
        return untimely
    content = read_content(event, encrypted=machine.encrypted, key=key)
    if isinstance(content, Rejection):
        return content
    return claim_from_event(content, machine, event.created_at)


def read_content(event: Event, *, encrypted: bool, key: DaemonKey | None) -> str | Rejection:
    """The plain text of an event's content. Plain JSON starts with a brace, a NIP-44 payload never does."""
    unreadable = _encrypted_otherwise(event.content)
    if unreadable is not None:
        return unreadable
    if event.content.lstrip()[:1] in ("{", "[", "") or key is None:
        if encrypted:
            return Rejection(
                "not_encrypted", "the machine is configured encrypted = true, but this event is plain text"
            )
        return event.content
    try:
        return nip44.decrypt(event.content, nip44.conversation_key(key.secret, event.pubkey))
    except nip44.Nip44Error as error:
        if encrypted:
            return Rejection("not_decrypted", f"the content cannot be decrypted with the daemon's key: {error}")
        # Perhaps it was never encrypted: then it is bad JSON, and the reader says so.
        return event.content


def is_old_nip44(content: str) -> bool:
    """Whether this is a payload of NIP-44 before version 2: base64 whose first octet, the version, is 1."""
    return _OLD_NIP44.fullmatch(content) is not None


def _encrypted_otherwise(content: str) -> Rejection | None:
    """Encrypted in a way that is not read here, told as what it is and not as bad JSON."""
    if is_old_nip44(content):
        return Rejection(
            "old_nip44",
            "the content is encrypted in the format before NIP-44 version 2 (version byte 1), which nobody should use "
            "any more: update what the machine encrypts with",
        )
    if _NIP04.fullmatch(content):
        return Rejection("nip04", "the content is encrypted as by NIP-04; sales and beacons are plain text or NIP-44")
    return None


def _untimely(event: Event, window: Window, now: int) -> Rejection | None:
    if event.created_at > now + window.max_future_s:
        ahead_s = event.created_at - now
        return Rejection("future", f"its created_at is {ahead_s} s in the future: is the machine's clock right?")
    if event.created_at < now - window.max_age_s:
        return Rejection("too_old", f"its created_at is {(now - event.created_at) // 3600} hours ago")
    return None
