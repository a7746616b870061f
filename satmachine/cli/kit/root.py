"""The global options, and how they are read. Light: `satmachine --help` needs nothing else of satmachine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path

import typer


@dataclass(frozen=True, slots=True)
class Options:
    """The global options; `ctx.obj` of every command."""

    config_path: Path | None = None
    operator: str | None = None
    tz: tzinfo | None = None  # None: [display] tz
    actor: str | None = None


def parse_actor(name: str | None) -> str | None:
    """A name that can be used in notes and in the audit log. Raises BadParameter (exit code 2)."""
    if name is not None and (not name.strip() or not name.isprintable() or len(name) > 64 or set("[]") & set(name)):
        raise typer.BadParameter("a name of at most 64 characters, without brackets")
    return name


def parse_tz(name: str) -> tzinfo:
    """A time zone by its IANA name. Raises BadParameter (exit code 2)."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter(f"{name!r} is not a time zone; use a name like America/Guatemala") from None
