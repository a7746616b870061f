"""The main job, shown: a sale arrives over a real relay and a real LNbits shares it out, to the last sat."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from satmachine.errors import SatmachineError
from satmachine.models import Settlement, SettlementStatus
from satmachine.store import legs, settlements
from satmachine.store.database import connect
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import LnbitsServer, ensure_environment
from testkit.system import CURRENCY, DemoMachine, System

#: The sale of the specification's worked example: 1,800 GTQ for 266,800 sats.
SALE = {
    "txid": "demo-sale-1",
    "gross_sats": 266_800,
    "net_sats": 258_835,
    "fee_sats": 7_965,
    "fee_pct": 0.0308,
    "exchange_rate": 143.797,
    "fiat_amount": 1800,
    "currency": CURRENCY,
}
#: What the liquidity providers have in the machine, in whole quetzales.
DEPOSITS = {"alice": 1000, "bruno": 600, "carla": 400}

_TIMEOUT_S = 90


async def show(console: Console) -> None:
    """Run the demo; raises SatmachineError where any part of it does not do what it should."""
    say = steps(console)
    environment = await anyio.to_thread.run_sync(lambda: ensure_environment(say=say))
    with tempfile.TemporaryDirectory(prefix="satmachine-demo-") as folder:
        lnbits = LnbitsServer(environment, Path(folder) / "lnbits")
        try:
            say("Starting LNbits (FakeWallet) and a Nostr relay on this machine")
            await lnbits.start()
            system = await System.build(Path(folder), lnbits, lps=tuple(DEPOSITS))
            try:
                await _run(console, say, system)
            finally:
                system.kill_daemon()
                system.stop_relays()
        finally:
            await lnbits.stop()


async def _run(console: Console, say: Callable[[str], None], system: System) -> None:
    machine = system.machines[0]
    say("Starting the daemon: satmachine run")
    system.start_daemon()
    await system.wait_for_log("satmachine runs")
    say("Three liquidity providers bring cash: " + ", ".join(f"{k} {v} {CURRENCY}" for k, v in DEPOSITS.items()))
    amounts_minor = {label: 100 * amount for label, amount in DEPOSITS.items()}
    await anyio.to_thread.run_sync(system.add_providers, amounts_minor, machine)
    before = await _balances(system)
    say(f"A customer pays {SALE['gross_sats']:,} sats to the machine and takes {SALE['fiat_amount']} {CURRENCY}")
    sale = await system.customer_pays(machine, SALE)
    say("The machine announces its sale on the relay, signed (kind 21000)")
    await system.announce(machine, sale)
    settlement = await _until_processed(system, machine, str(sale["payment_hash"]))
    after = await _balances(system)
    _print_sale(console, settlement)
    _print_legs(console, system, settlement)
    _print_balances(console, before, after)
    say("Stopping the daemon (SIGTERM)")
    code = await system.stop_daemon()
    if code != 0:
        raise SatmachineError(f"the daemon ended with exit code {code}:\n{system.log_tail()}")


async def _balances(system: System) -> dict[str, int]:
    """Sats in every wallet, by name."""
    keys = {system.machines[0].id: system.machines[0].wallet} | system.wallets
    async with Lnbits(system.lnbits.url, instance_id="demo") as lnbits:
        return {name: (await lnbits.wallet(wallet.invoice_key)).balance_msat // 1000 for name, wallet in keys.items()}


async def _until_processed(system: System, machine: DemoMachine, payment_hash: str) -> Settlement:
    for _ in range(_TIMEOUT_S * 10):
        with closing(connect(system.database_path, read_only=True)) as conn:
            settlement_id = settlements.id_of_key(conn, machine.id, payment_hash)
            settlement = None if settlement_id is None else settlements.get(conn, settlement_id)
        if settlement is not None and settlement.status is SettlementStatus.PROCESSED:
            return settlement
        await anyio.sleep(0.1)
    raise SatmachineError(f"the sale was not shared out within {_TIMEOUT_S} s:\n{system.log_tail()}")


def _print_sale(console: Console, settlement: Settlement) -> None:
    table = Table(title="The sale", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("how much", justify="right")
    table.add_row("gross", f"{settlement.gross_sats:,} sats")
    table.add_row("net", f"{settlement.net_sats:,} sats")
    table.add_row("commission", f"{settlement.commission_sats:,} sats")
    table.add_row("status", f"[green]{settlement.status}[/green]")
    console.print(table)


def _print_legs(console: Console, system: System, settlement: Settlement) -> None:
    with closing(connect(system.database_path, read_only=True)) as conn:
        paid = legs.of_settlement(conn, settlement.id)
    table = Table(title="Shared out", title_justify="left")
    table.add_column("leg")
    table.add_column("to")
    table.add_column("sats", justify="right")
    table.add_column("status")
    for leg in paid:
        to = leg.leg.partition(":")[2] or "platform"
        table.add_row(leg.leg_type, to, f"{leg.amount_sats:,}", f"[green]{leg.status}[/green]")
    console.print(table)


def _print_balances(console: Console, before: dict[str, int], after: dict[str, int]) -> None:
    table = Table(title="Wallets in LNbits", title_justify="left", show_footer=True)
    gained = {name: after[name] - before[name] for name in after}
    total = sum(gained.values())
    table.add_column("wallet", "together")
    table.add_column("before", f"{sum(before.values()):,}", justify="right")
    table.add_column("after", f"{sum(after.values()):,}", justify="right")
    table.add_column("change", f"{total:+,}", justify="right")
    for name in after:
        table.add_row(name, f"{before[name]:,}", f"{after[name]:,}", f"{gained[name]:+,}")
    console.print(table)
    parts = " + ".join(f"{change:,}" for change in gained.values() if change)
    if total != SALE["gross_sats"]:
        raise SatmachineError(f"the wallets gained {total} sats, but the customer paid {SALE['gross_sats']}")
    console.print(
        f"[bold green]It adds up:[/bold green] {parts} = {total:,} sats, what the customer paid.", soft_wrap=True
    )


def steps(console: Console) -> Callable[[str], None]:
    """Say what happens, with the time since the start."""
    begun = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - begun:5.1f} s[/dim]  {text}", highlight=False, soft_wrap=True)

    return say
