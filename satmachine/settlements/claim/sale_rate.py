"""The exchange rate of a sale that does not state it (SPEC section 6.3). Pure.

First from LNbits' own fiat fields of the payment (it writes them if the wallet or the invoice has a currency), then
from the machine's newest beacon at or before the sale. A rate is sats per major unit of the machine's currency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Final

from satmachine.models import Rejection
from satmachine.telemetry.parse import parse_beacon

#: Whose word a rate is (column `rate_source`); NULL: the sale's own.
LNBITS: Final = "lnbits"
BEACON: Final = "beacon"

#: (currency, amount, rate) as LNbits names them: the wallet's currency, and the one that an invoice was made in.
_FIELDS = (
    ("wallet_fiat_currency", "wallet_fiat_amount", "wallet_fiat_rate"),
    ("fiat_currency", "fiat_amount", "fiat_rate"),
)
_MAX_RATE = Decimal(10) ** 12


@dataclass(frozen=True, slots=True)
class ToldRate:
    """A rate, and where it comes from."""

    rate: Decimal
    source: str


def of_payment(extra: Mapping[str, object], currency: str) -> ToldRate | None:
    """What LNbits wrote with the payment when its invoice was made, in the machine's own currency."""
    for currency_key, _amount_key, rate_key in _FIELDS:
        told = extra.get(currency_key)
        rate = _usable(extra.get(rate_key))
        if isinstance(told, str) and told.upper() == currency and rate is not None:
            return ToldRate(rate, LNBITS)
    return None


def of_beacons(contents: Sequence[str], currency: str) -> ToldRate | None:
    """The rate of the newest of these beacons that has one."""
    for content in contents:
        fields = parse_beacon(content, currency)
        if isinstance(fields, Rejection):
            continue
        told_currency = fields.columns.get("currency")
        rate = fields.columns.get("exchange_rate")
        usable = _usable(Decimal(str(rate))) if rate is not None else None
        if told_currency in (None, currency) and usable is not None:
            return ToldRate(usable, BEACON)
    return None


def _usable(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    number = Decimal(value)
    if not number.is_finite() or not 0 < number < _MAX_RATE:
        return None
    # LNbits computes in binary floats: eighteen decimals are more than any rate has.
    with localcontext(prec=60):
        return number.quantize(Decimal("1e-18"), rounding=ROUND_HALF_EVEN).normalize() or None
