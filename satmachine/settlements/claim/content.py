"""A machine's words about a sale -> `Claim`, or `Rejection` with the reason in words (SPEC section 2).

Pure. The same keys are in an event's content, in its member `extra`, or in the `extra` of an LNbits payment; one reader
serves all three. Numbers are read as int or Decimal, never as binary floats; a number in quotes is a number, and an
empty text says nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Protocol

from satmachine.models import Claim, Rejection
from satmachine.money import calculate_commission, minor_digits
from satmachine.nesting import is_too_deep

#: All the bitcoin there can ever be, in sats: no amount is larger.
MAX_SATS = 21_000_000 * 100_000_000

#: Larger rates, percentages and fiat amounts than this are nonsense, whatever the currency.
_MAX_NUMBER = Decimal(10) ** 15
_HASH = re.compile(r"[0-9a-f]{64}")
#: A decimal number in quotes. No exponents: nobody writes an amount so, and they can stand for anything.
_NUMERIC = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,40})?")

#: The keys that may stand in `extra` instead of at the top.
_AMOUNT_KEYS = frozenset({"gross_sats", "net_sats", "fee_sats", "fee_pct", "discount_pct"})
_SALE_KEYS = frozenset({"source", "payment_hash", "txid", "machine_npub", "bills", "cassettes"})
_FIAT_KEYS = frozenset({"exchange_rate", "fiat_amount", "currency"})
_KEYS = _AMOUNT_KEYS | _SALE_KEYS | _FIAT_KEYS


class MachineTerms(Protocol):
    """The part of a machine's configuration that is needed to read a claim."""

    @property
    def id(self) -> str: ...
    @property
    def npub(self) -> str: ...
    @property
    def currency(self) -> str: ...
    @property
    def fallback_commission_pct(self) -> Decimal: ...


class _Unusable(Exception):
    """Carries a `Rejection` from a field's check to the top of this module."""

    def __init__(self, rejection: Rejection) -> None:
        self.rejection = rejection


def claim_from_event(content: str, machine: MachineTerms, created_at: int) -> Claim | Rejection:
    """Read the (decrypted) content of a kind 21000 event."""
    try:
        fields = _one_level(_json_object(content))
        return _claim(fields, machine, source="event", occurred_at=created_at)
    except _Unusable as unusable:
        return unusable.rejection


def claim_from_payment(
    extra: Mapping[str, object], machine: MachineTerms, *, payment_hash: str, amount_sats: int, settled_at: int
) -> Claim | Rejection | None:
    """Read a sale from an incoming payment's `extra`; None where it does not say `source = "bitspire"`.

    The wallet's own facts decide: an `extra` that names another hash or amount is a Rejection.
    """
    try:
        fields = _one_level(dict(extra))
        if not _is_bitspire(fields.get("source")):
            return None
        claimed_hash = fields.setdefault("payment_hash", payment_hash)
        if claimed_hash != payment_hash:
            raise _unusable("payment_hash", "the payment's extra names another payment hash than its own")
        if "gross_sats" not in fields and not ("net_sats" in fields and "fee_sats" in fields):
            fields["gross_sats"] = amount_sats
        claim = _claim(fields, machine, source="wallet", occurred_at=settled_at)
    except _Unusable as unusable:
        return unusable.rejection
    if claim.gross_sats != amount_sats:
        return Rejection(
            "amounts",
            f"the payment's extra says gross_sats {claim.gross_sats}, but the wallet received {amount_sats} sats",
        )
    return claim


def derived_claim(
    machine: MachineTerms,
    *,
    payment_hash: str,
    amount_sats: int,
    settled_at: int,
    exchange_rate: Decimal = Decimal(0),
    fiat_amount_minor: int | None = None,
) -> Claim:
    """A claim from the bare payment, split by the machine's fallback commission: an operator, or the
    rule for payments that no event announces, lands it."""
    net_sats, commission_sats = calculate_commission(amount_sats, machine.fallback_commission_pct)
    return Claim(
        machine_id=machine.id,
        source="operator",
        payment_hash=payment_hash,
        txid=None,
        gross_sats=amount_sats,
        net_sats=net_sats,
        commission_sats=commission_sats,
        used_fallback_split=True,
        fallback_commission_pct=machine.fallback_commission_pct,
        fee_pct=None,
        discount_pct=None,
        exchange_rate=exchange_rate,
        fiat_amount_minor=fiat_amount_minor,
        currency=machine.currency,
        bills=None,
        cassettes=None,
        occurred_at=settled_at,
    )


def names_a_sale(extra: Mapping[str, object], *, txid: str | None, event_ids: frozenset[str]) -> bool:
    """Whether a payment's `extra` points to this sale by its txid or one of its events (SPEC section 6.4)."""
    inner = extra.get("extra")
    for fields in (extra, inner if isinstance(inner, Mapping) else {}):
        named = fields.get("txid")
        if txid is not None and named is not None and str(named) == txid:
            return True
        if event_ids & {str(fields.get(key)) for key in ("bitspire_event_id", "event_id", "nostr_event_id")}:
            return True
    return False


def _claim(fields: Mapping[str, object], machine: MachineTerms, *, source: str, occurred_at: int) -> Claim:
    _check_identity(fields, machine)
    discount_pct = _number(fields, "discount_pct", maximum=Decimal(100))
    gross_sats, net_sats, commission_sats, derived = _amounts(fields, machine, discount_pct or Decimal(0))
    return Claim(
        machine_id=machine.id,
        source=source,
        payment_hash=_payment_hash(fields),
        txid=_text(fields, "txid", maximum=128),
        gross_sats=gross_sats,
        net_sats=net_sats,
        commission_sats=commission_sats,
        used_fallback_split=derived,
        fallback_commission_pct=machine.fallback_commission_pct if derived else None,
        fee_pct=_number(fields, "fee_pct"),
        discount_pct=discount_pct,
        exchange_rate=_number(fields, "exchange_rate") or Decimal(0),
        fiat_amount_minor=_fiat_minor(fields, machine.currency),
        currency=machine.currency,
        bills=_kept_json(fields, "bills"),
        cassettes=_kept_json(fields, "cassettes"),
        occurred_at=occurred_at,
    )


def _check_identity(fields: Mapping[str, object], machine: MachineTerms) -> None:
    source = fields.get("source")
    if source is not None and not _is_bitspire(source):
        raise _unusable("source", f"source is {_shown(source)}; only bitspire sales are known")
    npub = fields.get("machine_npub")
    if npub is not None and (not isinstance(npub, str) or npub.strip().lower() != machine.npub):
        raise _unusable("machine_npub", "machine_npub names another machine than the one that signed the event")
    currency = fields.get("currency")
    if currency is not None and (not isinstance(currency, str) or currency.strip().upper() != machine.currency):
        raise _unusable(
            "currency", f"the sale is in {_shown(currency)}, but {machine.id} is configured for {machine.currency}"
        )


def _is_bitspire(source: object) -> bool:
    return isinstance(source, str) and source.strip().lower() == "bitspire"


def _amounts(fields: Mapping[str, object], machine: MachineTerms, discount_pct: Decimal) -> tuple[int, int, int, bool]:
    """(gross, net, commission, whether the split was derived); see SPEC section 2, happy and fallback path."""
    gross_sats = _sats(fields, "gross_sats")
    net_sats = _sats(fields, "net_sats")
    fee_sats = _sats(fields, "fee_sats")
    if net_sats is not None and fee_sats is not None:
        total_sats = net_sats + fee_sats
        if gross_sats is not None and gross_sats != total_sats:
            raise _unusable(
                "amounts",
                f"the amounts do not add up: net_sats {net_sats} + fee_sats {fee_sats} = {total_sats}, "
                f"but gross_sats is {gross_sats}",
            )
        if not 0 < total_sats <= MAX_SATS:
            raise _unusable("amounts", f"net_sats and fee_sats add up to {total_sats}; nothing was sold")
        return total_sats, net_sats, fee_sats, False
    if net_sats is not None or fee_sats is not None:
        present, missing = ("net_sats", "fee_sats") if fee_sats is None else ("fee_sats", "net_sats")
        raise _unusable("amounts", f"{present} came without {missing}: the split is not known")
    if gross_sats is None:
        raise _unusable("amounts", "there is no amount: neither gross_sats nor net_sats and fee_sats")
    if gross_sats == 0:
        raise _unusable("amounts", "gross_sats is 0; nothing was sold")
    net, commission = calculate_commission(gross_sats, machine.fallback_commission_pct, discount_pct)
    return gross_sats, net, commission, True


def _sats(fields: Mapping[str, object], key: str) -> int | None:
    value = _unquoted(fields.get(key))
    if value is None:
        return None
    if isinstance(value, Decimal) and _is_whole(value):
        value = int(value)  # 100.0 says the same as 100
    if type(value) is not int:
        raise _unusable("amounts", f"{key} is {_shown(value)}; it must be a whole number of sats")
    if not 0 <= value <= MAX_SATS:
        raise _unusable("amounts", f"{key} is {_shown(value)}; it must lie between 0 and {MAX_SATS}")
    return value


def _number(fields: Mapping[str, object], key: str, *, maximum: Decimal = _MAX_NUMBER) -> Decimal | None:
    value = _unquoted(fields.get(key))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise _unusable("numbers", f"{key} is {_shown(value)}; it must be a number")
    number = Decimal(value)
    if not 0 <= number <= maximum:
        raise _unusable("numbers", f"{key} is {_shown(value)}; it must lie between 0 and {maximum:f}")
    # Eighteen decimals are more than any rate has; more would only be the noise of somebody's binary float.
    with localcontext(prec=60):
        return number.quantize(Decimal("1e-18"), rounding=ROUND_HALF_EVEN).normalize()


def _unquoted(value: object) -> object:
    """A number in quotes as the number."""
    if not isinstance(value, str) or not _NUMERIC.fullmatch(value.strip()):
        return value
    return Decimal(value.strip())


def _fiat_minor(fields: Mapping[str, object], currency: str) -> int | None:
    """Cash dispensed, to the nearest minor unit: machines compute it in binary floats, so 99.999999 means 100."""
    amount = _number(fields, "fiat_amount")
    if amount is None:
        return None
    return int(amount.scaleb(minor_digits(currency)).to_integral_value(rounding=ROUND_HALF_UP))


def _payment_hash(fields: Mapping[str, object]) -> str | None:
    value = fields.get("payment_hash")
    if value is None:
        return None
    if not isinstance(value, str) or not _HASH.fullmatch(value.lower()):
        raise _unusable("payment_hash", f"payment_hash is {_shown(value)}; it must be 64 hexadecimal digits")
    return value.lower()


def _text(fields: Mapping[str, object], key: str, *, maximum: int) -> str | None:
    value = fields.get(key)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= maximum or not value.isprintable():
        raise _unusable(key, f"{key} is {_shown(value)}; it must be a text of 1 to {maximum} printable characters")
    return value


def _kept_json(fields: Mapping[str, object], key: str) -> str | None:
    value = fields.get(key)
    if value is None:
        return None
    # JSON can escape half a surrogate pair, which is no text and fits into no database.
    return json.dumps(value, default=_json_number, ensure_ascii=False).encode(errors="replace").decode()


def _json_number(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if _is_whole(value) else str(value)
    raise TypeError(f"{type(value).__name__} does not come from JSON")


def _is_whole(value: Decimal) -> bool:
    """A whole number of a sensible size. Comparing is exact; arithmetic (`abs`) overflows on 1e9999999."""
    return -MAX_SATS <= value <= MAX_SATS and value == value.to_integral_value()


def _json_object(content: str) -> dict[str, object]:
    try:
        value = _DECODER.decode(content)
    except RecursionError:
        raise _unusable("bad_json", "the content is nested too deeply") from None
    except ValueError as error:
        raise _unusable("bad_json", f"the content is not valid JSON ({_shown(str(error))})") from None
    if not isinstance(value, dict):
        raise _unusable("bad_json", f"the content is {_shown(value)}; it must be a JSON object")
    if is_too_deep(content, value):
        raise _unusable("bad_json", "the content is nested too deeply")
    return value


def _one_level(fields: dict[str, object]) -> dict[str, object]:
    """The settlement's keys, whether they stand at the top or in the member `extra` (SPEC section 2).

    Null or an empty text counts as missing."""
    inner = fields.get("extra")
    merged = {key: value for key, value in fields.items() if not _is_nothing(value)}
    if not isinstance(inner, dict):
        return merged
    for key in _KEYS & inner.keys():
        if _is_nothing(inner[key]):
            continue
        if key in merged and merged[key] != inner[key]:
            raise _unusable("ambiguous", f"{key} stands at the top and in extra, with different values")
        merged[key] = inner[key]
    return merged


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise _unusable("bad_json", f"the content holds the number {_shown(text)}, which is too large") from None


def _no_constant(word: str) -> object:
    raise _unusable("bad_json", f"the content holds {word}, which is no number")


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        earlier: set[str] = set()
        twice = next(key for key, _ in pairs if key in earlier or earlier.add(key))  # type: ignore[func-returns-value]
        raise _unusable("bad_json", f"the key {_shown(twice)} stands twice; which one is meant cannot be told")
    return found


_DECODER = json.JSONDecoder(parse_float=_decimal, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)


def _shown(value: object) -> str:
    """A value from outside, short and printable."""
    if isinstance(value, int) and abs(value) > MAX_SATS * 1000:
        return "an absurdly large number"
    text = repr(value) if not isinstance(value, Decimal) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unusable(reason: str, detail: str) -> _Unusable:
    return _Unusable(Rejection(reason, detail))
