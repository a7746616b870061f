"""How fast, how often, how long: token buckets and backoff. Pure; time and chance are arguments."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BUCKETS = 50_000


@dataclass(slots=True)
class TokenBucket:
    """`burst` at once, `per_s` each second on average. A clock that is set back refills nothing."""

    burst: float
    per_s: float
    tokens: float
    filled_at: float

    @classmethod
    def full(cls, burst: float, per_s: float, now: float) -> TokenBucket:
        return cls(burst, per_s, burst, now)

    def allows(self, now: float, amount: float = 1) -> bool:
        """Whether there are this many tokens. Takes none."""
        if now > self.filled_at:
            self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.per_s)
        self.filled_at = now
        return self.tokens >= amount

    def charge(self, amount: float = 1) -> None:
        """Take what `allows` has found."""
        self.tokens -= amount

    def spend(self, now: float) -> bool:
        """Take a token; False if there is none."""
        if not self.allows(now):
            return False
        self.charge()
        return True


class BucketPerAuthor:
    """A token bucket for each author. Bounded: when there are too many, all start again."""

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._buckets: dict[str, TokenBucket] = {}

    def of(self, author: str, now: float) -> TokenBucket:
        bucket = self._buckets.get(author)
        if bucket is None:
            if len(self._buckets) >= MAX_BUCKETS:
                self._buckets.clear()
            bucket = self._buckets[author] = TokenBucket.full(self._burst, self._per_s, now)
        return bucket


@dataclass(slots=True)
class Backoff:
    """Waits that double from `floor_s` up to `cap_s`, each shortened at random by up to a half.

    Chance keeps many daemons from connecting to a restarted relay at the same moment. The floor always holds. Only
    success that *lasted* resets: a reset on every connect would hammer a relay that accepts and then closes.
    """

    floor_s: float
    cap_s: float
    failures: int = 0

    def next_delay_s(self, chance: float) -> float:
        """`chance`: a random number in [0, 1)."""
        ceiling = min(self.cap_s, self.floor_s * float(2 ** min(self.failures, 30)))
        self.failures += 1
        return max(self.floor_s, ceiling * (1 - chance / 2))

    def reset(self) -> None:
        self.failures = 0
