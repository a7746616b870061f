"""JSON in and out without binary floats: a number leaves as it came, digit by digit. Pure."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson

from satmachine.nesting import MAX_DEPTH, is_too_deep

#: Integers of up to this many digits surely fit into 64 bits.
_INT_DIGITS = 18


def loads(text: str) -> Any:
    """Decode strict JSON; fractions and huge integers come as Decimal. Raises ValueError, also for deep nesting.

    orjson looks first: it refuses NaN, lone surrogates and control characters, and cannot exhaust the stack.
    """
    if is_too_deep(text, orjson.loads(text)):
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    return _DECODER.decode(text)


def dumps(value: object) -> str:
    """Encode what `loads` gave, without spaces."""
    return orjson.dumps(value, default=_as_written).decode()


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) <= _INT_DIGITS else Decimal(text)


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_int=_integer)


def _as_written(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(f"{type(value).__name__} does not come from JSON")
