"""The ids of events that were accepted lately, in bounded memory. Pure.

Ids are 32 octets: as text they would need nearly twice the memory.

It is only a cache; what decides is the UNIQUE index of the database. Forgetting an id costs a verification and a look
there, never a second payment.
"""

from __future__ import annotations

from collections.abc import Iterable


class SeenIds:
    """Two generations of a set: when the young one is full it becomes the old one, and the old one is dropped.

    So at least the last `per_generation` ids are known, and at most twice as many are kept.
    """

    def __init__(self, per_generation: int) -> None:
        self._per_generation = per_generation
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, event_id: bytes) -> bool:
        return event_id in self._young or event_id in self._old

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def add(self, event_id: bytes) -> None:
        self._young.add(event_id)
        if len(self._young) >= self._per_generation:
            self._old = self._young
            self._young = set()

    def forget(self, event_ids: Iterable[bytes]) -> None:
        """Take ids out again, so that the events are accepted when they arrive once more."""
        for event_id in event_ids:
            self._young.discard(event_id)
            self._old.discard(event_id)
