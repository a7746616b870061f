"""Shape, id and signature of events (NIP-01, BIP-340)."""

from __future__ import annotations

import json
from typing import Any

import nostr_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.nostr.event import AuthorKeys, Event, Fault, event_id, parse_event, sign, verify

SECRET = bytes.fromhex("67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa")
EVENT = sign(21000, '{"net_sats": 1}', [["p", "x"], ["d"]], 1_790_000_000, SECRET)

texts = st.text(st.characters(codec="utf-8"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


def made(**changes: object) -> dict[str, Any]:
    return {**json.loads(EVENT.to_json()), **changes}


@given(content=texts, tags=st.lists(st.lists(texts, min_size=1, max_size=3), max_size=3))
def test_another_implementation_verifies_what_we_sign(content: str, tags: list[list[str]]) -> None:
    event = sign(21000, content, tags, 1_790_000_000, SECRET)
    assert nostr_sdk.Event.from_json(event.to_json()).verify()
    assert verify(event, AuthorKeys()) is None


@given(content=texts)
def test_we_verify_what_another_implementation_signs(content: str) -> None:
    keys = nostr_sdk.Keys.parse(SECRET.hex())
    builder = nostr_sdk.EventBuilder(nostr_sdk.Kind(30078), content)
    foreign = builder.finalize(keys)
    event = parse_event(json.loads(foreign.as_json()))
    assert isinstance(event, Event)
    assert verify(event, AuthorKeys()) is None


def test_json_and_back() -> None:
    assert parse_event(json.loads(EVENT.to_json())) == EVENT


def test_unknown_members_are_left_out() -> None:
    assert parse_event(made(seen_on=["wss://elsewhere.example"])) == EVENT


@pytest.mark.parametrize(
    "obj",
    [
        None, [], "event", 1,
        {},
        made(id=None), made(id=EVENT.id.upper()), made(id=EVENT.id[:-2]), made(id=EVENT.id[:-1] + " "),
        made(id=int(EVENT.id, 16)),
        made(pubkey=EVENT.pubkey + "00"), made(pubkey="zz" * 32), made(sig="00" * 63), made(sig=["00"]),
        made(created_at=-1), made(created_at=2**53), made(created_at=1.0), made(created_at=True),
        made(created_at="1790000000"), made(created_at=None),
        made(kind=-1), made(kind=65_536), made(kind=False), made(kind="21000"), made(kind=21000.0),
        made(tags=None), made(tags={}), made(tags=[[1]]), made(tags=["p"]), made(tags=[[]]), made(tags=[["p", None]]),
        made(tags=[["t"]] * 2_001), made(tags=[["t"] * 101]),
        made(content=None), made(content={"net_sats": 1}), made(content=5),
    ],
)  # fmt: skip
def test_what_is_not_shaped_like_an_event(obj: object) -> None:
    assert parse_event(obj) is Fault.BAD_SHAPE


@given(json_values)
def test_no_json_makes_it_raise(obj: object) -> None:
    assert parse_event(obj) is Fault.BAD_SHAPE


@given(st.sampled_from(list(json.loads(EVENT.to_json()))), json_values)
def test_no_member_makes_it_raise(name: str, value: object) -> None:
    event = parse_event(made(**{name: value}))
    if isinstance(event, Fault):
        assert event is Fault.BAD_SHAPE
    else:
        assert event == EVENT or verify(event, AuthorKeys()) is not None


@pytest.mark.parametrize(
    "altered",
    [
        EVENT._replace(content=EVENT.content + " "),
        EVENT._replace(created_at=EVENT.created_at + 1),
        EVENT._replace(kind=30078),
        EVENT._replace(tags=(("p", "y"), ("d",))),
        EVENT._replace(id="00" * 32),
    ],
)
def test_an_altered_event_has_a_false_id(altered: Event) -> None:
    assert verify(altered, AuthorKeys()) is Fault.FALSE_ID


def test_a_forged_event_has_a_bad_signature() -> None:
    content = '{"net_sats": 1000000}'
    forged_id = event_id(EVENT.pubkey, EVENT.created_at, EVENT.kind, EVENT.tags, content)
    assert verify(EVENT._replace(id=forged_id, content=content), AuthorKeys()) is Fault.BAD_SIGNATURE
    assert verify(EVENT._replace(sig="00" * 64), AuthorKeys()) is Fault.BAD_SIGNATURE
    other = sign(EVENT.kind, EVENT.content, EVENT.tags, EVENT.created_at, b"\x01" * 32)
    assert verify(EVENT._replace(sig=other.sig), AuthorKeys()) is Fault.BAD_SIGNATURE


def test_an_author_beside_the_curve_has_a_bad_signature() -> None:
    author = "ff" * 32
    true_id = event_id(author, EVENT.created_at, EVENT.kind, EVENT.tags, EVENT.content)
    assert verify(EVENT._replace(pubkey=author, id=true_id), AuthorKeys()) is Fault.BAD_SIGNATURE


def test_a_lone_surrogate_is_no_text() -> None:
    with pytest.raises(ValueError, match="cannot be serialised"):
        event_id(EVENT.pubkey, 0, 1, (), "\ud800")
    assert verify(EVENT._replace(content="\ud800"), AuthorKeys()) is Fault.BAD_SHAPE


def test_the_keyring_is_bounded() -> None:
    ring = AuthorKeys(max_keys=2)
    authors = [sign(1, "", [], 0, bytes([n]) * 32).pubkey for n in (1, 2, 3)]
    assert all(ring.key_of(author) is not None for author in authors * 2)
    assert ring.key_of("ff" * 32) is None
