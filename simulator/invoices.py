"""Writes genuine BOLT 11 invoices: signed, with a checksum, fields in the order in which LNbits' FakeWallet has them.

Pure. Amounts are int msats, times int Unix seconds. Source: BOLT 11; the reader is satmachine/wallet/bolt11.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from bech32 import CHARSET
from coincurve import PrivateKey

#: Whose invoices these are does not matter; one key for all keeps runs the same.
_NODE_KEY: Final = PrivateKey(hashlib.sha256(b"a node that does not exist").digest())

_UNITS: Final = (("", 10**12), ("m", 10**9), ("u", 10**6), ("n", 10**3), ("p", 1))

#: A field's length has ten bits.
_MAX_FIELD_GROUPS: Final = 1023


def encode(
    *,
    amount_msat: int,
    payment_hash: str,
    created_at: int,
    expiry_s: int,
    description: str | None = None,
    description_hash: str | None = None,
) -> str:
    """Raises ValueError for a description that does not fit into an invoice."""
    prefix = "lnbc" + _amount(amount_msat)
    groups = _number(created_at, 7)
    if description_hash is not None:
        groups += _field("h", _groups(bytes.fromhex(description_hash)))
    else:
        groups += _field("d", _groups((description or "").encode()))
    expiry = _number(expiry_s, max(1, -(-expiry_s.bit_length() // 5)))
    groups += _field("x", expiry)
    secret = hashlib.sha256(b"secret" + bytes.fromhex(payment_hash)).digest()
    groups += _field("s", _groups(secret)) + _field("p", _groups(bytes.fromhex(payment_hash)))
    signed = prefix.encode() + _octets(groups)
    signature = _NODE_KEY.sign_recoverable(hashlib.sha256(signed).digest(), hasher=None)
    data = groups + _groups(signature)
    return prefix + "1" + "".join([CHARSET[group] for group in data + _checksum(prefix, data)])


def _checksum(prefix: str, data: Sequence[int]) -> list[int]:
    """BIP 173's, a table look-up for each character: invoices are most of the time of a simulated payment."""
    check = 1
    for value in [*(ord(char) >> 5 for char in prefix), 0, *(ord(char) & 31 for char in prefix), *data, *(0,) * 6]:
        check = (check & 0x1FFFFFF) << 5 ^ value ^ _GENERATED[check >> 25]
    return _number(check ^ 1, 6)


def _generated(top: int) -> int:
    value = 0
    for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
        value ^= generator if top >> bit & 1 else 0
    return value


_GENERATED: Final = tuple(_generated(top) for top in range(32))


def _amount(amount_msat: int) -> str:
    """The shortest form of the amount."""
    pico = amount_msat * 10
    for unit, size in _UNITS:
        if pico % size == 0:
            return f"{pico // size}{unit}"
    raise AssertionError


def _field(tag: str, groups: Sequence[int]) -> list[int]:
    if len(groups) > _MAX_FIELD_GROUPS:
        raise ValueError(f"the field {tag} has {len(groups)} groups, which do not fit into an invoice")
    return [CHARSET.index(tag), len(groups) >> 5, len(groups) & 31, *groups]


def _number(value: int, size: int) -> list[int]:
    return [value >> 5 * (size - 1 - position) & 31 for position in range(size)]


def _groups(octets: bytes) -> list[int]:
    """Bytes as groups of five bits, the last one filled up with zeros."""
    size = -(-len(octets) * 8 // 5)
    return _number(int.from_bytes(octets, "big") << (size * 5 - len(octets) * 8), size)


def _octets(groups: Sequence[int]) -> bytes:
    """Groups as bytes, filled up with zeros: what is signed."""
    value = 0
    for group in groups:
        value = value << 5 | group
    size = -(-len(groups) * 5 // 8)
    return (value << (size * 8 - len(groups) * 5)).to_bytes(size, "big")
