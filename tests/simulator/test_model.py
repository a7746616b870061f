"""What the modelled LNbits can do that no real one does at will: faults, slow networks, old databases, other clocks."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from satmachine.errors import WalletUnavailable
from satmachine.models import Answer
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.lnurl import LnurlRefused, LnurlUnavailable
from simulator.faults import Call, Fault, Spoilt
from simulator.lnbits import STEPS, ModelLnbits, current_call
from simulator.lnurl import Manner, ModelLnurl, Server
from simulator.outside import Fate
from testkit.lnbits import WalletKeys

START = 1_700_000_000.0


class Time:
    """Passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def model(time: Time) -> ModelLnbits:
    return ModelLnbits(clock=time, chance=random.Random(3), sleep=time.sleep)


@pytest.fixture
async def client(model: ModelLnbits) -> AsyncIterator[Lnbits]:
    http = httpx.AsyncClient(transport=model.transport("daemon-a"))
    async with http, Lnbits("http://lnbits.test", http=http, instance_id="i", pay_timeout_s=0.05) as client:
        yield client


@pytest.fixture
def machine(model: ModelLnbits) -> WalletKeys:
    keys = model.create_wallet("machine")
    model.credit(keys.id, 1_000)
    return keys


@pytest.fixture
def payee(model: ModelLnbits) -> WalletKeys:
    return model.create_wallet("payee", lightning_address="payee")


async def an_invoice(client: Lnbits, payee: WalletKeys) -> str:
    made = await client.create_invoice(
        payee.invoice_key, amount_sats=100, memo="m", expiry_s=86_400, extra={"tag": "t"}, external_id="k"
    )
    return made.bolt11


async def pay(client: Lnbits, machine: WalletKeys, invoice: str) -> Answer:
    return (await client.pay(machine.admin_key, invoice, extra={"tag": "t"}, external_id="k")).answer


async def test_a_payment_that_waits_too_long_for_its_turn_is_not_sent(
    model: ModelLnbits, machine: WalletKeys, payee: WalletKeys
) -> None:
    """What allowed it is old by then: behind calls that hang, or behind a rate limit."""
    arrived, goes_on = anyio.Event(), anyio.Event()
    seen: list[str] = []

    async def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.method)
        if request.url.path == "/api/v1/wallet":
            arrived.set()
            await goes_on.wait()
        return await transport.handle_async_request(request)

    transport = model.transport("daemon-a")
    http = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    async with http, Lnbits("http://lnbits.test", http=http, instance_id="i", max_concurrency=1) as client:
        invoice = await an_invoice(client, payee)
        allowed, answers = True, []

        async def pay_it() -> None:
            answers.append(
                await client.pay(machine.admin_key, invoice, extra={}, external_id="k", may_go=lambda: allowed)
            )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.wallet, machine.admin_key)
            await arrived.wait()
            tasks.start_soon(pay_it)
            await anyio.sleep(0.01)
            allowed = False
            goes_on.set()
        assert [(answer.answer, answer.ended) for answer in answers] == [(Answer.UNKNOWN, False)]
        assert seen == ["POST", "GET"]


def pays(call: Call) -> bool:
    return call.pays


# --- the ledger


async def test_the_ledger_tells_who_moved_what(
    model: ModelLnbits, client: Lnbits, machine: WalletKeys, payee: WalletKeys
) -> None:
    assert await pay(client, machine, await an_invoice(client, payee)) is Answer.SUCCESS
    debit, credit = model.ledger[-2:]
    assert (debit.kind, debit.wallet_id, debit.moved_msat, debit.external_id) == ("debit", machine.id, -100_000, "k")
    assert (credit.kind, credit.wallet_id, credit.moved_msat, credit.at) == ("credit", payee.id, 100_000, START)
    assert {debit.client, credit.client} == {"daemon-a"}
    assert debit.payment_hash == credit.payment_hash
    assert sum(entry.moved_msat for entry in model.ledger) == model.balance_msat(machine.id) + 100_000


async def test_an_older_database_forgets_what_the_ledger_remembers(
    model: ModelLnbits, client: Lnbits, machine: WalletKeys, payee: WalletKeys
) -> None:
    older = model.snapshot()
    assert await pay(client, machine, await an_invoice(client, payee)) is Answer.SUCCESS
    model.restore(older)
    with pytest.raises(WalletUnavailable, match="ConnectError"):
        await client.wallet(machine.admin_key)
    model.start(sweeps=False)
    assert (await client.wallet(machine.admin_key)).balance_msat == 1_000_000
    assert await client.payments(machine.admin_key, external_id="k") == []
    assert [entry.undone for entry in model.ledger] == [False, True, True]


# --- faults


async def test_every_step_of_a_payment_is_offered_to_the_world(time: Time) -> None:
    seen: list[tuple[str, str]] = []

    async def watch(step: str) -> None:
        call = current_call.get()
        seen.append((step, call.client if call else ""))

    model = ModelLnbits(clock=time, pause=watch, chance=random.Random(3), sleep=time.sleep)
    machine, payee = model.create_wallet("machine"), model.create_wallet("payee")
    model.credit(machine.id, 1_000)
    http = httpx.AsyncClient(transport=model.transport("a"))
    async with http, Lnbits("http://lnbits.test", http=http, instance_id="i") as client:
        invoice = await an_invoice(client, payee)
        del seen[:]
        await pay(client, machine, invoice)
        inside = [("received", "a"), ("checked", "a"), ("debit.committed", "a"), ("credit.committed", "a")]
        assert seen == [*inside, ("answered", "a")]
        del seen[:]
        await pay(client, machine, model.outside.issue("stranger", 100_000).bolt11)
        assert [step for step, _ in seen][2:-1] == ["external.committed", "external.sent", "external.ended"]
    assert {step for step, _ in seen} <= set(STEPS)


@pytest.mark.parametrize("spoilt", list(Spoilt))
async def test_a_spoilt_answer_to_a_payment_that_happened_is_unknown(
    model: ModelLnbits, client: Lnbits, machine: WalletKeys, payee: WalletKeys, spoilt: Spoilt
) -> None:
    invoice = await an_invoice(client, payee)
    model.faults.next(Fault(spoilt=spoilt))
    assert await pay(client, machine, invoice) is Answer.UNKNOWN
    assert model.balance_msat(payee.id) == 100_000


async def test_lost_requests_and_lost_answers(
    model: ModelLnbits, client: Lnbits, machine: WalletKeys, payee: WalletKeys
) -> None:
    invoice = await an_invoice(client, payee)
    model.faults.next(Fault(lose_request=True), pays)
    assert await pay(client, machine, invoice) is Answer.UNKNOWN
    assert model.balance_msat(payee.id) == 0
    model.faults.next(Fault(lose_answer=True), pays)
    assert await pay(client, machine, invoice) is Answer.UNKNOWN
    assert model.balance_msat(payee.id) == 100_000


async def test_a_payment_that_was_given_up_happens_later(
    machine: WalletKeys, payee: WalletKeys, model: ModelLnbits, client: Lnbits
) -> None:
    go_on = anyio.Event()

    async def hold(step: str) -> None:
        call = current_call.get()
        if step == "received" and call is not None and call.pays:
            await go_on.wait()

    invoice = await an_invoice(client, payee)
    model.pause = hold
    assert await pay(client, machine, invoice) is Answer.UNKNOWN
    assert await client.payments(machine.admin_key, external_id="k") == []
    go_on.set()
    await anyio.wait_all_tasks_blocked()
    (debit,) = await client.payments(machine.admin_key, external_id="k")
    assert debit.status is Answer.SUCCESS


async def test_a_gateway_gives_up_with_a_detail_and_lnbits_goes_on(
    machine: WalletKeys, payee: WalletKeys, model: ModelLnbits, client: Lnbits
) -> None:
    go_on = anyio.Event()

    async def hold(step: str) -> None:
        if step == "checked":
            await go_on.wait()

    invoice = await an_invoice(client, payee)
    model.pause = hold
    model.faults.next(Fault(gateway_timeout_s=0.01), pays)
    answer = await client.pay(machine.admin_key, invoice, extra={}, external_id="k")
    assert (answer.answer, answer.detail) == (Answer.UNKNOWN, "HTTP 504, Gateway Timeout")
    go_on.set()
    await anyio.wait_all_tasks_blocked()
    assert model.balance_msat(payee.id) == 100_000


async def test_killed_at_a_step_the_client_loses_the_connection(
    model: ModelLnbits, client: Lnbits, machine: WalletKeys, payee: WalletKeys
) -> None:
    invoice = await an_invoice(client, payee)
    model.faults.next(Fault(kill_at="debit.committed"), pays)
    assert await pay(client, machine, invoice) is Answer.UNKNOWN
    assert not model.running
    assert (model.balance_msat(machine.id), model.balance_msat(payee.id)) == (900_000, 0)


async def test_rates_are_drawn_from_the_seed(time: Time) -> None:
    async def losses(seed: int) -> list[bool]:
        model = ModelLnbits(clock=time, chance=random.Random(seed), sleep=time.sleep)
        wallet = model.create_wallet("w")
        model.faults.rates = [(0.5, lambda _call: True, Fault(lose_answer=True))]
        lost = []
        async with httpx.AsyncClient(transport=model.transport("a")) as http:
            for _ in range(20):
                try:
                    await http.get("http://x/api/v1/wallet", headers={"X-Api-Key": wallet.admin_key})
                    lost.append(False)
                except httpx.TransportError:
                    lost.append(True)
        return lost

    assert await losses(1) == await losses(1)
    assert await losses(1) != await losses(2)


# --- external payments


@pytest.mark.parametrize(
    ("fate", "takes_s", "at_once", "in_the_end"),
    [
        (Fate.PAYS, 1, Answer.SUCCESS, Answer.SUCCESS),
        (Fate.FAILS, 1, Answer.UNKNOWN, Answer.FAILURE),
        (Fate.PAYS, 60, Answer.PENDING, Answer.SUCCESS),
        (Fate.FAILS, 60, Answer.PENDING, Answer.FAILURE),
        (Fate.STUCK, 0, Answer.PENDING, Answer.PENDING),
    ],
)
async def test_external_payments_end_sooner_or_later(
    model: ModelLnbits,
    client: Lnbits,
    time: Time,
    machine: WalletKeys,
    fate: Fate,
    takes_s: float,
    at_once: Answer,
    in_the_end: Answer,
) -> None:
    issued = model.outside.issue("alice@far.example", 100_000, fate=fate, takes_s=takes_s)
    assert await pay(client, machine, issued.bolt11) is at_once
    assert at_once is Answer.SUCCESS or model.outside.settled == []
    time.now += 120
    await model.sweep()
    (row,) = await client.payments(machine.admin_key, external_id="k")
    assert row.status is in_the_end
    assert row.preimage == (issued.preimage if in_the_end is Answer.SUCCESS else None)
    assert len(model.outside.settled) == (in_the_end is Answer.SUCCESS)
    reserved = {Answer.SUCCESS: 900_000, Answer.FAILURE: 1_000_000, Answer.PENDING: 898_000}
    assert model.balance_msat(machine.id) == reserved[in_the_end]


async def test_nobody_outside_is_paid_twice_for_one_invoice(
    model: ModelLnbits, client: Lnbits, machine: WalletKeys
) -> None:
    other = model.create_wallet("other")
    model.credit(other.id, 1_000)
    before = model.snapshot()
    issued = model.outside.issue("alice@far.example", 100_000)
    assert await pay(client, machine, issued.bolt11) is Answer.SUCCESS
    model.restore(before)
    model.start(sweeps=False)
    assert await pay(client, other, issued.bolt11) is Answer.UNKNOWN
    assert len(model.outside.settled) == 1


# --- clocks and limits


async def test_its_own_clock_may_step_back(
    model: ModelLnbits, client: Lnbits, machine: WalletKeys, payee: WalletKeys
) -> None:
    model.clock_offset_s = -3_600
    await pay(client, machine, await an_invoice(client, payee))
    (row,) = await client.payments(machine.admin_key, external_id="k")
    assert row.created_at == START - 3_600
    assert model.ledger[-1].at == START


async def test_a_customer_pays_an_invoice_that_was_made_before(
    model: ModelLnbits, client: Lnbits, time: Time, machine: WalletKeys
) -> None:
    payment_hash = model.customer_invoice(machine.id, 2_668, {"source": "bitspire", "tag": "x"})
    time.now += 300
    assert await client.payments(machine.admin_key, incoming=True, status=Answer.PENDING, tag="x")
    model.settle(payment_hash)
    (sale,) = await client.payments(machine.admin_key, payment_hash=payment_hash)
    assert (sale.status, sale.created_at, sale.updated_at) == (Answer.SUCCESS, START, START + 300)
    assert sale.extra["source"] == "bitspire"


async def test_an_lnbits_before_1_5_has_no_external_id(time: Time) -> None:
    model = ModelLnbits(clock=time, chance=random.Random(1), sleep=time.sleep, version="1.4.2")
    machine, payee = model.create_wallet("machine"), model.create_wallet("payee")
    model.credit(machine.id, 1_000)
    http = httpx.AsyncClient(transport=model.transport("a"))
    async with http, Lnbits("http://lnbits.test", http=http, instance_id="i") as client:
        assert (await client.probe(machine.admin_key)).external_id is False
        extra = {"tag": "satmachine:npub"}
        invoice = await client.create_invoice(
            payee.invoice_key, amount_sats=100, memo="m", expiry_s=86_400, extra=extra, external_id="sm1:k"
        )
        await client.pay(machine.admin_key, invoice.bolt11, extra=extra, external_id="sm1:k")
        (row,) = await client.bundle(machine.admin_key, "sm1:k")
        assert (row.external_id, row.leg_key) == (None, "sm1:k")


# --- payees elsewhere


async def test_servers_of_payees_behave_as_they_are_told(model: ModelLnbits, time: Time, payee: WalletKeys) -> None:
    lnurl = ModelLnurl(model, clock=time, chance=random.Random(5), sleep=time.sleep)
    with pytest.raises(LnurlUnavailable):
        await lnurl.invoice("nobody@far.example", 100_000)
    server = lnurl.add("alice@far.example", Server())
    first, second = [await lnurl.invoice("alice@far.example", 100_000) for _ in range(2)]
    assert first.payment_hash != second.payment_hash
    server.manner = Manner.REPEATS
    assert await lnurl.invoice("alice@far.example", 100_000) == second
    assert (await lnurl.invoice("alice@far.example", 99_000)).amount_msat == 99_000
    server.fails = 1
    with pytest.raises(LnurlUnavailable):
        await lnurl.invoice("alice@far.example", 100_000)
    server.manner, server.fails = Manner.REFUSES, 0
    with pytest.raises(LnurlRefused):
        await lnurl.invoice("alice@far.example", 100_000)
    server.manner, server.hangs_s = Manner.HANGS, 60
    with pytest.raises(LnurlUnavailable):
        await lnurl.invoice("alice@far.example", 100_000)
    assert time.now == START + 20


async def test_an_address_of_the_same_lnbits_is_paid_within_it(
    model: ModelLnbits, client: Lnbits, time: Time, machine: WalletKeys, payee: WalletKeys
) -> None:
    lnurl = ModelLnurl(model, clock=time, chance=random.Random(5), sleep=time.sleep)
    lnurl.add("payee@lnbits.test", Server(Manner.SAME_LNBITS))
    asked = await lnurl.invoice("payee@lnbits.test", 100_000)
    answer = await client.pay(machine.admin_key, asked.bolt11, extra={}, external_id="k")
    assert answer.detail == f"payment internal_{asked.payment_hash}"
    assert model.balance_msat(payee.id) == 100_000
    model.kill()
    with pytest.raises(LnurlUnavailable):
        await lnurl.invoice("payee@lnbits.test", 100_000)
