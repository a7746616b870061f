"""The shapes of JSON outputs as a JSON Schema: docs/output.schema.json (SPEC section 10).

Rows are those of the tables, so their shapes are derived from schema.sql by the rules of kit/output.py; what commands
add to them is listed here. Rows may get more keys in a later version; no key goes away or changes its type. `python -m
satmachine.cli.manual --schema FILE` writes it; tests hold the commands to it.
"""

from __future__ import annotations

import re
from typing import Any

from satmachine.cli.kit.output import FLAGS, JSON_COLUMNS
from satmachine.cli.kit.values import is_time
from satmachine.store.database import schema_text

Shape = dict[str, Any]

_TIME = {"$ref": "#/$defs/time"}
_FIAT = {"$ref": "#/$defs/fiat"}
_TEXT, _NUMBER, _FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}

_SCALARS: Shape = {
    "time": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", "description": "UTC"},
    "fiat": {"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "description": "major units, exact"},
}

#: {name: (table, what a command adds to its rows, what it leaves out)}
_ROWS: dict[str, tuple[str, Shape, tuple[str, ...]]] = {
    "sale": ("dca_settlements", {}, ()),
    "payment": ("dca_payments", {}, ()),
    "message": ("quarantine", {}, ()),
    "unmatched": ("dca_unmatched_payments", {}, ()),
    "retained": ("dca_retained", {"reason_in_words": _TEXT}, ()),
    "deposit": ("dca_deposits", {"label": _TEXT}, ()),
    "client": (
        "dca_clients",
        {"currency": _TEXT, **dict.fromkeys(("confirmed", "spent", "reserved", "available"), _FIAT)},
        ("used_minor", "confirmed_minor"),
    ),
    "relay": ("relay_health", {}, ()),
    "change": ("audit_log", {}, ()),
}

_ITEM: Shape = {
    "item": _TEXT,
    "condition": _TEXT,
    "subject": _TEXT,
    "cause": _TEXT,
    "since": {"anyOf": [_TIME, {"type": "null"}]},
    "command": _TEXT,
    "settlement_id": {"type": ["integer", "null"]},
    "payment_id": {"type": ["integer", "null"]},
    "alarm": _FLAG,
    "silenced": {"type": ["string", "null"]},
}


def _rows(**columns: Shape) -> Shape:
    """A list of rows that have just these keys."""
    return {"type": "array", "items": {"type": "object", "required": [*columns], "properties": columns}}


#: {command: the shape of what it prints with --json}
_COMMANDS: dict[str, Shape] = {
    "settlements list": {"type": "array", "items": {"$ref": "#/$defs/sale"}},
    "settlements unmatched": {"type": "array", "items": {"$ref": "#/$defs/unmatched"}},
    "payments list": {"type": "array", "items": {"$ref": "#/$defs/payment"}},
    "quarantine list": {"type": "array", "items": {"$ref": "#/$defs/message"}},
    "quarantine show": {"$ref": "#/$defs/message"},
    "deposits list": {"type": "array", "items": {"$ref": "#/$defs/deposit"}},
    "deposits show": {"$ref": "#/$defs/deposit"},
    "clients list": {"type": "array", "items": {"$ref": "#/$defs/client"}},
    "clients show": {"$ref": "#/$defs/client"},
    "audit log": {"type": "array", "items": {"$ref": "#/$defs/change"}},
    "alerts list": {"type": "array", "items": {"$ref": "#/$defs/item"}},
    "settlements show": {
        "type": "object",
        "required": ["settlement", "legs", "notes", "retained", "events"],
        "properties": {
            "settlement": {"$ref": "#/$defs/sale"},
            "legs": {"type": "array", "items": {"$ref": "#/$defs/payment"}},
            "notes": _TEXT,
            "retained": {"type": "array", "items": {"$ref": "#/$defs/retained"}},
            "events": {"type": "array"},
        },
    },
    "status": {
        "type": "object",
        "required": ["daemon", "relays", "machines", "settlements", "attention", "silenced", "at"],
        "properties": {
            "daemon": {"type": "object", "required": ["running", "alive_at", "database"]},
            "relays": {"type": "array", "items": {"$ref": "#/$defs/relay"}},
            "machines": {"type": "array"},
            "settlements": {"type": "object", "required": ["pending", "held", "errored"]},
            "attention": {"type": "array", "items": {"$ref": "#/$defs/item"}},
            "silenced": {"type": "array", "items": {"$ref": "#/$defs/item"}},
            "at": _TIME,
        },
    },
}


#: What `observe` prints; a column that is not known is null.
_OBSERVED: Shape = {
    "type": "object",
    "required": ["began_at", "ended_at", "relays", "sent", "sales", "settings"],
    "properties": {
        "began_at": _TIME,
        "ended_at": _TIME,
        "relays": _rows(url=_TEXT, state=_TEXT, events=_NUMBER, faults=_NUMBER, problem=_TEXT),
        "sent": _rows(
            machine_id=_TEXT,
            what=_TEXT,
            count=_NUMBER,
            form=_TEXT,
            says=_TEXT,
            tags={"type": "array"},
            keys={"type": "array"},
        ),
        "sales": _rows(
            machine_id=_TEXT,
            **dict.fromkeys(("both", "only_told", "itself", "silent", "before"), _NUMBER),
            slowest_s={"type": ["integer", "null"]},
            problem=_TEXT,
        ),
        "settings": _rows(machine_id=_TEXT, table=_TEXT, line=_TEXT, why=_TEXT),
    },
}
_COMMANDS["observe"] = _OBSERVED


def schema() -> Shape:
    """The whole document."""
    rows = {name: _row(*told) for name, told in _ROWS.items()}
    item = {"type": "object", "required": [*_ITEM], "properties": _ITEM}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What satmachine's commands print with --json",
        "$defs": {**_SCALARS, **rows, "item": item},
        "properties": _COMMANDS,
    }


def _row(table: str, added: Shape, left_out: tuple[str, ...]) -> Shape:
    shapes = {
        key.removesuffix("_minor"): _shape(key, kind, nullable=nullable)
        for key, kind, nullable in _columns(table)
        if key not in left_out
    }
    shapes |= added
    return {"type": "object", "required": [*shapes], "properties": shapes}


def _columns(table: str) -> list[tuple[str, str, bool]]:
    """(name, TEXT or INTEGER, may it be NULL) of a table, as schema.sql declares it."""
    found = re.search(rf"CREATE TABLE {table} \((.*?)\n\) STRICT", schema_text(), re.DOTALL)
    assert found is not None, table
    columns = re.findall(r"^    (\w+) +(TEXT|INTEGER|BLOB)\b([^\n]*)", found[1], re.MULTILINE)
    return [(name, kind, "NOT NULL" not in rest and "PRIMARY KEY" not in rest) for name, kind, rest in columns]


def _shape(key: str, kind: str, *, nullable: bool) -> Shape:
    if key in JSON_COLUMNS:
        return {}
    if key.endswith("_minor") or is_time(key):
        told = _FIAT if key.endswith("_minor") else _TIME
        return {"anyOf": [told, {"type": "null"}]}  # a time of 0 is "at once", and shown as null
    plain = "boolean" if key in FLAGS else {"INTEGER": "integer"}.get(kind, "string")
    return {"type": [plain, "null"]} if nullable else {"type": plain}
