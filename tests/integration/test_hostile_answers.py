"""HTTP servers whose answers unfold to far more than they are: nothing is unfolded, nobody waits for it."""

from __future__ import annotations

import gzip
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from satmachine.errors import WalletUnavailable
from satmachine.ops.alerts.channels import deliver
from satmachine.ops.alerts.message import Message
from satmachine.ops.relay_check import ask_relay
from satmachine.wallet.answers import UnwelcomeBody, get_plain
from satmachine.wallet.lnurl import LnurlClient, LnurlRefused
from satmachine.wallet.transport import LnbitsHttp
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
        self.headers, self.body = headers, body
        self.asked_for: list[str | None] = []

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Bomber

    def do_GET(self) -> None:
        self.server.asked_for.append(self.headers["Accept-Encoding"])
        self.send_response(200)
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
        message = Message(1, 0, "webhook", "machine-1", "wallet_low", raised=True, detail="x", attempts=0)
        with little_memory():
            await deliver(message, config, 0)


async def test_what_comes_in_pieces_is_counted_as_it_comes() -> None:
    with serving({"Content-Encoding": "identity"}, b" " * 5_000_000) as server:
        async with httpx.AsyncClient(timeout=10) as http:
            with pytest.raises(UnwelcomeBody, match="more than 1000 bytes"):
                await get_plain(http, f"http://{server.authority}", 1_000)
