"""Where something is in a configuration file, in words for which an operator can search.

`("machines", 0, "wallet", "admin_key")` becomes `[[machines]] "panajachel-1": key "wallet.admin_key"`.
Pure; works on the TOML document as it was read, however wrong it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from satmachine.config.formats import quoted
from satmachine.config.model import Location


def place_of(document: Mapping[str, object], location: Location) -> str:
    """The table (by id or label, else by number) and the key."""
    tables, keys = _split(document, location)
    header = _header(document, tables)
    return f"{header}: {_key(keys)}" if keys else header


def _split(document: Mapping[str, object], location: Location) -> tuple[Location, Location]:
    """Cut a location after the last table of an array, or else after the first name."""
    cut = 0
    value: object = document
    for index, step in enumerate(location):
        value = _child(value, step)
        if isinstance(step, int) and isinstance(value, Mapping):
            cut = index + 1
    if cut == 0 and (len(location) > 1 or isinstance(value, Mapping)):
        cut = 1
    return location[:cut], location[cut:]


def _header(document: Mapping[str, object], tables: Location) -> str:
    """`[lnbits]`, `[[machines]] "m1"` or `[[machines.splits]] "owner" of "m1"`."""
    if not tables:
        return "top level"
    names: list[str] = []
    value: object = document
    for step in tables:
        value = _child(value, step)
        if isinstance(step, int):
            names.append(_name(value, step))
    dotted = ".".join(step for step in tables if isinstance(step, str))
    return f"[[{dotted}]] {' of '.join(reversed(names))}" if names else f"[{dotted}]"


def _name(table: object, index: int) -> str:
    for key in ("id", "label"):
        name = _child(table, key)
        if isinstance(name, str) and name.strip():
            return quoted(name, 64)
    return f"number {index + 1}"


def _key(keys: Location) -> str:
    """`key "wallet.admin_key"`, and for lists of plain values `key "relays", entry 2`."""
    dotted = ".".join(key for key in keys if isinstance(key, str))
    entries = [f", entry {key + 1}" for key in keys if isinstance(key, int)]
    return f"key {quoted(dotted)}{''.join(entries)}"


def _child(value: object, step: str | int) -> object:
    if isinstance(value, Mapping) and isinstance(step, str):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return None
