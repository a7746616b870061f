"""Does a machine say that it cannot work? The words of beacons are its own; none of them is specified. Pure."""

from __future__ import annotations

import re

_BROKEN = re.compile(r"error|fault|fail|jam|broken|offline|out.of.(service|order)|unavailable|\bdown\b", re.IGNORECASE)


def says_broken(status: str | None) -> bool:
    """Whether this status, as a beacon has it, is one of a machine that does not work."""
    return status is not None and _BROKEN.search(status) is not None


def error_now(
    status: str | None, error: str | None, *, status_at: int | None, error_at: int | None, beacon_at: int
) -> str:
    """What is wrong with a machine, in its words; empty where its latest word is that all is well.

    Fields are merged, so that an error of last week still stands beside today's status: it counts only if the machine
    says so now, or has said nothing of its status since. Times are Unix seconds.
    """
    if says_broken(status):
        return ", ".join(part for part in (f"status {status}", error) if part)
    later = error_at is not None and error_at > (status_at or 0)
    fresh = error_at is not None and error_at == beacon_at and not status
    return error if error and (later or fresh) else ""
