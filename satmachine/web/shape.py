"""What a page has on it, as programs get it (SPEC section 10). Pure.

Keys are the tables' columns; fiat loses its `_minor` and becomes a decimal text in major units, times become ISO 8601.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from satmachine.money import minor_to_fiat


def shaped(value: Any, currency: str | None = None) -> Any:
    """A value of any depth; `currency` is that of the record around it."""
    if isinstance(value, Mapping):
        within = value.get("currency") or currency
        return dict(_item(key, item, within) for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [shaped(item, currency) for item in value]
    return value


def _item(key: str, value: Any, currency: str | None) -> tuple[str, Any]:
    if key.endswith("_minor") and currency is not None:
        return key.removesuffix("_minor"), None if value is None else f"{minor_to_fiat(value, currency):f}"
    if (key == "at" or key.endswith("_at")) and type(value) is int:
        return key, iso(value)
    if key in ("active", "in_config", "reachable", "used_fallback_split") and type(value) is int:
        return key, bool(value)
    return key, shaped(value, currency)


def iso(at: int) -> str:
    """Unix seconds for programs, and for `<time datetime>`: 2026-11-22T10:00:00Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
