"""A verified kind 21000 event -> what it claims: is it for us, of our time, and readable (SPEC section 2)? Pure."""

from __future__ import annotations

from dataclasses import dataclass

from satmachine.config.model import Machine
from satmachine.models import Claim, Rejection
from satmachine.nostr import nip44
from satmachine.nostr.event import Event
from satmachine.settlements.parse import claim_from_event


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


def read_event(
    event: Event, machine: Machine, *, key: DaemonKey | None, window: Window, now: int
) -> Claim | Rejection | None:
    """None: not for this daemon (kind 21000 is LNbits' own transport too). A Rejection goes into quarantine."""
    named = {tag[1] for tag in event.tags if len(tag) > 1 and tag[0] == "p"}
    if named and (key is None or key.pubkey not in named):
        return None
    untimely = _untimely(event, window, now)
    if untimely is not None:
        return untimely
    content = read_content(event, encrypted=machine.encrypted, key=key)
    if isinstance(content, Rejection):
        return content
    return claim_from_event(content, machine, event.created_at)


def read_content(event: Event, *, encrypted: bool, key: DaemonKey | None) -> str | Rejection:
    """The plain text of an event's content. Plain JSON starts with a brace, a NIP-44 payload never does."""
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


def _untimely(event: Event, window: Window, now: int) -> Rejection | None:
    if event.created_at > now + window.max_future_s:
        ahead_s = event.created_at - now
        return Rejection("future", f"its created_at is {ahead_s} s in the future: is the machine's clock right?")
    if event.created_at < now - window.max_age_s:
        return Rejection("too_old", f"its created_at is {(now - event.created_at) // 3600} hours ago")
    return None
