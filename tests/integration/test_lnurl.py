"""Payees elsewhere: against a real HTTP server whose invoices come from a real LNbits."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from bech32 import bech32_encode, convertbits
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from satmachine.addresses import is_public
from satmachine.models import Answer
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.lnurl import LnurlClient, LnurlRefused, LnurlUnavailable
from testkit.lnbits import LnbitsServer

METADATA = '[["text/plain","Pay Alice"]]'


class PayServer(ThreadingHTTPServer):
    """A tiny LNURL server: `answers` maps a path to (status, headers, body)."""

    daemon_threads = True

    def __init__(self, scheme: str = "http") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = scheme
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.seen: list[tuple[str, str]] = []  # (Host, target)

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def says(self, path: str, body: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[path] = (status, headers or {}, raw)

    def offers(self, **changes: object) -> None:
        offer = {
            "tag": "payRequest",
            "callback": f"http://{self.authority}/callback?id=7",
            "minSendable": 1_000,
            "maxSendable": 50_000_000.0,
            "metadata": METADATA,
            "commentAllowed": 5,
        }
        self.says("/.well-known/lnurlp/alice", offer | changes)

    @property
    def alice(self) -> str:
        return f"alice@{self.authority}"


class _Handler(BaseHTTPRequestHandler):
    server: PayServer

    def do_GET(self) -> None:
        self.server.seen.append((self.headers["Host"], self.path))
        status, headers, body = self.server.answers.get(urlsplit(self.path).path, (404, {}, b"not here"))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Not into the test's output."""


@pytest.fixture
def server() -> Iterator[PayServer]:
    with PayServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        server.offers()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client() -> LnurlClient:
    return LnurlClient(allow_private=True, timeout_s=10)


@pytest.fixture
async def wallet(lnbits: LnbitsServer) -> AsyncIterator[Lnbits]:
    async with Lnbits(lnbits.url, instance_id="i") as wallet:
        yield wallet


async def real_invoice(lnbits: LnbitsServer, wallet: Lnbits, *, amount_sats: int = 21, expiry_s: int = 3600) -> str:
    payee = await lnbits.create_wallet("alice")
    invoice = await wallet.create_invoice(
        payee.invoice_key,
        amount_sats=amount_sats,
        memo="Pay Alice",
        expiry_s=expiry_s,
        extra={},
        external_id="alice",
        internal=False,
    )
    return invoice.bolt11


# --- the way it is meant


async def test_a_lightning_address_is_asked_for_exactly_the_amount_and_its_invoice_can_be_paid(
    client: LnurlClient, server: PayServer, lnbits: LnbitsServer, wallet: Lnbits
) -> None:
    server.says("/callback", {"pr": await real_invoice(lnbits, wallet), "routes": []})
    invoice = await client.invoice(server.alice.upper(), 21_000, comment="too long")
    host, target = server.seen[-1]
    assert host == server.authority
    assert parse_qs(urlsplit(target).query) == {"id": ["7"], "amount": ["21000"], "comment": ["too l"]}

    source = await lnbits.create_wallet("machine")
    await lnbits.credit(source.id, 1_000)
    answer = await wallet.pay(source.admin_key, invoice.bolt11, extra={}, external_id="k")
    assert answer.answer is Answer.SUCCESS
    (debit,) = await wallet.payments(source.admin_key, payment_hash=invoice.payment_hash, incoming=False)
    assert debit.preimage is not None
    assert hashlib.sha256(bytes.fromhex(debit.preimage)).hexdigest() == invoice.payment_hash


async def test_a_bech32_lnurl_leads_to_the_same(client: LnurlClient, server: PayServer) -> None:
    url = f"http://{server.authority}/.well-known/lnurlp/alice"
    lnurl = lnurl_of(url)
    for text in (lnurl, lnurl.upper(), f"lightning:{lnurl}"):
        offer = await client.resolve(text)
        assert (offer.min_sendable_msat, offer.max_sendable_msat) == (1_000, 50_000_000)


def lnurl_of(url: str) -> str:
    groups = convertbits(url.encode(), 8, 5)
    assert groups is not None
    return bech32_encode("lnurl", groups)


# --- invoices that are not what was asked for


@pytest.mark.parametrize(
    ("amount_sats", "expiry_s", "problem"),
    [(22, 3600, "for 22000 msats instead of 21000"), (21, 5, "expired or is about to")],
)
async def test_a_wrong_invoice_is_not_taken(
    client: LnurlClient,
    server: PayServer,
    lnbits: LnbitsServer,
    wallet: Lnbits,
    amount_sats: int,
    expiry_s: int,
    problem: str,
) -> None:
    bolt11 = await real_invoice(lnbits, wallet, amount_sats=amount_sats, expiry_s=expiry_s)
    server.says("/callback", {"pr": bolt11})
    with pytest.raises(LnurlUnavailable, match=problem):
        await client.invoice(server.alice, 21_000)


async def test_the_description_hash_is_checked_on_demand(
    client: LnurlClient, server: PayServer, lnbits: LnbitsServer, wallet: Lnbits
) -> None:
    server.says("/callback", {"pr": await real_invoice(lnbits, wallet)})
    offer = await client.resolve(server.alice)
    with pytest.raises(LnurlUnavailable, match="description hash"):
        await client.fetch_invoice(offer, 21_000, require_description_hash=True)


@pytest.mark.parametrize("answer", [{}, {"pr": None}, {"pr": "lnbc1nonsense"}, [], b"<html>", b'{"pr": "lnbc'])
async def test_no_invoice_is_no_invoice(client: LnurlClient, server: PayServer, answer: object) -> None:
    server.says("/callback", answer)
    with pytest.raises(LnurlUnavailable):
        await client.invoice(server.alice, 21_000)


@pytest.mark.parametrize("amount_msat", [999, 50_000_001])
async def test_an_amount_beyond_the_limits_is_not_even_asked_for(
    client: LnurlClient, server: PayServer, amount_msat: int
) -> None:
    with pytest.raises(LnurlRefused, match=f"accepts 1000 to 50000000 msats, not {amount_msat}"):
        await client.invoice(server.alice, amount_msat)
    assert len(server.seen) == 1


# --- servers that say no, or nonsense


async def test_the_reason_of_an_error_is_shown_without_its_control_characters(
    client: LnurlClient, server: PayServer
) -> None:
    server.says("/callback", {"status": "ERROR", "reason": "out of\x1b[31m\norder " + "x" * 5000}, status=400)
    with pytest.raises(LnurlUnavailable, match=r"says 'out of \[31m order xxx") as error:
        await client.invoice(server.alice, 21_000)
    assert len(str(error.value)) < 400
    server.says("/.well-known/lnurlp/alice", {"status": "ERROR", "reason": "no such user"})
    with pytest.raises(LnurlRefused, match="no such user"):
        await client.resolve(server.alice)


@pytest.mark.parametrize(
    "changes",
    [
        {"tag": "withdrawRequest"},
        {"callback": None},
        {"metadata": 5},
        {"minSendable": 0},
        {"minSendable": "1000"},
        {"minSendable": 60_000_000},
        {"maxSendable": 1000.5},
        {"maxSendable": None},
    ],
    ids=str,
)
async def test_an_offer_that_makes_no_sense_is_refused(
    client: LnurlClient, server: PayServer, changes: dict[str, Any]
) -> None:
    server.offers(**changes)
    with pytest.raises(LnurlRefused):
        await client.resolve(server.alice)


async def test_an_unknown_payee_is_refused_and_a_broken_server_is_unavailable(
    client: LnurlClient, server: PayServer
) -> None:
    with pytest.raises(LnurlRefused, match="does not exist") as refused:
        await client.resolve(f"bob@{server.authority}")
    assert refused.value.status == 404
    server.says("/.well-known/lnurlp/alice", b"oops", status=500)
    with pytest.raises(LnurlUnavailable, match="HTTP 500"):
        await client.resolve(server.alice)


async def test_a_redirect_is_never_followed(client: LnurlClient, server: PayServer) -> None:
    server.says("/.well-known/lnurlp/alice", b"", status=302, headers={"Location": f"http://{server.authority}/x"})
    with pytest.raises(LnurlRefused, match="redirects"):
        await client.resolve(server.alice)
    assert len(server.seen) == 1


async def test_a_huge_answer_is_cut_off(client: LnurlClient, server: PayServer) -> None:
    server.says("/.well-known/lnurlp/alice", b" " * 600_000)
    with pytest.raises(LnurlRefused, match="more than"):
        await client.resolve(server.alice)


async def test_a_server_that_is_not_there_is_unavailable(client: LnurlClient) -> None:
    with pytest.raises(LnurlUnavailable, match="cannot be reached"):
        await client.resolve("alice@127.0.0.1:9")


async def test_a_server_that_never_answers_is_given_up(server: PayServer) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = LnurlClient(allow_private=True, timeout_s=0.2)
        with pytest.raises(LnurlUnavailable):
            await client.resolve(f"alice@127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize(
    "payee", ["", "alice", "alice@", "@example.org", "a b@example.org", "lnurl1nonsense", "lnurl1", "ALICE@é.org"]
)
async def test_what_is_no_payee_is_refused(client: LnurlClient, payee: str) -> None:
    with pytest.raises(LnurlRefused):
        await client.resolve(payee)


# --- addresses that nobody may lead us to


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
        ("2002:808:808::", True),
        ("64:ff9b:1::7f00:1", False),
        ("64:ff9b:1:fffe::808:808", False),
        ("::127.0.0.1", False),
        ("::8.8.8.8", False),
        ("::ffff:0:127.0.0.1", False),
        ("::ffff:0:8.8.8.8", False),
        ("fec0::1", False),
        ("feff::1", False),
        ("5f00::1", False),
        ("100::1", False),
        ("2001:db8::1", False),
        ("2001:0:7f00:1::", False),
        ("4000::1", False),
        ("8000::1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x",
        "https://localhost/x",
        "https://[::1]/x",
        "https://2130706433/x",
        "https://user:secret@example.org/x",
        "http://8.8.8.8/x",
        "ftp://8.8.8.8/x",
        "file:///etc/passwd",
        "not a url",
        "",
    ],
)
async def test_a_stranger_cannot_lead_us_into_our_own_network(url: str) -> None:
    with pytest.raises(LnurlRefused):
        await LnurlClient().resolve(lnurl_of(url) if url else "lnurl1")


async def test_a_callback_is_checked_like_the_first_url(client: LnurlClient, server: PayServer) -> None:
    offer = await client.resolve(server.alice)
    with pytest.raises(LnurlRefused, match="only https"):
        await LnurlClient().fetch_invoice(offer, 21_000)


async def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def two_answers(host: object, port: object, **_: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("8.8.8.8", 443)), (2, 1, 6, "", ("127.0.0.1", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", two_answers)
    with pytest.raises(LnurlRefused, match=r"private address 127\.0\.0\.1"):
        await LnurlClient().resolve("alice@rebinding.example")


async def test_slow_name_servers_of_payees_keep_no_other_names_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup cannot be cancelled; asyncio has few threads for them, which LNbits and the relays need."""
    done, real = threading.Event(), socket.getaddrinfo

    def slow(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".slow.example"):
            done.wait(60)
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    client = LnurlClient(timeout_s=0.2)

    async def ask(number: int) -> None:
        with pytest.raises(LnurlUnavailable, match="did not answer"):
            await client.resolve(f"alice@{number}.slow.example")

    try:
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(ask, number)
        with anyio.fail_after(20):
            assert await anyio.getaddrinfo("127.0.0.1", 80)
    finally:
        done.set()


# --- TLS to a checked address, with the certificate of the name


def certificate_for(name: str, folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{name}.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


async def test_the_certificate_must_be_the_name_s_although_an_address_is_connected_to(
    server: PayServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = certificate_for("pay.example", tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    server.socket = served.wrap_socket(server.socket, server_side=True)
    trusting = ssl.create_default_context(cafile=str(certificate))
    client = LnurlClient(allow_private=True, ssl_context=trusting, timeout_s=10)

    def loopback(host: object, port: object, **_: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", loopback)
    path = f":{server.server_port}/.well-known/lnurlp/alice"
    offer = await client.resolve(lnurl_of("https://pay.example" + path))
    assert offer.metadata == METADATA
    assert server.seen == [(f"pay.example:{server.server_port}", "/.well-known/lnurlp/alice")]
    with pytest.raises(LnurlUnavailable, match="cannot be reached"):
        await client.resolve(lnurl_of("https://other.example" + path))
