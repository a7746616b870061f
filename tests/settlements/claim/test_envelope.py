"""An event is for this daemon, of this time and readable, or it is told what is wrong with it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from satmachine.config import Machine as ConfiguredMachine
from satmachine.models import Claim, Rejection
from satmachine.nostr import nip44
from satmachine.nostr.event import Event
from satmachine.nostr.keys import public_key_of
from satmachine.settlements.claim.envelope import (
    DaemonKey,
    Transport,
    Window,
    is_old_nip44,
    read_content,
    read_event,
)
from testkit.books import HASH
from testkit.config_files import VALID, load_text
from testkit.relays import NOW, Machine

ATM = Machine(b"\x05" * 32)
SECRET = b"\x07" * 32
KEY = DaemonKey(SECRET, public_key_of(SECRET))
OTHER = public_key_of(b"\x08" * 32)
SALE = {"source": "bitspire", "payment_hash": HASH, "gross_sats": 1050, "net_sats": 1000, "fee_sats": 50}
PLAIN = json.dumps(SALE)
WINDOW = Window(max_age_s=7_200, max_future_s=60)


def sealed(text: str, recipient: str = KEY.pubkey) -> str:
    return nip44.encrypt(text, nip44.conversation_key(ATM.secret, recipient), b"\x01" * 32)


@pytest.fixture
def machine(tmp_path: Path) -> ConfiguredMachine:
    return load_text(tmp_path, VALID).machines[0]


def read(
    machine: ConfiguredMachine, content: str = PLAIN, *, key: DaemonKey | None = KEY, **fields: Any
) -> Claim | Rejection | Transport:
    return read_event(ATM.event(content, **fields), machine, key=key, window=WINDOW, now=NOW)


def content_of(content: str, *, encrypted: bool = False, key: DaemonKey | None = KEY) -> str | Rejection:
    return read_content(ATM.event(content), encrypted=encrypted, key=key)


def test_a_plain_sale_is_read_with_its_own_time(machine: ConfiguredMachine) -> None:
    claim = read(machine, created_at=NOW - 5)
    assert isinstance(claim, Claim)
    assert (claim.gross_sats, claim.occurred_at, claim.machine_id) == (1050, NOW - 5, machine.id)


class TestForWhom:
    @pytest.mark.parametrize(
        "tags",
        [
            [["p", KEY.pubkey]],
            [["p", OTHER], ["p", KEY.pubkey]],
            [["p"], ["e", OTHER]],
            [],
        ],
        ids=["it", "it among others", "nobody", "no tags"],
    )
    def test_what_names_this_daemon_or_nobody_is_for_it(
        self, machine: ConfiguredMachine, tags: list[list[str]]
    ) -> None:
        assert isinstance(read(machine, tags=tags), Claim)

    def test_what_names_others_only_is_how_a_machine_speaks_to_its_lnbits(self, machine: ConfiguredMachine) -> None:
        assert read(machine, tags=[["p", OTHER, "wss://relay"], ["p", "x"]]) == Transport(OTHER, old_nip44=False)

    def test_a_daemon_without_a_key_is_named_by_nobody(self, machine: ConfiguredMachine) -> None:
        assert read(machine, key=None, tags=[["p", KEY.pubkey]]) == Transport(KEY.pubkey, old_nip44=False)
        assert isinstance(read(machine, key=None), Claim)

    def test_what_a_stranger_writes_as_a_name_is_kept_short(self, machine: ConfiguredMachine) -> None:
        found = read(machine, tags=[["p", "ab" * 500]])
        assert found == Transport("ab" * 32, old_nip44=False)

    def test_for_others_it_is_told_whether_the_machine_encrypts_as_nobody_should(
        self, machine: ConfiguredMachine
    ) -> None:
        assert read(machine, old_payload(), tags=[["p", OTHER]]) == Transport(OTHER, old_nip44=True)

    def test_what_is_for_others_is_not_judged_by_its_time(self, machine: ConfiguredMachine) -> None:
        assert isinstance(read(machine, tags=[["p", OTHER]], created_at=NOW - 10**6), Transport)


class TestTime:
    @pytest.mark.parametrize("offset_s", [-7_200, 0, 60])
    def test_the_ends_of_the_window_are_inside(self, machine: ConfiguredMachine, offset_s: int) -> None:
        assert isinstance(read(machine, created_at=NOW + offset_s), Claim)

    def test_a_clock_that_is_ahead_is_told_in_seconds(self, machine: ConfiguredMachine) -> None:
        found = read(machine, created_at=NOW + 61)
        assert isinstance(found, Rejection)
        assert (found.reason, "61 s in the future" in found.detail) == ("future", True)

    @pytest.mark.parametrize(("age_s", "hours"), [(7_201, 2), (10_799, 2), (10_800, 3)])
    def test_an_old_event_is_told_in_hours(self, machine: ConfiguredMachine, age_s: int, hours: int) -> None:
        found = read(machine, created_at=NOW - age_s)
        assert isinstance(found, Rejection)
        assert (found.reason, f"is {hours} hours ago" in found.detail) == ("too_old", True)

    def test_of_an_old_event_its_age_is_told_and_not_its_content(self, machine: ConfiguredMachine) -> None:
        found = read(machine, "no json", created_at=0)
        assert isinstance(found, Rejection)
        assert found.reason == "too_old"


def old_payload(version: int = 1, octets: int = 40) -> str:
    return base64.b64encode(bytes([version]) + b"\x01" * octets).decode()


class TestContent:
    def test_what_was_encrypted_to_the_daemon_is_opened(self, machine: ConfiguredMachine) -> None:
        assert content_of(sealed(PLAIN)) == PLAIN
        assert content_of(sealed(PLAIN), encrypted=True) == PLAIN
        assert isinstance(read(machine, sealed(PLAIN)), Claim)

    @pytest.mark.parametrize("content", [PLAIN, f"\n {PLAIN}", "[]", "", " "])
    def test_plain_text_is_taken_as_it_is_unless_the_machine_encrypts(self, content: str) -> None:
        assert content_of(content) == content
        refused = content_of(content, encrypted=True)
        assert isinstance(refused, Rejection)
        assert refused.reason == "not_encrypted"

    def test_without_a_key_nothing_is_opened(self) -> None:
        payload = sealed(PLAIN)
        assert content_of(payload, key=None) == payload
        assert isinstance(content_of(payload, key=None, encrypted=True), Rejection)

    def test_what_was_encrypted_to_somebody_else_is_refused_where_encryption_is_asked_for(self) -> None:
        payload = sealed(PLAIN, OTHER)
        refused = content_of(payload, encrypted=True)
        assert isinstance(refused, Rejection)
        assert refused.reason == "not_decrypted"
        assert content_of(payload) == payload

    def test_what_another_author_encrypted_is_not_this_machines_word(self) -> None:
        theirs = nip44.encrypt(PLAIN, nip44.conversation_key(b"\x09" * 32, KEY.pubkey), b"\x01" * 32)
        assert isinstance(content_of(theirs, encrypted=True), Rejection)

    @pytest.mark.parametrize("encrypted", [False, True])
    def test_encryption_that_is_not_read_here_is_called_by_its_name(self, encrypted: bool) -> None:
        iv = base64.b64encode(b"\x02" * 16).decode()
        for content, reason in (
            (old_payload(), "old_nip44"),
            (f"{base64.b64encode(b'x' * 32).decode()}?iv={iv}", "nip04"),
        ):
            refused = content_of(content, encrypted=encrypted)
            assert isinstance(refused, Rejection)
            assert refused.reason == reason

    def test_only_version_one_is_the_old_format(self) -> None:
        assert is_old_nip44(old_payload(1))
        for version in (0, 2, 3, 255):
            assert not is_old_nip44(old_payload(version))
        assert not is_old_nip44(old_payload(1, octets=20)), "too short for a nonce and a text"
        assert not is_old_nip44(sealed(PLAIN))
        assert not is_old_nip44(f"{old_payload()} and more")

    def test_a_sale_that_cannot_be_opened_goes_into_quarantine(self, machine: ConfiguredMachine) -> None:
        wants = machine.model_copy(update={"encrypted": True})
        for content in (PLAIN, sealed(PLAIN, OTHER), old_payload()):
            assert isinstance(read(wants, content), Rejection)
        assert isinstance(read(wants, sealed(PLAIN)), Claim)


def test_an_event_with_an_empty_tag_stops_nothing(machine: ConfiguredMachine) -> None:
    event = ATM.event(PLAIN)
    odd = Event(**{**event.to_dict(), "tags": ((), ("p",), ("e", "x"))})  # type: ignore[arg-type]
    assert isinstance(read_event(odd, machine, key=KEY, window=WINDOW, now=NOW), Claim)
