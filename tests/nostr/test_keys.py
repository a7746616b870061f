"""Keys in and out of bech32 (NIP-19)."""

from __future__ import annotations

import nostr_sdk
import pytest
from bech32 import bech32_encode, convertbits
from hypothesis import given
from hypothesis import strategies as st

from satmachine.nostr.keys import (
    _quickly_from_bech32,
    _slowly_from_bech32,
    hex_to_npub,
    npub_to_hex,
    parse_secret_key,
    public_key_of,
)

# The examples of NIP-19.
NPUB = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg"
NPUB_HEX = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e"
NSEC = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
NSEC_HEX = "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa"

secrets = st.integers(1, 2**255).map(lambda number: number.to_bytes(32, "big"))


def test_the_examples_of_nip_19() -> None:
    assert npub_to_hex(NPUB) == NPUB_HEX
    assert hex_to_npub(NPUB_HEX) == NPUB
    assert parse_secret_key(NSEC).hex() == NSEC_HEX
    assert parse_secret_key(f" {NSEC_HEX}\n").hex() == NSEC_HEX
    assert public_key_of(bytes.fromhex(NSEC_HEX)) == NPUB_HEX


@given(secrets)
def test_agrees_with_another_implementation(secret: bytes) -> None:
    keys = nostr_sdk.Keys.parse(secret.hex())
    assert public_key_of(secret) == keys.public_key().to_hex()
    assert hex_to_npub(public_key_of(secret)) == keys.public_key().to_bech32()
    assert parse_secret_key(keys.secret_key().to_bech32()) == secret


@pytest.mark.parametrize(
    ("npub", "complaint"),
    [
        ("", "not a valid npub"),
        ("npub1", "not a valid npub"),
        (NPUB[:-1] + "q", "checksum"),
        (NPUB.replace("e", "E", 1), "not a valid npub"),
        (NSEC, "this is an nsec, but an npub is expected"),
        ("npub1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqzqujme", "no such point"),
        ("nprofile1qqsrhuxx8l9ex335q7he0f09aej04zpazpl0ne2cgukyawd24mayt8gpp4mhxue69uhhytnc9e3k7mgpz4mhxue69uhk"
         "g6nzv9ejuumpv34kytnrdaksjlyr9p", "nprofile"),
        ("npub1\N{SNOWMAN}", "not a valid npub"),
    ],
)  # fmt: skip
def test_what_is_no_npub_is_refused(npub: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        npub_to_hex(npub)


def test_an_npub_beside_the_curve_is_refused() -> None:
    words = convertbits(b"\xff" * 32, 8, 5)
    assert words is not None
    with pytest.raises(ValueError, match="no such point"):
        npub_to_hex(bech32_encode("npub", words))


@pytest.mark.parametrize("pubkey", ["", "00", "zz" * 32, "ff" * 32, NPUB_HEX + "00", "ab " * 21 + "a"])
def test_what_is_no_public_key_is_refused(pubkey: str) -> None:
    with pytest.raises(ValueError):
        hex_to_npub(pubkey)


@pytest.mark.parametrize("text", ["", "00" * 32, "ff" * 32, "hunter2", NPUB, NSEC[:-1] + "q", "ab" * 31])
def test_what_is_no_secret_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_secret_key(text)
    assert not text or text not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_secret_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        public_key_of(b"\x01" * 31)


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["npub", "nsec"]))
def test_decoding_by_table_agrees_with_the_library(raw: bytes, prefix: str) -> None:
    words = convertbits(raw, 8, 5)
    assert words is not None
    text = bech32_encode(prefix, words)
    assert _quickly_from_bech32(text, prefix) == _slowly_from_bech32(text, prefix) == raw


@given(st.integers(0, len(NPUB) - 1), st.text(max_size=2), st.integers(0, 2))
def test_decoding_by_table_takes_nothing_that_the_library_refuses(at: int, noise: str, dropped: int) -> None:
    text = NPUB[:at] + noise + NPUB[at + dropped :]
    quick = _quickly_from_bech32(text, "npub")
    if quick is not None:
        assert quick == _slowly_from_bech32(text, "npub")


def test_padding_that_is_not_zero_is_refused() -> None:
    words = convertbits(bytes(32), 8, 5)
    assert words is not None
    text = bech32_encode("npub", [*words[:-1], 1])
    assert _quickly_from_bech32(text, "npub") is None
    with pytest.raises(ValueError, match="does not contain"):
        _slowly_from_bech32(text, "npub")
