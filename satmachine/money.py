"""Sats, fiat and percentages: every formula of SPEC section 4, and nothing else.

Pure: standard library only, no I/O, no clock. Amounts are int (sats, or minor units of fiat), rates and
percentages are `Decimal`; a binary float is refused with TypeError. `pct` is a fraction 0..1 except where a
name says `discount_pct` (0..100, as machines send it). `exchange_rate` is sats per one *major* unit of fiat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation, Overflow, localcontext

#: Enough digits that no product of amounts (19), rates and percentages is ever rounded on the way; if one were,
#: `decimal.Inexact` is raised.
_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation, Overflow])

#: Currencies whose minor unit is not a hundredth (ISO 4217).
_NO_MINOR_UNIT = (
    *("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"),
    *("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"),
)
_THOUSANDTHS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
_MINOR_DIGITS = dict.fromkeys(_NO_MINOR_UNIT, 0) | dict.fromkeys(_THOUSANDTHS, 3)


def split_two_stage_commission(commission_sats: int, super_fee_pct: Decimal) -> tuple[int, int]:
    """Stage one: `(platform_fee_sats, operator_fee_sats)`, which always sum to `commission_sats`.

    The platform's part is rounded half to even. Raises ValueError for a negative amount or a pct outside 0..1.
    """
    _require_amount("commission_sats", commission_sats)
    _require_fraction("super_fee_pct", super_fee_pct)
    platform_fee_sats = _times(commission_sats, super_fee_pct, ROUND_HALF_EVEN)
    return platform_fee_sats, commission_sats - platform_fee_sats


def allocate_operator_split_legs(operator_fee_sats: int, leg_pcts: Sequence[Decimal]) -> list[int]:
    """Stage two: one amount in sats per pct, in order; they sum to `operator_fee_sats`.

    Each leg but the last is rounded half to even and never exceeds what is left; the last takes the rest.
    Raises ValueError if the pcts are empty or do not sum to exactly 1.
    """
    _require_amount("operator_fee_sats", operator_fee_sats)
    for pct in leg_pcts:
        _require_fraction("leg_pcts", pct)
    if exact_sum(leg_pcts) != 1:
        raise ValueError(f"leg_pcts must sum to exactly 1, not {exact_sum(leg_pcts)}")
    legs: list[int] = []
    left_sats = operator_fee_sats
    for pct in leg_pcts[:-1]:
        leg_sats = min(_times(operator_fee_sats, pct, ROUND_HALF_EVEN), left_sats)
        legs.append(leg_sats)
        left_sats -= leg_sats
    return [*legs, left_sats]


def calculate_commission(
    gross_sats: int, commission_pct: Decimal, discount_pct: Decimal = Decimal(0)
) -> tuple[int, int]:
    """Derive `(net_sats, commission_sats)` from a gross amount; they always sum to `gross_sats`.

    The commission is charged on top of the net amount: net = floor(gross / (1 + effective pct)).
    Raises ValueError for a negative gross, a pct outside 0..1 or a discount outside 0..100.
    """
    _require_amount("gross_sats", gross_sats)
    _require_fraction("commission_pct", commission_pct)
    _require_decimal("discount_pct", discount_pct)
    if not 0 <= discount_pct <= 100:
        raise ValueError(f"discount_pct must be within 0..100, not {discount_pct}")
    with localcontext(_EXACT):
        # (1 + pct * (100 - discount) / 100) as one exact fraction, so that the floor is exact too.
        divisor = 100 + commission_pct * (100 - discount_pct)
        numerator, denominator = divisor.as_integer_ratio()
    net_sats = gross_sats * 100 * denominator // numerator
    return net_sats, gross_sats - net_sats


def calculate_distribution(
    net_sats: int,
    exchange_rate: Decimal,
    balances: Mapping[str, Decimal],
    caps: Mapping[str, Decimal] | None = None,
) -> tuple[dict[str, int], int]:
    """Share `net_sats` among liquidity providers: `({label: sats}, orphan_sats)`, which sum to `net_sats`.

    `balances` (major units of fiat) are the weights, `caps` (default: the balances) the limits: nobody gets more than
    floor(own cap x rate). Shares are proportional by largest remainder (if equal: by label); what a cap cuts off
    goes to the others. What nobody can take is orphan. Raises ValueError for negative input.
    """
    _require_amount("net_sats", net_sats)
    _require_decimal("exchange_rate", exchange_rate)
    bounds = balances if caps is None else caps
    for label, amount in [*balances.items(), *bounds.items()]:
        _require_decimal(f"balance or cap of {label}", amount)
        if amount < 0:
            raise ValueError(f"balance or cap of {label} is negative: {amount}")
    if exchange_rate < 0:
        raise ValueError(f"exchange_rate must not be negative: {exchange_rate}")

    cap_sats = {label: _times_decimal(bounds.get(label, Decimal(0)), exchange_rate, ROUND_FLOOR) for label in balances}
    total_cap = exact_sum([bounds.get(label, Decimal(0)) for label in balances])
    distributable_sats = min(net_sats, _times_decimal(total_cap, exchange_rate, ROUND_FLOOR), sum(cap_sats.values()))
    weights = _integer_weights(balances)
    shares = _share_under_caps(distributable_sats, weights, cap_sats)
    return shares, net_sats - sum(shares.values())


def fiat_to_minor(amount: Decimal, currency: str) -> int:
    """Major units to minor units, exactly. Raises ValueError if the currency has no such fraction."""
    _require_decimal("amount", amount)
    digits = minor_digits(currency)
    with localcontext(_EXACT):
        scaled = amount.scaleb(digits)
        if scaled != scaled.to_integral_value():
            raise ValueError(f"{amount} {currency} has more than {digits} decimals")
    return int(scaled)


def minor_to_fiat(amount_minor: int, currency: str) -> Decimal:
    """Minor units to major units, with the currency's usual number of decimals (`1050, GTQ -> 10.50`)."""
    return Decimal(amount_minor).scaleb(-minor_digits(currency), _EXACT)


def minor_digits(currency: str) -> int:
    """How many decimals a currency's minor unit has (ISO 4217): GTQ 2, JPY 0, KWD 3."""
    return _MINOR_DIGITS.get(currency, 2)


def sats_to_minor(amount_sats: int, exchange_rate: Decimal, currency: str) -> int:
    """The fiat value of sats in minor units, rounded half up (SPEC section 8). Raises ValueError for rate 0."""
    _require_amount("amount_sats", amount_sats)
    _require_decimal("exchange_rate", exchange_rate)
    if exchange_rate <= 0:
        raise ValueError("the fiat value of sats needs an exchange rate above 0")
    numerator, denominator = exchange_rate.as_integer_ratio()
    # Exact integers: half up is floor(x + 1/2).
    minor_per_major: int = 10 ** minor_digits(currency)
    return (2 * amount_sats * minor_per_major * denominator + numerator) // (2 * numerator)


def minor_to_sats(amount_minor: int, exchange_rate: Decimal, currency: str) -> int:
    """How many sats minor units of fiat buy at a rate, rounded down. Raises ValueError for a negative rate."""
    _require_amount("amount_minor", amount_minor)
    _require_decimal("exchange_rate", exchange_rate)
    if exchange_rate < 0:
        raise ValueError(f"exchange_rate must not be negative: {exchange_rate}")
    return _times_decimal(minor_to_fiat(amount_minor, currency), exchange_rate, ROUND_FLOOR)


def scale_linear(amount: int, part: int, whole: int) -> int:
    """`amount x part / whole`, rounded half up: how a partial dispense scales sats or minor units (section 9)."""
    if whole <= 0 or not 0 <= part <= whole:
        raise ValueError(f"cannot scale by {part}/{whole}")
    return (2 * amount * part + whole) // (2 * whole)


def exact_sum(values: Sequence[Decimal]) -> Decimal:
    """The sum without rounding, whatever the caller's decimal context."""
    with localcontext(_EXACT):
        return sum(values, Decimal(0))


def _share_under_caps(total_sats: int, weights: Mapping[str, int], cap_sats: Mapping[str, int]) -> dict[str, int]:
    """Share `total_sats` by weight; whoever would exceed the cap gets the cap and takes no further part."""
    shares = dict.fromkeys(weights, 0)
    open_labels = {label for label in weights if weights[label] > 0 and cap_sats[label] > 0}
    left_sats = total_sats
    while left_sats > 0 and open_labels:
        proposal = _largest_remainder(left_sats, {label: weights[label] for label in open_labels})
        capped = {label for label in open_labels if proposal[label] > cap_sats[label]}
        if not capped:
            shares.update(proposal)
            break
        for label in capped:
            shares[label] = cap_sats[label]
            left_sats -= cap_sats[label]
        open_labels -= capped
    return shares


def _largest_remainder(total_sats: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Hamilton's method on integers: floors first, then one sat each by remainder (if equal: by label)."""
    weight_sum = sum(weights.values())
    shares: dict[str, int] = {}
    remainders: list[tuple[int, str]] = []
    for label, weight in weights.items():
        shares[label], remainder = divmod(total_sats * weight, weight_sum)
        remainders.append((-remainder, label))
    left_sats = total_sats - sum(shares.values())
    for _, label in sorted(remainders)[:left_sats]:
        shares[label] += 1
    return shares


def _integer_weights(balances: Mapping[str, Decimal]) -> dict[str, int]:
    """The same proportions as integers, so that sharing needs no division of decimals."""
    exponents = [int(balance.as_tuple().exponent) for balance in balances.values()]
    shift = -min([0, *exponents])
    with localcontext(_EXACT):
        return {label: int(balance.scaleb(shift)) for label, balance in balances.items()}


def _times(amount: int, factor: Decimal, rounding: str) -> int:
    return _times_decimal(Decimal(amount), factor, rounding)


def _times_decimal(amount: Decimal, factor: Decimal, rounding: str) -> int:
    with localcontext(_EXACT):
        return int((amount * factor).to_integral_value(rounding=rounding))


def _require_amount(name: str, value: int) -> None:
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} must not be negative: {value}")


def _require_decimal(name: str, value: Decimal) -> None:
    if not isinstance(value, Decimal):
        raise TypeError(f"{name} must be a Decimal, not {type(value).__name__}")
    if not value.is_finite():
        raise ValueError(f"{name} must be finite, not {value}")


def _require_fraction(name: str, value: Decimal) -> None:
    _require_decimal(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be within 0..1, not {value}")
