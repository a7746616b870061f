"""Sales that nobody announces, on a real LNbits: shared at once, with the beacon's rate; what is no sale is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from decimal import Decimal
from typing import Any

import anyio
import pytest

from testkit.machine import publish
from testkit.system import DemoMachine, System
from testkit.watch import DEPOSITS, SALE, add_providers, books, debits, legs_of, sales, started, until_status
from tests.integration.conftest import BuildSystem

SHARE = 'unannounced = { sales = "share" }'
LPS = tuple(DEPOSITS)
#: What 266,800 sats are by the fallback commission of 5 percent, and the beacon's rate.
LEGS = {
    "super": 3_812,
    "split:owner": 6_225,
    "split:technician": 2_668,
    "dca:alice": 127_048,
    "dca:bruno": 76_228,
    "dca:carla": 50_819,
}
RATE = Decimal("143.797")


async def tell_rate(system: System, machine: DemoMachine | None = None) -> None:
    """The machine's beacon tells its rate, and it is in the books."""
    machine = machine or system.machines[0]
    beacon = machine.signer.event({"exchange_rate": str(RATE), "currency": "GTQ"}, kind=30078, tags=[["d", "status"]])
    await publish([relay.url for relay in system.relays], beacon)
    for _ in range(300):
        with books(system) as conn:
            if conn.execute("SELECT 1 FROM dca_telemetry_log WHERE machine_id = ?", (machine.id,)).fetchone():
                return
        await anyio.sleep(0.1)
    raise AssertionError("the beacon never came\n" + system.log_tail())


async def pays(system: System, gross_sats: int = 266_800, machine: DemoMachine | None = None) -> str:
    """A customer pays, and nothing tells of it."""
    paid = await system.customer_pays(machine or system.machines[0], {"gross_sats": gross_sats}, with_extra=False)
    return str(paid["payment_hash"])


def satmachine(system: System, *words: str) -> Any:
    """A command, and what it prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "satmachine", "--config", str(system.config_path), *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SATMACHINE_OPERATOR": ""},
        timeout=120,
    )
    assert done.returncode == 0 or words[0] == "status", done.stderr  # status: 1 where something needs a person
    return json.loads(done.stdout)


def listed(system: System) -> dict[str, tuple[str, str]]:
    """(kind, reason) of every payment without a sale at the first machine, by its hash."""
    rows = satmachine(system, "settlements", "unmatched", "--all", "--machine", "machine-1")
    return {row["payment_hash"]: (row["kind"], row["reason"]) for row in rows}


async def until_listed(system: System, count: int) -> dict[str, tuple[str, str]]:
    for _ in range(300):
        with books(system) as conn:
            sql = "SELECT count(*) FROM dca_unmatched_payments WHERE machine_id = 'machine-1'"
            [(found,)] = conn.execute(sql).fetchall()
        if found >= count:
            return listed(system)
        await anyio.sleep(0.1)
    raise AssertionError(f"only {found} payments are listed\n" + system.log_tail())


async def test_a_sale_that_nobody_announces_is_shared_at_once_with_the_beacons_rate(
    build_system: BuildSystem,
) -> None:
    """The next sweep is five minutes away: it is LNbits' websocket that tells of it."""
    system = await started(await build_system(lps=LPS, settings={"machines": SHARE}))
    add_providers(system)
    await tell_rate(system)
    payment_hash = await pays(system)
    [settlement] = await until_status(system, "processed")
    assert {leg.leg: leg.amount_sats for leg in legs_of(system)} == LEGS
    assert (settlement.source, settlement.used_fallback_split) == ("wallet", True)
    assert (settlement.payment_hash, settlement.bitspire_event_id) == (payment_hash, None)
    assert (settlement.exchange_rate, settlement.rate_source) == (RATE, "beacon")
    assert "lamassu-next#44" in system.log_path.read_text()


async def test_without_the_websocket_the_sweep_finds_it(build_system: BuildSystem) -> None:
    settings = {"machines": SHARE, "lnbits": "websockets = 0", "reconcile": "interval_s = 5"}
    system = await started(await build_system(lps=LPS, settings=settings))
    add_providers(system)
    await pays(system)
    [settlement] = await until_status(system, "processed")
    assert (settlement.source, settlement.exchange_rate) == ("wallet", Decimal(0))
    assert {leg.leg for leg in legs_of(system)} == {"super", "split:owner", "split:technician"}
    with books(system) as conn:
        [retained] = conn.execute("SELECT reason, amount_sats FROM dca_retained").fetchall()
    assert tuple(retained) == ("unknown_rate", 254_095)
    found = satmachine(system, "status")
    assert [item["condition"] for item in found["attention"] if "rate" in item["condition"]] == ["rate_unknown"]


async def what_is_no_sale(system: System, treasury: Any, round_: int = 0) -> dict[str, str]:
    """One of each, by what it is expected to be: hash -> kind."""
    machine, other = system.machines
    target, sats = machine.wallet, 40_000 + round_
    lnbits = system.lnbits
    top_up = satmachine(system, "machines", "top-up", machine.id, str(sats), "--note", "float of the week")
    assert await lnbits.pay(await lnbits.create_funded("sponsor", sats), top_up["bolt11"]) == top_up["payment_hash"]
    await lnbits.credit(target.id, sats)
    return {
        top_up["payment_hash"]: "top_up",
        await lnbits.transfer(other.wallet, target, sats): "transfer",
        await lnbits.transfer(treasury, target, sats): "transfer",
        await lnbits.transfer(system.wallets["owner"], target, sats): "unknown",
        await lnbits.transfer(system.wallets["alice"], target, sats): "unknown",
        await lnbits.transfer(await lnbits.create_wallet("shop"), target, sats, extra={"tag": "tpos"}): "unknown",
        await lnbits.transfer(await lnbits.create_wallet("x"), target, sats, extra={"source": "lamassu"}): "unknown",
        await lnbits.transfer(await lnbits.create_wallet("dust"), target, 999): "unknown",
    }


async def system_with_treasury(build_system: BuildSystem, *, websockets: int = 5) -> tuple[System, Any]:
    system: System = await build_system(lps=LPS, machines=2)
    treasury = await system.lnbits.create_wallet("treasury")
    own = f'own_wallets = [{{ file = "{system.key_file("treasury")}" }}]'
    system.key_file("treasury").write_text(treasury.invoice_key)
    system.key_file("treasury").chmod(0o600)
    system.settings = {"machines": SHARE, "lnbits": f"{own}\nwebsockets = {websockets}"}
    system.write_config()
    await started(system)
    add_providers(system)
    return system, treasury


async def test_top_ups_transfers_and_mistakes_are_never_shared(build_system: BuildSystem) -> None:
    system, treasury = await system_with_treasury(build_system)
    expected = await what_is_no_sale(system, treasury)
    customers = {await pays(system) for _ in range(2)}
    await until_status(system, "processed", count=2)
    found = await until_listed(system, len(expected) + 1)
    assert {hash_: found[hash_][0] for hash_ in expected} == expected
    [credit] = found.keys() - expected.keys()
    assert found[credit] == ("credit", "a credit by the administrator of LNbits")
    assert {settlement.payment_hash for settlement in sales(system)} == customers
    assert satmachine(system, "machines", "show", "machine-1")["top_ups"][0]["paid_at"] is not None
    assert set((await debits(system)).values()) == {1}


async def test_forged_and_repeated_hints_change_nothing(build_system: BuildSystem) -> None:
    system = await started(await build_system(lps=LPS, settings={"machines": SHARE}))
    key = system.machines[0].wallet.invoice_key
    forged = {"payment": {"amount": 266_800_000, "status": "success", "payment_hash": "00" * 32}}
    for text in [json.dumps(forged), "{", "[]", '{"payment": {"amount": "much"}}', "x" * 10_000] * 20:
        await system.lnbits.tell(key, text)
    await pays(system, 20_000)
    [settlement] = await until_status(system, "processed")
    assert settlement.gross_sats == 20_000
    assert set((await debits(system)).values()) == {1}


async def test_the_event_that_comes_after_all_finds_one_sale_and_pays_nothing(build_system: BuildSystem) -> None:
    system = await started(await build_system(lps=LPS, settings={"machines": SHARE}))
    add_providers(system)
    machine = system.machines[0]
    sale = await system.customer_pays(machine, SALE, with_extra=False)
    [settlement] = await until_status(system, "processed")
    paid = await debits(system)
    await system.announce(machine, sale)
    await system.wait_for_log("is in quarantine")
    assert [one.id for one in sales(system)] == [settlement.id]
    # The same split as was derived attaches: it says nothing else.
    await system.announce(machine, {"payment_hash": sale["payment_hash"], "gross_sats": 266_800})
    await system.wait_for_log("attached event")
    assert len(sales(system)) == 1
    assert await debits(system) == paid


async def test_a_machine_that_announces_is_waited_for(build_system: BuildSystem) -> None:
    """Its figures are better than derived ones; only what it never tells of is shared by the fallback."""
    after = 'unannounced = { sales = "share", after_s = 8 }'
    system = await started(await build_system(lps=LPS, settings={"machines": after}))
    add_providers(system)
    machine = system.machines[0]
    told = await system.customer_pays(machine, SALE, with_extra=False)
    never_told = await pays(system, 100_000)
    await system.announce(machine, told)
    await until_status(system, "processed", count=2, timeout_s=90)
    found = {settlement.payment_hash: settlement for settlement in sales(system)}
    assert (found[str(told["payment_hash"])].source, found[str(told["payment_hash"])].net_sats) == ("event", 258_835)
    assert (found[never_told].source, found[never_told].used_fallback_split) == ("wallet", True)
    assert set((await debits(system)).values()) == {1}


async def test_every_sale_once_whatever_a_fleet_publishes(build_system: BuildSystem) -> None:
    """One machine never publishes, one only speaks to its LNbits over the relays, one announces, one does it all."""
    system = await started(await build_system(lps=LPS, machines=4, settings={"machines": SHARE}))
    silent, transport, announcing, everything = system.machines
    urls = [relay.url for relay in system.relays]
    for number in range(2):
        await pays(system, 30_000 + number, silent)
        await speak_to_lnbits(urls, transport)
        await pays(system, 31_000 + number, transport)
        await announced(system, announcing, f"a-{number}", 32_000 + number)
        await speak_to_lnbits(urls, everything)
        await announced(system, everything, f"e-{number}", 33_000 + number, with_extra=True)
    found = await until_status(system, "processed", count=8, timeout_s=90)
    expected = [base + number for base in (30_000, 31_000, 32_000, 33_000) for number in range(2)]
    assert sorted(settlement.gross_sats for settlement in found) == expected
    for machine in system.machines:
        assert set((await debits(system, machine)).values()) == {1}, machine.id
    shown = satmachine(system, "machines", "show", transport.id)
    assert shown["transport"]["events"] == 2


async def speak_to_lnbits(urls: list[str], machine: DemoMachine) -> None:
    """A request to its LNbits, encrypted to that one's key: no word about a sale."""
    stranger = "6d" * 32
    await publish(urls, machine.signer.event("AnyBase64Text==", tags=[["p", stranger], ["n", str(time.time_ns())]]))


async def announced(
    system: System, machine: DemoMachine, txid: str, gross_sats: int, *, with_extra: bool = False
) -> None:
    fee_sats = gross_sats // 20
    sale = {"txid": txid, "gross_sats": gross_sats, "net_sats": gross_sats - fee_sats, "fee_sats": fee_sats}
    sale |= {"exchange_rate": str(RATE), "currency": "GTQ"}
    bolt11 = await system.lnbits.customer_invoice(
        machine.wallet, gross_sats, {"source": "bitspire", **sale} if with_extra else {}, txid
    )
    # A machine that announces a sale does so as soon as it is paid: both come at once, in either order.
    payment_hash = await system.lnbits.pay(await system.lnbits.create_funded("customer", gross_sats), bolt11)
    await system.announce(machine, {"source": "bitspire", **sale, "payment_hash": payment_hash})


@pytest.mark.slow
async def test_fifty_sales_among_twenty_top_ups_and_transfers(build_system: BuildSystem) -> None:
    system, treasury = await system_with_treasury(build_system)
    expected: dict[str, str] = {}
    customers: set[str] = set()
    for round_ in range(5):
        for number in range(10):
            customers.add(await pays(system, 20_000 + 10 * round_ + number))
        expected |= await what_is_no_sale(system, treasury, round_)
    await until_status(system, "processed", count=50, timeout_s=240)
    found = await until_listed(system, len(expected) + 5)
    assert {hash_: found[hash_][0] for hash_ in expected} == expected
    assert {settlement.payment_hash for settlement in sales(system)} == customers
    assert set((await debits(system)).values()) == {1}
