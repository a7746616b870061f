"""NIP-44 version 2: the official vectors, and another implementation."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import nostr_sdk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satmachine.nostr.keys import public_key_of
from satmachine.nostr.nip44 import (
    Nip44Error,
    conversation_key,
    decrypt,
    encrypt,
    message_keys,
    padded_length,
)

#: github.com/paulmillr/nip44, the file whose checksum NIP-44 names.
VECTORS = Path(__file__).parents[1] / "data" / "nip44.vectors.json"

KEY = bytes.fromhex("c41c775356fd92eadc63ff5a0dc1da211b268cbea22316767095b2871ea1412d")
NONCE = bytes.fromhex("00" * 31 + "01")
PAYLOAD = (
    "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABee0G5VSK0/9YypIObAtDKfYEAjD35uVkHyB0F4DwrcNa"
    "CXlCWZKaArsGrY6M9wnuTMxWfp1RTN9Xga8no+kF5Vsb"
)


def vectors() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(VECTORS.read_text())["v2"]
    return content


def test_a_few_official_vectors() -> None:
    assert conversation_key(b"\x00" * 31 + b"\x01", public_key_of(b"\x00" * 31 + b"\x02")) == KEY
    assert encrypt("a", KEY, NONCE) == PAYLOAD
    assert decrypt(PAYLOAD, KEY) == "a"
    assert [padded_length(n) for n in (1, 32, 33, 65, 257, 1025, 65_535)] == [
        32, 32, 64, 96, 320, 1280, 65_536,
    ]  # fmt: skip


def test_all_official_valid_vectors() -> None:
    valid = vectors()["valid"]
    for case in valid["get_conversation_key"]:
        key = conversation_key(bytes.fromhex(case["sec1"]), case["pub2"])
        assert key.hex() == case["conversation_key"]
    key = bytes.fromhex(valid["get_message_keys"]["conversation_key"])
    for case in valid["get_message_keys"]["keys"]:
        keys = message_keys(key, bytes.fromhex(case["nonce"]))
        assert keys.chacha_key.hex() == case["chacha_key"]
        assert keys.chacha_nonce.hex() == case["chacha_nonce"]
        assert keys.hmac_key.hex() == case["hmac_key"]
    for length, padded in valid["calc_padded_len"]:
        assert padded_length(length) == padded
    for case in valid["encrypt_decrypt"]:
        key = conversation_key(bytes.fromhex(case["sec1"]), public_key_of(bytes.fromhex(case["sec2"])))
        assert key.hex() == case["conversation_key"]
        assert encrypt(case["plaintext"], key, bytes.fromhex(case["nonce"])) == case["payload"]
        assert decrypt(case["payload"], key) == case["plaintext"]
    for case in valid["encrypt_decrypt_long_msg"]:
        plaintext = case["pattern"] * case["repeat"]
        key = bytes.fromhex(case["conversation_key"])
        payload = encrypt(plaintext, key, bytes.fromhex(case["nonce"]))
        assert sha256(plaintext.encode()).hexdigest() == case["plaintext_sha256"]
        assert sha256(payload.encode()).hexdigest() == case["payload_sha256"]
        assert decrypt(payload, key) == plaintext


def test_all_official_invalid_vectors() -> None:
    invalid = vectors()["invalid"]
    for length in invalid["encrypt_msg_lengths"]:
        with pytest.raises(Nip44Error):
            encrypt("x" * length, KEY, NONCE)
    for case in invalid["get_conversation_key"]:
        with pytest.raises(Nip44Error):
            conversation_key(bytes.fromhex(case["sec1"]), case["pub2"])
    for case in invalid["decrypt"]:
        with pytest.raises(Nip44Error):
            decrypt(case["payload"], bytes.fromhex(case["conversation_key"]))


@given(plaintext=st.text(st.characters(codec="utf-8"), min_size=1))
@settings(max_examples=50)
def test_another_implementation_reads_ours_and_we_read_its(plaintext: str) -> None:
    ours, theirs = os.urandom(32), nostr_sdk.Keys.generate()
    key = conversation_key(ours, theirs.public_key().to_hex())
    our_public_key = nostr_sdk.PublicKey.parse(public_key_of(ours))
    payload = encrypt(plaintext, key, os.urandom(32))
    assert nostr_sdk.nip44_decrypt(theirs.secret_key(), our_public_key, payload) == plaintext
    version = nostr_sdk.Nip44Version.V2
    foreign = nostr_sdk.nip44_encrypt(theirs.secret_key(), our_public_key, plaintext, version)
    assert decrypt(foreign, key) == plaintext


@given(st.integers(0, len(PAYLOAD) - 1), st.characters(codec="ascii"))
def test_a_payload_that_was_tampered_with_is_refused(at: int, char: str) -> None:
    tampered = PAYLOAD[:at] + char + PAYLOAD[at + 1 :]
    if tampered != PAYLOAD:
        with pytest.raises(Nip44Error):
            decrypt(tampered, KEY)


@given(st.text())
def test_no_payload_makes_it_raise_anything_else(payload: str) -> None:
    with pytest.raises(Nip44Error):
        decrypt(payload, KEY)


@pytest.mark.parametrize("plaintext", ["", "x" * 65_536, "é" * 32_768, "\ud800"])
def test_what_cannot_be_encrypted(plaintext: str) -> None:
    with pytest.raises(Nip44Error):
        encrypt(plaintext, KEY, NONCE)


def test_keys_of_other_lengths_are_refused() -> None:
    for key, nonce in ((KEY[1:], NONCE), (KEY, NONCE[1:])):
        with pytest.raises(Nip44Error, match="32 bytes"):
            message_keys(key, nonce)
    with pytest.raises(Nip44Error):
        conversation_key(b"\x01" * 32, "no hex")


def test_no_error_shows_key_or_plaintext() -> None:
    with pytest.raises(Nip44Error) as refused:
        decrypt(PAYLOAD[:-4] + "AAAA", KEY)
    assert KEY.hex() not in str(refused.value)
