"""The system under attack: LNbits, relays, machines and the daemon as processes, and a memory of every sale.

What a customer has paid is remembered here and nowhere else, so that a loss shows. Nothing in this package is used by
the daemon.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import nostr_sdk

from chaos import facts
from chaos.check import Facts, Sale, unfinished
from satmachine.config import load
from satmachine.errors import SatmachineError
from satmachine.store import clients, deposits, registry
from satmachine.store.database import atomic, connect, prepare
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import LnbitsServer
from testkit.machine import publish
from testkit.system import DemoMachine, System

#: LPs of every machine, and the cash they brought (minor units): enough for a campaign.
LPS: Mapping[str, int] = {"alice": 5_000_000_00, "bruno": 3_000_000_00, "carla": 2_000_000_00}

_STOPPED = "SELECT machine_id FROM dca_wallets WHERE safe_mode IS NOT NULL"

#: When the LPs brought it: before every sale.
_DEPOSITED_AT = 1_600_000_000

#: Sweeps come as often as the configuration allows.
SETTINGS: Mapping[str, str] = {"reconcile": "interval_s = 5"}


@dataclass(slots=True)
class World:
    """One system, and what was done to it. `daemon_environ` is for failpoints."""

    system: System
    sales: list[Sale] = field(default_factory=list)
    told: list[Mapping[str, object]] = field(default_factory=list)
    events: list[nostr_sdk.Event] = field(default_factory=list)
    kills: int = 0
    #: Whether somebody accepts what `machines reconcile` shows, once the world is left in peace.
    person_reconciles: bool = False
    #: LPs who are paid to a Lightning address, and how it follows from the id of their wallet.
    addresses: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    _starts: int = 0
    #: Held by a customer who pays, and by whoever wants that none does.
    customers: anyio.Lock = field(default_factory=anyio.Lock)

    # --- customers

    async def sell(
        self, machine: DemoMachine | None = None, *, announce: bool = True, with_extra: bool = True, sats: int = 266_800
    ) -> Sale:
        """A customer pays, and the machine announces the sale. `with_extra`: the payment itself tells of it, too."""
        machine = machine or self.system.machines[0]
        number = len(self.sales) + 1
        fee_sats = sats * 3 // 100
        told = {
            "txid": f"tx-{number}-{time.time_ns()}",
            "gross_sats": sats,
            "net_sats": sats - fee_sats,
            "fee_sats": fee_sats,
            "exchange_rate": 143,
            "currency": "GTQ",
        }
        async with self.customers:
            announced = await self.system.customer_pays(machine, told, with_extra=with_extra)
        sale = Sale(machine.id, str(announced["payment_hash"]), sats, told=announce or with_extra)
        self.sales.append(sale)
        self.told.append(announced)
        event = machine.signer.event(announced)
        self.events.append(event)
        if announce:
            await publish([relay.url for relay in self.system.relays if relay.running], event)
        return sale

    async def announce_until(
        self, condition: Callable[[], bool], timeout_s: float = 60, *, content: Mapping[str, object] | None = None
    ) -> None:
        """The machine says its last sale (or `content`) again and again, until somebody has heard it."""
        event = self.events[-1] if content is None else self.system.machines[0].signer.event(content)
        urls = [relay.url for relay in self.system.relays if relay.running]
        self.sales[-1] = replace(self.sales[-1], told=True)
        with anyio.move_on_after(timeout_s):
            while not condition():
                await publish(urls, event)
                await anyio.sleep(0.1)
            return
        raise SatmachineError("nobody heard the machine:\n" + self.system.log_tail())

    async def replay(self, chance: random.Random, count: int = 20) -> None:
        """Relays send old events again, in any order."""
        urls = [relay.url for relay in self.system.relays if relay.running]
        for event in chance.sample(self.events, min(count, len(self.events))):
            await publish(urls, event)

    async def withdraw(self, machine: DemoMachine, sats: int) -> None:
        """The operator takes sats out of a machine's wallet by hand."""
        async with Lnbits(self.system.lnbits.url, instance_id="by-hand") as client:
            invoice = await client.create_invoice(
                self.system.wallets["owner"].invoice_key,
                amount_sats=sats,
                memo="withdrawn",
                expiry_s=3600,
                extra={},
                external_id="by-hand",
            )
            await client.pay(machine.wallet.admin_key, invoice.bolt11, extra={}, external_id="by-hand")

    # --- the daemon

    async def start(self, environ: Mapping[str, str] | None = None) -> None:
        """Start the daemon; it may be one that is to die at a failpoint."""
        self._starts = self._starts_logged()
        self.system.start_daemon(environ)
        await anyio.lowlevel.checkpoint()

    def kill(self) -> None:
        """SIGKILL of the daemon, if it lives."""
        self.kills += self.alive
        self.system.kill_daemon()

    async def alive_for(self, seconds: float) -> None:
        """Until the daemon has run for so long, counted from the moment at which it says that it runs."""
        with anyio.move_on_after(20):
            while self.alive and self._starts_logged() == self._starts:
                await anyio.sleep(0.02)
        await anyio.sleep(seconds)

    @property
    def alive(self) -> bool:
        daemon = self.system.daemon
        return daemon is not None and daemon.poll() is None

    async def wait_for_death(self, timeout_s: float = 60) -> None:
        """Until the daemon has died at its failpoint. Raises SatmachineError where it lives on."""
        with anyio.move_on_after(timeout_s):
            while self.alive:
                await anyio.sleep(0.02)
            self.system.kill_daemon()
            return
        raise SatmachineError("the daemon did not die:\n" + self.system.log_tail())

    def _starts_logged(self) -> int:
        log = self.system.log_path
        return log.read_text().count("satmachine runs") if log.exists() else 0

    # --- the books

    def seed_books(self) -> None:
        """A new database with the registry and the LPs in it, as an operator makes it anew."""
        path = self.system.database_path
        prepare(path)
        with closing(connect(path)) as conn, atomic(conn):
            registry.mirror(conn, load(self.system.config_path), _DEPOSITED_AT)
        self.add_lps()

    def add_lps(self) -> None:
        """Register the LPs and their deposits."""
        with closing(connect(self.system.database_path)) as conn, atomic(conn):
            for machine in self.system.machines:
                for label, amount_minor in LPS.items():
                    self._add_lp(conn, machine.id, label, amount_minor)

    def delete_books(self) -> None:
        """The disk is lost; the lock file stays with nobody."""
        for suffix in ("", "-wal", "-shm"):
            self.system.database_path.with_name(self.system.database_path.name + suffix).unlink(missing_ok=True)

    def backup_books(self) -> Path:
        """A consistent copy while the daemon runs."""
        target = self.system.folder / f"backup-{time.time_ns()}.db"
        with (
            closing(sqlite3.connect(self.system.database_path, timeout=30)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        return target

    def restore_books(self, backup: Path) -> None:
        """Put an older copy in the place of the database; the daemon must be down."""
        assert not self.alive
        self.delete_books()
        self.system.database_path.write_bytes(backup.read_bytes())

    def database_pages(self) -> int:
        """How many pages the database has."""
        with closing(sqlite3.connect(self.system.database_path, timeout=30)) as conn:
            return int(conn.execute("PRAGMA page_count").fetchone()[0])

    # --- the proof

    async def facts(self) -> Facts:
        """Everything, from LNbits itself and from the books."""
        machines = {machine.id: machine.wallet for machine in self.system.machines}
        wallets = {**self.system.wallets, **machines}
        return await facts.collect(self.system.lnbits.url, wallets, machines, self.sales, self.system.database_path)

    def rest(self) -> Facts:
        """What the books alone say; enough to see whether the daemon has work left."""
        settlements, legs = facts.read_books(self.system.database_path)
        return Facts(tuple(self.sales), (), {}, settlements, legs, frozenset())

    @property
    def settled_now(self) -> bool:
        """Whether the books show no work that is left."""
        return not unfinished(self.rest())

    async def reconcile(self) -> None:
        """What a person does after a restore or a loss: accept what is shown for each machine that pays nothing."""
        with closing(connect(self.system.database_path, read_only=True)) as conn:
            stopped = [row["machine_id"] for row in conn.execute(_STOPPED)]
        for machine_id in stopped:
            shown = await self._command("machines", "reconcile", machine_id, "--json")
            if shown.returncode == 0:
                accept = (
                    "--accept",
                    json.loads(shown.stdout)["digest"],
                    "--reason",
                    "the books were restored",
                    "--yes",
                )
                await self._command("machines", "reconcile", machine_id, *accept)

    async def _command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "satmachine", "--config", str(self.system.config_path), *arguments]
        return await anyio.to_thread.run_sync(
            lambda: subprocess.run(command, capture_output=True, text=True, timeout=90)
        )

    async def settled(self, patience_s: float = 60) -> Facts:
        """Wait until nothing is left to do, then look at everything. However long it takes, as long as it goes on.

        Raises SatmachineError where work is left and nothing has changed for `patience_s`.
        """
        last, changed_at = self.rest(), time.monotonic()
        while time.monotonic() - changed_at < patience_s:
            if self.person_reconciles:
                await self.reconcile()
            if not unfinished(last):
                everything = await self.facts()
                if not unfinished(everything):
                    return everything
            await anyio.sleep(0.2)
            now = self.rest()
            if now != last:
                last, changed_at = now, time.monotonic()
        left = "\n".join(unfinished(last)[:10])
        raise SatmachineError(f"nothing moved for {patience_s:.0f} s; left to do:\n{left}\n{self.system.log_tail()}")

    async def until(self, condition: Callable[[], bool], timeout_s: float = 60) -> None:
        """Until the condition holds. Raises SatmachineError with the log's end, and with what is left to do."""
        with anyio.move_on_after(timeout_s):
            while not condition():
                await anyio.sleep(0.05)
            return
        left = "\n".join(unfinished(self.rest())[:10])
        raise SatmachineError(f"not reached within {timeout_s:.0f} s; left to do:\n{left}\n{self.system.log_tail()}")

    def _payee(self, label: str) -> str:
        if label in self.addresses:
            return self.addresses[label](self.system.wallets[label].id)
        return str(self.system.key_file(label))

    def _add_lp(self, conn: sqlite3.Connection, machine_id: str, label: str, amount_minor: int) -> None:
        client_id = clients.add(
            conn,
            machine_id=machine_id,
            label=label,
            person=label,
            payee_kind="lightning_address" if label in self.addresses else "invoice_key_file",
            payee=self._payee(label),
            actor="chaos",
            now=_DEPOSITED_AT,
        )
        deposit_id = deposits.add(
            conn, client_id=client_id, amount_minor=amount_minor, actor="chaos", now=_DEPOSITED_AT
        )
        deposits.confirm(conn, deposit_id, actor="chaos", now=_DEPOSITED_AT)


@asynccontextmanager
async def open_world(
    folder: Path,
    lnbits: LnbitsServer,
    *,
    machines: int = 1,
    relays: int = 1,
    lnbits_url: str | None = None,
    settings: Mapping[str, str] | None = None,
    seed: bool = True,
    addresses: Mapping[str, Callable[[str], str]] | None = None,
) -> AsyncIterator[World]:
    """A system below `folder` on a running LNbits, its books made, its daemon not started yet.

    `addresses`: LPs who are paid to a Lightning address; what each has is told from the id of their wallet.
    """
    system = await System.build(
        folder,
        lnbits,
        machines=machines,
        relays=relays,
        lps=tuple(LPS),
        lnbits_url=lnbits_url,
        settings={**SETTINGS, **(settings or {})},
    )
    world = World(system, addresses=addresses or {})
    try:
        if seed:
            world.seed_books()
        yield world
    finally:
        system.kill_daemon()
        system.stop_relays()
