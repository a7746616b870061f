"""Is a sale's exchange rate believable? What a stolen machine key says about a true payment is compared with the
machine's own past (SPEC section 6.4). Pure.

The rate decides how much of an LP's balance a sale uses up: somebody who can raise it at will can empty the wallet in
an LP's name. So a machine's usual rate is the median, *weighted by sats*, of its sales of a day ago and before: for
each step within the limit a thief would have to sell more than the machine itself does, a day in advance. Very small
sales do not change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from satmachine.models import Settlement
from satmachine.money import minor_to_fiat

#: A machine's own usual rate means something once it has this many sales (SPEC section 6.4).
RATES_FOR_A_MEDIAN = 5
#: Of how long ago the sales are that tell it, in seconds. Younger ones count only where there are no older ones.
YOUNGEST_S = 86_400
OLDEST_S = 8 * 86_400

#: Cash comes in notes and in rounded amounts: so far it may be from net / rate, as a fraction and in major units.
_CASH_TOLERANCE = Decimal("0.02")
_CASH_TOLERANCE_FIAT = Decimal(1)


@dataclass(frozen=True, slots=True)
class RateBounds:
    """`max_deviation` is a fraction of the usual rate; the others are sats per major unit, None: no bound."""

    max_deviation: Decimal
    lowest: Decimal | None = None
    highest: Decimal | None = None


#: At which rate a machine sold how many net sats in how many sales.
Sold = tuple[Decimal, int, int]


def usual_rate(*spans: Sequence[Sold]) -> Decimal | None:
    """The weighed median of the first span that has enough sales; None where none has."""
    for span in spans:
        if sum(sales for _, _, sales in span) >= RATES_FOR_A_MEDIAN:
            return _median(span)
    return None


def rate_breach(settlement: Settlement, usual: Decimal | None, bounds: RateBounds) -> str | None:
    """Why this sale's rate is not believed, as a sentence for the operator; None where it is, or is unknown."""
    rate = settlement.exchange_rate
    if rate == 0:
        return None
    told = f"exchange rate {rate:f} sats per {settlement.currency}"
    if bounds.lowest is not None and rate < bounds.lowest:
        return f"{told} is below this machine's rate_min {bounds.lowest:f}"
    if bounds.highest is not None and rate > bounds.highest:
        return f"{told} is above this machine's rate_max {bounds.highest:f}"
    if usual is not None and abs(rate - usual) > bounds.max_deviation * usual:
        return (
            f"{told} is further than max_rate_deviation {bounds.max_deviation} from this machine's usual rate "
            f"{usual:f} (by sats sold, a day ago and before)"
        )
    return _cash_breach(settlement, told)


def _cash_breach(settlement: Settlement, told: str) -> str | None:
    """The machine's own figures must agree: the cash it gave is what the net sats buy at its rate."""
    if settlement.fiat_amount_minor is None or settlement.used_fallback_split:  # a derived net is only about right
        return None
    cash = minor_to_fiat(settlement.fiat_amount_minor, settlement.currency)
    # Compared in sats: nothing is divided.
    difference_sats = abs(cash * settlement.exchange_rate - settlement.net_sats)
    allowed_sats = max(_CASH_TOLERANCE * settlement.net_sats, _CASH_TOLERANCE_FIAT * settlement.exchange_rate)
    if difference_sats <= allowed_sats:
        return None
    return f"{told} does not fit: {cash:f} {settlement.currency} were given for {settlement.net_sats} sats net"


def _median(span: Sequence[Sold]) -> Decimal:
    """The rate at which half of the sats are reached, from below."""
    # A sale of nothing but commission weighs one sat, or there would be nothing to halve.
    weights = sorted((rate, max(1, net_sats)) for rate, net_sats, _ in span)
    total = sum(weight for _, weight in weights)
    reached = 0
    for rate, weight in weights:
        reached += weight
        if 2 * reached >= total:
            return rate
    raise AssertionError("half of the sats are reached by the last rate")
