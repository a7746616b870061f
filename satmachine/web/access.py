"""Who may see what: every decision about access is made here. Pure.

Whoever is signed in is a `Viewer`: somebody of an operator (or of the whole platform), or a liquidity provider. A
record has an `Owner`. What a viewer may not see is answered like what does not exist, so nobody can learn anything from
the difference (SPEC section 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo
from enum import StrEnum


class Who(StrEnum):
    """For whom an address exists at all."""

    ANYBODY = "anybody"
    SIGNED_IN = "signed_in"
    OPERATOR = "operator"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is looking. `operator` None: at every operator's records. `client`: the LP (`dca_clients.person`) whose own
    positions with this operator are all that is shown; None for an operator's people."""

    person: str
    name: str
    operator: str | None
    client: str | None = None
    language: str | None = None
    tz: tzinfo = UTC

    @property
    def is_provider(self) -> bool:
        return self.client is not None


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom a record belongs: an operator, and, if it is a position, an LP."""

    operator: str
    client: str | None = None


def admits(viewer: Viewer | None, who: Who, owner: Owner | None = None) -> bool:
    """Whether `viewer` may see an address that exists for `who`, with the record of `owner` (None: no record)."""
    if who is Who.ANYBODY:
        return True
    if viewer is None:
        return False
    if who is Who.OPERATOR and viewer.is_provider:
        return False
    if who is Who.PROVIDER and not viewer.is_provider:
        return False
    return owner is None or owns(viewer, owner)


def owns(viewer: Viewer, owner: Owner) -> bool:
    """Whether a record is within what `viewer` may see."""
    if viewer.is_provider:
        return viewer.operator is not None and viewer.operator == owner.operator and viewer.client == owner.client
    return viewer.operator is None or viewer.operator == owner.operator
