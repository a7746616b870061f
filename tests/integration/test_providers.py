"""Balance payouts and autoforwards through the daemon, on a real LNbits and a real LNURL server."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest

from satmachine.models import Leg
from satmachine.orders import SettleBalance
from satmachine.store import clients, intent_rows, legs
from satmachine.store.database import atomic
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import LnbitsServer, WalletKeys
from testkit.system import System
from testkit.watch import SALE, add_providers, balances, books, debits, sales, started, until_status
from tests.integration.conftest import BuildSystem

METADATA = '[["text/plain","Pay the saver"]]'


class Saver(ThreadingHTTPServer):
    """An LNURL server whose invoices are those of a wallet of a real LNbits."""

    daemon_threads = True

    def __init__(self, lnbits: LnbitsServer, wallet: WalletKeys) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lnbits, self.wallet = lnbits, wallet

    @property
    def address(self) -> str:
        return f"saver@127.0.0.1:{self.server_port}"

    def answer(self, target: str) -> dict[str, object]:
        parts = urlsplit(target)
        if parts.path == "/.well-known/lnurlp/saver":
            callback = f"http://127.0.0.1:{self.server_port}/callback"
            limits = {"minSendable": 1_000, "maxSendable": 10**11}
            return {"tag": "payRequest", "callback": callback, "metadata": METADATA, **limits}
        amount_msat = int(parse_qs(parts.query)["amount"][0])
        made = httpx.post(
            f"{self.lnbits.url}/api/v1/payments",
            headers={"X-Api-Key": self.wallet.invoice_key},
            json={"out": False, "amount": amount_msat // 1000, "unhashed_description": METADATA.encode().hex()},
            timeout=30,
        )
        return {"pr": made.json()["bolt11"], "routes": []}


class _Handler(BaseHTTPRequestHandler):
    server: Saver

    def do_GET(self) -> None:
        body = json.dumps(self.server.answer(self.path)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Not into the test's output."""


@pytest.fixture
async def saver(lnbits: LnbitsServer) -> AsyncIterator[Saver]:
    with Saver(lnbits, await lnbits.create_wallet("saver")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask_to_settle(system: System, client_id: int, *, amount_minor: int, rate: str, number: int = 1) -> int:
    order = SettleBalance(client_id, Decimal(rate), amount_minor, number)
    with books(system) as conn, atomic(conn):
        return intent_rows.add(conn, 1, "ana", order)


async def until_leg(system: System, leg_type: str, status: str, *, timeout_s: float = 60) -> Leg:
    """Wait until the one leg of this type has this status."""
    for _ in range(int(timeout_s / 0.1)):
        with books(system) as conn:
            row = conn.execute("SELECT id, status FROM dca_payments WHERE leg_type = ?", (leg_type,)).fetchone()
            if row is not None and row["status"] == status:
                return legs.get(conn, row["id"])[0]
        await anyio.sleep(0.1)
    raise AssertionError(f"no {leg_type} leg {status}\n{system.log_tail(60)}")


def answered(system: System, intent_id: int) -> str:
    with books(system) as conn:
        return str(intent_rows.get(conn, intent_id).result)


async def test_a_balance_is_paid_out_once_through_the_daemon(system: System) -> None:
    await started(system)
    sale = await system.customer_pays(system.machines[0], SALE)  # its net sats stay in the wallet: there is no LP yet
    await system.announce(system.machines[0], sale)
    await until_status(system, "processed")
    add_providers(system, {"alice": 100_000})
    first = ask_to_settle(system, 1, amount_minor=60_000, rate="145.37")
    leg = await until_leg(system, "settlement", "completed")
    again = ask_to_settle(system, 1, amount_minor=60_000, rate="145.37")
    too_much = ask_to_settle(system, 1, amount_minor=60_000, rate="145.37", number=2)
    for _ in range(300):
        if answered(system, too_much) != "None":
            break
        await anyio.sleep(0.1)
    assert (leg.leg_key, leg.amount_sats) == ("sm1:bal:machine-1:alice:1", 87_222)
    assert (await balances(system))["alice"] == 87_222
    assert (await debits(system))[leg.leg_key] == 1
    assert answered(system, first).startswith("87222 sats for 600.00 GTQ are on their way to alice")
    assert answered(system, again) == "this payout is already planned"
    assert "has 400.00 GTQ available" in answered(system, too_much)


async def test_what_an_lp_gets_is_forwarded_from_their_own_wallet(build_system: BuildSystem, saver: Saver) -> None:
    system = await build_system(lps=("alice",), settings={"lnurl": "allow_private_hosts = true"})
    await started(system)
    add_providers(system, {"alice": 1_000_000})
    forward_to(system, saver.address)
    sale = await system.customer_pays(system.machines[0], SALE)
    await system.announce(system.machines[0], sale)
    leg = await until_leg(system, "autoforward", "completed")
    assert leg.amount_sats == 258_835
    saved_sats = await credited(system, saver.wallet)
    left = await balances(system)
    assert saved_sats + left["alice"] == 258_835
    assert saved_sats >= 258_835 * 98 // 100
    [settlement] = sales(system)
    assert settlement.status == "processed"
    assert left["machine-1"] == settlement.retained_sats == 0


async def test_a_forward_that_fails_leaves_the_sale_processed(build_system: BuildSystem) -> None:
    system = await build_system(lps=("alice",), settings={"lnurl": "allow_private_hosts = true"})
    await started(system)
    add_providers(system, {"alice": 1_000_000})
    forward_to(system, "nobody@127.0.0.1:9")
    sale = await system.customer_pays(system.machines[0], SALE)
    await system.announce(system.machines[0], sale)
    await until_status(system, "processed")
    for _ in range(300):
        with books(system) as conn:
            row = conn.execute("SELECT attempts FROM dca_payments WHERE leg_type = 'autoforward'").fetchone()
        if row["attempts"]:
            break
        await anyio.sleep(0.1)
    else:
        raise AssertionError("the forward was never tried")
    assert (await balances(system))["alice"] == 258_835
    assert [settlement.status for settlement in sales(system)] == ["processed"]


def forward_to(system: System, address: str) -> None:
    """Let alice, client 1, forward; the admin key of her wallet goes into a file."""
    key_file = system.key_file("alice-admin")
    key_file.write_text(system.wallets["alice"].admin_key)
    key_file.chmod(0o600)
    with books(system) as conn, atomic(conn):
        changes = {"autoforward": address, "autoforward_key_file": str(key_file)}
        clients.update(conn, clients.get(conn, 1), changes, actor="test", now=1)


async def credited(system: System, wallet: WalletKeys) -> int:
    async with Lnbits(system.lnbits.url, instance_id="test") as lnbits:
        return (await lnbits.wallet(wallet.invoice_key)).balance_msat // 1000
