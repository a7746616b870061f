"""Answers that many viewers share, kept for a few seconds: of a hundred browsers, only one asks the books."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class KeptAnswers:
    """At most `max_items` answers by key. Two threads that miss the same one at once both ask: that is harmless."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_items: int = 500) -> None:
        self._clock = clock
        self._max_items = max_items
        self._items: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, lives_s: float, make: Callable[[], T]) -> T:
        """What `make` returns, or has returned within the last `lives_s` seconds for this key. The key must include
        whose it is."""
        with self._lock:
            found = self._items.get(key)
        if found is not None and self._clock() < found[0] + lives_s:
            return cast("T", found[1])
        made = make()
        with self._lock:
            self._items[key] = (self._clock(), made)
            self._items.move_to_end(key)
            while len(self._items) > self._max_items:
                self._items.popitem(last=False)
        return made
