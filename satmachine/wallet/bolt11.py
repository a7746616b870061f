"""Reads a Lightning invoice: what it asks for, and until when. Pure; source: BOLT 11.

satmachine reads an invoice for one reason: to compare it with what was asked for (amount, payment hash, expiry) before
it is stored and paid. The bech32 checksum is verified; the signature is not: if the payee is not known beforehand it
proves nothing, and the node that pays verifies it.

Why not the `bolt11` package: 2.2.0 cannot be imported together with `bitstring` 5, which it allows, and its decoder
lets errors of five libraries through, which an invoice from a stranger's server must not be able to raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bech32 import CHARSET, bech32_decode

#: An invoice with many route hints has about 2,000 characters.
_MAX_LENGTH: Final = 7_089

_SIGNATURE_GROUPS: Final = 104
_TIMESTAMP_GROUPS: Final = 7
_HASH_GROUPS: Final = 52
_DEFAULT_EXPIRY_S: Final = 3_600

_PREFIX: Final = re.compile(r"ln(?:bcrt|bc|tbs|tb)(?:([1-9][0-9]{0,17})([munp]?))?")

#: Tenths of a millisatoshi (a pico-bitcoin) per unit of the amount.
_PICO_BITCOIN: Final = {"": 10**12, "m": 10**9, "u": 10**6, "n": 10**3, "p": 1}


class InvoiceError(ValueError):
    """The text is not a BOLT 11 invoice; the message says why."""


@dataclass(frozen=True, slots=True)
class DecodedInvoice:
    """What an invoice asks for; `amount_msat` is None when the payer may choose."""

    amount_msat: int | None
    payment_hash: str
    created_at: int
    expires_at: int
    description: str | None
    description_hash: str | None


def decode(bolt11: str) -> DecodedInvoice:
    """Raises InvoiceError."""
    prefix, groups = _bech32(bolt11)
    if len(groups) < _TIMESTAMP_GROUPS + _SIGNATURE_GROUPS:
        raise InvoiceError("it is too short to contain a signature")
    body = groups[:-_SIGNATURE_GROUPS]
    created_at = _number(body[:_TIMESTAMP_GROUPS])
    fields = dict(_fields(body[_TIMESTAMP_GROUPS:]))
    if "p" not in fields:
        raise InvoiceError("it has no payment hash")
    expiry_s = _number(fields["x"]) if "x" in fields else _DEFAULT_EXPIRY_S
    return DecodedInvoice(
        amount_msat=_amount_msat(prefix),
        payment_hash=_hash(fields["p"]),
        created_at=created_at,
        expires_at=created_at + expiry_s,
        description=_text(fields["d"]) if "d" in fields else None,
        description_hash=_hash(fields["h"]) if "h" in fields else None,
    )


def _bech32(bolt11: str) -> tuple[str, list[int]]:
    if len(bolt11) > _MAX_LENGTH:
        raise InvoiceError(f"it is longer than {_MAX_LENGTH} characters")
    prefix, groups = bech32_decode(bolt11)
    if prefix is None or groups is None:
        raise InvoiceError("it is not bech32, or its checksum is wrong")
    return prefix, groups


def _amount_msat(prefix: str) -> int | None:
    match = _PREFIX.fullmatch(prefix)
    if match is None:
        raise InvoiceError(f"its prefix {prefix!r} is unknown")
    digits, multiplier = match.groups()
    if digits is None:
        return None
    amount_msat, rest = divmod(int(digits) * _PICO_BITCOIN[multiplier], 10)
    if rest:
        raise InvoiceError("its amount is a fraction of a millisatoshi")
    return amount_msat


def _fields(groups: Sequence[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """The tagged fields, last first, so that in a dict the first of each kind wins, as it does for LNbits."""
    found = []
    position = 0
    while position < len(groups):
        if position + 3 > len(groups):
            raise InvoiceError("it ends within a field")
        start = position + 3
        end = start + groups[position + 1] * 32 + groups[position + 2]
        if end > len(groups):
            raise InvoiceError("a field is longer than the invoice")
        tag = CHARSET[groups[position]]
        # "A reader MUST skip over p or h fields that do not have data_length 52."
        if tag not in "ph" or end - start == _HASH_GROUPS:
            found.append((tag, groups[start:end]))
        position = end
    return reversed(found)


def _number(groups: Sequence[int]) -> int:
    if len(groups) > 12:  # 60 bits; an expiry of 36 billion years
        raise InvoiceError("a number in it is too large")
    value = 0
    for group in groups:
        value = value << 5 | group
    return value


def _bytes(groups: Sequence[int]) -> bytes:
    value = 0
    for group in groups:
        value = value << 5 | group
    bits = len(groups) * 5
    return (value >> bits % 8).to_bytes(bits // 8, "big")


def _hash(groups: Sequence[int]) -> str:
    return _bytes(groups).hex()


def _text(groups: Sequence[int]) -> str:
    return _bytes(groups).decode(errors="replace")
