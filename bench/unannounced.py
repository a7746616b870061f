"""From a payment that nobody announces to the last of its six legs, LPs' among them; the rate is told by the beacon.

Real parts: an LNbits (FakeWallet) of one's own, a relay, the daemon as a process, default settings but
`sales = "share"`. The clock runs from the moment the customer's wallet sends the payment (not its invoice) to the last
leg in the books. Once as it is, by LNbits' websocket; once with the websocket cut on its way: a proxy refuses it, and
what the sweep finds within its interval is all there is.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import anyio

from bench.report import Figure, Section, median, spread
from bench.settlements import LPS, _until
from satmachine.config import load
from satmachine.store import registry
from satmachine.store.database import atomic, connect, prepare
from testkit.lnbits import LnbitsServer, ensure_environment
from testkit.machine import publish
from testkit.proxy import FaultProxy, scripted
from testkit.system import System

Say = Callable[[str], None]

SALES, CUT_SALES = 20, 4
LEGS_PER_SALE = 6
TARGET_S = 3.0
INTERVAL_S = 10
GROSS_SATS = 266_800


def run(quick: bool, say: Say) -> list[Section]:
    environment = ensure_environment(say=say)
    heard = anyio.run(_measure, environment, 2 if quick else SALES, True, say)
    swept = anyio.run(_measure, environment, 1 if quick else CUT_SALES, False, say)
    worst = max(swept)
    return [
        Section(
            "Sales that nobody announces",
            "From the customer's payment to the last of six legs in the books, three LPs' among them, one sale after "
            'another; the rate is the beacon\'s. Default settings but `sales = "share"`; with the websocket cut, '
            f"`interval_s = {INTERVAL_S}`.",
            [
                Figure(
                    f"by LNbits' websocket, {len(heard)} sales",
                    f"{spread(heard)} s",
                    "",
                    f"median < {TARGET_S:.0f} s",
                    median(heard) < TARGET_S,
                ),
                Figure(
                    f"websocket cut, {len(swept)} sales",
                    f"{spread(swept, 1)} s",
                    "",
                    f"< {INTERVAL_S} s + {TARGET_S:.0f} s",
                    worst < INTERVAL_S + TARGET_S,
                ),
            ],
        )
    ]


async def _measure(environment: Path, sales: int, websocket: bool, say: Say) -> list[float]:
    """Seconds from each payment to its last leg."""
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as name:
        async with _system(Path(name), environment, websocket=websocket) as system:
            taken = [await _one(system, number) for number in range(1, sales + 1)]
            await system.stop_daemon()
    say(f"{'by websocket' if websocket else 'websocket cut'}: {spread(taken)} s")
    return taken


async def _one(system: System, number: int) -> float:
    machine, lnbits = system.machines[0], system.lnbits
    bolt11 = await lnbits.customer_invoice(machine.wallet, GROSS_SATS, {}, f"Sale {number}")
    customer = await lnbits.create_funded(f"customer {number}", GROSS_SATS)
    await anyio.sleep(0.5)  # LNbits' own work after that
    began = time.monotonic()
    await lnbits.pay(customer, bolt11)
    await _until(system, "SELECT count(*) FROM dca_payments WHERE status = 'completed'", number * LEGS_PER_SALE)
    return time.monotonic() - began


@asynccontextmanager
async def _system(folder: Path, environment: Path, *, websocket: bool) -> AsyncIterator[System]:
    """A machine whose LPs have brought cash and whose beacon is known; every wallet was read once."""
    server = LnbitsServer(environment, folder / "lnbits")
    settings = {"machines": 'unannounced = { sales = "share" }'}
    async with AsyncExitStack() as stack:
        await server.start()
        stack.push_async_callback(server.stop)
        url = server.url
        if not websocket:  # as many a proxy does, this one knows nothing of websockets
            url = (await stack.enter_async_context(FaultProxy(server.url, scripted([])))).url
            settings["reconcile"] = f"interval_s = {INTERVAL_S}"
        system = await System.build(folder, server, lps=tuple(LPS), lnbits_url=url, settings=settings)
        stack.callback(system.stop_relays)
        stack.callback(system.kill_daemon)
        prepare(system.database_path)
        with closing(connect(system.database_path)) as conn, atomic(conn):
            registry.mirror(conn, load(system.config_path), int(time.time()))
        system.add_providers(LPS, system.machines[0], actor="bench")
        system.start_daemon()
        await system.wait_for_log("subscribed for", timeout_s=120)
        await _until(system, "SELECT count(*) FROM dca_wallets WHERE last_sweep_at IS NOT NULL", 1)
        beacon = {"exchange_rate": "143.797", "currency": "GTQ"}
        told = system.machines[0].signer.event(beacon, kind=30078, tags=[["d", "status"]])
        await publish([relay.url for relay in system.relays], told)
        await _until(system, "SELECT count(*) FROM dca_telemetry", 1)
        yield system
