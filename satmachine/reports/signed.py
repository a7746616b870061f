"""Documents that their reader can prove without us: signed as a Nostr event (NIP-01, BIP-340), verified offline. Pure.

The event's content is the document's canonical JSON, so that whoever can verify a Nostr event can verify a statement. A
page for people (HTML) holds its event in itself, and the event's tag `x` is the SHA-256 of the page without it: so what
people read is proven too, not only what programs read.

A file is taken exactly as it was handed out: another byte anywhere, also one that no reader would see, does not verify.
Such an event is for this file alone; it is of a kind that relays do not keep, and is never published.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from satmachine.nostr.event import AuthorKeys, Event, parse_event, sign, verify
from satmachine.nostr.keys import hex_to_npub

#: Of an event that is no message: in the range that relays do not keep (NIP-01).
KIND = 27_813

#: Where a page keeps its event.
_OPEN, _CLOSE = '<script type="application/json" id="proof">', "</script>"
#: A document with more than this is none of ours.
MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Verified:
    """A file that is as its signer made it. `signer` is a public key in hex, `document` what it says."""

    signer: str
    signed_at: int
    document: dict[str, Any]

    @property
    def npub(self) -> str:
        """The signer's key as people know it."""
        return hex_to_npub(self.signer)


@dataclass(frozen=True, slots=True)
class Unproven:
    """Why a file proves nothing, in a sentence."""

    why: str


def canonical(value: object) -> str:
    """JSON that is always written the same way: keys in order, no blanks, text as it is (UTF-8)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sign_document(document: dict[str, Any], page: str, *, secret: bytes, now: int) -> Event:
    """The event for a document and its page (with nothing in its place for the event). Raises ValueError."""
    return sign(KIND, canonical(document), (("x", _digest(page)),), now, secret)


def event_file(event: Event) -> str:
    """The document for programs: its event, in one line."""
    return canonical(event.to_dict()) + "\n"


def place_of_event() -> str:
    """What a page has where its event will be."""
    return _OPEN + _CLOSE


def with_event(page: str, event: Event) -> str:
    """A page that holds its event."""
    before, place, after = page.partition(place_of_event())
    assert place, "the page has a place for its event"
    return before + _OPEN + _for_script(canonical(event.to_dict())) + _CLOSE + after


def verify_file(content: bytes) -> Verified | Unproven:
    """Whether a file, a page or an event, is exactly what its signer has made."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return Unproven("it is no text, so it is no statement")
    if not text.strip():
        return Unproven("it is empty")
    found = _verify_page(text) if text.lstrip("\ufeff \r\n\t").startswith("<") else _verify_event(text)
    if isinstance(found, Unproven) and ("\r" in text or text.startswith("\ufeff")):
        return Unproven(f"{found.why}; {_ON_ITS_WAY}")
    return found


#: No file of ours has such bytes.
_ON_ITS_WAY = (
    "its line ends or its beginning are not ours, as when an editor saves a file or a mail program carries it as text: "
    "ask for it once more, zipped"
)


def _verify_event(text: str) -> Verified | Unproven:
    event, problem = _event_in(text.removesuffix("\n"), escaped=False)
    if event is None:
        return Unproven(problem)
    if event_file(event) != text:
        return Unproven("it is not written as the signer wrote it: something was added or changed")
    return _verified(event)


def _verify_page(text: str) -> Verified | Unproven:
    if text.count(_OPEN) != 1:
        return Unproven("the page holds no signature; ask for a signed statement")
    before, _, rest = text.partition(_OPEN)
    inner, close, after = rest.partition(_CLOSE)
    if not close:
        return Unproven("the page is cut off")
    event, problem = _event_in(inner, escaped=True)
    if event is None:
        return Unproven(problem)
    if ("x", _digest(before + _OPEN + close + after)) not in event.tags:
        return Unproven("the page says something else than what was signed: it was altered")
    return _verified(event)


def _event_in(text: str, *, escaped: bool) -> tuple[Event | None, str]:
    """The event that a text is, to the byte; or what is wrong."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None, "it is no statement, or what should be its signature was altered: it is no JSON"
    if not isinstance(parsed, dict) or "sig" not in parsed:
        return None, "it holds no signature; ask for a signed statement"
    event = parse_event(parsed)
    if not isinstance(event, Event):
        return None, "what should be its signature is no Nostr event"
    written = canonical(event.to_dict())
    if (_for_script(written) if escaped else written) != text:
        return None, "its signature is not written as the signer wrote it: something was added or changed"
    return event, ""


def _verified(event: Event) -> Verified | Unproven:
    if verify(event, AuthorKeys(1)) is not None:
        return Unproven("the signature does not fit: the statement was altered, or nobody signed it")
    if event.kind != KIND:
        return Unproven("it is a signed message, but no statement")
    try:
        document = json.loads(event.content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not str(document.get("format", "")).startswith("satmachine statement"):
        return Unproven("it is a signed document, but no statement")
    return Verified(event.pubkey, event.created_at, document)


def _digest(page: str) -> str:
    return sha256(page.encode()).hexdigest()


def _for_script(text: str) -> str:
    """JSON within a page: nothing in it can end the script or begin a comment."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
