"""What a check finds: one line of the doctor's table. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CheckResult(StrEnum):
    """`unreachable` is a problem that may be on the other side; `unknown`: this user cannot see it."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    UNREACHABLE = "unreachable"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table. `fix` is what to do, empty if all is well."""

    check: str
    subject: str
    verdict: CheckResult
    detail: str
    fix: str = ""
