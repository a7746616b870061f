"""A beacon's content -> typed fields, and everything else as it came (SPEC section 7). Pure.

Today's beacon is sparse and will grow (`lamassu-next#43`), so reading is tolerant: a key that is missing or null
was *not said*; a value of the wrong type is left out with a word in `problems`, and the others are kept; a key that
nobody knows yet goes into `extra`. Numbers are read as int or Decimal, never as binary floats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext
from typing import Any

from satmachine.models import Rejection
from satmachine.money import minor_digits
from satmachine.telemetry import exact_json

#: One member of `extra` in bytes of JSON, and how many members a beacon may bring.
MAX_EXTRA_BYTES = 4_096
MAX_EXTRA_KEYS = 256
MAX_KEY_LENGTH = 128
MAX_CASSETTES = 64

_MAX_TEXT = 1_000
_MAX_NUMBER = Decimal(10) ** 15
_MAX_COUNT = 10**9
_NUMERIC = re.compile(r"\d{1,16}(\.\d{1,30})?")
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class Fields:
    """What one beacon says.

    `columns` maps columns of `dca_telemetry` to what is stored there (text, or int: seconds, minor units); a column
    that the beacon does not speak of is missing. `extra` holds the other members, decoded. `problems` are for people.
    """

    columns: Mapping[str, str | int]
    extra: Mapping[str, Any]
    problems: tuple[str, ...]


class _Unreadable(Exception):
    """Carries what a value should have been to the top of this module."""


Value = str | int
Reader = Callable[[Any, str], Value]


def parse_beacon(content: str, currency: str) -> Fields | Rejection:
    """Read the (decrypted) content of a kind 30078 event of a machine whose books are in `currency`.

    Cash is counted in that currency only: a beacon that names another keeps its cash in the raw text.
    """
    try:
        told = exact_json.loads(content)
    except ValueError as error:
        return Rejection("bad_json", f"the beacon is not valid JSON ({error})")
    if not isinstance(told, dict):
        return Rejection("bad_json", "the beacon is not a JSON object")
    columns, problems, used = _read_columns(told, currency)
    rest = {key: value for key, value in told.items() if key not in used and value is not None}
    extra = _read_extra(rest, problems)
    _drop_foreign_cash(columns, currency, problems)
    cash_left_minor = _cash_left(columns)
    if cash_left_minor is not None:
        columns["cash_left_minor"] = cash_left_minor
    return Fields(columns, extra, tuple(problems))


def _read_columns(told: Mapping[str, Any], currency: str) -> tuple[dict[str, Value], list[str], set[str]]:
    """(values by column, problems, the keys that were read). Of a field's several names the first one said counts."""
    columns: dict[str, Value] = {}
    problems: list[str] = []
    used: set[str] = set()
    for column, (names, read) in _FIELDS.items():
        name = next((name for name in names if told.get(name) is not None), None)
        if name is None:
            continue
        used.add(name)
        try:
            columns[column] = read(told[name], currency)
        except _Unreadable as wanted:
            problems.append(f"{name} is not {wanted}")
    return columns, problems, used


def _read_extra(rest: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    for key in sorted(rest):
        if len(extra) == MAX_EXTRA_KEYS:
            problems.append(f"there are more than {MAX_EXTRA_KEYS} unknown fields")
            break
        if len(key) > MAX_KEY_LENGTH or len(exact_json.dumps(rest[key])) > MAX_EXTRA_BYTES:
            problems.append(f"{_printable(key)[:40]} is too large to be merged")
        else:
            extra[key] = rest[key]
    return extra


def _drop_foreign_cash(columns: dict[str, Value], currency: str, problems: list[str]) -> None:
    """Amounts of two currencies can be neither added nor compared; the sales' currency is the registry's."""
    named = columns.get("currency", currency)
    if named != currency and {"cash_total_minor", "cassettes"} & columns.keys():
        columns.pop("cash_total_minor", None)
        columns.pop("cassettes", None)
        problems.append(f"its cash is in {named}, but the machine is configured for {currency}")


def _cash_left(columns: Mapping[str, Value]) -> int | None:
    """As this one beacon tells it: its total, else the sum of its cassettes."""
    total = columns.get("cash_total_minor")
    if total is not None or "cassettes" not in columns:
        return None if total is None else int(total)
    cassettes = exact_json.loads(str(columns["cassettes"]))
    if not cassettes or any(None in (cassette["denomination_minor"], cassette["count"]) for cassette in cassettes):
        return None
    return sum(int(cassette["denomination_minor"]) * int(cassette["count"]) for cassette in cassettes)


# --- readers: one decoded JSON value and the machine's currency -> what is stored


def _text(value: Any, _currency: str) -> str:
    if not isinstance(value, str):
        raise _Unreadable("a text")
    return _printable(value).strip()[:_MAX_TEXT]


def _version(value: Any, currency: str) -> str:
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return _text(str(value) if is_number else value, currency)


def _place(value: Any, currency: str) -> str:
    """A text, or an object such as `{"lat": .., "lon": ..}`, which is kept as JSON."""
    return _text(exact_json.dumps(value) if isinstance(value, dict | list) else value, currency)


def _currency_code(value: Any, _currency: str) -> str:
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value.strip().upper()):
        raise _Unreadable("a currency code of three letters")
    return value.strip().upper()


def _seconds(value: Any, _currency: str) -> int:
    return int(_number(value))


def _decimal(value: Any, _currency: str) -> str:
    """Eighteen decimals are more than any rate has; more would only be the noise of somebody's binary float."""
    with localcontext(prec=60):
        return f"{_number(value).quantize(Decimal('1e-18'), rounding=ROUND_HALF_EVEN).normalize():f}"


def _fiat_minor(value: Any, currency: str) -> int:
    """To the nearest minor unit: machines compute it in binary floats, so 99.999999 means 100."""
    with localcontext(prec=60):
        return int(_number(value).scaleb(minor_digits(currency)).to_integral_value(rounding=ROUND_HALF_UP))


def _cassettes(value: Any, currency: str) -> str:
    """JSON `[{denomination_minor, count, capacity, ..}]`, in the machine's order; what is not known is null."""
    if not isinstance(value, list) or len(value) > MAX_CASSETTES:
        raise _Unreadable(f"a list of up to {MAX_CASSETTES} cassettes")
    text = exact_json.dumps([_cassette(item, currency) for item in value])
    if len(text) > MAX_EXTRA_BYTES * 2:
        raise _Unreadable("a list of cassettes of reasonable size")
    return text


def _cassette(item: Any, currency: str) -> dict[str, Any]:
    told = item if isinstance(item, dict) else {}
    known = {
        "denomination_minor": _or_none(_fiat_minor, told.get("denomination"), currency),
        "count": _or_none(_count, told.get("count"), currency),
        "capacity": _or_none(_count, told.get("capacity"), currency),
    }
    return known | {key: value for key, value in told.items() if key != "denomination" and key not in known}


def _or_none(read: Callable[[Any, str], int], value: Any, currency: str) -> int | None:
    try:
        return read(value, currency)
    except _Unreadable:
        return None


def _count(value: Any, _currency: str) -> int:
    number = _number(value)
    if number != number.to_integral_value() or number > _MAX_COUNT:
        raise _Unreadable("a number of notes")
    return int(number)


def _number(value: Any) -> Decimal:
    """A JSON number, or a decimal number in quotes, between 0 and 10**15."""
    if isinstance(value, str) and _NUMERIC.fullmatch(value.strip()):
        value = Decimal(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not 0 <= value <= _MAX_NUMBER:
        raise _Unreadable(f"a number between 0 and {_MAX_NUMBER:f}")
    return Decimal(value)


def _printable(text: str) -> str:
    """Whatever could move a terminal's cursor becomes a space."""
    return "".join(char if char.isprintable() else " " for char in text)


#: Column of `dca_telemetry` -> the names that its key may have in a beacon, and how its value is read.
_FIELDS: dict[str, tuple[tuple[str, ...], Reader]] = {
    "name": (("name",), _text),
    "location": (("location",), _place),
    "status": (("status",), _text),
    "software_version": (("software_version", "version"), _version),
    "uptime_s": (("uptime_s", "uptime"), _seconds),
    "cassettes": (("cassettes",), _cassettes),
    "cash_total_minor": (("cash_total",), _fiat_minor),
    "currency": (("currency",), _currency_code),
    "exchange_rate": (("exchange_rate",), _decimal),
    "fee_pct": (("fee_pct",), _decimal),
    "last_error": (("last_error",), _text),
}

#: The typed columns, in the order of the table.
COLUMNS = (*_FIELDS, "cash_left_minor")
