"""The LNbits client behind a proxy that loses and spoils answers: nothing is believed, nothing is guessed."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from satmachine.errors import WalletRefused, WalletUnavailable
from satmachine.models import Answer
from satmachine.wallet.lnbits import Invoice, Lnbits
from testkit.lnbits import LnbitsServer, WalletKeys, running_lnbits
from testkit.proxy import Fault, FaultProxy, Request, matching, scripted, seeded


@pytest.fixture
async def proxy(lnbits: LnbitsServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(lnbits.url, scripted([])) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[Lnbits]:
    async with Lnbits(proxy.url, instance_id="i", timeout_s=20) as client:
        yield client


@pytest.fixture
async def source(lnbits: LnbitsServer) -> WalletKeys:
    wallet = await lnbits.create_wallet("machine")
    await lnbits.credit(wallet.id, 10_000)
    return wallet


@pytest.fixture
async def destination(lnbits: LnbitsServer) -> WalletKeys:
    return await lnbits.create_wallet("payee")


async def an_invoice(client: Lnbits, wallet: WalletKeys, amount_sats: int = 100) -> Invoice:
    return await client.create_invoice(
        wallet.invoice_key,
        amount_sats=amount_sats,
        memo="Leg",
        expiry_s=86_400,
        extra={"tag": "t"},
        external_id=f"sm1:{secrets.token_hex(32)}:r1:super",
    )


SPOILT_AFTERWARDS = [
    Fault.RESET_AFTER,
    Fault.BAD_GATEWAY_AFTER,
    Fault.GATEWAY_TIMEOUT_AFTER,
    Fault.HTML_AFTER,
    Fault.TRUNCATED_JSON,
]


@pytest.mark.parametrize("fault", SPOILT_AFTERWARDS)
async def test_a_lost_answer_to_a_payment_that_happened_is_unknown(
    client: Lnbits, proxy: FaultProxy, source: WalletKeys, destination: WalletKeys, fault: Fault
) -> None:
    invoice = await an_invoice(client, destination)
    proxy.plan = scripted([fault])
    answer = await client.pay(source.admin_key, invoice.bolt11, extra={}, external_id="k")
    assert (answer.answer, answer.permanent) == (Answer.UNKNOWN, False)
    assert len([e for e in proxy.log if e.fault is fault]) == 1, "sent once and not again"
    (debit,) = await client.payments(source.admin_key, payment_hash=invoice.payment_hash)
    assert debit.status is Answer.SUCCESS


async def test_a_lost_request_is_unknown_too(
    client: Lnbits, proxy: FaultProxy, source: WalletKeys, destination: WalletKeys
) -> None:
    invoice = await an_invoice(client, destination)
    proxy.plan = scripted([Fault.RESET_BEFORE])
    answer = await client.pay(source.admin_key, invoice.bolt11, extra={}, external_id="k")
    assert answer.answer is Answer.UNKNOWN
    assert await client.payments(source.admin_key, payment_hash=invoice.payment_hash) == []


async def test_an_answer_about_another_amount_is_not_believed(
    client: Lnbits, proxy: FaultProxy, destination: WalletKeys
) -> None:
    proxy.plan = scripted([Fault.SWALLOWED_ROW])  # nothing to swallow: harmless
    await an_invoice(client, destination)
    proxy.plan = scripted([Fault.TRUNCATED_JSON])
    with pytest.raises(WalletUnavailable, match="answered POST /api/v1/payments wrongly"):
        await an_invoice(client, destination)


@pytest.mark.parametrize("fault", [*SPOILT_AFTERWARDS, Fault.RESET_BEFORE, Fault.TOO_MANY_REQUESTS])
async def test_reads_say_that_nothing_is_known(
    client: Lnbits, proxy: FaultProxy, source: WalletKeys, fault: Fault
) -> None:
    for read in (client.wallet, client.payments):
        proxy.plan = scripted([fault])
        with pytest.raises(WalletUnavailable) as unavailable:
            await read(source.admin_key)
        assert source.admin_key not in str(unavailable.value)
        assert (unavailable.value.retry_after_s is not None) == (fault is Fault.TOO_MANY_REQUESTS)


async def test_a_row_that_is_counted_but_not_shown_is_asked_for_again(
    client: Lnbits, proxy: FaultProxy, source: WalletKeys, destination: WalletKeys
) -> None:
    for amount_sats in (1, 2, 3):
        await an_invoice(client, destination, amount_sats)
    proxy.plan = scripted([Fault.SWALLOWED_ROW])
    assert len(await client.payments(destination.invoice_key)) == 3
    proxy.plan = lambda request: Fault.SWALLOWED_ROW
    with pytest.raises(WalletUnavailable, match="does not show them all"):
        await client.payments(source.admin_key, incoming=True)


async def test_latency_is_only_slow(client: Lnbits, proxy: FaultProxy, source: WalletKeys) -> None:
    proxy.plan = scripted([Fault.LATENCY])
    assert (await client.wallet(source.admin_key)).balance_msat == 10_000_000


async def test_429_to_a_payment_is_a_transient_failure_and_the_route_pauses(
    client: Lnbits, proxy: FaultProxy, source: WalletKeys, destination: WalletKeys
) -> None:
    invoice = await an_invoice(client, destination)
    proxy.plan = scripted([Fault.TOO_MANY_REQUESTS])
    refused = await client.pay(source.admin_key, invoice.bolt11, extra={}, external_id="k")
    assert (refused.answer, refused.permanent) == (Answer.FAILURE, False)
    assert refused.retry_after_s is not None
    assert refused.retry_after_s > 0
    paid = await client.pay(source.admin_key, invoice.bolt11, extra={}, external_id="k")
    assert paid.answer is Answer.SUCCESS


async def test_a_refusal_of_something_in_between_is_no_refusal_of_lnbits(proxy: FaultProxy) -> None:
    async def forbidden_page(request: httpx.Request) -> httpx.Response:
        return httpx.Response(403, text="<h1>403 Forbidden</h1>")

    http = httpx.AsyncClient(transport=httpx.MockTransport(forbidden_page))
    async with http, Lnbits("http://lnbits.example", http=http, instance_id="i") as client:
        with pytest.raises(WalletUnavailable):
            await client.wallet("key")
        answer = await client.pay("key", "lnbc1", extra={}, external_id="k")
        assert answer.answer is Answer.UNKNOWN


async def test_payment_already_exists_is_a_400_and_must_not_be_a_failure() -> None:
    async def race_in_lnbits(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"detail": "Payment already exists"})

    http = httpx.AsyncClient(transport=httpx.MockTransport(race_in_lnbits))
    async with http, Lnbits("http://lnbits.example", http=http, instance_id="i") as client:
        answer = await client.pay("key", "lnbc1", extra={}, external_id="k")
        assert answer.answer is Answer.UNKNOWN


async def test_an_endless_answer_is_cut_off() -> None:
    async def flood(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"x" * (33 * 1024 * 1024))

    http = httpx.AsyncClient(transport=httpx.MockTransport(flood))
    async with http, Lnbits("http://lnbits.example", http=http, instance_id="i") as client:
        with pytest.raises(WalletUnavailable, match="answered more than"):
            await client.wallet("key")


async def test_the_real_rate_limit_says_when_to_come_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with running_lnbits(tmp_path_factory.mktemp("limited"), rate_limit_per_minute=12) as server:
        wallet = await server.create_wallet("machine")
        refusals: list[WalletUnavailable] = []
        async with Lnbits(server.url, instance_id="i") as client:
            for _ in range(13):
                try:
                    await client.wallet(wallet.admin_key)
                except WalletUnavailable as error:
                    refusals.append(error)
        assert len(refusals) == 2, "the limit counts by path: create_wallet was the first of twelve"
        assert "HTTP 429" in str(refusals[0])
        assert refusals[0].retry_after_s is not None


async def test_a_campaign_of_faults_pays_every_invoice_at_most_once(
    client: Lnbits, proxy: FaultProxy, source: WalletKeys, destination: WalletKeys
) -> None:
    invoices = [await an_invoice(client, destination) for _ in range(10)]
    rates = {Fault.RESET_AFTER: 0.3, Fault.RESET_BEFORE: 0.2, Fault.BAD_GATEWAY_AFTER: 0.2}
    proxy.plan = matching(is_post, seeded(7, rates))
    for _ in range(2):
        for invoice in invoices:
            await client.pay(source.admin_key, invoice.bolt11, extra={}, external_id=invoice.payment_hash)
    debits = await client.payments(source.admin_key, incoming=False)
    assert len({debit.payment_hash for debit in debits}) == len(debits)
    balance_msat = (await client.wallet(source.admin_key)).balance_msat
    assert balance_msat == 10_000_000 - 100_000 * len(debits)


def is_post(request: Request) -> bool:
    return request.method == "POST"


async def test_refusals_name_the_status_but_never_the_key(lnbits: LnbitsServer) -> None:
    async with Lnbits(lnbits.url, instance_id="i") as client:
        with pytest.raises(WalletRefused, match="HTTP 404, Wallet not found") as refused:
            await client.wallet("f" * 32)
    assert refused.value.status == 404
    assert "f" * 32 not in str(refused.value)


async def test_many_calls_at_once_share_the_client(lnbits: LnbitsServer, source: WalletKeys) -> None:
    async with Lnbits(lnbits.url, instance_id="i", max_concurrency=2) as client, anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(client.wallet, source.admin_key)
