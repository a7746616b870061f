"""What tests ask of a running system: its books, its wallets, and patience with a bound."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from satmachine.models import Leg, Settlement
from satmachine.store import legs, settlements
from satmachine.store.database import connect, prepare
from satmachine.wallet.lnbits import Lnbits
from testkit.system import DemoMachine, System

#: The sale of the specification's worked example.
SALE: dict[str, object] = {
    "txid": "sale-1",
    "gross_sats": 266_800,
    "net_sats": 258_835,
    "fee_sats": 7_965,
    "exchange_rate": 143.797,
    "fiat_amount": 1800,
    "currency": "GTQ",
}
#: Its legs where alice, bruno and carla have 1000, 600 and 400 GTQ in the machine.
LEGS = {
    "super": 2_390,
    "split:owner": 3_902,
    "split:technician": 1_673,
    "dca:alice": 129_418,
    "dca:bruno": 77_650,
    "dca:carla": 51_767,
}
DEPOSITS = {"alice": 100_000, "bruno": 60_000, "carla": 40_000}


@contextmanager
def books(system: System) -> Iterator[sqlite3.Connection]:
    """The daemon's database, for reading and writing beside it."""
    conn = connect(system.database_path)
    try:
        yield conn
    finally:
        conn.close()


def add_providers(system: System, amounts: dict[str, int] | None = None, machine: DemoMachine | None = None) -> None:
    """Register LPs with one confirmed deposit each (minor units). The daemon has registered the machine."""
    system.add_providers(amounts or DEPOSITS, machine, actor="test")


async def started(system: System, *module: str) -> System:
    """Start the daemon and wait until it hears its relays and has read its wallets once, where it can.

    So the first sweep does not see a test's payment before its event comes; the next one is minutes away.
    """
    prepare(system.database_path)
    begun_at = int(time.time())
    system.start_daemon(module=module or ("satmachine",))
    await system.wait_for_log("subscribed for")
    for _ in range(100):
        with books(system) as conn:
            rows = conn.execute("SELECT last_sweep_at, error FROM dca_wallets").fetchall()
        swept = [row for row in rows if row["error"] or (row["last_sweep_at"] or 0) >= begun_at]
        if len(swept) >= len(system.machines):
            break
        await anyio.sleep(0.1)
    return system


def sales(system: System) -> list[Settlement]:
    """Every settlement in the books."""
    with books(system) as conn:
        ids = [row["id"] for row in conn.execute("SELECT id FROM dca_settlements ORDER BY id")]
        return [settlements.get(conn, settlement_id) for settlement_id in ids]


def legs_of(system: System, settlement_id: int = 1) -> list[Leg]:
    """The legs of a sale."""
    with books(system) as conn:
        return legs.of_settlement(conn, settlement_id)


def quarantined(system: System) -> list[tuple[str, str]]:
    """(reason, detail) of everything in quarantine."""
    with books(system) as conn:
        return [(row["reason"], row["detail"]) for row in conn.execute("SELECT * FROM quarantine ORDER BY id")]


async def until_status(system: System, status: str, *, count: int = 1, timeout_s: float = 60) -> list[Settlement]:
    """Wait until so many settlements have this status; all settlements. Fails with the daemon's log."""
    for _ in range(int(timeout_s / 0.1)):
        found = sales(system)
        if sum(settlement.status == status for settlement in found) >= count:
            return found
        await anyio.sleep(0.1)
    raise AssertionError(f"no {count} settlement(s) {status}: {found}\n{system.log_tail(60)}")


async def until_quarantined(system: System, count: int, *, timeout_s: float = 30) -> list[tuple[str, str]]:
    """Wait until so many events are in quarantine."""
    for _ in range(int(timeout_s / 0.1)):
        found = quarantined(system)
        if len(found) >= count:
            return found
        await anyio.sleep(0.1)
    raise AssertionError(f"only {found} in quarantine\n{system.log_tail(60)}")


async def balances(system: System) -> dict[str, int]:
    """Sats in every wallet, by name."""
    keys = {machine.id: machine.wallet for machine in system.machines} | system.wallets
    async with Lnbits(system.lnbits.url, instance_id="test") as lnbits:
        return {name: (await lnbits.wallet(wallet.invoice_key)).balance_msat // 1000 for name, wallet in keys.items()}


async def debits(system: System, machine: DemoMachine | None = None) -> dict[str, int]:
    """Successful outgoing payments of a machine's wallet by leg key, from LNbits' own records: {leg key: how many}."""
    wallet = (machine or system.machines[0]).wallet
    found: dict[str, int] = {}
    async with Lnbits(system.lnbits.url, instance_id="test") as lnbits:
        for row in await lnbits.payments(wallet.admin_key, incoming=False):
            if row.status == "success":
                found[str(row.leg_key)] = found.get(str(row.leg_key), 0) + 1
    return found
