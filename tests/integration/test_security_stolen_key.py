"""Whoever has a machine's Nostr key gets nothing out of any wallet (SPEC section 6.4), and stops nobody else's sale."""

from __future__ import annotations

import time

import anyio

from satmachine.models import Settlement
from satmachine.store.database import atomic
from testkit.system import DemoMachine, System
from testkit.watch import (
    add_providers,
    books,
    debits,
    legs_of,
    quarantined,
    sales,
    started,
    until_status,
)
from tests.integration.conftest import BuildSystem

RATE = 143.797
#: So many sales give a machine a median rate of its own.
HONEST = 5


def sale_of(txid: str, **changes: object) -> dict[str, object]:
    """A small sale; its commission is 30 of 1,000 sats."""
    sale = {"txid": txid, "gross_sats": 1_000, "net_sats": 970, "fee_sats": 30, "exchange_rate": RATE}
    return {**sale, **changes}


async def honest_sales(system: System, machine: DemoMachine, count: int) -> list[dict[str, object]]:
    """Sales as they should be, paid out."""
    made = [await system.customer_pays(machine, sale_of(f"honest-{number}")) for number in range(count)]
    for sale in made:
        await system.announce(machine, sale)
    await until_status(system, "processed", count=count)
    return made


async def until_held(system: System, count: int) -> dict[str | None, str | None]:
    """{txid: why it is held}."""
    found = await until_status(system, "held", count=count)
    return {each.txid: each.hold_reason for each in found if each.status == "held"}


def by_txid(system: System, txid: str) -> Settlement:
    return next(each for each in sales(system) if each.txid == txid)


async def test_nothing_that_a_stolen_key_says_leaves_the_wallet(build_system: BuildSystem) -> None:
    system = await build_system(machines=2, lps=("alice",), settings={"payouts": "proof_wait_s = 2"})
    await started(system)
    add_providers(system, {"alice": 100_000})
    stolen, other = system.machines
    used, *_ = await honest_sales(system, stolen, HONEST)
    before = await debits(system, stolen)
    # Paid for, but without a word of the split in the payment: only then is the event's own word taken.
    paid = {
        txid: await system.customer_pays(stolen, sale_of(txid), with_extra=False)
        for txid in ("claims-more", "absurd-rate", "absurd-commission")
    }
    foreign = await system.customer_pays(other, sale_of("of-the-other"))
    for claim in (
        {**paid["claims-more"], "gross_sats": 100_000, "net_sats": 97_000, "fee_sats": 3_000},
        {**paid["absurd-rate"], "exchange_rate": RATE * 10},
        {**paid["absurd-commission"], "net_sats": 100, "fee_sats": 900},
        {**foreign, "txid": "of-another-machine"},
        sale_of("never-paid", payment_hash="ab" * 32),
        sale_of("no-hash-at-all"),
        {**used, "txid": "used-already"},
    ):
        await system.announce(stolen, {"source": "bitspire", **claim})
    assert await until_held(system, 6) == {
        "claims-more": "payment_mismatch",
        "absurd-rate": "rate_out_of_bounds",
        "absurd-commission": "commission_out_of_bounds",
        "of-another-machine": "payment_not_found",
        "never-paid": "payment_not_found",
        "no-hash-at-all": "no_payment_hash",
    }
    assert [reason for reason, _ in quarantined(system)] == ["conflict"]
    assert await debits(system, stolen) == before

    # The thief has claimed the other machine's payment first, and that machine's sale is paid all the same.
    await system.announce(other, foreign)
    await until_status(system, "processed", count=HONEST + 1)
    assert by_txid(system, "of-the-other").status == "processed"
    assert await debits(system, stolen) == before


async def test_where_the_payment_says_what_was_sold_the_event_must_agree(system: System) -> None:
    await started(system)
    add_providers(system, {"alice": 100_000})
    [machine] = system.machines
    paid = await system.customer_pays(machine, sale_of("shifted"))
    await system.announce(machine, {**paid, "net_sats": 960, "fee_sats": 40})
    assert await until_held(system, 1) == {"shifted": "payment_mismatch"}
    assert await debits(system) == {}


async def test_above_the_daily_ceiling_a_sale_waits_for_a_person(build_system: BuildSystem) -> None:
    system = await build_system(lps=("alice",), settings={"machines": "daily_limit_sats = 1500"})
    await started(system)
    add_providers(system, {"alice": 100_000})
    [machine] = system.machines
    await honest_sales(system, machine, 1)
    before = await debits(system)
    await system.announce(machine, await system.customer_pays(machine, sale_of("too-much")))
    assert await until_held(system, 1) == {"too-much": "daily_limit"}
    assert "above daily_limit_sats 1500" in str(by_txid(system, "too-much").error)
    assert await debits(system) == before


async def test_the_red_button_in_the_file_holds_until_it_is_released(build_system: BuildSystem) -> None:
    system = await build_system(lps=("alice",), settings={"payouts": "paused = true"})
    await started(system)
    add_providers(system, {"alice": 100_000})
    [machine] = system.machines
    await system.announce(machine, await system.customer_pays(machine, sale_of("paused")))
    await planned(system)
    await anyio.sleep(1)
    assert await debits(system) == {}

    await system.stop_daemon()
    system.start_daemon()
    await system.wait_for_log("satmachine runs")
    await anyio.sleep(2)
    assert await debits(system) == {}

    await system.stop_daemon()
    system.settings = {}
    system.write_config()
    system.start_daemon()
    await until_status(system, "processed")


async def test_the_red_button_in_the_books_is_remembered_over_a_restart(system: System) -> None:
    await started(system)
    add_providers(system, {"alice": 100_000})
    with books(system) as conn, atomic(conn):
        conn.execute(
            "INSERT INTO payout_pauses VALUES ('machine-1', ?, 'test', 'a key was stolen')", (int(time.time()),)
        )
    [machine] = system.machines
    await system.announce(machine, await system.customer_pays(machine, sale_of("paused")))
    await planned(system)
    await system.stop_daemon()
    system.start_daemon()
    await anyio.sleep(4)
    assert await debits(system) == {}
    with books(system) as conn, atomic(conn):
        conn.execute("DELETE FROM payout_pauses")
    await until_status(system, "processed")


async def planned(system: System) -> None:
    """Until the first sale has its legs: landing, proof and plan go on while nothing is paid."""
    for _ in range(300):
        if sales(system) and legs_of(system):
            return
        await anyio.sleep(0.1)
    raise AssertionError(f"not planned: {sales(system)}\n{system.log_tail()}")
