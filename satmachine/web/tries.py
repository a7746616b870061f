"""How often somebody may try: token buckets in memory, of bounded number. Pure but for the clock that is handed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Limiter:
    """At most `burst` at once and `per_minute` in the long run, for each key and for all together.

    `clock` is monotonic seconds. Of more keys than `max_keys`, the one that was idle for longest is forgotten: it
    starts afresh, and the limit for all together still holds.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        burst: int,
        per_minute: float,
        all_per_minute: float,
        max_keys: int = 10_000,
    ) -> None:
        self._clock = clock
        self._burst, self._rate = burst, per_minute / 60
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._all_burst, self._all_rate = max(burst, all_per_minute / 6), all_per_minute / 60
        self._all = _Bucket(self._all_burst, clock())

    def admits(self, key: str) -> bool:
        """Whether one more of this key is all right; if so, it counts."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        _fill(bucket, now, self._rate, self._burst)
        _fill(self._all, now, self._all_rate, self._all_burst)
        if bucket.tokens < 1 or self._all.tokens < 1:
            return False
        bucket.tokens -= 1
        self._all.tokens -= 1
        return True


def _fill(bucket: _Bucket, now: float, rate: float, burst: float) -> None:
    bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * rate)
    bucket.at = now
