"""LNbits commits the debit of an internal payment, then the credit: what is seen when it stops or dies in between.

What the payer rests on: an answer of success comes only after both; without it, what the source wallet shows, its
preimage included, proves nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from satmachine.errors import SatmachineError
from satmachine.models import Answer
from satmachine.wallet import bolt11
from satmachine.wallet.lnbits import Lnbits, PayAnswer
from satmachine.wallet.rows import WalletPayment
from testkit.lnbits import HAS_EXTERNAL_ID, LNBITS_VERSION, WalletKeys, ensure_environment
from testkit.paused_lnbits import PausedLnbits

#: How the invoice comes that is paid: made for a leg, from an address of the same LNbits, or given by a customer.
KINDS = ("internal", "address", "refund")


@pytest.fixture(scope="module")
async def server(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PausedLnbits]:
    server = PausedLnbits(ensure_environment(LNBITS_VERSION, say=print), tmp_path_factory.mktemp("paused"))
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def client(server: PausedLnbits) -> AsyncIterator[Lnbits]:
    async with Lnbits(server.url, instance_id="i") as client:
        yield client
    server.between_commits(None)


@pytest.fixture
async def machine(server: PausedLnbits) -> WalletKeys:
    wallet = await server.create_wallet("machine")
    await server.credit(wallet.id, 1_000)
    return wallet


@pytest.fixture
async def payee(server: PausedLnbits) -> WalletKeys:
    return await server.create_wallet("payee")


async def invoice_of(server: PausedLnbits, client: Lnbits, payee: WalletKeys, kind: str) -> str:
    if kind == "address":
        return await address_invoice(server, payee)
    made = await client.create_invoice(
        payee.invoice_key,
        amount_sats=100,
        memo="m",
        expiry_s=86_400,
        extra={},
        external_id="k",
        internal=kind == "internal",
    )
    return made.bolt11


async def address_invoice(server: PausedLnbits, payee: WalletKeys) -> str:
    """From LNbits' own LNURL server."""
    try:
        name, _, _ = server.address_of(payee.id).partition("@")
    except SatmachineError as error:
        pytest.skip(str(error))
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        offer = (await http.get(f"/.well-known/lnurlp/{name}")).json()
        answer = await http.get(offer["callback"], params={"amount": 100_000})
    return str(answer.json()["pr"])


async def pay(client: Lnbits, machine: WalletKeys, invoice: str) -> PayAnswer:
    return await client.pay(machine.admin_key, invoice, extra={"tag": "t"}, external_id="k")


async def side(client: Lnbits, key: str, invoice: str) -> WalletPayment:
    (row,) = await client.payments(key, payment_hash=bolt11.decode(invoice).payment_hash)
    return row


def committed(server: PausedLnbits, invoice: str) -> dict[bool, str]:
    """Straight from the database: the status of the incoming (True) and of the outgoing side."""
    payment_hash = bolt11.decode(invoice).payment_hash
    rows = server.sql(f"SELECT amount, status FROM apipayments WHERE payment_hash = '{payment_hash}'")
    return {int(amount) > 0: status for amount, status in rows}


@pytest.mark.parametrize("kind", KINDS)
async def test_success_is_answered_only_after_both_commits(
    server: PausedLnbits, client: Lnbits, machine: WalletKeys, payee: WalletKeys, kind: str
) -> None:
    invoice = await invoice_of(server, client, payee, kind)
    answers: list[PayAnswer] = []

    async def pay_it() -> None:
        answers.append(await pay(client, machine, invoice))

    server.between_commits("wait")
    before = len(server.came_there())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pay_it)
        await server.reached(before + 1)
        assert committed(server, invoice) == {True: "pending", False: "success"}
        assert answers == []
        server.between_commits(None)
    assert committed(server, invoice) == {True: "success", False: "success"}
    (answer,) = answers
    payment_hash = bolt11.decode(invoice).payment_hash
    assert (answer.answer, answer.detail) == (Answer.SUCCESS, f"payment internal_{payment_hash}")
    assert (await client.wallet(payee.admin_key)).balance_msat == 100_000


async def test_nobody_can_read_between_the_commits_while_lnbits_lives(
    server: PausedLnbits, client: Lnbits, machine: WalletKeys, payee: WalletKeys
) -> None:
    invoice = await invoice_of(server, client, payee, "internal")
    seen: list[WalletPayment] = []

    async def read(key: str) -> None:
        seen.append(await side(client, key, invoice))

    server.between_commits("wait")
    before = len(server.came_there())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pay, client, machine, invoice)
        await server.reached(before + 1)
        tasks.start_soon(read, machine.admin_key)
        tasks.start_soon(read, payee.invoice_key)
        await anyio.wait_all_tasks_blocked()
        assert seen == []
        server.between_commits(None)
    assert [row.status for row in seen] == [Answer.SUCCESS, Answer.SUCCESS]


@pytest.mark.parametrize("kind", KINDS)
async def test_killed_between_the_commits_the_payer_is_debited_and_nobody_credited(
    server: PausedLnbits, client: Lnbits, machine: WalletKeys, payee: WalletKeys, kind: str
) -> None:
    invoice = await invoice_of(server, client, payee, kind)
    server.between_commits("die")
    answer = await pay(client, machine, invoice)
    assert (answer.answer, answer.ended) == (Answer.UNKNOWN, False)
    server.between_commits(None)
    server.kill()
    await server.start()

    debit = await side(client, machine.admin_key, invoice)
    assert (debit.status, debit.checking_id) == (Answer.SUCCESS, f"internal_{debit.payment_hash}")
    assert debit.preimage is not None
    assert hashlib.sha256(bytes.fromhex(debit.preimage)).hexdigest() == debit.payment_hash, "and it proves nothing"
    assert (await client.wallet(machine.admin_key)).balance_msat == 900_000
    assert (await client.wallet(payee.admin_key)).balance_msat == 0
    await settled_as_failed(client, payee, invoice)

    again = await pay(client, machine, invoice)
    assert again.answer is Answer.UNKNOWN
    assert "already paid" in again.detail
    assert (await client.wallet(machine.admin_key)).balance_msat == 900_000


async def settled_as_failed(client: Lnbits, payee: WalletKeys, invoice: str) -> None:
    """LNbits' own look at pending payments gives the invoice up."""
    with anyio.fail_after(30):
        while (await side(client, payee.invoice_key, invoice)).status is Answer.PENDING:  # noqa: ASYNC110
            await anyio.sleep(0.05)
    assert (await side(client, payee.invoice_key, invoice)).status is Answer.FAILURE


@pytest.mark.skipif(not HAS_EXTERNAL_ID, reason="on 1.4 such a look was seen to end in both ways")
async def test_who_looked_at_an_invoice_before_it_was_paid_takes_its_credit_back_afterwards(
    server: PausedLnbits, client: Lnbits, machine: WalletKeys, payee: WalletKeys
) -> None:
    """LNbits' sweep, or a stranger who polls: it writes the row as it read it, failed. The answer of success was true
    when it came, and the payee has nothing."""
    invoice = await invoice_of(server, client, payee, "internal")
    server.between_commits("look")
    before = len(server.came_there())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(poll, server, invoice)
        await server.reached(before + 1)
        assert (await pay(client, machine, invoice)).answer is Answer.SUCCESS
        assert committed(server, invoice) == {True: "success", False: "success"}
        server.between_commits(None)
    assert committed(server, invoice) == {True: "failed", False: "success"}
    assert (await client.wallet(machine.admin_key)).balance_msat == 900_000
    assert (await client.wallet(payee.admin_key)).balance_msat == 0


async def poll(server: PausedLnbits, invoice: str) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as http:
        await http.get(f"/api/v1/payments/{bolt11.decode(invoice).payment_hash}")


@pytest.mark.skipif(not HAS_EXTERNAL_ID, reason="1.4 looks every half hour, whatever it is told")
async def test_the_sweep_gives_up_an_internal_invoice_that_has_not_expired(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """On the FakeWallet, whose funding source does not know it; while LNbits runs, not only after a restart."""
    data_dir = tmp_path_factory.mktemp("sweeping")
    server = PausedLnbits(ensure_environment(LNBITS_VERSION, say=print), data_dir, sweep_interval_s=1)
    try:
        await server.start()
        payee = await server.create_wallet("payee")
        async with Lnbits(server.url, instance_id="i") as client:
            await settled_as_failed(client, payee, await invoice_of(server, client, payee, "internal"))
    finally:
        await server.stop()


@pytest.mark.skipif(not HAS_EXTERNAL_ID, reason="1.4 keeps no leg key of a payment: the invoice's memo has it")
async def test_two_of_the_same_leg_key_are_two_rows(
    client: Lnbits, machine: WalletKeys, payee: WalletKeys, server: PausedLnbits
) -> None:
    """LNbits keeps no leg from being paid twice by two invoices: only that the same one is paid twice."""
    key = f"sm1:{secrets.token_hex(32)}:r1:super"
    for _ in range(2):
        invoice = await invoice_of(server, client, payee, "internal")
        answer = await client.pay(machine.admin_key, invoice, extra={"tag": "t"}, external_id=key)
        assert answer.answer is Answer.SUCCESS
    assert len(await client.bundle(machine.admin_key, key)) == 2
