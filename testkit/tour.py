"""`satmachine demo --keep`: a fleet with a past and troubles of its own, that stays, and a tour of commands."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
from rich.console import Console

from satmachine.store import clients
from satmachine.store.database import atomic, connect
from testkit.demo import DEPOSITS, SALE, steps
from testkit.lnbits import LnbitsServer, ensure_environment
from testkit.machine import publish
from testkit.system import System

#: What to type, and what it shows. Each runs as printed once $SATMACHINE_CONFIG names the demo's file.
TOUR = (
    ("satmachine status", "what needs you: a jammed machine, a payee who does not answer, money of no sale"),
    ("satmachine alerts silence machine_error:machine-3 --for 2d --reason demo", "you know about the jam: silence it"),
    ("satmachine settlements list", "the sales, and the state of each"),
    ("satmachine settlements show 1", "one of them: its payments, events, notes"),
    ("satmachine settlements explain 1", "the arithmetic of every sat"),
    ("satmachine payments list --status failing", "dora's Lightning address is dead"),
    (
        "satmachine clients update dora --lightning-address dora@example.invalid --unchecked --dry-run",
        "how to change it (without --dry-run, it says what is next)",
    ),
    ("satmachine settlements unmatched", "somebody has topped up the wallet without telling you"),
    ("satmachine quarantine list", "a message that could not be used"),
    ("satmachine clients statement alice", "what alice has brought and got"),
    ("satmachine clients statement alice --html | satmachine verify -", "a signed page for her, and its proof"),
    ("satmachine telemetry fleet", "the machines, their cash, their state"),
    ("satmachine payments list | grep -c completed", "into a pipe a list is written in full"),
    ("satmachine audit", "every sat is accounted for, in the books and in the wallets"),
)
#: Of the fleet: what fails is shown soon, and the daemon has a key (whose is no matter) to sign statements with.
SETTINGS = {"payouts": "attention_after_s = 10", "nostr": f'secret_key = "{"7" * 64}"'}
_SALES = 6


async def keep(console: Console, hours: int) -> None:
    """Build the fleet, print the tour, and keep everything running until Ctrl-C, or for so many hours."""
    say = steps(console)
    environment = await anyio.to_thread.run_sync(lambda: ensure_environment(say=say))
    with tempfile.TemporaryDirectory(prefix="satmachine-demo-") as folder:
        lnbits = LnbitsServer(environment, Path(folder) / "lnbits")
        try:
            await lnbits.start()
            settings = {**SETTINGS, "display": 'tz = "America/Guatemala"'}
            system = await System.build(Path(folder), lnbits, machines=3, lps=(*DEPOSITS, "dora"), settings=settings)
            try:
                await furnish(system, say)
                _print_tour(console, system)
                await anyio.sleep(hours * 3600)
            finally:
                system.kill_daemon()
                system.stop_relays()
        finally:
            await lnbits.stop()


async def furnish(system: System, say: Callable[[str], None]) -> None:
    """Give the fleet a past: sales at two machines, and something of everything that goes wrong."""
    system.start_daemon()
    await system.wait_for_log("satmachine runs")
    first, second, third = system.machines
    say("LPs bring cash; dora wants her sats at an address that does not exist")
    for machine, labels in ((first, DEPOSITS), (second, {"dora": 5_000})):
        amounts_minor = {label: 100 * 20 * amount for label, amount in labels.items()}
        await anyio.to_thread.run_sync(system.add_providers, amounts_minor, machine)
    with closing(connect(system.database_path)) as conn, atomic(conn):
        dora = next(one for one in clients.find(conn) if one.label == "dora")
        dead = {"payee_kind": "lightning_address", "payee": "dora@nowhere.invalid"}
        clients.update(conn, dora, dead, actor="demo", now=dora.created_at)
    say(f"{_SALES} customers come")
    for number in range(_SALES):
        machine = second if number == _SALES - 1 else first
        sale = await system.customer_pays(machine, {**SALE, "txid": f"demo-sale-{number + 1}"})
        await system.announce(machine, sale)
    say("A machine jams, somebody tops a wallet up, and a message is nonsense")
    cassette = {"denomination": 100, "count": 12, "capacity": 500}
    urls = [relay.url for relay in system.relays]
    for machine, beacon in (
        (first, {"status": "online", "cassettes": [cassette], "software_version": "8.1"}),
        (second, {"status": "online", "cassettes": [{**cassette, "count": 380}]}),
        (third, {"status": "error", "last_error": "bill validator offline"}),
    ):
        await publish(urls, machine.signer.event(beacon, kind=30078, tags=[["d", "beacon"]]))
    await system.lnbits.pay_customer_invoice(first.wallet, 50_000, {}, "topped up by phone")
    await system.announce(first, {"source": "bitspire", "gross_sats": "many"})
    await anyio.sleep(15)  # until what fails has failed for long enough


def exports(config: Path) -> tuple[str, ...]:
    """What another terminal needs before it knows the commands of the tour."""
    return f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH", f"export SATMACHINE_CONFIG={config}"


def _print_tour(console: Console, system: System) -> None:
    console.print("\n[bold]It runs. In another terminal:[/bold]\n", highlight=False)
    for line in exports(system.config_path):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    console.print()
    for command, what in TOUR:
        console.print(f"  [cyan]{command}[/cyan]\n      {what}", highlight=False, soft_wrap=True)
    console.print("\nCtrl-C here ends it and removes everything.", highlight=False)
