"""The whole system on one machine, from real parts: relays, an LNbits with its wallets, a machine, the daemon.

The demo shows it; the integration tests, the chaos campaign and the benchmarks drive it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import anyio
import nostr_sdk

from satmachine.errors import SatmachineError
from satmachine.store import clients, deposits
from satmachine.store.database import atomic, connect
from testkit.lnbits import LnbitsServer, WalletKeys
from testkit.machine import SimulatedMachine, publish

#: The daemon stops within its own grace period; this is for a machine under load.
_STOP_TIMEOUT_S = 30

#: What a simulated operator's machine asks for; see `Machine` in the configuration.
CURRENCY = "GTQ"


@dataclass(slots=True)
class Relay:
    """A real relay in this process; it drops kind 21000 after delivery, as relays do."""

    port: int | None = None
    _relay: nostr_sdk.LocalRelay | None = None

    async def start(self) -> str:
        """Start it, on the same port as before if it ran already; returns its URL."""
        # Its default is 60 events a minute, which a test's burst of sales exceeds.
        limit = nostr_sdk.RateLimit(max_reqs=1_000, notes_per_minute=1_000_000)
        builder = nostr_sdk.LocalRelayBuilder().rate_limit(limit)
        if self.port is not None:
            builder = builder.port(self.port)
        self._relay = builder.build()
        await self._relay.run()
        url = str(await self._relay.url())
        self.port = int(url.rsplit(":", 1)[1])
        return url

    def stop(self) -> None:
        """Take it off the net."""
        if self._relay is not None:
            self._relay.shutdown()
            self._relay = None

    @property
    def running(self) -> bool:
        """Whether it is on the net."""
        return self._relay is not None

    @property
    def url(self) -> str:
        """Where it listens, once it was started."""
        return f"ws://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class DemoMachine:
    """A machine of the simulated operator: its key, its wallet."""

    id: str
    signer: SimulatedMachine
    wallet: WalletKeys


@dataclass(slots=True)
class System:
    """Everything below one folder. `wallets` are the payees' by name: super, owner, technician, LPs by label."""

    folder: Path
    lnbits: LnbitsServer
    lnbits_url: str
    relays: list[Relay]
    machines: list[DemoMachine]
    wallets: dict[str, WalletKeys]
    settings: Mapping[str, str] = field(default_factory=dict)
    daemon: subprocess.Popen[bytes] | None = None

    @classmethod
    async def build(
        cls,
        folder: Path,
        lnbits: LnbitsServer,
        *,
        relays: int = 1,
        machines: int = 1,
        lps: tuple[str, ...] = (),
        lnbits_url: str | None = None,
        settings: Mapping[str, str] | None = None,
        accounts: bool = False,
    ) -> System:
        """Start relays, make wallets, write keys and configuration. `settings` adds lines to tables of the file.

        `accounts`: each payee's wallet is in an account of its own in LNbits, not in the operator's.
        """
        started = [Relay() for _ in range(relays)]
        for relay in started:
            await relay.start()
        made = [
            DemoMachine(f"machine-{n}", SimulatedMachine.new(), await lnbits.create_wallet(f"machine {n}"))
            for n in range(1, machines + 1)
        ]
        create = lnbits.create_account if accounts else lnbits.create_wallet
        wallets = {name: await create(name) for name in ("super", "owner", "technician", *lps)}
        system = cls(folder, lnbits, lnbits_url or lnbits.url, started, made, wallets, settings or {})
        system.write_config()
        return system

    @property
    def config_path(self) -> Path:
        return self.folder / "config.toml"

    @property
    def database_path(self) -> Path:
        return self.folder / "satmachine.db"

    @property
    def log_path(self) -> Path:
        return self.folder / "daemon.log"

    def key_file(self, name: str) -> Path:
        """The file that holds a payee's invoice key."""
        return self.folder / "keys" / name

    def write_config(self) -> None:
        """Write the key files and config.toml."""
        keys = {name: wallet.invoice_key for name, wallet in self.wallets.items()}
        keys |= {machine.id: machine.wallet.admin_key for machine in self.machines}
        self.key_file("").mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, key in keys.items():
            self.key_file(name).write_text(key)
            self.key_file(name).chmod(0o600)
        self.config_path.write_text(self._config_text())
        self.config_path.chmod(0o600)

    def add_providers(
        self, amounts_minor: Mapping[str, int], machine: DemoMachine | None = None, *, actor: str = "demo"
    ) -> None:
        """LPs with one confirmed deposit each, as `clients add`, `deposits add` and `deposits confirm` make them.

        Cents by label; the first machine unless one is named. The registry is in the database already.
        """
        now = int(time.time())
        machine_id = (machine or self.machines[0]).id
        with closing(connect(self.database_path)) as conn:
            for label, amount_minor in amounts_minor.items():
                with atomic(conn):
                    client_id = clients.add(
                        conn,
                        machine_id=machine_id,
                        label=label,
                        person=label,
                        payee_kind="invoice_key_file",
                        payee=str(self.key_file(label)),
                        actor=actor,
                        now=now,
                    )
                    added = deposits.add(conn, client_id=client_id, amount_minor=amount_minor, actor=actor, now=now)
                    deposits.confirm(conn, added, actor=actor, now=now)

    def start_daemon(self, environ: Mapping[str, str] | None = None, module: Sequence[str] = ("satmachine",)) -> None:
        """Start `satmachine run` as a process of its own, its log going to a file. `module`: which module runs it, and
        what comes before satmachine's own arguments."""
        with self.log_path.open("ab") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, "-m", *module, "--config", str(self.config_path), "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
            )

    async def stop_daemon(self) -> int:
        """SIGTERM, and the exit code; SIGKILL where it does not stop."""
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        try:
            return await anyio.to_thread.run_sync(self.daemon.wait, _STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise SatmachineError("the daemon did not stop:\n" + self.log_tail()) from None
        finally:
            self.kill_daemon()

    def kill_daemon(self) -> None:
        """SIGKILL, as when the power goes."""
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    def stop_relays(self) -> None:
        """Take every relay off the net."""
        for relay in self.relays:
            relay.stop()

    def log_tail(self, lines: int = 30) -> str:
        """The end of the daemon's log."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text().splitlines()[-lines:])

    async def wait_for_log(self, text: str, *, timeout_s: float = 30) -> None:
        """Until the daemon has logged a text. Raises SatmachineError with the log's end."""
        for _ in range(int(timeout_s / 0.05)):
            if self.log_path.exists() and text in self.log_path.read_text():
                return
            if self.daemon is not None and self.daemon.poll() is not None:
                break
            await anyio.sleep(0.05)
        raise SatmachineError(f"the daemon never said {text!r}:\n{self.log_tail()}")

    async def customer_pays(
        self, machine: DemoMachine, sale: Mapping[str, object], *, with_extra: bool = True
    ) -> dict[str, object]:
        """A customer pays the machine's invoice; returns the sale as the machine announces it."""
        gross_sats = sale.get("gross_sats", 0)
        if not isinstance(gross_sats, int):
            raise TypeError("gross_sats must be an int")
        extra = {"source": "bitspire", **sale} if with_extra else {}
        memo = f"Sale {sale.get('txid', '')} at {machine.id}"
        payment_hash = await self.lnbits.pay_customer_invoice(machine.wallet, gross_sats, extra, memo)
        return {"source": "bitspire", **sale, "payment_hash": payment_hash}

    async def announce(self, machine: DemoMachine, sale: Mapping[str, object]) -> nostr_sdk.Event:
        """The machine signs its sale and publishes it on every relay."""
        event = machine.signer.event(sale)
        await publish([relay.url for relay in self.relays], event)
        return event

    def _config_text(self) -> str:
        relays = ", ".join(f'"{relay.url}"' for relay in self.relays)
        tables = {
            "database": [f'path = "{self.database_path}"'],
            "nostr": [f"relays = [{relays}]"],
            "lnbits": [f'url = "{self.lnbits_url}"'],
            "super": ["fee_pct = 0.30", f'payee = {{ invoice_key = {{ file = "{self.key_file("super")}" }} }}'],
            "payouts": [],
            "reconcile": [],
            "telemetry": [],
            "lnurl": [],
            "log": [],
            "display": [],
            "metrics": [],
            "alerts": [],
        }
        text = "".join(
            f"[{table}]\n" + "\n".join([*lines, self.settings.get(table, "")]) + "\n\n"
            for table, lines in tables.items()
        )
        text += '[[operators]]\nid = "atitlan"\nname = "Atitlan Cash"\n\n'
        for label, pct in (("owner", "0.7"), ("technician", "0.3")):
            text += f'[[operators.splits]]\nlabel = "{label}"\npct = {pct}\n'
            text += f'payee = {{ invoice_key = {{ file = "{self.key_file(label)}" }} }}\n\n'
        since = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
        for machine in self.machines:
            text += f'[[machines]]\nid = "{machine.id}"\noperator = "atitlan"\nnpub = "{machine.signer.npub}"\n'
            text += f'name = "{machine.id.title()}"\ncurrency = "{CURRENCY}"\nfallback_commission_pct = 0.05\n'
            text += f"payouts_since = {since}\n{self.settings.get('machines', '')}\n"
            text += f'wallet = {{ admin_key = {{ file = "{self.key_file(machine.id)}" }} }}\n\n'
        return text
