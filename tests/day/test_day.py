"""A day of an operator, by the command line alone, as docs/corrections.md says; at its end the books add up.

The short day is what goes wrong most; the long one (`make day`) walks through every situation.
"""

from __future__ import annotations

import os
import signal
import time

import anyio
import pytest

from satmachine.wallet.lnbits import Lnbits
from testkit.system import System
from tests.day.operator import GROSS_SATS, Operator
from tests.integration.conftest import BuildSystem

SETTINGS = {"payouts": "attention_after_s = 10", "reconcile": "interval_s = 5"}


async def opened(build_system: BuildSystem, **options: object) -> Operator:
    """The morning: the daemon runs, alice and bruno have cash in machine-1."""
    system: System = await build_system(lps=("alice", "bruno"), settings=SETTINGS, **options)
    operator = Operator(system, system.config_path)
    system.start_daemon()
    await system.wait_for_log("satmachine runs")
    for label, amount in (("alice", "20000"), ("bruno", "20000")):
        await operator.types(
            *("clients", "add", "--machine", "machine-1", "--label", label),
            *("--invoice-key-file", str(system.key_file(label))),
        )
        added = await operator.reads("deposits", "add", label, amount)
        await operator.types("deposits", "confirm", str(added["id"]), "--yes")
    return operator


async def evening(operator: Operator) -> None:
    """Every sat is accounted for, in the books and in the wallets."""
    await operator.until_quiet("settlement_errored")
    said = await operator.types("audit")
    assert "every sat is accounted for" in said.out
    assert await operator.system.stop_daemon() == 0


async def test_a_short_day(build_system: BuildSystem) -> None:
    operator = await opened(build_system)
    await a_jam_before_anything_is_paid(operator)
    await a_jam_that_is_seen_too_late(operator)
    await a_jammed_machine(operator)
    await evening(operator)


@pytest.mark.slow
async def test_a_long_day(build_system: BuildSystem) -> None:
    operator = await opened(build_system)
    await operator.sells()
    await operator.until_sale(1, "processed")
    await an_lps_address_is_dead(operator)
    await a_jam_before_anything_is_paid(operator)
    await a_jam_that_is_seen_too_late(operator)
    await a_jammed_machine(operator)
    await a_partner_has_left(operator)
    await a_deposit_was_confirmed_wrongly(operator)
    await an_lp_leaves(operator)
    await money_that_is_no_sale(operator)
    await a_message_of_no_use(operator)
    await a_frozen_daemon(operator)
    await evening(operator)


async def an_lps_address_is_dead(operator: Operator) -> None:
    """His server does not answer: the payment fails on, is told of, and goes where it should once he has said where."""
    await operator.types("clients", "update", "bruno", "--lightning-address", "bruno@nowhere.invalid")
    await operator.sells()
    number = operator.sales_made
    item = await operator.until("payment_failing:bruno@nowhere.invalid")
    command = (await operator.needs())[item]
    shown = await operator.types("status", code=1)
    assert "bruno@nowhere.invalid" in shown.out
    assert "Nothing needs you" not in shown.out
    assert "bruno@nowhere.invalid" in (await operator.follows(command)).out
    await operator.types("clients", "update", "bruno", "--invoice-key-file", str(operator.system.key_file("bruno")))
    await operator.types("payments", "repoint", "--payee", "client:bruno", "--reason", "new wallet", "--dry-run")
    await operator.types("payments", "repoint", "--payee", "client:bruno", "--reason", "new wallet", "--yes")
    await operator.until_sale(number, "processed")
    await operator.until_quiet("payment_failing")


async def a_jam_before_anything_is_paid(operator: Operator) -> None:
    """It handed out half of the cash, and the operator stopped payouts in time: the sale is corrected, and refunded."""
    await operator.types("payouts", "pause", "--machine", "machine-1", "--reason", "it jams", "--yes")
    await operator.sells()
    number = operator.sales_made
    await operator.until_sale(number, "pending")
    assert "payouts_paused:machine-1" in await operator.needs()
    half = ("settlements", "partial-dispense", str(number), "--fraction", "50 %", "--reason", "9 of 18 notes")
    dry = await operator.reads(*half, "--dry-run")
    await operator.types(*half, "--yes")
    corrected = (await operator.reads("settlements", "show", str(number)))["settlement"]
    assert corrected["net_sats"] == dry["new"]["net_sats"]
    await operator.follows((await operator.needs())["payouts_paused:machine-1"], "--reason", "cleared", "--yes")
    await operator.until_sale(number, "processed")
    customer = await operator.system.lnbits.create_wallet("customer")
    invoice = await invoice_of(operator, customer.invoice_key, GROSS_SATS // 2 - 2_000)
    refund = ("settlements", "refund", str(number), str(GROSS_SATS // 2 - 2_000), "--to", invoice, "--reason", "jam")
    await operator.types(*refund, "--dry-run")
    await operator.types(*refund, "--yes")
    await operator.until_sale(number, "refunded")


async def a_jam_that_is_seen_too_late(operator: Operator) -> None:
    """All is paid, and a third of the notes is still in the machine: the customer is paid back, by a top-up."""
    await operator.sells()
    number = str(operator.sales_made)
    await operator.until_sale(operator.sales_made, "processed")
    owed_sats = 88_933
    customer = await operator.system.lnbits.create_wallet("customer")
    invoice = await invoice_of(operator, customer.invoice_key, owed_sats)
    booking = (
        *("settlements", "shortfall", number, "--dispensed", "1 200.00 GTQ", "--refund-to", invoice),
        *("--owner", "alice", "--reason", "6 of 18 notes were left"),
    )
    before = await operator.reads("clients", "balance", "alice")
    dry = await operator.reads(*booking, "--dry-run")
    assert (dry["refund_sats"], dry["short"]) == (owed_sats, "600.00")
    more = ("settlements", "shortfall", number, "--dispensed", "1900", "--by-hand", "--reason", "more than it sold")
    wrong = await operator.types(*more, code=1)
    assert "has sold 1800.00 GTQ" in wrong.err
    await operator.types(*booking, "--yes")
    item = await operator.until("shortfall_waits:machine-1")
    shown = await operator.follows((await operator.needs())[item])
    bolt11 = next(line for line in shown.out.splitlines() if line.startswith("ln"))

    # Somebody miscounted: it is taken back, and booked again.
    await operator.types("settlements", "shortfall", number, "--undo", "--reason", "count again", "--yes")
    assert (await operator.reads("clients", "balance", "alice"))["available"] == before["available"]
    again = await operator.reads(*booking, "--yes")
    assert again["bolt11"] != bolt11
    after = await operator.reads("clients", "balance", "alice")
    assert float(after["available"]) - float(before["available"]) == 600
    await pays(operator, again["bolt11"], again["topup_sats"])
    await operator.types("machines", "sweep", "machine-1")
    sale = await operator.until_sale(operator.sales_made, "refunded")
    assert sale["settlement"]["fiat_amount"] == "1200.00"
    assert sale["settlement"]["topped_up_sats"] == again["topup_sats"]
    await operator.until_quiet("shortfall_waits")
    explained = await operator.types("settlements", "explain", number)
    assert "topped up" in explained.out
    statement = await operator.reads("clients", "statement", "alice")
    assert [line for line in statement["lines"] if f"the customer of sale {number} did not get" in line["notes"]]
    async with Lnbits(operator.system.lnbits.url, instance_id="test") as lnbits:
        assert (await lnbits.wallet(customer.invoice_key)).balance_msat == owed_sats * 1000
    too_late = await operator.types("settlements", "shortfall", number, "--undo", "--reason", "no", "--yes", code=1)
    assert "its shortfall stands" in too_late.err


async def a_jammed_machine(operator: Operator) -> None:
    """The machine says so itself; whoever knows of it is quiet about it until Monday."""
    await operator.beacon(status="error", last_error="bill validator offline")
    item = await operator.until("machine_error:machine-1")
    assert "bill validator offline" in (await operator.types("status", code=1)).out
    await operator.follows((await operator.needs())[item])
    await operator.types("alerts", "silence", item, "--for", "2d", "--reason", "the technician comes on Monday")
    assert item not in await operator.needs()
    assert item in (await operator.types("alerts", "list", "--all", code=None)).out
    await anyio.sleep(1.1)  # beacons have whole seconds: the next one is newer
    await operator.beacon(status="ok")


async def a_partner_has_left(operator: Operator) -> None:
    """His share is given up; what was his goes to whom the operator names, and nobody else's is touched."""
    system = operator.system
    await operator.types("payouts", "pause", "--reason", "the technician leaves", "--yes")
    await operator.sells()
    number = operator.sales_made
    await operator.until_sale(number, "pending")
    await anyio.sleep(2)
    text = system.config_path.read_text()
    technician = f'payee = {{ invoice_key = {{ file = "{system.key_file("technician")}" }} }}'
    assert technician in text
    system.config_path.write_text(text.replace(technician, 'payee = { lightning_address = "tech@nowhere.invalid" }'))
    assert system.daemon is not None
    system.daemon.send_signal(signal.SIGHUP)
    await system.wait_for_log("configuration reloaded")
    await operator.types("payouts", "resume", "--reason", "go on", "--yes")
    await operator.until_sale(number, "errored", timeout_s=90)
    await operator.types("settlements", "close", str(number), "--reason", "he has left", "--yes")
    closed = await operator.reads("settlements", "show", str(number))
    given_up = next(row["amount_sats"] for row in closed["retained"] if row["leg"] == "split:technician")
    back = ("settlements", "redistribute", str(number), "--to", "split:owner", "--reason", "the owner did his work")
    dry = await operator.reads(*back, "--dry-run")
    assert {name: sats for name, sats in dry["new"].items() if ":" in name} == {"split:owner": given_up}
    await operator.types(*back, "--yes")
    await operator.until_sale(number, "processed")
    system.config_path.write_text(text)
    system.daemon.send_signal(signal.SIGHUP)
    await anyio.sleep(1)


async def a_deposit_was_confirmed_wrongly(operator: Operator) -> None:
    """It was 900, not 1000: the wrong one is taken back, the right one entered; both stay on record."""
    wrong = await operator.reads("deposits", "add", "alice", "1 000")
    await operator.types("deposits", "confirm", str(wrong["id"]), "--yes")
    await operator.types("deposits", "reverse", str(wrong["id"]), "--reason", "it was 900", "--yes")
    right = await operator.reads("deposits", "add", "alice", "900.00 GTQ")
    await operator.types("deposits", "confirm", str(right["id"]), "--yes")
    kinds = [row["kind"] for row in await operator.reads("deposits", "list", "--client", "alice")]
    assert kinds[:3] == ["deposit", "reversal", "deposit"]


async def an_lp_leaves(operator: Operator) -> None:
    """He takes some of his cash home, is paid the rest in sats, and is removed; his history stays."""
    await operator.types("deposits", "withdraw", "bruno", "5000", "--note", "at the market", "--yes")
    made = await operator.reads("machines", "top-up", "machine-1", "3 000 000", "--note", "for bruno's payout")
    await pays(operator, made["bolt11"], 3_000_000)
    await operator.types("machines", "sweep", "machine-1")
    await operator.types("clients", "settle", "bruno", "--rate", "143.797", "--dry-run")
    await operator.types("clients", "settle", "bruno", "--rate", "143.797", "--yes")
    for _ in range(60):
        left = await operator.reads("clients", "balance", "bruno")
        if (left["available"], left["reserved"]) == ("0.00", "0.00"):
            break
        await anyio.sleep(0.5)
    await operator.types("clients", "remove", "bruno", "--yes")
    assert len((await operator.reads("clients", "statement", "bruno"))["lines"]) > 2


async def money_that_is_no_sale(operator: Operator) -> None:
    """What the owner paid into the machine's wallet is no sale: it is listed, and dismissed for good."""
    machine = operator.system.machines[0]
    payment_hash = await operator.system.lnbits.pay_customer_invoice(machine.wallet, 5_000, {}, "from my phone")
    item = await operator.until("unmatched:machine-1", timeout_s=90)
    assert payment_hash in (await operator.follows((await operator.needs())[item])).out
    await operator.types("settlements", "dismiss", payment_hash, "--reason", "a top-up from my phone", "--yes")
    await operator.until_quiet("unmatched")


async def a_message_of_no_use(operator: Operator) -> None:
    """A test of the machine's maker: looked at, and dismissed."""
    await operator.system.announce(operator.system.machines[0], {"source": "bitspire", "gross_sats": "many"})
    item = await operator.until("quarantined:machine-1")
    await operator.follows((await operator.needs())[item])
    await operator.types("quarantine", "dismiss", "1", "--reason", "a test of the maker", "--yes")
    await operator.until_quiet("quarantined")


async def a_frozen_daemon(operator: Operator) -> None:
    """It is there and does nothing: `status` says so after a minute, and says whose state it shows."""
    assert operator.system.daemon is not None
    os.kill(operator.system.daemon.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        await operator.until("daemon_frozen", timeout_s=120)
        assert time.monotonic() - began < 120
        shown = (await operator.types("status", code=1)).out
        assert "The daemon runs but does not respond" in shown
        assert f"kill -KILL {operator.system.daemon.pid} && satmachine run" in shown  # there is no systemd here
    finally:
        os.kill(operator.system.daemon.pid, signal.SIGCONT)
    await operator.until_quiet("daemon_frozen")


async def pays(operator: Operator, bolt11: str, sats: int) -> None:
    """The owner pays an invoice from a wallet of his own."""
    import httpx

    own = await operator.system.lnbits.create_wallet("owner's own")
    await operator.system.lnbits.credit(own.id, sats)
    async with httpx.AsyncClient(base_url=operator.system.lnbits.url, timeout=60) as http:
        answer = await http.post(
            "/api/v1/payments", headers={"X-Api-Key": own.admin_key}, json={"out": True, "bolt11": bolt11}
        )
    assert answer.is_success, answer.text


async def invoice_of(operator: Operator, invoice_key: str, sats: int) -> str:
    """The customer makes an invoice with his own wallet."""
    import httpx

    async with httpx.AsyncClient(base_url=operator.system.lnbits.url) as http:
        answer = await http.post(
            "/api/v1/payments",
            headers={"X-Api-Key": invoice_key},
            json={"out": False, "amount": sats, "memo": "refund"},
        )
    body = answer.json()
    return str(body.get("bolt11") or body["payment_request"])
