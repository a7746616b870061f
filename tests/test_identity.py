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


@pytest.mark.parametrize(
    ("key", "made"),
    [
        (identity.sale_leg_key(SALE, 1, "super"), f"sm1:{SALE}:r1:super"),
        (identity.sale_leg_key(SALE, 12, "dca:maria"), f"sm1:{SALE}:r12:dca:maria"),
        (identity.balance_leg_key("machine-1", "maria", 3), "sm1:bal:machine-1:maria:3"),
        (identity.mark_key(identity.sale_bundle(SALE), "0" * 16), f"sm1:{SALE}:mark:{'0' * 16}"),
        (identity.client_scope(7), "client:7"),
        (identity.ruleset_scope("machine", "m-1", "atitlan", "owner"), "machine:m-1:owner"),
        (identity.ruleset_scope("operator", "m-1", "atitlan", "owner"), "operator:atitlan:owner"),
        (identity.tag("npub1x"), "satmachine:npub1x"),
        (identity.tag_pattern(), "satmachine:"),
    ],
)
def test_what_is_in_wallets_and_books_already_keeps_its_name_in_every_later_version(key: str, made: str) -> None:
    """A payment that is looked for under another name than it was made with would be made again."""
    assert key == made


def test_the_tag_of_every_machine_contains_what_all_are_found_by() -> None:
    assert identity.tag_pattern() in identity.tag("npub1x")


def test_a_sale_without_proof_is_named_by_the_surest_thing_that_is_known() -> None:
    event_id, txid = "ee" * 32, "tx 7%"
    assert identity.waived_settlement_key(SALE, txid, event_id) == SALE
    assert identity.waived_settlement_key(None, None, event_id) == event_id
    digest = identity.waived_settlement_key(None, txid, event_id)
    assert digest == "ba2a32d1cfa75e096cc453112480dd346c623ce95a20b431310b6db739b0dc88"
    assert identity.parse_key(identity.sale_leg_key(digest, 1, "super")) == SaleLeg(digest, 1, "super")


@given(st.text(max_size=128), st.text(max_size=128))
def test_two_numbers_of_a_machine_never_name_one_sale(one: str, other: str) -> None:
    keys = {identity.waived_settlement_key(None, txid, None) for txid in (one, other)}
    assert len(keys) == len({one, other})


@pytest.mark.parametrize("key", ["0:mark:0", f"{SALE}:mark:{'0' * 16}", "sm2:a:mark:b", "xsm1:a:mark:b"])
def test_who_writes_a_row_that_only_looks_like_a_mark_does_not_hide_a_customers_payment(key: str) -> None:
    """What is taken for a mark is never a sale."""
    assert not identity.is_mark(key)


def test_a_bundle_takes_in_itself_and_what_has_no_key_belongs_to_none() -> None:
    payout = identity.balance_leg_key("m", "maria", 1)
    assert identity.belongs(payout, payout)
    assert not identity.belongs(None, payout)


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
