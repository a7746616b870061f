"""Keeps pydantic out of quick commands; the only place that depends on typer's internals.

typer (0.29) builds a pydantic validator for every option, even for those that nobody gave, and importing pydantic takes
longer than all of `satmachine status`. Here a value that already has its type, or was not given, is used as it is; all
others are still validated. If typer's internals change, commands work as before, only slower.
"""

from __future__ import annotations

from typing import Any

import typer.core


class _AsItIs:
    """Replaces typer's coercion of one parameter until there is something to coerce."""

    def __init__(self, descriptor: Any, build: Any) -> None:
        self._descriptor = descriptor
        self._build = build

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        several = param.multiple or param.nargs != 1
        as_it_is = value is None or type(value) is self._descriptor.annotation
        if as_it_is and not several and self._descriptor.parameter_info.parser is None:
            return value
        return self._build(self._descriptor).coerce(value, param=param, ctx=ctx)


class _Builder:
    """typer's `build_runtime_param`, put off."""

    def __init__(self, build: Any) -> None:
        self._build = build

    def __call__(self, descriptor: Any) -> _AsItIs:
        return _AsItIs(descriptor, self._build)


def spare_pydantic() -> None:
    """Put `_AsItIs` in front of typer's own coercion. A second call changes nothing."""
    build = getattr(typer.core, "build_runtime_param", None)
    if build is not None and not isinstance(build, _Builder):
        typer.core.build_runtime_param = _Builder(build)  # type: ignore[attr-defined, assignment]
