"""Nostr keys in and out of their bech32 form (NIP-19). Pure.

A public key is 64 lower-case hex digits (the x coordinate of a point on secp256k1, BIP-340), a secret key
32 bytes. Whatever cannot be a key is a ValueError that says what is wrong; a secret is never part of a message.
"""

from __future__ import annotations

from bech32 import bech32_decode, bech32_encode, convertbits
from coincurve import PrivateKey, PublicKeyXOnly

KEY_BYTES = 32


def npub_to_hex(npub: str) -> str:
    """The public key in an `npub1..`, as hex."""
    return _checked_public_key(_from_bech32(npub, "npub")).hex()


def hex_to_npub(pubkey: str) -> str:
    """The `npub1..` of a public key in hex."""
    words = convertbits(_checked_public_key(_from_hex(pubkey, "a public key")), 8, 5)
    assert words is not None, "octets always fit into words when padding is allowed"
    return bech32_encode("npub", words)


def parse_secret_key(text: str) -> bytes:
    """The secret key in an `nsec1..` or in 64 hex digits."""
    text = text.strip()
    is_bech32 = text.lower().startswith("nsec")
    secret = _from_bech32(text, "nsec") if is_bech32 else _from_hex(text, "a secret key (or nsec1..)")
    _private_key(secret)
    return secret


def public_key_of(secret: bytes) -> str:
    """The public key that belongs to a secret key, as hex."""
    return _private_key(secret).public_key_xonly.format().hex()


def _private_key(secret: bytes) -> PrivateKey:
    if len(secret) != KEY_BYTES:
        raise ValueError(f"a secret key has {KEY_BYTES} bytes, not {len(secret)}")
    try:
        return PrivateKey(secret)
    except ValueError:
        # coincurve's own message may show the number, so it is never chained.
        raise ValueError("not a secret key of secp256k1 (zero, or beyond the curve's order)") from None


def _checked_public_key(raw: bytes) -> bytes:
    try:
        PublicKeyXOnly(raw)
    except ValueError:
        raise ValueError(f"{raw.hex()} is not a public key: no such point on secp256k1") from None
    return raw


def _from_hex(text: str, what: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES or len(text) != 2 * KEY_BYTES:
        raise ValueError(f"{what} has {2 * KEY_BYTES} hex digits")
    return raw


def _from_bech32(text: str, prefix: str) -> bytes:
    octets = _quickly_from_bech32(text, prefix)
    return _slowly_from_bech32(text, prefix) if octets is None else octets


def _slowly_from_bech32(text: str, prefix: str) -> bytes:
    """By the library, which knows every form, and says what is wrong with others."""
    hrp, words = bech32_decode(text)
    if hrp is None or words is None:
        raise ValueError(f"not a valid {prefix}: its checksum or characters are wrong (a typing error?)")
    if hrp != prefix:
        raise ValueError(f"this is an {hrp}, but an {prefix} is expected")
    octets = convertbits(words, 5, 8, False)
    if octets is None or len(octets) != KEY_BYTES:
        raise ValueError(f"not a valid {prefix}: it does not contain {KEY_BYTES} bytes")
    return bytes(octets)


def _quickly_from_bech32(text: str, prefix: str) -> bytes | None:
    """32 octets in their usual form, lower case and valid; None for everything else (BIP-173).

    The registry of a large fleet is read at each start and reload: one table step for each character instead of the
    library's five, and one number instead of a list of bits, take a third of the time.
    """
    if not text.startswith(prefix + "1"):
        return None
    checksum, number = 1, 0
    for value in _EXPANDED[prefix]:
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value ^ _STEPS[checksum >> 25]
    words = [_VALUES.get(char, -1) for char in text[len(prefix) + 1 :]]
    if len(words) != _WORDS + _CHECKSUM_WORDS or -1 in words:
        return None
    for word in words:
        checksum = (checksum & 0x1FFFFFF) << 5 ^ word ^ _STEPS[checksum >> 25]
    if checksum != 1:
        return None
    for word in words[:_WORDS]:
        number = number << 5 | word
    octets, padding = divmod(number, 1 << _PADDING_BITS)
    return None if padding else octets.to_bytes(KEY_BYTES, "big")


#: 32 octets are 52 words of five bits, the last of them with four bits of padding; the checksum is six words.
_WORDS, _PADDING_BITS, _CHECKSUM_WORDS = 52, 4, 6
_VALUES = {char: value for value, char in enumerate("qpzry9x8gf2tvdw0s3jn54khce6mua7l")}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def _step(top: int) -> int:
    step = 0
    for bit, term in enumerate(_GENERATOR):
        step ^= term if top >> bit & 1 else 0
    return step


#: What the five bits that are shifted out at the top add to the checksum.
_STEPS = tuple(_step(top) for top in range(32))
_EXPANDED = {hrp: [*(ord(char) >> 5 for char in hrp), 0, *(ord(char) & 31 for char in hrp)] for hrp in ("npub", "nsec")}
