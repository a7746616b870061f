"""Token buckets and backoff."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from satmachine.pace import Backoff, BucketPerAuthor, TokenBucket


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket.full(3, 2.0, now=100.0)
    assert [bucket.spend(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.spend(100.4)
    assert bucket.spend(100.5)
    assert [bucket.spend(1_000.0) for _ in range(4)] == [True, True, True, False]


def test_asking_takes_nothing_and_a_clock_set_back_refills_nothing() -> None:
    bucket = TokenBucket.full(1, 1.0, now=100.0)
    assert all(bucket.allows(100.0) for _ in range(5))
    assert bucket.spend(100.0)
    assert not bucket.allows(50.0)
    assert bucket.allows(51.0)


def test_authors_do_not_share_a_bucket() -> None:
    buckets = BucketPerAuthor(1, 1.0)
    assert buckets.of("a", 0.0).spend(0.0)
    assert not buckets.of("a", 0.0).spend(0.0)
    assert buckets.of("b", 0.0).spend(0.0)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50))
def test_waits_grow_within_floor_and_cap(chances: list[float]) -> None:
    backoff = Backoff(1.0, 300.0)
    for failures, chance in enumerate(chances):
        delay_s = backoff.next_delay_s(chance)
        assert 1.0 <= delay_s <= min(300.0, 2.0**failures)
        assert delay_s >= min(300.0, 2.0**failures) / 2


def test_success_starts_over() -> None:
    backoff = Backoff(1.0, 300.0)
    assert [backoff.next_delay_s(0) for _ in range(4)] == [1, 2, 4, 8]
    backoff.reset()
    assert backoff.next_delay_s(0) == 1
