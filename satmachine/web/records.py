"""The records that programs get, as JSON schemas: made from the keys that the pages themselves pick.

What a key holds follows from its name, as in `shape`: sats are whole numbers, fiat is a decimal text without `_minor`,
times end in `_at`. So everything that is described exists, and everything that exists is described.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from satmachine.web.views import operators, programs

Schema = dict[str, Any]

_NUMBERS = frozenset(
    {
        "id", "client_id", "settlement_id", "revision", "reverses", "position", "open_settlements",
        "held_settlements", "errored_settlements",
    }
)  # fmt: skip
_FLAGS = frozenset({"active", "in_config", "reachable", "used_fallback_split", "well"})


def _property(key: str) -> tuple[str, Schema]:
    if key.endswith("_minor"):
        return key.removesuffix("_minor"), {"type": ["string", "null"], "pattern": r"^-?\d+(\.\d+)?$"}
    if key.endswith("_at"):
        return key, {"type": ["string", "null"], "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
    if key in _FLAGS:
        return key, {"type": ["boolean", "null"]}
    if key in _NUMBERS or key.endswith("_sats"):
        return key, {"type": ["integer", "null"]}
    return key, {"type": ["string", "null"]}


def _record(keys: Iterable[str], **more: Schema) -> Schema:
    """An object with exactly these keys."""
    properties = dict(map(_property, keys)) | more
    return {"type": "object", "additionalProperties": False, "required": list(properties), "properties": properties}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


_MACHINE = _record((*operators.MACHINE_KEYS, "npub", "mode", "well"), id={"type": "string"})
_SALE = _record((*operators.SALE_KEYS, "reason"))
_SPLIT = _record(("operator_id", "machine_id", "position", "label", "pct"))
_EFFECTIVE = _record(("operator_id", "machine_id", "ruleset_source", "position", "label", "pct"))
_LINE = _record(("what", "amount_sats", "how"))

#: By what follows /api/v1/dca/.
SCHEMAS: dict[str, Schema] = {
    "machines": _list(_MACHINE),
    "machines/{machine}": _MACHINE,
    "settlements": _list(_SALE),
    "settlements/{id}": _record(
        ("notes", "paid_sats", "retained_sats"),
        settlement=_SALE,
        legs=_list(_record((*operators.LEG_KEYS, "to", "reason"))),
        retained=_list({"type": "object"}),
        events=_list(_record(("event_id", "created_at", "received_at", "relay_url"))),
        arithmetic=_list(_record(("title",), lines=_list(_LINE))),
        conserves={"type": "boolean"},
    ),
    "payments": _list(_record(programs.PAYMENT_KEYS)),
    "clients": _list(_record(programs.CLIENT_KEYS)),
    "balances": _list(
        _record(
            ("client_id", "machine_id", "label", "person", "currency", "confirmed_minor", "spent_minor",
             "reserved_minor", "left_minor")
        )
    ),
    "deposits": _list(_record(programs.DEPOSIT_KEYS)),
    "commission-splits": _list({"anyOf": [_SPLIT, _EFFECTIVE]}),
    "super-config": _record(("fee_pct", "loaded_at")),
}  # fmt: skip
