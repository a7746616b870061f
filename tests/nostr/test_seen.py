"""The bounded memory of ids."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from satmachine.nostr.intake import SeenIds


@given(st.lists(st.binary(max_size=1), max_size=100), st.integers(1, 10))
def test_the_last_ids_are_known_and_never_more_than_two_generations(ids: list[bytes], size: int) -> None:
    seen = SeenIds(size)
    for at, event_id in enumerate(ids):
        seen.add(event_id)
        assert len(seen) < 2 * size + 1
        latest = list(dict.fromkeys(reversed(ids[: at + 1])))[:1]
        assert all(known in seen for known in latest)


def test_at_least_one_generation_is_remembered() -> None:
    seen = SeenIds(100)
    for number in range(1_000):
        seen.add(number.to_bytes(32))
        assert all(known.to_bytes(32) in seen for known in range(max(0, number - 99), number + 1))


def test_what_is_forgotten_is_new_again() -> None:
    seen = SeenIds(2)
    for event_id in (b"a", b"b", b"c"):
        seen.add(event_id)
    seen.forget([b"a", b"c", b"never seen"])
    assert [event_id in seen for event_id in (b"a", b"b", b"c")] == [False, True, False]
