"""Asks a payee elsewhere for an invoice: Lightning addresses (LUD-16), LNURL (LUD-01) and payRequest (LUD-06).

The payee's server is a stranger who chooses the next URL and the invoice, so: https only; every address of a host must
be public, and the connection goes to one of exactly the addresses that were checked (a second DNS answer cannot
redirect it); no redirects are followed at all; no proxy; size and time are limited, and nothing compressed is unpacked;
the invoice must ask for exactly the amount and still be valid. Nothing is ever sent except the request for an invoice.

LnurlUnavailable: try again later. LnurlRefused: will not work like this; a person must look. Amounts are int msats.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
import httpx
from bech32 import bech32_decode, convertbits

from satmachine.addresses import IPAddress, is_public
from satmachine.errors import WalletRefused, WalletUnavailable
from satmachine.wallet import bolt11 as invoices
from satmachine.wallet.transport import PLAIN, UnwelcomeBody, parse_json, printable, read_plain

#: Metadata may contain a picture.
_MAX_ANSWER_BYTES: Final = 512 * 1024
_MAX_REASON_CHARS: Final = 200
_MAX_ADDRESSES: Final = 4

_ADDRESS: Final = re.compile(r"([a-z0-9_.+-]{1,64})@([a-z0-9.-]{1,253}(?::[0-9]{1,5})?)")

#: Names looked up at once. A lookup cannot be cancelled, and a payee's name server may take minutes: these
#: threads are of our own, so that LNbits' and the relays' names never wait for a payee's.
_RESOLVERS: Final = 4


class LnurlUnavailable(WalletUnavailable):
    """The payee's server gave no usable invoice this time; nothing was paid."""


class LnurlRefused(WalletRefused):
    """This payee cannot be paid like this; `status` is the HTTP status, 0 if it was not HTTP that said so."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message, status=status)


@dataclass(frozen=True, slots=True)
class PayRequest:
    """What a payee offers (LUD-06); limits in msats, inclusive."""

    payee: str
    callback: str
    min_sendable_msat: int
    max_sendable_msat: int
    metadata: str
    comment_allowed: int


@dataclass(frozen=True, slots=True)
class LnurlInvoice:
    """An invoice for exactly the amount that was asked for."""

    payment_hash: str
    bolt11: str
    amount_msat: int
    expires_at: int


class LnurlClient:
    """Resolves payees and fetches invoices. `allow_private` is for tests: permits http and private addresses."""

    def __init__(
        self,
        *,
        timeout_s: float = 20,
        allow_private: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
        asking: Callable[[str], AbstractAsyncContextManager[None]] = lambda _payee: nullcontext(),
    ) -> None:
        """`asking(payee)` is entered before the payee's server is asked; it may raise LnurlUnavailable."""
        self._timeout_s = timeout_s
        self._allow_private = allow_private
        self._ssl_context = ssl_context or ssl.create_default_context()
        self._clock = clock
        self._asking = asking
        self._resolvers = anyio.CapacityLimiter(_RESOLVERS)

    async def invoice(self, payee: str, amount_msat: int, *, comment: str = "") -> LnurlInvoice:
        """`resolve` and `fetch_invoice` in one."""
        return await self.fetch_invoice(await self.resolve(payee), amount_msat, comment=comment)

    async def resolve(self, payee: str) -> PayRequest:
        """Ask a Lightning address or a bech32 LNURL what it accepts."""
        url = self._payee_url(payee)
        body = await self._get(url, payee)
        if reason := _error_reason(body):
            raise LnurlRefused(f"{payee} cannot be paid: its server says {reason!r}.")
        return _parse_pay_request(body, payee)

    async def fetch_invoice(
        self,
        offer: PayRequest,
        amount_msat: int,
        *,
        comment: str = "",
        min_valid_s: int = 60,
        require_description_hash: bool = False,
    ) -> LnurlInvoice:
        """An invoice of exactly `amount_msat`, valid for at least `min_valid_s` more seconds.

        `require_description_hash`: the invoice must commit to the offer's metadata; LUD-06 once required it, but many
        servers do not do it.
        """
        if not offer.min_sendable_msat <= amount_msat <= offer.max_sendable_msat:
            raise LnurlRefused(
                f"{offer.payee} accepts {offer.min_sendable_msat} to {offer.max_sendable_msat} msats, "
                f"not {amount_msat}."
            )
        params = {"amount": str(amount_msat)}
        if comment and offer.comment_allowed:
            params["comment"] = comment[: offer.comment_allowed]
        url = _parse_url(offer.callback, offer.payee).copy_merge_params(params)
        body = await self._get(url, offer.payee)
        if reason := _error_reason(body):
            raise LnurlUnavailable(f"{offer.payee} gave no invoice: its server says {reason!r}.")
        return self._checked_invoice(body.get("pr"), offer, amount_msat, min_valid_s, require_description_hash)

    def _checked_invoice(
        self,
        bolt11: object,
        offer: PayRequest,
        amount_msat: int,
        min_valid_s: int,
        require_description_hash: bool,
    ) -> LnurlInvoice:
        if not isinstance(bolt11, str):
            raise LnurlUnavailable(f"{offer.payee} gave no invoice: `pr` is missing in its server's answer.")
        try:
            decoded = invoices.decode(bolt11)
        except invoices.InvoiceError as error:
            raise LnurlUnavailable(f"{offer.payee} gave an unreadable invoice: {error}.") from error
        description_hash = hashlib.sha256(offer.metadata.encode()).hexdigest()
        if decoded.amount_msat != amount_msat:
            problem = f"for {decoded.amount_msat} msats instead of {amount_msat}"
        elif decoded.expires_at < self._clock() + min_valid_s:
            problem = "that has expired or is about to"
        elif require_description_hash and decoded.description_hash != description_hash:
            problem = "that does not commit to its own offer (description hash)"
        else:
            return LnurlInvoice(decoded.payment_hash, bolt11, amount_msat, decoded.expires_at)
        raise LnurlUnavailable(f"{offer.payee} gave an invoice {problem}; it was not paid.")

    # --- from payee to URL

    def _payee_url(self, payee: str) -> httpx.URL:
        text = payee.strip().lower().removeprefix("lightning:")
        if address := _ADDRESS.fullmatch(text):
            name, host = address.groups()
            scheme = "http" if self._allow_private else "https"
            return _parse_url(f"{scheme}://{host}/.well-known/lnurlp/{name}", payee)
        if text.startswith("lnurl1"):
            return _parse_url(_decode_lnurl(text, payee), payee)
        raise LnurlRefused(f"{printable(payee, 100)} is neither a Lightning address nor an LNURL.")

    # --- one request

    async def _get(self, url: httpx.URL, payee: str) -> dict[str, object]:
        """The JSON object at `url`, fetched from an address that was checked."""
        if url.scheme != "https" and not (self._allow_private and url.scheme == "http"):
            raise LnurlRefused(f"{payee} leads to {url.scheme}://{url.host}; only https is allowed.")
        async with self._asking(payee):
            return await self._get_checked(url, payee)

    async def _get_checked(self, url: httpx.URL, payee: str) -> dict[str, object]:
        try:
            with anyio.fail_after(self._timeout_s):
                addresses = await self._checked_addresses(url, payee)
                status, content = await self._fetch_from_first(url, addresses, payee)
        except TimeoutError as error:
            raise LnurlUnavailable(f"{payee}: {url.host} did not answer within {self._timeout_s:.0f} s.") from error
        return _json_object(status, content, url, payee)

    async def _checked_addresses(self, url: httpx.URL, payee: str) -> list[IPAddress]:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            # The ASCII form, because that is what is resolved in the end.
            look_up = partial(socket.getaddrinfo, url.raw_host.decode(), port, type=socket.SOCK_STREAM)
            found = await anyio.to_thread.run_sync(look_up, limiter=self._resolvers, abandon_on_cancel=True)
        except (OSError, UnicodeError) as error:
            raise LnurlUnavailable(f"{payee}: the host {url.host} cannot be resolved.") from error
        addresses = [ipaddress.ip_address(sockaddr[0]) for *_, sockaddr in found]
        for address in addresses:
            if not self._allow_private and not is_public(address):
                raise LnurlRefused(f"{payee} leads to {url.host}, which is the private address {address}.")
        return addresses[:_MAX_ADDRESSES]

    async def _fetch_from_first(self, url: httpx.URL, addresses: list[IPAddress], payee: str) -> tuple[int, bytes]:
        """From the first address that accepts a connection."""
        failure: httpx.RequestError | None = None
        for address in addresses:
            try:
                return await self._fetch(url, address, payee)
            except httpx.ConnectError as error:
                failure = error
            except httpx.RequestError as error:
                failure = error
                break
        raise LnurlUnavailable(f"{payee}: {url.host} cannot be reached ({type(failure).__name__}).") from failure

    async def _fetch(self, url: httpx.URL, address: IPAddress, payee: str) -> tuple[int, bytes]:
        # A client for each request: a kept connection belongs to an address, and two hosts can share one.
        async with httpx.AsyncClient(
            verify=self._ssl_context, trust_env=False, follow_redirects=False, timeout=self._timeout_s
        ) as http:
            request = http.build_request(
                "GET",
                url.copy_with(host=str(address)),
                headers={"Host": url.netloc.decode(), "Accept": "application/json", **PLAIN},
                extensions={"sni_hostname": url.raw_host.decode()},  # the certificate is checked for the name
            )
            response = await http.send(request, stream=True)
            try:
                return response.status_code, await read_plain(response, _MAX_ANSWER_BYTES)
            except UnwelcomeBody as error:
                raise LnurlRefused(f"{payee}: {url.host} answered {error}.") from error
            finally:
                await response.aclose()


def _parse_url(text: str, payee: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise LnurlRefused(f"{payee} leads to something that is not a URL.") from error
    if not url.host or url.userinfo:
        raise LnurlRefused(f"{payee} leads to a URL without a host, or with a password in it.")
    return url


def _decode_lnurl(text: str, payee: str) -> str:
    """LUD-01: a URL in bech32."""
    prefix, groups = bech32_decode(text)
    octets = convertbits(groups, 5, 8, False) if prefix == "lnurl" and groups else None
    try:
        return bytes(octets or b"").decode()
    except UnicodeDecodeError as error:
        raise LnurlRefused(f"{payee} is not a valid LNURL.") from error


def _json_object(status: int, content: bytes, url: httpx.URL, payee: str) -> dict[str, object]:
    if httpx.codes.is_redirect(status):
        raise LnurlRefused(f"{payee}: {url.host} redirects, which is not followed.", status=status)
    body = parse_json(content)
    if isinstance(body, dict) and (httpx.codes.is_success(status) or _error_reason(body)):
        return body
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise LnurlRefused(f"{payee} does not exist: {url.host} answered HTTP {status}.", status=status)
    raise LnurlUnavailable(f"{payee}: {url.host} answered HTTP {status} and no usable JSON.")


def _error_reason(body: dict[str, object]) -> str | None:
    """LUD-06: `{"status": "ERROR", "reason": ".."}`, for a log."""
    if str(body.get("status", "")).upper() != "ERROR":
        return None
    return printable(str(body.get("reason", "")), _MAX_REASON_CHARS) or "no reason given"


def _parse_pay_request(body: dict[str, object], payee: str) -> PayRequest:
    callback, metadata = body.get("callback"), body.get("metadata")
    smallest, largest = _msats(body.get("minSendable")), _msats(body.get("maxSendable"))
    if body.get("tag") != "payRequest" or not isinstance(callback, str) or not isinstance(metadata, str):
        raise LnurlRefused(f"{payee} cannot be paid: it offers no payRequest.")
    if smallest is None or largest is None or not 1 <= smallest <= largest:
        raise LnurlRefused(f"{payee} has limits for payments that make no sense.")
    comment_allowed = _msats(body.get("commentAllowed")) or 0
    return PayRequest(payee, callback, smallest, largest, metadata, max(0, comment_allowed))


def _msats(value: object) -> int | None:
    """A whole number; some servers write 1000.0."""
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return int(value) if value.adjusted() < 20 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
