"""Keys of payments are made, read and compared in one place, and who a payee is depends on nothing but the payee."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satmachine import identity
from satmachine.identity import BalanceLeg, PayeeIdentity, PayeeKind, SaleLeg

SALE = "ab" * 32
slugs = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
numbers = st.integers(1, 999_999_999)


@given(
    st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}"),
    numbers,
    st.one_of(
        st.just("super"),
        st.tuples(st.sampled_from(["split", "dca", "fwd"]), slugs).map(":".join),
        numbers.map(lambda number: f"refund:{number}"),
    ),
)
def test_a_key_of_a_sales_leg_reads_as_what_it_was_made_of(sale: str, revision: int, leg: str) -> None:
    key = identity.sale_leg_key(sale, revision, leg)
    assert identity.parse_key(key) == SaleLeg(sale, revision, leg)
    assert identity.belongs(key, identity.sale_bundle(sale))
    assert len(key) <= 256


@given(slugs, slugs, numbers)
def test_a_key_of_a_balance_payout_reads_as_what_it_was_made_of(machine: str, client: str, number: int) -> None:
    key = identity.balance_leg_key(machine, client, number)
    assert identity.parse_key(key) == BalanceLeg(machine, client, number)
    assert identity.belongs(key, identity.balance_bundles(machine, client))


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "sm1:",
        f"sm1:{SALE}",
        f"sm1:{SALE}:r0:super",
        f"sm1:{SALE}:r1:owner",
        f"sm1:{SALE}:r1:split:",
        f"sm1:{SALE}:r1:super:x",
        f"sm2:{SALE}:r1:super",
        f" sm1:{SALE}:r1:super",
        f"sm1:{SALE.upper()}:r1:super",
        f"sm1:{SALE}:mark:{'0' * 16}",
        "sm1:bal:machine:maria:0",
        "sm1:bal:machine:maria:1:2",
    ],
)
def test_what_satmachine_never_makes_names_no_leg(key: str | None) -> None:
    assert identity.parse_key(key) is None


def test_a_bundle_does_not_take_in_another_that_begins_alike() -> None:
    assert not identity.belongs("sm1:bal:m:maria:12", "sm1:bal:m:maria:1")
    assert not identity.belongs("sm1:bal:m:maria-2:1", identity.balance_bundles("m", "maria"))
    assert not identity.belongs(f"x{identity.sale_bundle(SALE)}:r1:super", identity.sale_bundle(SALE))


def test_a_mark_is_no_leg_and_every_leg_is_no_mark() -> None:
    mark = identity.mark_key(identity.sale_bundle(SALE), "0" * 16)
    assert identity.is_mark(mark)
    assert identity.parse_key(mark) is None
    assert identity.belongs(mark, identity.sale_bundle(SALE))
    assert not identity.is_mark(identity.sale_leg_key(SALE, 1, "split:mark"))
    assert not identity.is_mark(None)


WALLET = PayeeIdentity(PayeeKind.WALLET, "w1")


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        (WALLET, WALLET, False),
        (WALLET, PayeeIdentity(PayeeKind.WALLET, "w2"), True),
        (WALLET, PayeeIdentity(PayeeKind.WALLET, None), False),
        (PayeeIdentity(PayeeKind.WALLET, None), PayeeIdentity(PayeeKind.WALLET, None), False),
        (WALLET, PayeeIdentity(PayeeKind.LIGHTNING_ADDRESS, "w1"), True),
        (PayeeIdentity(PayeeKind.WALLET, None), PayeeIdentity(PayeeKind.LNURL, "x"), True),
    ],
)
def test_who_differs_from_whom(one: PayeeIdentity, other: PayeeIdentity, *, differs: bool) -> None:
    assert one.differs(other) is differs
    assert other.differs(one) is differs
