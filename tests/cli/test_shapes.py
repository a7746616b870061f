"""The published schema of JSON outputs is up to date, and what commands print is as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from satmachine.cli.manual import shapes_text
from satmachine.cli.shapes import schema
from tests.cli.books import Cli

ROOT = Path(__file__).parents[2]
SCHEMA = schema()
ARGUMENTS = {"settlements show": ["1"], "quarantine show": ["1"], "deposits show": ["1"], "clients show": ["1"]}
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


def breaks(value: Any, shape: dict[str, Any], where: str = "$") -> Iterator[str]:
    """What of a value does not fit; as much of JSON Schema as ours uses."""
    if "$ref" in shape:
        shape = SCHEMA["$defs"][shape["$ref"].rpartition("/")[2]]
    if "anyOf" in shape:
        if all([*breaks(value, one, where)] for one in shape["anyOf"]):
            yield f"{where}: {value!r} is none of {shape['anyOf']}"
        return
    kinds = shape.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    fits = [
        kind for kind in kinds if isinstance(value, TYPES[kind]) and (kind != "integer" or not isinstance(value, bool))
    ]
    if kinds and not fits:
        yield f"{where}: {value!r} is no {kinds}"
        return
    if "pattern" in shape and not re.search(shape["pattern"], value):
        yield f"{where}: {value!r} does not match {shape['pattern']}"
    for key in shape.get("required", []):
        if key not in value:
            yield f"{where}: {key} is missing"
    for key, inner in shape.get("properties", {}).items():
        if key in value:
            yield from breaks(value[key], inner, f"{where}.{key}")
    for number, item in enumerate(value if "items" in shape else []):
        yield from breaks(item, shape["items"], f"{where}[{number}]")


def test_the_published_schema_is_up_to_date() -> None:
    assert (ROOT / "docs" / "output.schema.json").read_text() == shapes_text(), "run `make docs`"


# `observe` watches for minutes: tests/integration/test_observe.py holds it to its shape.
@pytest.mark.parametrize("command", [name for name in SCHEMA["properties"] if name != "observe"])
def test_what_a_command_prints_has_the_published_shape(command: str, cli: Cli) -> None:
    assert cli("deposits", "add", "1", "100").exit_code == 0
    result = cli(*command.split(), *ARGUMENTS.get(command, []), "--json")
    assert result.exit_code in (0, 1), result.output
    found = json.loads(result.stdout)
    assert found, "an empty answer shows nothing"
    assert [*breaks(found, SCHEMA["properties"][command])] == []


def test_a_wrong_shape_is_noticed() -> None:
    sale = {"$ref": "#/$defs/sale"}
    assert [*breaks({}, sale)]
    assert [*breaks({"active": 1}, {"properties": {"active": {"type": "boolean"}}})]
    assert [*breaks(True, {"type": "integer"})]
    assert [*breaks("2026-11-22", {"$ref": "#/$defs/time"})]
