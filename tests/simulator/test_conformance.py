"""The modelled LNbits against the real one: the same calls, the same answers.

Each experiment is done in both laboratories; names and times are replaced by numbers, everything else must be equal.
LNbits changes from version to version: the model is of the one that is pinned as the default.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest

from satmachine.wallet import bolt11
from simulator import invoices
from testkit.lnbits import DEFAULT_VERSION, LNBITS_VERSION, WalletKeys, ensure_environment, running_lnbits
from testkit.paused_lnbits import PausedLnbits
from tests.simulator.lab import Lab, ModelLab, RealLab

pytestmark = pytest.mark.skipif(LNBITS_VERSION != DEFAULT_VERSION, reason="the model is of the default version")

Experiment = Callable[[Lab], Awaitable[None]]


@pytest.fixture(scope="module")
async def server(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PausedLnbits]:
    server = PausedLnbits(ensure_environment(say=print), tmp_path_factory.mktemp("conformance"))
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


def hash_of(invoice: str) -> str:
    return bolt11.decode(invoice).payment_hash


async def expired(invoice: str) -> None:
    """LNbits has no clock but the machine's."""
    await anyio.sleep(max(0.0, bolt11.decode(invoice).expires_at + 0.1 - time.time()))


def strangers_invoice(amount_msat: int, *, expiry_s: int = 3600) -> str:
    """Of nobody whom either LNbits knows."""
    payment_hash = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
    return invoices.encode(
        amount_msat=amount_msat,
        payment_hash=payment_hash,
        created_at=int(time.time()),
        expiry_s=expiry_s,
        description="elsewhere",
    )


# --- answers to a payment


async def a_payment_and_its_two_sides(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    fields: dict[str, Any] = {
        "extra": {"tag": "satmachine:npub1", "rate": "0.1", "deep": {"a": [1, 2.5, None]}},
        "external_id": "sm1:a:r1:x",
    }
    invoice = await lab.create(payee, 100, **fields)
    await lab.both_sides(machine, payee)
    await lab.pay(machine, invoice, **fields)
    await lab.both_sides(machine, payee)


async def the_same_invoice_again(lab: Lab) -> None:
    machine, other, payee = (
        await lab.wallet("machine", 1000),
        await lab.wallet("other", 1000),
        await lab.wallet("payee"),
    )
    invoice = await lab.create(payee)
    await lab.pay(machine, invoice, external_id="k")
    await lab.pay(machine, invoice, external_id="k")
    await lab.pay(other, invoice, external_id="k2")
    await lab.both_sides(machine, other, payee)


async def eight_at_once(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.create(payee)
    answers: list[httpx.Response] = []

    async def pay_once() -> None:
        order = {"out": True, "bolt11": invoice, "external_id": "k"}
        answers.append(await lab.call("POST", "/api/v1/payments", machine.admin_key, body=order))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(pay_once)
    lab.protocol.append(f"{sum(a.status_code == 201 for a in answers)} of {len(answers)} say that it is paid")
    lab.protocol.append(f"{sum('already paid' in a.text for a in answers)} say that it was")
    await lab.both_sides(machine, payee)


async def an_expired_invoice_that_is_still_pending_is_paid(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.create(payee, expiry=1)
    await expired(invoice)
    await lab.pay(machine, invoice)
    await lab.both_sides(machine, payee)


async def a_row_that_has_failed(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.create(payee)
    lab.set_status(hash_of(invoice), "failed", incoming=True)
    await lab.pay(machine, invoice)
    await lab.both_sides(machine, payee)
    await lab.create(payee, 1)
    await lab.restart(pending=1)
    await lab.pay(machine, invoice)
    await lab.both_sides(machine, payee)


async def a_failed_row_and_a_payer_without_the_reserve(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 101), await lab.wallet("payee")
    invoice = await lab.create(payee, 100)
    lab.set_status(hash_of(invoice), "failed", incoming=True)
    await lab.pay(machine, invoice)


async def too_little_money(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    await lab.pay(machine, await lab.create(payee, 1001))
    await lab.pay(machine, await lab.create(payee, 1000), external_id="all of it")
    poor = await lab.wallet("poor", 300)
    for amount_msat in (301_000, 300_000, 298_001, 298_000, 200_000):
        await lab.pay(poor, strangers_invoice(amount_msat))
    await lab.both_sides(machine, payee, poor)


async def refusals(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.create(payee)
    await lab.pay(machine, invoice, key="f" * 32)
    await lab.pay(machine, invoice, key="")
    await lab.pay(machine, invoice, key=machine.invoice_key)
    await lab.pay(machine, "")
    for nonsense in ("lnbc1nonsense", invoice[:-1] + ("q" if invoice[-1] != "q" else "p"), "x"):
        await lab.pay(machine, nonsense)
    wrongs: list[dict[str, Any]] = [{"external_id": "a b"}, {"external_id": "a\nb"}, {"extra": "text"}, {"extra": [1]}]
    for wrong in wrongs:
        await lab.pay(machine, invoice, **wrong)
    await lab.both_sides(machine, payee)


async def an_external_id_of_256_characters_and_one_more(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.create(payee, external_id="x" * 256)
    await lab.pay(machine, invoice, external_id="y" * 257)
    await lab.pay(machine, invoice, external_id="y" * 256)
    await lab.both_sides(machine, payee)


async def an_invoice_in_capitals(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.create(payee)
    order = {"out": True, "bolt11": invoice.upper()}
    answer = await lab.call("POST", "/api/v1/payments", machine.admin_key, body=order)
    lab.protocol.append(f"{answer.status_code} {answer.json()['status']}")
    await lab.show(machine)
    await lab.show(payee)


async def another_invoice_with_the_same_hash(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = bolt11.decode(await lab.create(payee, 100))
    forged = invoices.encode(
        amount_msat=10_000,
        payment_hash=invoice.payment_hash,
        created_at=invoice.created_at,
        expiry_s=3600,
        description="memo",
    )
    await lab.pay(machine, forged)
    await lab.both_sides(machine, payee)


async def a_wallet_pays_itself(lab: Lab) -> None:
    machine = await lab.wallet("machine", 1000)
    await lab.pay(machine, await lab.create(machine, 100, external_id="k"), external_id="k")
    await lab.both_sides(machine)


async def an_external_payment_that_fails_and_is_tried_again(lab: Lab) -> None:
    machine = await lab.wallet("machine", 1000)
    invoice = strangers_invoice(100_000)
    await lab.pay(machine, invoice, external_id="k", extra={"tag": "t"})
    await lab.both_sides(machine)
    await lab.pay(machine, invoice, external_id="k", extra={"tag": "t"})
    await lab.both_sides(machine)


async def an_external_payment_under_way_is_not_begun_again(lab: Lab) -> None:
    machine, other = await lab.wallet("machine", 1000), await lab.wallet("other", 1000)
    invoice = strangers_invoice(100_000)
    await lab.pay(machine, invoice, external_id="k")
    for status in ("pending", "success"):
        lab.set_status(hash_of(invoice), status, incoming=False)
        await lab.pay(machine, invoice, external_id="k")
        await lab.pay(other, invoice, external_id="k")
        await lab.both_sides(machine, other)


async def amounts_that_are_not_paid(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    for amount in (0, -1, 1.9, 10_000_000, 10_000_001, "abc"):
        await lab.create(payee, amount)
    await lab.pay(machine, strangers_invoice(10_000_001_000))
    await lab.reserve(strangers_invoice(100_000))
    await lab.reserve(strangers_invoice(1_000_000_000))
    await lab.reserve(strangers_invoice(200_150))
    await lab.both_sides(payee)


async def the_reserve_for_nonsense(lab: Lab) -> None:
    """An error of LNbits' own; it closes the connection afterwards."""
    await lab.reserve(strangers_invoice(200_150))
    await lab.reserve("nonsense")


# --- invoices, keys and wallets


async def an_admin_key_makes_invoices_too(lab: Lab) -> None:
    machine = await lab.wallet("machine")
    await lab.create(machine, key=machine.admin_key)
    await lab.show(machine, key=machine.admin_key)
    await lab.show(machine, key=machine.invoice_key)
    await lab.list(machine, key=machine.admin_key)


async def an_unpaid_invoice_of_one_sat_is_found_by_its_prefix(lab: Lab) -> None:
    """What a mark is: a row in the machine's own wallet that nobody pays."""
    machine = await lab.wallet("machine")
    sale = "sm1:" + "ab" * 32
    fields: dict[str, Any] = {"extra": {"tag": "satmachine:npub1", "plan": ["h" * 64], "mac": "00"}}
    await lab.create(machine, 1, external_id=f"{sale}:r1:mark", **fields)
    await lab.create(machine, 1, external_id=f"{sale}:r2:mark", **fields)
    await lab.create(machine, 1, external_id="sm1:other:r1:mark", **fields)
    for value in (f"{sale}:", f"{sale}:%", f"{sale}:r1", "mark", f"{sale.upper()}:", "sm1_ab"):
        await lab.list(machine, external_id__like=value, sortby="time", direction="asc", limit="1000")


async def memos(lab: Lab) -> None:
    payee = await lab.wallet("payee")
    for memo in ("", "x" * 639, "x" * 640, "x" * 641, "é" * 319, "é" * 320):
        answer = await lab.call(
            "POST", "/api/v1/payments", payee.invoice_key, body={"out": False, "amount": 1, "memo": memo}
        )
        lab.protocol.append(f"{len(memo)} characters: {answer.status_code}")
    await lab.create(payee, memo=None)
    await lab.create(payee, memo="x" * 641)


async def what_looks_like_html(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    fields: dict[str, Any] = {"extra": {"tag": "<b>t</b>", "a<b>c": "x &amp; y &lt;z"}, "external_id": "k<b>&amp;"}
    invoice = await lab.create(payee, memo="he <b>llo</b> &amp; &x; <unclosed", **fields)
    await lab.pay(machine, invoice, **fields)
    await lab.both_sides(machine, payee)
    for value in ("k<b>&amp;", "k", "k<c>", "&lt;k"):
        await lab.list(payee, external_id=value)


async def nan_in_extra_spoils_the_lists_that_show_it(lab: Lab) -> None:
    payee = await lab.wallet("payee")
    await lab.create(payee, 1, external_id="good")
    for number, poison in enumerate(("NaN", "Infinity", "-Infinity")):
        text = f'{{"out": false, "amount": 1, "extra": {{"x": {poison}}}, "external_id": "bad{number}"}}'
        answer = await lab.call("POST", "/api/v1/payments", payee.invoice_key, content=text)
        lab.note("poison", answer)
    for params in (
        {"limit": "1000"},
        {"external_id": "good"},
        {"external_id": "bad1"},
        {"limit": "1", "sortby": "time"},
    ):
        await lab.list(payee, **params)
    await lab.show(payee)


async def new_keys(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.create(payee)
    await lab.show(machine)
    fresh = await lab.reset_keys(machine)
    await lab.show(machine)
    await lab.pay(machine, invoice)
    await lab.list(machine)
    await lab.pay(fresh, invoice)
    await lab.both_sides(fresh, payee)


async def the_wallet_of_the_payee_is_deleted(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.create(payee, external_id="k")
    await lab.delete_wallet(payee)
    await lab.create(payee)
    await lab.list(payee)
    await lab.show(payee)
    await lab.pay(machine, invoice, external_id="k")
    await lab.both_sides(machine)
    await lab.pay(machine, invoice, external_id="k")
    await lab.both_sides(machine)


async def the_wallet_that_pays_is_deleted(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.create(payee)
    await lab.delete_wallet(machine)
    await lab.pay(machine, invoice)
    await lab.both_sides(payee)


# --- an address of the same LNbits


async def a_lightning_address_of_the_same_lnbits_is_paid_within_it(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.address_invoice(payee, 100_000)
    await lab.reserve(invoice)
    await lab.both_sides(payee)
    await lab.pay(machine, invoice, external_id="sm1:a:r1:dca:lp", extra={"tag": "t"})
    await lab.both_sides(machine, payee)


# --- killed between the commits, and what LNbits does by itself


async def killed_between_the_commits_of_an_internal_payment(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.create(payee, external_id="k")
    await lab.dies_between_commits(machine, invoice, external_id="k")
    await lab.both_sides(machine, payee)
    await lab.pay(machine, invoice, external_id="k")
    await lab.both_sides(machine, payee)


async def killed_between_the_commits_to_an_address_of_the_same_lnbits(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.address_invoice(payee, 100_000)
    await lab.dies_between_commits(machine, invoice, external_id="k")
    await lab.both_sides(machine, payee)
    await lab.pay(machine, invoice, external_id="k")


async def a_debit_without_credit_before_the_sweep(lab: Lab) -> None:
    """The invoice is pending again: the payment that follows is neither refused nor made."""
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    invoice = await lab.create(payee, external_id="k")
    await lab.pay(machine, invoice, external_id="k")
    lab.set_status(hash_of(invoice), "pending", incoming=True)
    await lab.pay(machine, invoice, external_id="k")
    await lab.both_sides(machine, payee)


async def a_restart_fails_the_ten_latest_pending_invoices_and_no_more(lab: Lab) -> None:
    payee = await lab.wallet("payee")
    for number in range(12):
        await lab.create(payee, number + 1)
    await lab.restart(pending=10)
    await lab.both_sides(payee)


async def who_polls_a_payment(lab: Lab) -> None:
    machine, payee, other = await lab.wallet("machine", 1000), await lab.wallet("payee"), await lab.wallet("other")
    invoice = await lab.create(payee, expiry=3600)
    path = f"/api/v1/payments/{hash_of(invoice)}"
    for key in (payee.invoice_key, machine.admin_key, other.admin_key, "", "f" * 32):
        answer = await lab.call("GET", path, key)
        lab.protocol.append(f"{answer.status_code} {answer.json().get('paid')} {'details' in answer.json()}")
    await lab.pay(machine, invoice)
    for key in (payee.invoice_key, machine.admin_key, other.admin_key, ""):
        answer = await lab.call("GET", path, key)
        lab.protocol.append(f"{answer.status_code} {answer.json().get('paid')} {'details' in answer.json()}")
    await lab.both_sides(payee)


async def polling_an_expired_invoice_fails_it(lab: Lab) -> None:
    payee = await lab.wallet("payee")
    invoice = await lab.create(payee, expiry=1)
    await expired(invoice)
    await lab.call("GET", f"/api/v1/payments/{hash_of(invoice)}", "")
    await lab.both_sides(payee)


async def the_web_page_of_a_wallet_looks_at_what_is_pending(lab: Lab) -> None:
    payee = await lab.wallet("payee")
    short = await lab.create(payee, expiry=1)
    await lab.create(payee)
    await lab.create(payee, internal=False)
    await expired(short)
    for recheck in ("false", "true", "true"):
        await lab.list(payee, sortby="time", direction="asc", limit="1000", recheck_pending=recheck)
    await lab.both_sides(payee)


async def an_invoice_that_is_polled_while_it_is_paid(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 1000), await lab.wallet("payee")
    await lab.polled_while_it_is_paid(machine, await lab.create(payee))
    await lab.both_sides(machine, payee)


# --- lists


async def filters(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 100_000), await lab.wallet("payee")
    await _several_payments(lab, machine, payee)
    now = int(time.time())
    queries: list[dict[str, Any]] = [
        {"status": "success"}, {"status": "pending"}, {"status": "nonsense"}, {"status__ne": "success"},
        {"status": ["success", "pending"]}, {"status__in": "success,pending"}, {"status__ex": "success,failed"},
        {"tag": "t1"}, {"tag__ne": "t1"}, {"tag__like": "T"}, {"tag__in": "t1,t2"}, {"tag": "T1"},
        {"external_id": "sm1:s1:r1:a"}, {"external_id": "SM1:S1:R1:A"}, {"external_id__like": "sm1:s1:"},
        {"external_id__like": "SM1:S1:"}, {"external_id__like": "s%r2"}, {"external_id__like": "s_:r1"},
        {"external_id__ge": "sm1:s2"}, {"external_id__lt": "sm1:s2"}, {"external_id__gt": "sm1:s1:r1:a"},
        {"external_id__le": "sm1:s1:r1:a"}, {"external_id__in": "sm1:s1:r1:a,sm1:s2:r1:a"}, {"external_id": ""},
        {"external_id__ne": "sm1:s1:r1:a"}, {"amount__gt": "0"}, {"amount__lt": "0"}, {"amount": "3000"},
        {"amount": "-3000"}, {"amount": "abc"}, {"amount": ["1000", "2000"]}, {"amount__in": "1000,3000"},
        {"fee": "0"}, {"fee__lt": "0"}, {"memo": "memo"}, {"memo__like": "MEM"}, {"memo__ne": "memo"},
        {"time__ge": str(now - 600)}, {"time__ge": str(now + 600)}, {"time__lt": str(now + 600)}, {"time__le": "0"},
        {"time__ge": str((now - 600) * 1000)}, {"time__ge": "2020-01-01"}, {"time__ge": "2020-01-01T00:00:00"},
        {"time__ge": "nonsense"}, {"wallet_id": machine.id}, {"wallet_id": payee.id},
        {"checking_id__like": "internal_"},
        {"nonsense": "x"}, {"status__nonsense": "success"}, {"time__": "x"}, {"labels": "x"}, {"amount__like": "300"},
        {"status": "success", "amount__gt": "0", "tag": "t1"}, {"updated_at__ge": str(now + 600)}, {"preimage__ne": ""},
        {"external_id__like": ["sm1:s1:", "sm1:s2:"]}, {"external_id__like": ["sm1:s2:", "nothing"]},
        {"external_id__like": ["sm1:s1:", "sm1:s10:"], "amount__lt": "0"}, {"payment_hash": ["0" * 64, "1" * 64]},
        {"external_id__every": "x"}, {"extra": "x"}, {"bolt11__like": "lnbc"}, {"created_at__ge": str(now + 600)},
    ]  # fmt: skip
    for query in queries:
        for wallet in (machine, payee):
            await lab.list(wallet, sortby="time", direction="asc", limit="1000", **query)


async def sorting_and_paging(lab: Lab) -> None:
    machine, payee = await lab.wallet("machine", 100_000), await lab.wallet("payee")
    await _several_payments(lab, machine, payee)
    for limit in ("0", "1", "3", "1000", "5000", "x"):
        await lab.list(payee, sortby="time", direction="asc", limit=limit)
    for offset in ("0", "2", "6", "100", "x"):
        await lab.list(payee, sortby="time", direction="asc", limit="3", offset=offset)
    for sort in ("created_at", "updated_at", "amount", "time", "external_id"):
        for direction in ("asc", "desc"):
            await lab.list(payee, sortby=sort, direction=direction, limit="1000")
    await lab.list(payee, sortby="time", limit="1000")


async def sorts_that_do_not_exist(lab: Lab) -> None:
    payee = await lab.wallet("payee")
    for params in ({"sortby": "status"}, {"sortby": "nonsense"}, {"sortby": "time", "direction": "up"}):
        answer = await lab.call("GET", "/api/v1/payments/paginated", payee.invoice_key, params=params.items())
        lab.protocol.append(f"{params}: {answer.status_code}")


async def lists_without_a_key(lab: Lab) -> None:
    payee = await lab.wallet("payee")
    for key in ("f" * 32, "x"):
        await lab.list(payee, key=key)
        await lab.show(payee, key=key)
    for path in ("/api/v1/payments/paginated", "/api/v1/wallet"):
        lab.note("no key", await lab.call("GET", path, ""))


async def _several_payments(lab: Lab, machine: WalletKeys, payee: WalletKeys) -> None:
    for number, (sale, tag) in enumerate((("s1:r1", "t1"), ("s1:r2", "t2"), ("s2:r1", "t1"), ("s10:r1", None))):
        fields: dict[str, Any] = {"external_id": f"sm1:{sale}:a", "extra": {} if tag is None else {"tag": tag}}
        invoice = await lab.create(payee, number + 1, **fields)
        if number != 1:
            await lab.pay(machine, invoice, **fields)
    await lab.create(payee, 9, memo="without external id")
    await lab.pay(machine, strangers_invoice(7_000), external_id="sm1:s1:r1:b")


EXPERIMENTS: list[Experiment] = [
    a_payment_and_its_two_sides,
    the_same_invoice_again,
    eight_at_once,
    an_expired_invoice_that_is_still_pending_is_paid,
    a_row_that_has_failed,
    a_failed_row_and_a_payer_without_the_reserve,
    too_little_money,
    refusals,
    an_external_id_of_256_characters_and_one_more,
    an_invoice_in_capitals,
    another_invoice_with_the_same_hash,
    a_wallet_pays_itself,
    an_external_payment_that_fails_and_is_tried_again,
    an_external_payment_under_way_is_not_begun_again,
    amounts_that_are_not_paid,
    the_reserve_for_nonsense,
    an_admin_key_makes_invoices_too,
    an_unpaid_invoice_of_one_sat_is_found_by_its_prefix,
    memos,
    what_looks_like_html,
    nan_in_extra_spoils_the_lists_that_show_it,
    new_keys,
    the_wallet_of_the_payee_is_deleted,
    the_wallet_that_pays_is_deleted,
    a_lightning_address_of_the_same_lnbits_is_paid_within_it,
    killed_between_the_commits_of_an_internal_payment,
    killed_between_the_commits_to_an_address_of_the_same_lnbits,
    a_debit_without_credit_before_the_sweep,
    a_restart_fails_the_ten_latest_pending_invoices_and_no_more,
    who_polls_a_payment,
    polling_an_expired_invoice_fails_it,
    the_web_page_of_a_wallet_looks_at_what_is_pending,
    an_invoice_that_is_polled_while_it_is_paid,
    filters,
    sorting_and_paging,
    sorts_that_do_not_exist,
    lists_without_a_key,
]


OF_INVOICES_THAT_NOBODY_KNOWS: list[Experiment] = [
    a_row_that_has_failed,
    killed_between_the_commits_of_an_internal_payment,
    killed_between_the_commits_to_an_address_of_the_same_lnbits,
    who_polls_a_payment,
    polling_an_expired_invoice_fails_it,
    the_web_page_of_a_wallet_looks_at_what_is_pending,
]


async def anything_in_any_order(lab: Lab, seed: int, steps: int = 60) -> None:
    """Calls and mishaps of all kinds between three wallets, drawn from the seed."""
    chance = random.Random(seed)
    wallets = [await lab.wallet(name, 900) for name in ("one", "two", "three")]
    made: list[str] = [strangers_invoice(100_000)]
    for _ in range(steps):
        number = chance.randrange(len(wallets))
        wallet, invoice = wallets[number], chance.choice(made[-6:])
        fields: dict[str, Any] = {"external_id": f"sm1:s{chance.randrange(3)}:r1:x", "extra": {"tag": "t"}}
        key = chance.choice([wallet.admin_key, wallet.admin_key, wallet.admin_key, wallet.invoice_key])
        what = chance.choices(_DEEDS, _WEIGHTS)[0]
        if what == "create":
            made.append(
                await lab.create(wallet, chance.choice((1, 100, 700)), internal=chance.random() < 0.7, **fields)
            )
        elif what == "stranger":
            made.append(strangers_invoice(chance.choice((1_000, 100_000, 700_000))))
        elif what == "pay":
            await lab.pay(wallet, invoice, key=key, **fields)
        elif what == "list":
            await lab.list(wallet, sortby="time", direction="asc", external_id__like=f"s{chance.randrange(3)}:")
        elif what == "poll":
            await lab.poll(invoice)
        elif what == "recheck":
            await lab.list(wallet, sortby="time", direction="desc", recheck_pending="true")
        elif what == "reset":
            wallets[number] = await lab.reset_keys(wallet)
        elif what == "status":
            lab.set_status(hash_of(invoice), chance.choice(("failed", "pending")), incoming=chance.random() < 0.5)
        elif what == "delete" and len(wallets) > 2:
            await lab.delete_wallet(wallets.pop(number))
        made = [invoice for invoice in made if invoice]
    await lab.both_sides(*wallets)


_DEEDS = ("create", "stranger", "pay", "list", "poll", "recheck", "reset", "status", "delete")
_WEIGHTS = (20, 5, 40, 10, 4, 4, 2, 6, 1)


@pytest.mark.parametrize("seed", range(3))
async def test_the_model_answers_as_lnbits_does_to_anything_in_any_order(server: PausedLnbits, seed: int) -> None:
    real, model = RealLab(server), ModelLab()
    for lab in (real, model):
        async with lab.http:
            await anything_in_any_order(lab, seed)
    assert model.protocol == real.protocol


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.__name__)
async def test_the_model_answers_as_lnbits_does(server: PausedLnbits, experiment: Experiment) -> None:
    real, model = RealLab(server), ModelLab()
    for lab in (real, model):
        async with lab.http:
            await experiment(lab)
    assert len(real.protocol) > 1
    assert model.protocol == real.protocol
    assert not model.model.crashes


async def test_the_model_answers_as_an_lnbits_whose_node_remembers_invoices(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data_dir = tmp_path_factory.mktemp("remembering")
    server = PausedLnbits(ensure_environment(say=print), data_dir, node_remembers=True)
    try:
        await server.start()
        for experiment in OF_INVOICES_THAT_NOBODY_KNOWS:
            real, model = RealLab(server), ModelLab()
            model.model.fails_unknown_invoices = False
            for lab in (real, model):
                async with lab.http:
                    await experiment(lab)
            assert model.protocol == real.protocol, experiment.__name__
    finally:
        await server.stop()


async def test_the_rate_limit_is_of_a_path_and_all_its_keys(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    said: list[list[str]] = []
    async with running_lnbits(tmp_path_factory.mktemp("limited"), rate_limit_per_minute=3) as server:
        model = ModelLab()
        model.model.rate_limit_per_minute = 3
        for http in (httpx.AsyncClient(base_url=server.url, trust_env=False), model.http):
            async with http:
                calls = [("GET", "/api/v1/payments/paginated")] * 4 + [("POST", "/api/v1/payments")] * 4
                answers = [await http.request(*call, headers={"X-Api-Key": str(n)}) for n, call in enumerate(calls)]
                said.append([f"{answer.status_code} {answer.text}" for answer in answers])
    assert said[1] == said[0]
    assert said[0][3].startswith("429")
