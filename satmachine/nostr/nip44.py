"""Encrypted payloads, NIP-44 version 2: encrypt, decrypt, conversation keys. Pure; the nonce comes in.

secp256k1 ECDH (the unhashed x coordinate), HKDF-SHA256, ChaCha20, HMAC-SHA256, base64. Lengths are octets.
Everything that is wrong is one `Nip44Error`; its message contains neither key nor plaintext.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass

from coincurve import PrivateKey, PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from satmachine.errors import SatmachineError

VERSION = 2
MIN_PLAINTEXT, MAX_PLAINTEXT = 1, 65_535
MIN_PAYLOAD, MAX_PAYLOAD = 132, 87_472
KEY_BYTES = NONCE_BYTES = MAC_BYTES = 32
_SALT = b"nip44-v2"
_CHACHA_NONCE_BYTES = 12
_FIRST_BLOCK = bytes(4)  # ChaCha20's counter, which `cryptography` expects before the nonce


class Nip44Error(SatmachineError):
    """This payload, key or text cannot be used with NIP-44 version 2."""


@dataclass(frozen=True, slots=True, repr=False)
class MessageKeys:
    """The keys of one message, derived from the conversation key and the message's nonce."""

    chacha_key: bytes
    chacha_nonce: bytes
    hmac_key: bytes


def conversation_key(secret: bytes, pubkey: str) -> bytes:
    """The key that two people share: the same for (my secret, your key) as for (your secret, my key)."""
    try:
        private = PrivateKey(secret)
        # A Nostr key is only an x coordinate; it means the point with even y (BIP-340).
        public = PublicKey(b"\x02" + bytes.fromhex(pubkey))
    except ValueError:
        raise Nip44Error("not a key pair of secp256k1") from None
    shared_x = public.multiply(private.secret).format(compressed=True)[1:]
    return hmac.digest(_SALT, shared_x, "sha256")


def message_keys(key: bytes, nonce: bytes) -> MessageKeys:
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise Nip44Error(f"a conversation key and a nonce have {KEY_BYTES} bytes each")
    okm = HKDFExpand(SHA256(), KEY_BYTES + _CHACHA_NONCE_BYTES + MAC_BYTES, nonce).derive(key)
    nonce_end = KEY_BYTES + _CHACHA_NONCE_BYTES
    return MessageKeys(okm[:KEY_BYTES], okm[KEY_BYTES:nonce_end], okm[nonce_end:])


def encrypt(plaintext: str, key: bytes, nonce: bytes) -> str:
    """The payload for `plaintext` under a conversation key. `nonce`: 32 octets, random, never used twice."""
    keys = message_keys(key, nonce)
    ciphertext = _chacha20(keys, _pad(_utf8(plaintext)))
    return base64.b64encode(bytes([VERSION]) + nonce + ciphertext + _mac(keys, nonce, ciphertext)).decode()


def decrypt(payload: str, key: bytes) -> str:
    """The plaintext of a payload under a conversation key. Nothing is decrypted before its MAC is checked."""
    data = _decode_payload(payload)
    nonce, ciphertext, mac = data[1 : 1 + NONCE_BYTES], data[1 + NONCE_BYTES : -MAC_BYTES], data[-MAC_BYTES:]
    keys = message_keys(key, nonce)
    if not hmac.compare_digest(_mac(keys, nonce, ciphertext), mac):
        raise Nip44Error("wrong key, or a payload that was tampered with (its MAC does not match)")
    try:
        return _unpad(_chacha20(keys, ciphertext)).decode()
    except UnicodeDecodeError:
        raise Nip44Error("the plaintext is not UTF-8") from None


def padded_length(length: int) -> int:
    """To how many octets a plaintext is padded, so that its length reveals little."""
    if length <= 32:
        return 32
    next_power = 1 << (length - 1).bit_length()
    chunk = 32 if next_power <= 256 else next_power // 8
    return chunk * ((length - 1) // chunk + 1)


def _decode_payload(payload: str) -> bytes:
    if payload.startswith("#"):
        raise Nip44Error("encrypted with a later version of NIP-44")
    if not MIN_PAYLOAD <= len(payload) <= MAX_PAYLOAD:
        raise Nip44Error(f"a payload has {MIN_PAYLOAD} to {MAX_PAYLOAD} characters, not {len(payload)}")
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise Nip44Error("the payload is not base64") from None
    if data[0] != VERSION:
        raise Nip44Error(f"encrypted with version {data[0]} of NIP-44; only version {VERSION} is known")
    return data


def _utf8(plaintext: str) -> bytes:
    try:
        return plaintext.encode()
    except UnicodeEncodeError:
        raise Nip44Error("the plaintext is not valid Unicode") from None


def _pad(plaintext: bytes) -> bytes:
    length = len(plaintext)
    if not MIN_PLAINTEXT <= length <= MAX_PLAINTEXT:
        raise Nip44Error(f"a plaintext has {MIN_PLAINTEXT} to {MAX_PLAINTEXT} bytes, not {length}")
    return length.to_bytes(2, "big") + plaintext + bytes(padded_length(length) - length)


def _unpad(padded: bytes) -> bytes:
    length = int.from_bytes(padded[:2], "big")
    if length < MIN_PLAINTEXT or len(padded) != 2 + padded_length(length):
        raise Nip44Error("the padding is wrong")
    return padded[2 : 2 + length]


def _chacha20(keys: MessageKeys, data: bytes) -> bytes:
    cipher = Cipher(algorithms.ChaCha20(keys.chacha_key, _FIRST_BLOCK + keys.chacha_nonce), mode=None)
    return cipher.encryptor().update(data)


def _mac(keys: MessageKeys, nonce: bytes, ciphertext: bytes) -> bytes:
    return hmac.digest(keys.hmac_key, nonce + ciphertext, "sha256")
