"""The relay protocol without I/O."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine.nostr.event import (
    Auth,
    Closed,
    Eose,
    EventMessage,
    Fault,
    Filter,
    Notice,
    Ok,
    RelayMessage,
    auth,
    close,
    parse_message,
    publish,
    req,
    scan_event_id,
    sign,
)

EVENT = sign(21000, '{"id":"' + "ab" * 32 + '"}', [["id", '"id":"' + "cd" * 32]], 1, b"\x01" * 32)
FRAME = f'["EVENT","s",{EVENT.to_json()}]'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["EVENT","s",{"id":1}]', EventMessage("s", {"id": 1})),
        ('["EVENT","s",null]', EventMessage("s", None)),
        ('["EOSE","s"]', Eose("s")),
        ('["CLOSED","s"]', Closed("s", "", "")),
        ('["CLOSED","s","auth-required: who are you?"]', Closed("s", "auth-required", "who are you?")),
        ('["CLOSED","s","too many: 3"]', Closed("s", "", "too many: 3")),
        ('["CLOSED","s","shutting down"]', Closed("s", "", "shutting down")),
        ('["NOTICE","hello"]', Notice("hello")),
        ('["OK","ab",true,""]', Ok("ab", True, "")),
        ('["OK","ab",false,"invalid: no"]', Ok("ab", False, "invalid: no")),
        ('["OK","ab",true]', Ok("ab", True, "")),
        ('["AUTH","challenge"]', Auth("challenge")),
    ],
)
def test_every_message_of_a_relay(text: str, message: RelayMessage) -> None:
    assert parse_message(text) == message
    assert parse_message(text.encode()) == message


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        ("", Fault.NOT_JSON),
        ("hello", Fault.NOT_JSON),
        (b'["NOTICE","\xff"]', Fault.NOT_JSON),
        ('["NOTICE","\\ud800"]', Fault.NOT_JSON),
        ("[" * 100_000, Fault.NOT_JSON),
        ('["EVENT","s",' + "[" * 2_000 + "]" * 2_000 + "]", Fault.NOT_JSON),
        ('["EVENT","s",NaN]', Fault.NOT_JSON),
        ("{}", Fault.BAD_SHAPE),
        ("[]", Fault.BAD_SHAPE),
        ("null", Fault.BAD_SHAPE),
        ('["EVENT"]', Fault.BAD_SHAPE),
        ('["EVENT","s"]', Fault.BAD_SHAPE),
        ('["EVENT",1,{}]', Fault.BAD_SHAPE),
        ('["EVENT","s",{},{}]', Fault.BAD_SHAPE),
        ('["EOSE",1]', Fault.BAD_SHAPE),
        ('["CLOSED",null,"x"]', Fault.BAD_SHAPE),
        ('["CLOSED","s",5]', Fault.BAD_SHAPE),
        ('["NOTICE",[]]', Fault.BAD_SHAPE),
        ('["OK","ab","true"]', Fault.BAD_SHAPE),
        ('["AUTH",7]', Fault.BAD_SHAPE),
        ('["COUNT","s",{}]', Fault.UNKNOWN_MESSAGE),
        ('[["EVENT"],"s"]', Fault.UNKNOWN_MESSAGE),
    ],
)
def test_what_is_no_message_is_a_fault(frame: bytes | str, fault: Fault) -> None:
    assert parse_message(frame) is fault


@given(st.binary() | st.text())
def test_nothing_makes_it_raise(frame: bytes | str) -> None:
    parse_message(frame)
    scan_event_id(frame)


@given(st.binary(), st.integers(0, len(FRAME)))
def test_no_damage_to_a_frame_makes_it_raise(noise: bytes, at: int) -> None:
    damaged = FRAME.encode()[:at] + noise + FRAME.encode()[at:]
    parse_message(damaged)
    scan_event_id(damaged)


def test_what_we_send() -> None:
    wanted = Filter((30078, 30079), ("ab" * 32,), since=5)
    assert json.loads(req("s", [wanted, Filter((21000,), ("cd" * 32,))])) == [
        "REQ",
        "s",
        {"kinds": [30078, 30079], "authors": ["ab" * 32], "since": 5},
        {"kinds": [21000], "authors": ["cd" * 32]},
    ]
    assert json.loads(close("s")) == ["CLOSE", "s"]
    assert json.loads(auth(EVENT)) == ["AUTH", json.loads(EVENT.to_json())]
    assert json.loads(publish(EVENT)) == ["EVENT", json.loads(EVENT.to_json())]


def test_a_filter_for_everybody_cannot_be_made() -> None:
    with pytest.raises(AssertionError):
        Filter((21000,), ())


def test_the_id_is_found_without_parsing() -> None:
    assert scan_event_id(FRAME) == bytes.fromhex(EVENT.id)
    assert scan_event_id(FRAME.encode()) == bytes.fromhex(EVENT.id)
    spaced = json.dumps(["EVENT", "s", json.loads(EVENT.to_json())])
    assert scan_event_id(spaced) == bytes.fromhex(EVENT.id)


def test_an_id_inside_content_or_tags_is_not_mistaken_for_the_events() -> None:
    fields = json.loads(EVENT.to_json())
    content_first = {name: fields[name] for name in sorted(fields)}
    assert scan_event_id(json.dumps(["EVENT", "s", content_first], separators=(",", ":"))) == bytes.fromhex(EVENT.id)


@pytest.mark.parametrize(
    "frame",
    [
        '["EOSE","s"]',
        '["NOTICE","x"]',
        f'["OK","{EVENT.id}",true,""]',
        '["EVENT","s",{}]',
        '["EVENT","s",{"id":5}]',
        '["EVENT","s",{"id":"abc"}]',
        '["EVENT","s",{"id":"' + "ab" * 33 + '"}]',
        '["EVENT","s",{"id":"' + "-" * 64 + '"}]',
        b'["EVENT","s",{"id":"' + b"\xff" * 64 + b'"}]',
        '["EVENT","s",{"id":"',
    ],
)
def test_where_no_id_is_found_the_frame_is_parsed(frame: bytes | str) -> None:
    assert scan_event_id(frame) is None
