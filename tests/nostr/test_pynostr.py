"""pynostr as one more counterpart: what it signs we accept, what it would let pass we do not."""

from __future__ import annotations

import pytest
from pynostr.event import Event as PynostrEvent
from pynostr.key import PrivateKey

from satmachine.nostr.event import AuthorKeys, Event, Fault, parse_event, verify
from satmachine.nostr.keys import hex_to_npub, npub_to_hex


@pytest.fixture
def signed() -> dict[str, object]:
    key = PrivateKey(bytes([7]) * 32)
    event = PynostrEvent(content='{"gross_sats": 5, "note": "ünïcode \\" \\n"}', kind=21000, created_at=1_800_000_000)
    event.add_tag("p", "ab" * 32)
    event.sign(key.hex())
    return dict(event.to_dict())


def test_what_pynostr_signs_is_accepted(signed: dict[str, object]) -> None:
    event = parse_event(signed)
    assert isinstance(event, Event)
    assert verify(event, AuthorKeys()) is None


def test_a_false_id_which_pynostr_ignores_is_refused(signed: dict[str, object]) -> None:
    forged = {**signed, "id": "00" * 32}
    assert PynostrEvent.from_dict(forged).verify()
    event = parse_event(forged)
    assert isinstance(event, Event)
    assert verify(event, AuthorKeys()) is Fault.FALSE_ID


def test_npubs_are_the_same_as_pynostrs() -> None:
    public = PrivateKey(bytes([9]) * 32).public_key
    assert hex_to_npub(public.hex()) == public.bech32()
    assert npub_to_hex(public.bech32()) == public.hex()
