"""HTTP servers whose answers unfold to far more than they are: nothing is unfolded, nobody waits for it."""

from __future__ import annotations

import gzip
import json
import secrets
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import nostr_sdk
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from satmachine.errors import WalletUnavailable
from satmachine.ops.alerts.channels import NotDelivered, deliver
from satmachine.ops.alerts.message import AlertMessage
from satmachine.ops.relay_check import ask_relay
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.lnurl import LnurlClient, LnurlRefused
from satmachine.wallet.transport import LnbitsHttp, UnwelcomeBody, get_plain
from tests.ops.test_alerts import config_with

UNFOLDED_BYTES = 64 * 1024 * 1024
#: What reading an answer may take, with everything that the libraries load on the way.
ALLOWED_BYTES = 8 * 1024 * 1024

#: A few hundred bytes; the same recipe goes on to gigabytes.
BOMB = gzip.compress(gzip.compress(bytes(UNFOLDED_BYTES)))


class Bomber(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.headers, self.body, self.status = headers, body, 200
        self.asked_for: list[str | None] = []

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Bomber

    def do_GET(self) -> None:
        self.server.asked_for.append(self.headers["Accept-Encoding"])
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Not into the test's output."""


@contextmanager
def serving(headers: dict[str, str], body: bytes) -> Iterator[Bomber]:
    with Bomber(headers, body) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=["gzip, gzip", "GZIP,gzip", "deflate", "br", "zstd", "gzip, identity"])
def bomber(request: pytest.FixtureRequest) -> Iterator[Bomber]:
    with serving({"Content-Encoding": request.param}, BOMB) as server:
        yield server


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < ALLOWED_BYTES
    finally:
        tracemalloc.stop()


async def test_a_payee_s_server_cannot_fill_our_memory(bomber: Bomber) -> None:
    client = LnurlClient(allow_private=True, timeout_s=10)
    with little_memory(), pytest.raises(LnurlRefused, match="compressed form that was not asked for"):
        await client.resolve(f"alice@{bomber.authority}")
    assert bomber.asked_for == ["identity"]


async def test_lnbits_cannot_fill_our_memory(bomber: Bomber) -> None:
    http = LnbitsHttp(f"http://{bomber.authority}", None, max_concurrency=2)
    try:
        with little_memory(), pytest.raises(WalletUnavailable, match="compressed form that was not asked for"):
            await http.call("GET", "/api/v1/wallet", "key", timeout_s=10)
    finally:
        await http.aclose()
    assert bomber.asked_for == ["identity"]


async def test_a_row_that_cannot_be_shown_does_not_hide_what_an_old_lnbits_lacks() -> None:
    """With an invoice key anybody can store one. Before 1.5 the first question, which is filtered by a column that is
    not there, comes upon it; it is answered as every list with such a row is."""
    with serving({"Content-Type": "application/json"}, b'{"detail":"Out of range float values"}') as server:
        server.status = 400
        async with Lnbits(f"http://{server.authority}", instance_id="i") as client:
            assert (await client.probe("key")).external_id is False


async def test_a_relay_s_information_cannot_fill_the_doctor_s_memory(bomber: Bomber) -> None:
    url = f"ws://{bomber.authority}"
    async with httpx.AsyncClient(timeout=10) as http:
        with little_memory():
            report = await ask_relay(url, [], http, secret=None, clock=lambda: 0.0)
            with pytest.raises(UnwelcomeBody):
                await get_plain(http, f"http://{bomber.authority}", 1_000)
    assert report.latency_ms is None


async def test_a_webhook_s_answer_is_not_read() -> None:
    with serving({"Content-Encoding": "gzip, gzip"}, BOMB) as server:
        config = config_with({"webhook_url": f"http://{server.authority}/hook"})
        message = AlertMessage(1, 0, "webhook", "machine-1", "wallet_low", raised=True, detail="x", attempts=0)
        with little_memory():
            await deliver(message, config, 0)


async def test_what_comes_in_pieces_is_counted_as_it_comes() -> None:
    with serving({"Content-Encoding": "identity"}, b" " * 5_000_000) as server:
        async with httpx.AsyncClient(timeout=10) as http:
            with pytest.raises(UnwelcomeBody, match="more than 1000 bytes"):
                await get_plain(http, f"http://{server.authority}", 1_000)


async def test_a_relay_that_asks_for_ever_who_we_are_gets_a_few_answers() -> None:
    """Each answer is a signature, on the daemon's loop."""
    answers = 0

    async def insatiable(socket: ServerConnection) -> None:
        nonlocal answers
        with suppress(ConnectionClosed):
            while True:
                await socket.send(json.dumps(["AUTH", secrets.token_hex(8)]))
                answers += '"AUTH"' in str(await socket.recv())

    async with serve(insatiable, "127.0.0.1", 0) as server:
        relay = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        npub = nostr_sdk.Keys.generate().public_key().to_bech32()
        config = config_with({"npub": npub, "relays": [relay]}, secret_key="11" * 32)
        message = AlertMessage(1, 0, "nostr", "machine-1", "wallet_low", raised=True, detail="x", attempts=0)
        with pytest.raises(NotDelivered):
            await deliver(message, config, 0)
    assert answers < 10


async def test_the_alarms_command_does_not_get_the_keys_that_the_daemon_was_started_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WALLET_1", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"):
        monkeypatch.setenv(name, "d0ab1eface")
    monkeypatch.setenv("LANG", "C.UTF-8")
    config = config_with({"command": ["/bin/sh", "-c", f"env > {tmp_path}/env"], "webhook_url": {"env": "WALLET_1"}})
    message = AlertMessage(1, 0, "command", "machine-1", "wallet_low", raised=True, detail="x", attempts=0)
    await deliver(message, config, 0)
    environ = (tmp_path / "env").read_text()
    assert "d0ab1eface" not in environ
    assert "LANG=C.UTF-8" in environ
    assert "SATMACHINE_ALERT=" in environ
