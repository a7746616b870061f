"""Reading invoices: the vectors of BOLT 11, and what a stranger might send instead."""

from __future__ import annotations

import contextlib

import pytest
from bech32 import bech32_encode
from hypothesis import given
from hypothesis import strategies as st

from satmachine.wallet.bolt11 import InvoiceError, decode

HASH = "0001020304050607080900010203040506070809000102030405060708090102"

# The examples of BOLT 11.
DONATION = (
    "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqf"
    "qqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2"
    "ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql"
)
COFFEE = (
    "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rq"
    "wzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhed"
    "h8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh"
)
HASHED = (
    "lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwz"
    "qfqqqsyqcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqs9qrsgq7ea976txfraylvgzuxs"
    "8kgcw23ezlrszfnh8r6qtfpr6cxga50aj6txm9rxrydzd06dfeawfk6swupvz4erwnyutnjq7x39ymw6j38gp7ynn44"
)


def test_an_invoice_without_an_amount_and_with_the_default_expiry() -> None:
    invoice = decode(DONATION)
    assert (invoice.amount_msat, invoice.payment_hash) == (None, HASH)
    assert (invoice.created_at, invoice.expires_at) == (1496314658, 1496314658 + 3600)
    assert invoice.description == "Please consider supporting this project"


def test_amount_description_and_expiry() -> None:
    invoice = decode(COFFEE.upper())
    assert (invoice.amount_msat, invoice.payment_hash) == (250_000_000, HASH)
    assert invoice.expires_at - invoice.created_at == 60
    assert invoice.description == "1 cup coffee"


def test_a_description_hash() -> None:
    invoice = decode(HASHED)
    assert invoice.amount_msat == 2_000_000_000
    assert invoice.description is None
    assert invoice.description_hash == "3925b6f67e2c340036ed12093dd44e0368df1b6ea26c53dbe4811f58fd5db8c1"


@pytest.mark.parametrize(
    ("prefix", "amount_msat"),
    [
        ("lnbc1", 100_000_000_000),
        ("lnbc1m", 100_000_000),
        ("lnbc1u", 100_000),
        ("lnbc1n", 100),
        ("lnbc10p", 1),
        ("lntb20m", 2_000_000_000),
        ("lnbcrt5u", 500_000),
        ("lnbc", None),
    ],
)
def test_every_unit_of_the_amount(prefix: str, amount_msat: int | None) -> None:
    assert decode(with_prefix(prefix)).amount_msat == amount_msat


@pytest.mark.parametrize("prefix", ["lnbc1p", "lnbc0u", "lnbc01u", "lnbc1x", "lnxx1u", "bc1u", "lnbc-1u"])
def test_an_amount_or_network_that_does_not_exist(prefix: str) -> None:
    with pytest.raises(InvoiceError):
        decode(with_prefix(prefix))


def with_prefix(prefix: str) -> str:
    """The coffee invoice's body under another human-readable part; the signature does not matter here."""
    charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    body = COFFEE[len("lnbc2500u1") : -6]
    return bech32_encode(prefix, [charset.index(char) for char in body])


@pytest.mark.parametrize(
    ("bolt11", "reason"),
    [
        ("", "not bech32"),
        ("lnbc1nonsense", "not bech32"),
        (COFFEE[:-1] + "q", "checksum"),
        (COFFEE[:10] + "Q" + COFFEE[11:], "not bech32"),
        (bech32_encode("lnbc", [0] * 50), "too short"),
        (bech32_encode("lnbc", [0] * 111), "no payment hash"),
        (bech32_encode("lnbc", [0] * 113), "ends within a field"),
        (bech32_encode("lnbc", [0] * 7 + [1, 31, 31] + [0] * 104), "longer than the invoice"),
        ("lnbc1" + "q" * 8000, "longer than"),
        ("lnbc1é", "not bech32"),
    ],
)
def test_what_is_no_invoice_says_why(bolt11: str, reason: str) -> None:
    with pytest.raises(InvoiceError, match=reason):
        decode(bolt11)


SIGNATURE = [0] * 104
PAYMENT_HASH = [1, 1, 20, *[1] * 52]  # "p", of 52 groups


def invoice_of(*fields: list[int], created: int = 0, prefix: str = "lnbc1u") -> str:
    time = [created >> shift & 31 for shift in range(30, -1, -5)]
    return bech32_encode(prefix, [*time, *(group for field in fields for group in field), *SIGNATURE])


def test_of_two_fields_of_a_kind_the_first_counts_as_for_lnbits() -> None:
    """A stranger's server could show one hash to the program and another one to LNbits."""
    other = [1, 1, 20, *[2] * 52]
    assert decode(invoice_of(PAYMENT_HASH, other)).payment_hash == decode(invoice_of(PAYMENT_HASH)).payment_hash
    assert decode(invoice_of(other, PAYMENT_HASH)).payment_hash == decode(invoice_of(other)).payment_hash


@pytest.mark.parametrize("groups", [0, 51, 53])
def test_a_hash_of_another_length_is_skipped(groups: int) -> None:
    wrong = [1, groups // 32, groups % 32, *[3] * groups]
    assert decode(invoice_of(wrong, PAYMENT_HASH)).payment_hash == decode(invoice_of(PAYMENT_HASH)).payment_hash
    with pytest.raises(InvoiceError, match="no payment hash"):
        decode(invoice_of(wrong))


@pytest.mark.parametrize(
    ("expiry", "seconds"), [([0], 0), ([1], 1), ([1, 0], 32), ([1, 28, 4], 1924), ([0] * 11 + [7], 7)]
)
def test_an_expiry_of_any_length_is_read(expiry: list[int], seconds: int) -> None:
    invoice = decode(invoice_of(PAYMENT_HASH, [6, 0, len(expiry), *expiry], created=1_000))
    assert (invoice.created_at, invoice.expires_at) == (1_000, 1_000 + seconds)


def test_an_expiry_after_the_end_of_the_world_is_refused() -> None:
    assert decode(invoice_of(PAYMENT_HASH, [6, 0, 12, *[31] * 12])).expires_at == 2**60 - 1
    with pytest.raises(InvoiceError, match="too large"):
        decode(invoice_of(PAYMENT_HASH, [6, 0, 13, *[0] * 13]))


def test_a_field_that_ends_with_the_invoice_is_whole() -> None:
    described = decode(invoice_of(PAYMENT_HASH, [13, 0, 2, 12, 4]))  # "a"
    assert described.description == "a"
    with pytest.raises(InvoiceError, match="longer than the invoice"):
        decode(invoice_of(PAYMENT_HASH, [13, 0, 3, 12, 4]))


def test_a_description_that_is_no_text_is_still_an_invoice() -> None:
    assert decode(invoice_of(PAYMENT_HASH, [13, 0, 2, 31, 31])).description == "\ufffd"


def test_the_longest_invoice_that_is_read() -> None:
    """Some wallets give many route hints; LNbits takes as much."""
    known = len(invoice_of(PAYMENT_HASH))
    hint = 7_089 - known - 3  # an unknown field, "r", that fills it up
    fields: list[list[int]] = [PAYMENT_HASH]
    while hint > 0:
        groups = min(hint, 1_023)
        fields.append([3, groups // 32, groups % 32, *[0] * groups])
        hint -= groups + 3
    full = invoice_of(*fields)
    assert decode(full).amount_msat == 100_000
    with pytest.raises(InvoiceError, match="longer than 7089"):
        decode(full.ljust(7_090, "q"))


@given(st.lists(st.integers(0, 31), max_size=400))
def test_a_stranger_can_only_cause_an_invoice_error(groups: list[int]) -> None:
    with contextlib.suppress(InvoiceError):
        decode(bech32_encode("lnbc1u", groups))
