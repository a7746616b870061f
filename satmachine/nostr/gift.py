"""A Nostr direct message that only its receiver can read (NIP-17, in the wrapping of NIP-59). Pure.

    rumor (kind 14, unsigned) in a seal (13, signed by us) in a gift wrap (1059, signed by a key made for it alone)

Randomness is passed in as `entropy(number of bytes)`, so that the same input gives the same event.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import orjson

from satmachine.nostr.event import Event, sign
from satmachine.nostr.keys import public_key_of
from satmachine.nostr.nip44 import conversation_key, encrypt

RUMOR_KIND, SEAL_KIND, WRAP_KIND = 14, 13, 1059
#: Times of the outer layers are moved into the past by up to this, so that they reveal little.
_BLUR_S = 2 * 86_400

Entropy = Callable[[int], bytes]


def wrap(text: str, *, secret: bytes, receiver: str, now: int, entropy: Entropy) -> Event:
    """The event to publish; `receiver` is a public key in hex, `now` Unix seconds."""
    rumor = _rumor(text, public_key_of(secret), receiver, now)
    sealed = encrypt(rumor, conversation_key(secret, receiver), entropy(32))
    seal = sign(SEAL_KIND, sealed, (), now - _blur_s(entropy), secret)
    once = entropy(32)
    wrapped = encrypt(seal.to_json(), conversation_key(once, receiver), entropy(32))
    return sign(WRAP_KIND, wrapped, (("p", receiver),), now - _blur_s(entropy), once)


def _rumor(text: str, author: str, receiver: str, now: int) -> str:
    """An event without a signature: nobody can prove to others who wrote it."""
    tags = [["p", receiver]]
    serialized = orjson.dumps([0, author, now, RUMOR_KIND, tags, text])
    fields = {"id": sha256(serialized).hexdigest(), "pubkey": author, "created_at": now, "kind": RUMOR_KIND}
    return orjson.dumps({**fields, "tags": tags, "content": text}).decode()


def _blur_s(entropy: Entropy) -> int:
    return int.from_bytes(entropy(4)) % _BLUR_S
