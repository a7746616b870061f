"""What the tests of this folder are judged by and made of: LNbits' own records, the command line, a payee's server.

Nothing here reads the books but through commands, so that the tests say what must hold however the books are kept.
The names of commands and options that are still to come stand here as constants, in one place.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx

from chaos.world import World, open_world
from satmachine.config import load
from satmachine.store import registry
from satmachine.store.database import atomic, connect, prepare
from testkit.lnbits import LnbitsServer, WalletKeys
from testkit.system import DemoMachine, System

#: The machine of a world that has one.
MACHINE = "machine-1"

#: `machines reconcile` as it is to be: what it shows carries a digest, and only what was shown is accepted.
RECONCILE = ("machines", "reconcile")
DIGEST = re.compile(r"(?:digest|--accept)\W+([0-9a-f]{8,64})\b", re.IGNORECASE)
#: Sends open payments to whom the file, or the client's row, names now.
REPOINT = ("payments", "repoint")

#: A sale of chaos.world: 266,800 sats at 143 sats for one GTQ, 3 % of it commission.
GROSS_SATS = 266_800
NET_SATS = 258_796
#: What the LPs of such a sale bring at the least, in GTQ.
SALE_FIAT = 1_810
COMMISSION_LEGS = ("super", "split:owner", "split:technician")
#: An LP with so much cash takes the whole of every sale of a test.
PLENTY_MINOR = 10_000_000_00


# --- a system


@asynccontextmanager
async def world_of(
    folder: Path,
    lnbits: LnbitsServer,
    deposits_minor: Mapping[str, int],
    *,
    settings: Mapping[str, str] | None = None,
    machines: int = 1,
    lnbits_url: str | None = None,
) -> AsyncIterator[World]:
    """A system whose LPs have brought so much (cents); its daemon is not started yet."""
    lnurl = {"lnurl": "allow_private_hosts = true"}
    async with open_world(
        folder, lnbits, settings={**lnurl, **(settings or {})}, machines=machines, seed=False, lnbits_url=lnbits_url
    ) as world:
        make_books(world)
        for machine in world.system.machines:
            world.system.add_providers(deposits_minor, machine, actor="test")
        yield world


def make_books(world: World) -> None:
    """A new database that knows the machines and nobody else."""
    prepare(world.system.database_path)
    with closing(connect(world.system.database_path)) as conn, atomic(conn):
        registry.mirror(conn, load(world.system.config_path), 1_600_000_000)


def twin_of(world: World, folder: Path) -> System:
    """The same machines, wallets and relays with a configuration and a database in another folder: a second host."""
    folder.mkdir()
    it = world.system
    twin = System(folder, it.lnbits, it.lnbits_url, it.relays, it.machines, it.wallets, it.settings)
    twin.write_config()
    return twin


def edit_config(world: World, old: str, new: str) -> None:
    """Change the file; the daemon takes it at its next start or reload."""
    text = world.system.config_path.read_text()
    assert old in text, f"{old!r} is not in the configuration"
    world.system.config_path.write_text(text.replace(old, new))


async def runs(world: World, environ: Mapping[str, str] | None = None) -> None:
    """Start the daemon and wait until it hears its relay."""
    log = world.system.log_path
    before = log.read_text().count("subscribed for") if log.exists() else 0
    await world.start(environ)
    await until(lambda: log.exists() and log.read_text().count("subscribed for") > before, world)


def reload(world: World) -> None:
    """SIGHUP: the daemon reads its file again."""
    assert world.system.daemon is not None
    world.system.daemon.send_signal(signal.SIGHUP)


async def until(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]], world: World, *, timeout_s: float = 40
) -> None:
    """Wait for a condition. Fails with the end of the daemon's log."""
    if not await came_true(condition, timeout_s=timeout_s):
        raise AssertionError(f"not within {timeout_s:.0f} s\n{world.system.log_tail(40)}")


async def came_true(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], *, timeout_s: float) -> bool:
    """Whether a condition came to hold within this time."""
    with anyio.move_on_after(timeout_s):
        while True:
            holds = condition()
            if not isinstance(holds, bool):
                holds = await holds
            if holds:
                return True
            await anyio.sleep(0.1)
    return False


# --- LNbits' own records


async def rows_of(lnbits: LnbitsServer, key: str, *, outgoing: bool, page: int = 1000) -> list[dict[str, Any]]:
    """A wallet's payments as LNbits gives them, of one direction."""
    params = {"limit": str(page), "amount[lt]" if outgoing else "amount[gt]": "0"}
    async with httpx.AsyncClient(base_url=lnbits.url, timeout=60, trust_env=False) as http:
        answer = await http.get("/api/v1/payments/paginated", headers={"X-Api-Key": key}, params=params)
    assert answer.status_code == 200, answer.text[:200]
    body = answer.json()
    assert body["total"] <= page, "a test's wallet has one page"
    found: list[dict[str, Any]] = body["data"]
    return found


async def paid(world: World, machine: DemoMachine | None = None) -> Counter[str]:
    """How often each payment key has left a machine's wallet."""
    wallet = (machine or world.system.machines[0]).wallet
    found = await rows_of(world.system.lnbits, wallet.admin_key, outgoing=True)
    keys = [
        row.get("external_id") or (row["extra"] or {}).get("leg_key") for row in found if row["status"] == "success"
    ]
    return Counter(str(key) for key in keys)  # LNbits before 1.5 has no external_id


async def paid_for(world: World, payment_hash: str) -> Counter[str]:
    """How often each leg of one sale has left the machine's wallet, any revision: {"r1:super": 1, ..}."""
    prefix = f"sm1:{payment_hash}:"
    return Counter({key.removeprefix(prefix): n for key, n in (await paid(world)).items() if key.startswith(prefix)})


async def spent_sats(world: World) -> int:
    """Everything that has left the first machine's wallet, with fees."""
    found = await rows_of(world.system.lnbits, world.system.machines[0].wallet.admin_key, outgoing=True)
    return sum(int(abs(row["amount"]) + abs(row["fee"])) for row in found if row["status"] == "success") // 1000


async def credits_of(world: World, wallet: str | WalletKeys) -> list[int]:
    """The sats that came into a wallet, payment by payment."""
    keys = world.system.wallets[wallet] if isinstance(wallet, str) else wallet
    found = await rows_of(world.system.lnbits, keys.invoice_key, outgoing=False)
    return [row["amount"] // 1000 for row in found if row["status"] == "success"]


async def received(world: World, wallet: str | WalletKeys) -> int:
    """All sats that came into a wallet."""
    return sum(await credits_of(world, wallet))


async def all_paid(world: World, payment_hash: str, legs: int) -> bool:
    """Whether so many legs of a sale have left the machine's wallet."""
    return len(await paid_for(world, payment_hash)) >= legs


# --- the command line


async def satmachine(world: World, *arguments: str, system: System | None = None) -> subprocess.CompletedProcess[str]:
    """Type a command."""
    config = (system or world.system).config_path
    command = [sys.executable, "-m", "satmachine", "--config", str(config), *arguments]
    return await anyio.to_thread.run_sync(lambda: subprocess.run(command, capture_output=True, text=True, timeout=240))


async def did(world: World, *arguments: str) -> str:
    """Type a command that must work; what it says."""
    done = await satmachine(world, *arguments)
    fine = (0, 1) if arguments[0] == "status" else (0,)  # 1: something needs a person
    assert done.returncode in fine, f"{' '.join(arguments)}: {done.stdout}{done.stderr}\n{world.system.log_tail(20)}"
    return done.stdout


async def asked(world: World, *arguments: str) -> Any:
    """Type a command that reads, and take its JSON."""
    return json.loads(await did(world, *arguments, "--json"))


async def reconcile_all(world: World, machine_id: str = MACHINE) -> subprocess.CompletedProcess[str]:
    """Decide what the books lack as `machines reconcile` proposes it, and let the machine pay again."""
    shown = await satmachine(world, *RECONCILE, machine_id)
    decided = ("--yes", "--reason", "looked at")
    digest = DIGEST.search(shown.stdout)
    if digest is not None:
        return await satmachine(world, *RECONCILE, machine_id, "--accept", digest[1], *decided)
    # As it was before there were decisions, and as it is to be where nothing was found.
    done = await satmachine(world, *RECONCILE, machine_id, "--accept", *decided)
    return done if done.returncode == 0 else await satmachine(world, *RECONCILE, machine_id, *decided)


async def pause(world: World) -> None:
    """Nothing is paid; sales are planned."""
    await did(world, "payouts", "pause", "--machine", MACHINE, "--reason", "a jam", "--yes")


async def resume(world: World) -> None:
    """Undo `pause`."""
    await did(world, "payouts", "resume", "--machine", MACHINE, "--reason", "looked at", "--yes")


async def backup(world: World) -> Path:
    """A copy of the books as `satmachine backup` makes it."""
    target = world.system.folder / "backup.db"
    await did(world, "backup", str(target))
    return target


# --- payees elsewhere


class AddressServer(ThreadingHTTPServer):
    """Lightning addresses of wallets of an LNbits: `name@127.0.0.1:port`.

    While `answers` is not set a request hangs; while `broken` it gets a 500. `most_at_once` were open together.
    """

    daemon_threads = True
    _METADATA = '[["text/plain","Pay"]]'

    def __init__(self, lnbits: LnbitsServer, wallets: Mapping[str, WalletKeys]) -> None:
        super().__init__(("127.0.0.1", 0), _AddressHandler)
        self.lnbits, self.wallets = lnbits, wallets
        self.answers = threading.Event()
        self.answers.set()
        self.broken = False
        self.most_at_once = self._open = 0
        self._count = threading.Lock()
        self.given: list[str] = []

    def address(self, name: str) -> str:
        return f"{name}@127.0.0.1:{self.server_port}"

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._count:
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            yield
        finally:
            with self._count:
                self._open -= 1

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asked has hung up."""

    def answer(self, target: str) -> dict[str, object]:
        parts = urlsplit(target)
        name = parts.path.rsplit("/", 1)[1]
        if parts.path.startswith("/.well-known/lnurlp/"):
            callback = f"http://127.0.0.1:{self.server_port}/callback/{name}"
            limits = {"minSendable": 1_000, "maxSendable": 10**11}
            return {"tag": "payRequest", "callback": callback, "metadata": self._METADATA, **limits}
        amount_msat = int(parse_qs(parts.query)["amount"][0])
        made = httpx.post(
            f"{self.lnbits.url}/api/v1/payments",
            headers={"X-Api-Key": self.wallets[name].invoice_key},
            json={"out": False, "amount": amount_msat // 1000, "unhashed_description": self._METADATA.encode().hex()},
            timeout=30,
        )
        self.given.append(made.json()["bolt11"])
        return {"pr": self.given[-1], "routes": []}


class _AddressHandler(BaseHTTPRequestHandler):
    server: AddressServer

    def do_GET(self) -> None:
        with self.server.counted():
            self.server.answers.wait(60)
        status, body = (500, b"{}") if self.server.broken else (200, json.dumps(self.server.answer(self.path)).encode())
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Not into the test's output."""


@contextmanager
def addresses(lnbits: LnbitsServer, wallets: Mapping[str, WalletKeys]) -> Iterator[AddressServer]:
    """A server of Lightning addresses while the block runs."""
    with AddressServer(lnbits, wallets) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.answers.set()
            server.shutdown()
            thread.join()
