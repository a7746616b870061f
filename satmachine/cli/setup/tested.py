"""Answers tested against what they name. Each raises ValueError with what is wrong and what to do; nobody is paid."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import anyio
import httpx

from satmachine.config import Secret, formats
from satmachine.errors import ConfigError, WalletError, WalletRefused
from satmachine.nostr.keys import npub_to_hex
from satmachine.ops.relay_check import ask_relay
from satmachine.wallet.lnbits import Lnbits

_TIMEOUT_S = 10.0


def lnbits(url: str) -> str:
    """Whether something like LNbits answers there."""
    url = formats.http_url(url).rstrip("/")
    try:
        answer = httpx.get(f"{url}/api/v1/wallet", timeout=_TIMEOUT_S, follow_redirects=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ValueError(f"nobody answers at {url} ({type(error).__name__}): is LNbits running there?") from None
    if answer.status_code not in (400, 401, 403):
        raise ValueError(f"{url} answers with HTTP {answer.status_code}, as no LNbits does: is the address right?")
    return "LNbits answers"


def relay(url: str) -> str:
    """Whether a relay lets us listen."""
    url = formats.relay_url(url)

    async def look() -> str:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as http:
            report = await ask_relay(url, [], http, secret=None, clock=time.time)
        if report.latency_ms is None:
            raise ValueError(f"{url}: {report.problem}")
        asks = "; it asks who you are: set [nostr] secret_key later" if report.asks_auth else ""
        return f"answers in {report.latency_ms:.0f} ms{asks}"

    return anyio.run(look)


def npub(text: str) -> str:
    """A machine's public key."""
    npub_to_hex(text.strip())
    return ""


def admin_key(lnbits_url: str) -> Callable[[str], str]:
    """A test for a key: does it open a wallet of this LNbits, and may it pay?"""

    def test(key: str) -> str:
        async def look() -> str:
            async with Lnbits(lnbits_url, timeout_s=_TIMEOUT_S, instance_id="setup") as client:
                wallet = await client.wallet(key.strip())
            if not wallet.can_pay:
                raise ValueError("this is the Invoice/read key, which cannot pay: take the wallet's Admin key")
            return f'opens "{wallet.name}", {wallet.balance_msat // 1000} sats; it may pay'

        try:
            return anyio.run(look)
        except WalletRefused:
            raise ValueError(f"it opens no wallet of {lnbits_url}: copy the wallet's Admin key again") from None
        except WalletError as error:
            raise ValueError(str(error)) from None

    return test


def key_file(lnbits_url: str) -> Callable[[str], str]:
    """The same for a key in a file."""

    def test(path: str) -> str:
        try:
            key = Secret("file", str(Path(path).absolute()), source="--admin-key-file", place="").resolve({})
        except ConfigError as error:
            raise ValueError("; ".join(error.problems)) from None
        return admin_key(lnbits_url)(key)

    return test
