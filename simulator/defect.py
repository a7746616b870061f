"""What a planted defect is, and how one line of the real code is changed for it."""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Puts a new thing in the place of an attribute: (where, its name, the new one).
Put = Callable[[Any, str, Any], None]


@dataclass(frozen=True, slots=True)
class Planted:
    """A defect. `focus`: the kinds of actions among which it shows."""

    what: str
    focus: frozenset[str]
    plant: Callable[[Put], None]


def edited(function: Callable[..., Any], *changes: tuple[str, str]) -> Callable[..., Any]:
    """The function with some of its text changed, in the module that it is of; each old text must be there once."""
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in changes:
        assert source.count(old) == 1, f"{function.__qualname__} has not (just once): {old}"
        source = source.replace(old, new)
    made: dict[str, Any] = {}
    flags = __future__.annotations.compiler_flag
    code = compile(source, inspect.getfile(function), "exec", flags=flags, dont_inherit=True)
    exec(code, sys.modules[function.__module__].__dict__, made)
    changed: Callable[..., Any] = made[function.__name__]
    return changed
