"""The LNbits client against a real LNbits: every fact that the payer relies on."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from decimal import Decimal

import anyio
import pytest

from satmachine.errors import WalletRefused, WalletUnavailable
from satmachine.models import Answer
from satmachine.wallet.lnbits import Invoice, Lnbits, PayAnswer
from testkit.lnbits import HAS_EXTERNAL_ID, LNBITS_VERSION, LnbitsServer, WalletKeys

TAG = "satmachine:npub1machine"


def new_leg_key(leg: str = "super") -> str:
    return f"sm1:{secrets.token_hex(32)}:r1:{leg}"


@pytest.fixture
async def client(lnbits: LnbitsServer) -> AsyncIterator[Lnbits]:
    async with Lnbits(lnbits.url, instance_id="test-instance") as client:
        yield client


@pytest.fixture
async def source(lnbits: LnbitsServer) -> WalletKeys:
    wallet = await lnbits.create_wallet("machine")
    await lnbits.credit(wallet.id, 10_000)
    return wallet


@pytest.fixture
async def destination(lnbits: LnbitsServer) -> WalletKeys:
    return await lnbits.create_wallet("payee")


async def invoice_for(
    client: Lnbits, wallet: WalletKeys, amount_sats: int, leg_key: str, *, expiry_s: int = 86_400
) -> Invoice:
    return await client.create_invoice(
        wallet.invoice_key,
        amount_sats=amount_sats,
        memo="Commission",
        expiry_s=expiry_s,
        extra={"tag": TAG, "rate": "0.1"},
        external_id=leg_key,
    )


async def pay(client: Lnbits, wallet: WalletKeys, invoice: Invoice, leg_key: str) -> PayAnswer:
    extra = {"tag": TAG, "rate": "0.1"}
    return await client.pay(wallet.admin_key, invoice.bolt11, extra=extra, external_id=leg_key)


# --- capabilities and wallets


async def test_probe_tells_version_and_external_id_even_from_an_empty_wallet(
    client: Lnbits, destination: WalletKeys
) -> None:
    capabilities = await client.probe(destination.invoice_key)
    assert capabilities.version == LNBITS_VERSION
    assert capabilities.external_id is HAS_EXTERNAL_ID


async def test_an_admin_key_can_pay_and_an_invoice_key_cannot(client: Lnbits, source: WalletKeys) -> None:
    admin = await client.wallet(source.admin_key)
    assert (admin.wallet_id, admin.name, admin.balance_msat, admin.can_pay) == (
        source.id,
        "machine",
        10_000_000,
        True,
    )
    invoice = await client.wallet(source.invoice_key)
    assert (invoice.wallet_id, invoice.balance_msat, invoice.can_pay) == (None, 10_000_000, False)


@pytest.mark.parametrize("key", ["nonsense", "0" * 32, "new\nline", "schlüssel", ""])
async def test_a_bad_key_is_refused_by_every_call_and_never_shown(client: Lnbits, key: str) -> None:
    with pytest.raises(WalletRefused) as refused:
        await client.wallet(key)
    assert not key or key not in str(refused.value)
    with pytest.raises(WalletRefused):
        await client.payments(key)
    with pytest.raises(WalletRefused):
        await client.create_invoice(key, amount_sats=1, memo="", expiry_s=60, extra={}, external_id="x")
    answer = await client.pay(key, "lnbc1", extra={}, external_id="x")
    assert (answer.answer, answer.permanent) == (Answer.FAILURE, True)


# --- paying


async def test_a_payment_is_seen_from_both_sides_with_all_that_was_sent(
    client: Lnbits, source: WalletKeys, destination: WalletKeys
) -> None:
    await client.probe(source.invoice_key)
    leg_key = new_leg_key()
    invoice = await invoice_for(client, destination, 2_390, leg_key)
    assert invoice.expires_at == pytest.approx(time.time() + 86_400, abs=60)
    answer = await pay(client, source, invoice, leg_key)
    assert answer.answer is Answer.SUCCESS

    (debit,) = await client.payments(source.admin_key, payment_hash=invoice.payment_hash)
    (credit,) = await client.payments(destination.invoice_key, payment_hash=invoice.payment_hash)
    assert (debit.outgoing, debit.amount_msat, debit.wallet_id) == (True, -2_390_000, source.id)
    assert (credit.incoming, credit.amount_msat, credit.wallet_id) == (True, 2_390_000, destination.id)
    for side in (debit, credit):
        assert side.status is Answer.SUCCESS
        assert (side.amount_sats, side.fee_msat, side.tag) == (2_390, 0, TAG)
        assert side.external_id == (leg_key if HAS_EXTERNAL_ID else None)
        assert side.leg_key == leg_key
        assert side.extra["instance"] == "test-instance"
        assert side.extra["rate"] == "0.1"
        assert side.expires_at == invoice.expires_at
        assert "Commission" in side.memo
        assert HAS_EXTERNAL_ID or leg_key in side.memo


async def test_what_lnbits_takes_for_html_cannot_break_extra(client: Lnbits, destination: WalletKeys) -> None:
    extra = {"name": "Bob & Co; <b", "note": "a > b", "deep": {"x": ["<>"]}}
    await client.create_invoice(
        destination.invoice_key, amount_sats=1, memo="<3 & more;", expiry_s=60, extra=extra, external_id="k"
    )
    (payment,) = await client.payments(destination.invoice_key)
    assert payment.extra["name"] == "Bob + Co; (b"
    assert payment.extra["note"] == "a ) b"
    assert payment.extra["deep"] == {"x": ["()"]}
    assert payment.memo.startswith("(3 + more;")


async def test_numbers_in_extra_come_back_without_binary_fractions(
    client: Lnbits, lnbits: LnbitsServer, destination: WalletKeys
) -> None:
    sale = {"source": "bitspire", "exchange_rate": 266.8, "gross_sats": 2668}
    payment_hash = await lnbits.pay_customer_invoice(destination, 2668, sale, "Sale")
    (payment,) = await client.payments(destination.invoice_key, payment_hash=payment_hash, incoming=True)
    assert payment.extra == {"source": "bitspire", "exchange_rate": Decimal("266.8"), "gross_sats": 2668}


async def test_the_same_invoice_is_paid_once_and_the_second_answer_proves_nothing(
    client: Lnbits, source: WalletKeys, destination: WalletKeys
) -> None:
    leg_key = new_leg_key()
    invoice = await invoice_for(client, destination, 100, leg_key)
    assert (await pay(client, source, invoice, leg_key)).answer is Answer.SUCCESS
    again = await pay(client, source, invoice, leg_key)
    assert (again.answer, again.permanent) == (Answer.UNKNOWN, False)
    assert "already paid" in again.detail
    assert (await client.wallet(source.admin_key)).balance_msat == 9_900_000
    assert len(await client.bundle(source.admin_key, leg_key)) == 1


async def test_eight_at_once_make_one_debit(client: Lnbits, source: WalletKeys, destination: WalletKeys) -> None:
    leg_key = new_leg_key()
    invoice = await invoice_for(client, destination, 100, leg_key)
    answers: list[Answer] = []

    async def pay_once() -> None:
        answers.append((await pay(client, source, invoice, leg_key)).answer)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(pay_once)
    assert answers.count(Answer.SUCCESS) == 1
    assert answers.count(Answer.UNKNOWN) == 7
    assert (await client.wallet(source.admin_key)).balance_msat == 9_900_000
    assert (await client.wallet(destination.admin_key)).balance_msat == 100_000


async def test_insufficient_balance_is_unknown_until_looked_up_and_leaves_no_row(
    client: Lnbits, source: WalletKeys, destination: WalletKeys
) -> None:
    leg_key = new_leg_key()
    invoice = await invoice_for(client, destination, 10_001, leg_key)
    answer = await pay(client, source, invoice, leg_key)
    assert answer.answer is Answer.UNKNOWN
    assert "Insufficient balance" in answer.detail
    assert await client.bundle(source.admin_key, leg_key) == []
    (pending,) = await client.bundle(destination.invoice_key, leg_key)
    assert pending.status is Answer.PENDING


async def test_an_invoice_key_cannot_pay(client: Lnbits, source: WalletKeys, destination: WalletKeys) -> None:
    invoice = await invoice_for(client, destination, 100, "k")
    answer = await client.pay(source.invoice_key, invoice.bolt11, extra={}, external_id="k")
    assert (answer.answer, answer.permanent) == (Answer.FAILURE, True)
    assert "HTTP 403" in answer.detail


@pytest.mark.skipif(not HAS_EXTERNAL_ID, reason="before 1.5 nothing checks the external id")
async def test_a_request_of_the_wrong_form_is_a_permanent_failure(
    client: Lnbits, source: WalletKeys, destination: WalletKeys
) -> None:
    invoice = await invoice_for(client, destination, 100, "k")
    answer = await client.pay(source.admin_key, invoice.bolt11, extra={}, external_id="with space")
    assert (answer.answer, answer.permanent) == (Answer.FAILURE, True)


async def test_no_invoice_to_pay_is_a_permanent_failure(client: Lnbits, source: WalletKeys) -> None:
    answer = await client.pay(source.admin_key, "", extra={}, external_id="k")
    assert (answer.answer, answer.permanent) == (Answer.FAILURE, True)


async def test_nonsense_instead_of_an_invoice_is_unknown(client: Lnbits, source: WalletKeys) -> None:
    answer = await client.pay(source.admin_key, "lnbc1nonsense", extra={}, external_id="k")
    assert answer.answer is Answer.UNKNOWN


async def test_an_expired_internal_invoice_is_still_paid(
    client: Lnbits, source: WalletKeys, destination: WalletKeys
) -> None:
    leg_key = new_leg_key()
    invoice = await invoice_for(client, destination, 100, leg_key, expiry_s=1)
    await anyio.sleep(max(0.0, invoice.expires_at + 1 - time.time()))
    assert (await pay(client, source, invoice, leg_key)).answer is Answer.SUCCESS


async def test_failed_payments_are_listed(
    client: Lnbits, lnbits: LnbitsServer, source: WalletKeys, destination: WalletKeys
) -> None:
    leg_key = new_leg_key()
    invoice = await invoice_for(client, destination, 100, leg_key)
    mark_failed(lnbits, invoice.payment_hash)
    (failed,) = await client.payments(destination.invoice_key, status=Answer.FAILURE)
    assert (failed.payment_hash, failed.status) == (invoice.payment_hash, Answer.FAILURE)
    answer = await pay(client, source, invoice, leg_key)
    assert answer.answer is Answer.UNKNOWN
    assert (await client.wallet(source.admin_key)).balance_msat == 10_000_000


def mark_failed(lnbits: LnbitsServer, payment_hash: str) -> None:
    """As LNbits' own sweep does after the expiry."""
    lnbits.sql(f"UPDATE apipayments SET status = 'failed' WHERE payment_hash = '{payment_hash}'")


def spread_over_seconds(lnbits: LnbitsServer, payment_hashes: list[str]) -> None:
    """One invoice a second, as in life, ending some time ago."""
    start = int(time.time()) - 3600
    for n, payment_hash in enumerate(payment_hashes):
        moment = lnbits.moment(start + n)
        lnbits.sql(f"UPDATE apipayments SET time = {moment} WHERE payment_hash = '{payment_hash}'")


# --- invoices


async def test_an_invoice_beyond_the_limit_is_not_made(client: Lnbits, destination: WalletKeys) -> None:
    with pytest.raises(WalletUnavailable, match="20000000 sats"):
        await invoice_for(client, destination, 20_000_000, "k")


async def test_a_long_memo_is_cut_to_what_an_invoice_can_hold(client: Lnbits, destination: WalletKeys) -> None:
    await client.create_invoice(
        destination.invoice_key, amount_sats=1, memo="é" * 700, expiry_s=3600, extra={}, external_id="k"
    )
    (payment,) = await client.payments(destination.invoice_key)
    assert payment.memo.startswith("é" * 100)


# --- reading


async def test_look_up_by_leg_key_and_by_settlement(
    client: Lnbits, source: WalletKeys, destination: WalletKeys
) -> None:
    settlement = f"sm1:{secrets.token_hex(32)}"
    legs = [f"{settlement}:r1:super", f"{settlement}:r1:split:owner", f"{settlement}:r2:super"]
    stranger = f"x{settlement}:r1:super"
    for leg_key in [*legs, stranger, new_leg_key()]:
        await pay(client, source, await invoice_for(client, destination, 10, leg_key), leg_key)
    for key in (source.admin_key, destination.invoice_key):
        (row,) = await client.bundle(key, legs[1])
        assert row.leg_key == legs[1]
        found = await client.bundle(key, settlement)
        assert sorted(row.leg_key or "" for row in found) == sorted(legs)
    assert await client.bundle(source.admin_key, settlement[:-1]) == []


async def test_several_sales_in_one_look(client: Lnbits, source: WalletKeys, destination: WalletKeys) -> None:
    names = [f"sm1:{secrets.token_hex(32)}" for _ in range(5)]
    hashes: dict[str, list[str]] = {name: [] for name in names}
    for name in names[:3]:
        for leg in ("super", "split:owner"):
            invoice = await invoice_for(client, destination, 10, f"{name}:r1:{leg}")
            await pay(client, source, invoice, f"{name}:r1:{leg}")
            hashes[name].append(invoice.payment_hash)
    stranger = await invoice_for(client, destination, 10, new_leg_key())
    await pay(client, source, stranger, new_leg_key())
    for key in (source.admin_key, destination.invoice_key):
        found = await client.bundles(key, names[:4])  # the fourth was never paid, the fifth is not asked for
        shown = {name: sorted(row.payment_hash for row in rows) for name, rows in found.items()}
        assert shown == {name: sorted(hashes[name]) for name in names[:4]}
    wanted = {*hashes[names[0]], *hashes[names[2]], "00" * 32}
    assert {row.payment_hash for row in await client.payments(source.admin_key, payment_hashes=wanted)} == (
        wanted - {"00" * 32}
    )


async def test_filters_combine(client: Lnbits, source: WalletKeys, destination: WalletKeys) -> None:
    started = int(time.time())
    leg_key = new_leg_key()
    invoice = await invoice_for(client, destination, 10, leg_key)
    await pay(client, source, invoice, leg_key)
    (debit,) = await client.payments(source.admin_key, tag=TAG, incoming=False, status=Answer.SUCCESS)
    assert await client.payments(source.admin_key, checking_id=debit.checking_id) == [debit]
    assert await client.payments(source.admin_key, tag="other") == []
    assert await client.payments(source.admin_key, incoming=True, tag=TAG) == []
    assert debit in await client.payments(source.admin_key, created_since=started)
    assert await client.payments(source.admin_key, created_since=started + 3600) == []


@pytest.mark.parametrize("page_size", [1, 2, 3, 5, 1000])
async def test_pages_have_no_gaps_and_no_doubles(
    client: Lnbits, lnbits: LnbitsServer, destination: WalletKeys, page_size: int
) -> None:
    made = [(await invoice_for(client, destination, n + 1, f"k{n}")).payment_hash for n in range(7)]
    read = [p.payment_hash for p in await client.payments(destination.invoice_key, page_size=page_size)]
    assert read == made


async def test_pages_have_no_gaps_when_all_rows_share_an_instant(
    client: Lnbits, lnbits: LnbitsServer, destination: WalletKeys
) -> None:
    made = {(await invoice_for(client, destination, n + 1, f"k{n}")).payment_hash for n in range(7)}
    lnbits.sql(f"UPDATE apipayments SET time = {lnbits.moment(1795382690)} WHERE wallet_id = '{destination.id}'")
    read = [p.payment_hash for p in await client.payments(destination.invoice_key, page_size=3)]
    assert len(read) == 7
    assert set(read) == made


async def test_what_arrives_or_leaves_between_pages_shifts_nothing(
    client: Lnbits, lnbits: LnbitsServer, destination: WalletKeys
) -> None:
    made = [(await invoice_for(client, destination, n + 1, f"k{n}")).payment_hash for n in range(6)]
    spread_over_seconds(lnbits, made)
    read: list[str] = []
    pages = client.iter_payments(destination.invoice_key, page_size=3, status=Answer.PENDING)
    async for page in pages:
        if not read:
            mark_failed(lnbits, made[0])
            made.append((await invoice_for(client, destination, 7, "k7")).payment_hash)
        read += [payment.payment_hash for payment in page]
    assert read == made


async def test_the_latest_changes_come_first_and_stop_where_asked(
    client: Lnbits, lnbits: LnbitsServer, source: WalletKeys, destination: WalletKeys
) -> None:
    invoices = [await invoice_for(client, destination, n + 1, f"k{n}") for n in range(5)]
    await pay(client, source, invoices[1], "k1")
    old = lnbits.moment(int(time.time()) - 3600)
    lnbits.sql(
        f"UPDATE apipayments SET updated_at = {old} "
        f"WHERE wallet_id = '{destination.id}' AND payment_hash != '{invoices[1].payment_hash}'"
    )
    since = int(time.time()) - 1800
    key = destination.invoice_key
    (changed,) = await client.payments(key, updated_since=since, page_size=2)
    assert changed.payment_hash == invoices[1].payment_hash
    assert await client.payments(key, updated_since=since, status=Answer.PENDING) == []
    assert len(await client.payments(key, updated_since=since - 7200, page_size=2)) == 5


async def test_a_prefix_that_would_be_a_pattern_is_a_mistake(client: Lnbits, source: WalletKeys) -> None:
    with pytest.raises(ValueError, match="pattern"):
        await client.payments(source.admin_key, external_id_prefixes=["sm1:ab", "sm1:%"])


async def test_without_a_server_reads_raise_and_payments_are_unknown() -> None:
    async with Lnbits("http://127.0.0.1:9", instance_id="i") as client:
        with pytest.raises(WalletUnavailable, match=r"http://127\.0\.0\.1:9: GET .* failed \(ConnectError\)"):
            await client.wallet("key")
        answer = await client.pay("key", "lnbc1", extra={}, external_id="k")
    assert (answer.answer, answer.permanent) == (Answer.UNKNOWN, False)
