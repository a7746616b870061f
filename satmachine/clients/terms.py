"""What the operator types about an LP's money and mode, as exact values. Pure.

Every function raises ValueError whose message is a sentence for the operator.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from satmachine.models import Client
from satmachine.money import fiat_to_minor

MODES = ("flow", "fixed")

MAX_PERSON_CHARS = 100

#: More than any cassette, and far inside SQLite's integers.
_MOST_MINOR = 10**15


def parse_fiat(text: str, currency: str) -> int:
    """An amount above 0 in major units ("1000", "12.50") -> minor units, exactly."""
    amount = _decimal(text)
    if amount <= 0:
        raise ValueError(f"an amount must be above 0, not {text}")
    if amount.adjusted() > 15:
        raise ValueError(f"{text} {currency} is more than any machine holds")
    amount_minor = fiat_to_minor(amount, currency)
    if amount_minor > _MOST_MINOR:
        raise ValueError(f"{text} {currency} is more than any machine holds")
    return amount_minor


def parse_rate(text: str) -> Decimal:
    """A rate above 0, in sats for one major unit of fiat."""
    rate = _decimal(text)
    if not 0 < rate < 10**12 or int(rate.as_tuple().exponent) < -18:
        raise ValueError(f"a rate is how many sats one unit of fiat buys, like 760.5, not {text}")
    return rate


def parse_person(text: str) -> str:
    """Whose a position is: a name on one line, as statements show it."""
    name = text.strip()
    if not name or not name.isprintable() or len(name) > MAX_PERSON_CHARS:
        raise ValueError(f"--person is a name on one line, of at most {MAX_PERSON_CHARS} characters")
    return name


def check_mode(mode: str, daily_limit_minor: int | None) -> None:
    """Flow has no daily limit, fixed needs one (SPEC section 8)."""
    if mode not in MODES:
        raise ValueError(f"--mode must be flow or fixed, not {mode}")
    if mode == "fixed" and daily_limit_minor is None:
        raise ValueError("--mode fixed needs --daily-limit: how much fiat may be spent in one UTC day")
    if mode == "flow" and daily_limit_minor is not None:
        raise ValueError("--daily-limit is for --mode fixed; a flow client takes part in every sale in full")


def changes(
    client: Client,
    *,
    person: str | None = None,
    status: str | None = None,
    mode: str | None = None,
    daily_limit_minor: int | None = None,
    payee: tuple[str, str] | None = None,
    autoforward: tuple[str, str] | None = None,
    no_autoforward: bool = False,
) -> dict[str, object]:
    """The columns that an update is to set; None says "as it is"."""
    wanted: dict[str, object] = {}
    if person is not None:
        wanted["person"] = parse_person(person)
    if status is not None:
        wanted["status"] = status
    if mode is not None or daily_limit_minor is not None:
        new_mode = mode or client.mode
        kept_minor = client.daily_limit_minor if new_mode == "fixed" else None
        limit_minor = kept_minor if daily_limit_minor is None else daily_limit_minor
        check_mode(new_mode, limit_minor)
        wanted |= {"mode": new_mode, "daily_limit_minor": limit_minor}
    if payee is not None:
        wanted |= {"payee_kind": payee[0], "payee": payee[1]}
    if autoforward is not None or no_autoforward:
        address, key_file = autoforward or (None, None)
        wanted |= {"autoforward": address, "autoforward_key_file": key_file}
    after = {"payee_kind": client.payee_kind, "autoforward": client.autoforward} | wanted
    if after["autoforward"] is not None and after["payee_kind"] != "invoice_key_file":
        raise ValueError("autoforward is paid from the client's own LNbits wallet: add --no-autoforward")
    return wanted


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number; write it like 1234.50, without commas") from None
    if not value.is_finite():
        raise ValueError(f"{text!r} is no number; write it like 1234.50, without commas")
    return value
