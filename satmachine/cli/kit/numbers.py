"""Numbers as people type them: every form in which satmachine prints one is read again (SPEC section 10). Pure.

266800, 266 800 (with any space), 266_800; 2014.27, 2 014.27 GTQ; 0.3, 30 %; 145.37, 145.37 sats per GTQ. A comma is
refused: in one country it groups digits, in another it is the decimal point.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

#: Between the digits: spaces (no-break and narrow ones too), underscores, apostrophes.
_GROUPS = re.compile(r"(?<=\d)[\s_'\u2019\u00a0\u202f](?=\d)")
_UNITS = re.compile(r"[\s\u00a0\u202f]*(?:sats(?: per [A-Z]{3})?|[A-Z]{3})$")
_MAX_SATS = 21 * 10**14


def plain(text: str) -> str:
    """The digits alone: without grouping, and without the unit behind them."""
    return _GROUPS.sub("", _UNITS.sub("", text.strip()))


def sats(text: str) -> int:
    """A whole number of sats above 0. Raises ValueError, with words."""
    digits = plain(text)
    if not digits.isascii() or not digits.isdecimal() or not 0 < int(digits) <= _MAX_SATS:
        raise ValueError(f"{text!r} is not a number of sats: write it like 266800 or 266 800")
    return int(digits)


def fiat(text: str, currency: str) -> int:
    """An amount in major units, as minor units. Raises ValueError."""
    from satmachine.clients.terms import parse_fiat

    unit = _UNITS.search(text.strip())
    if unit is not None and unit[0].strip() != currency:
        raise ValueError(f"{text!r} is not in {currency}")
    return parse_fiat(plain(text), currency)


def cash(text: str, currency: str) -> int:
    """The same for what a machine handed out or holds: it may be nothing. Raises ValueError."""
    return 0 if _decimal(text) == 0 else fiat(text, currency)


def rate(text: str) -> Decimal:
    """Sats for one major unit of fiat, above 0. Raises ValueError."""
    found = _decimal(text)
    if found is None or found <= 0:
        raise ValueError(f"{text!r} is not a rate: write sats for one unit of the currency, like 143.797")
    return found


def fraction(text: str) -> Decimal:
    """A part of a whole, 0..1 or in percent. Raises ValueError."""
    percent = text.strip().endswith("%")
    found = _decimal(text.strip().removesuffix("%"))
    if found is None:
        raise ValueError(f"a part is a number between 0 and 1, like 0.5 or 50 %, not {text!r}")
    return found.scaleb(-2) if percent else found


def _decimal(text: str) -> Decimal | None:
    try:
        found = Decimal(plain(text))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
