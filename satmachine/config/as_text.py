"""The effective configuration as text in the form of the file, with defaults and without secrets.

Pure: model in, lines out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from satmachine.config.model import Config
from satmachine.config.secrets import Secret

_RULESETS = {
    "machine": "its own splits",
    "operator": "the default splits of its operator",
    "none": "none: the operator's share stays in its wallet",
}


def to_json(config: Config) -> dict[str, Any]:
    """The effective values for `--json`: decimals as strings, times as ISO 8601, secrets masked."""
    return {"path": str(config.path), **config.model_dump(mode="json", by_alias=True)}


def to_text(config: Config) -> str:
    """The effective values in the form of the file; what the file does not say is marked `# default`."""
    lines = [f"# {config.path}"]
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            lines += ["", f"[{field.alias or name}]", *_keys(value)]
    for operator in config.operators:
        lines += ["", "[[operators]]", *_keys(operator), *_splits("operators", operator.splits)]
    for machine in config.machines:
        ruleset = f"# ruleset in force: {_RULESETS[config.ruleset(machine).source]}"
        lines += ["", "[[machines]]", *_keys(machine), ruleset, *_splits("machines", machine.splits)]
    return "\n".join(lines)


def _keys(table: BaseModel) -> Iterator[str]:
    """`key = value` for all keys of a table but its splits, which are tables of their own."""
    shown = table.model_dump(mode="json")
    for name in type(table).model_fields:
        if name == "splits":
            continue
        value = getattr(table, name)
        if value is None:
            yield f"# {name} is not set"
        else:
            default = "" if name in table.model_fields_set else "  # default"
            yield f"{name} = {_literal(value, shown[name])}{default}"


def _splits(parent: str, splits: tuple[BaseModel, ...]) -> Iterator[str]:
    for split in splits:
        yield from (f"[[{parent}.splits]]", *_keys(split))


def _literal(value: object, shown: object) -> str:
    """A value in TOML. `shown` is its JSON form, which masks secrets and writes times out."""
    if isinstance(value, Secret):
        masked = value.masked()
        return _quote(masked) if isinstance(masked, str) else _inline({k: _quote(v) for k, v in masked.items()})
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        return _inline({name: _literal(item, item) for name, item in fields.items() if item is not None})
    if isinstance(value, tuple):
        return f"[{', '.join(_literal(item, item) for item in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | Decimal):
        return str(shown)
    return _quote(str(shown))


def _inline(items: dict[str, str]) -> str:
    return "{ " + ", ".join(f"{name} = {literal}" for name, literal in items.items()) + " }"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
