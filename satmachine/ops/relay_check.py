"""The doctor's check of a relay: whether it can be reached, how fast, its limits (NIP-11), its login (NIP-42)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import anyio
import httpx
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from satmachine.nostr.connect import Address, public_address, straight
from satmachine.nostr.event import (
    AUTH_KIND,
    SETTLEMENT_KIND,
    Auth,
    Closed,
    Eose,
    Filter,
    Ok,
    auth,
    parse_message,
    req,
    sign,
)
from satmachine.nostr.health import printable
from satmachine.nostr.keys import parse_secret_key
from satmachine.wallet.transport import UnwelcomeBody, get_plain, parse_json

TIMEOUT_S = 10.0
_SUBSCRIPTION = "doctor"
_MAX_INFORMATION_BYTES = 64 * 1024
#: One REQ is enough to see whether the relay serves us.
_AUTHORS = 250
#: Limits of NIP-11 that concern us, in words.
_LIMITS = {
    "max_message_length": "messages up to {} bytes",
    "max_subscriptions": "{} subscriptions",
    "max_filters": "{} filters",
    "max_limit": "{} stored events for each filter",
}


@dataclass(frozen=True, slots=True)
class RelayReport:
    """`latency_ms` is from connecting to the end of stored events; None: it was not reached."""

    latency_ms: float | None = None
    problem: str = ""
    asks_auth: bool = False
    limits: str = ""
    max_message_bytes: int | None = None


async def ask_relay(
    url: str,
    authors: Sequence[str],
    http: httpx.AsyncClient,
    *,
    secret: str | None,
    clock: Callable[[], float],
    public_only: bool = False,
) -> RelayReport:
    """Connect, subscribe for these machines, and read its information document. Publishes nothing.

    `public_only`: a stranger has named it, so it must not lead to a private address, and nothing else is asked there.
    """
    started = anyio.current_time()
    try:
        with anyio.fail_after(TIMEOUT_S):
            lookups = anyio.CapacityLimiter(1)
            address = await public_address(url, lookups, timeout_s=TIMEOUT_S) if public_only else Address()
            async with straight(url, **address, proxy=None, open_timeout=TIMEOUT_S, close_timeout=1) as socket:
                report = await _subscribe(socket, url, authors, secret, clock)
                report = replace(report, latency_ms=(anyio.current_time() - started) * 1000)
    except TimeoutError:
        return RelayReport(problem=f"no answer within {TIMEOUT_S:.0f} s")
    except (OSError, WebSocketException, UnicodeError) as error:
        return RelayReport(problem=printable(f"cannot connect: {error or type(error).__name__}"))
    return report if public_only else await _with_information(report, url, http)


async def _subscribe(
    socket: ClientConnection, url: str, authors: Sequence[str], secret: str | None, clock: Callable[[], float]
) -> RelayReport:
    """Until the end of stored events, or until it is clear that there will be none."""
    # To a relay, a filter without authors means everybody: with no machine, nobody's key will do.
    wanted = Filter((SETTLEMENT_KIND,), tuple(authors[:_AUTHORS]) or ("0" * 63 + "1",), since=int(clock()))
    question = req(_SUBSCRIPTION, [wanted])
    await socket.send(question)
    asked = login = ""
    closed: str | None = None
    while True:
        match parse_message(await socket.recv(decode=False)):
            case Eose(subscription) if subscription == _SUBSCRIPTION:
                return RelayReport(asks_auth=bool(asked))
            case Auth(challenge):
                asked = challenge
                login = await _log_in(socket, url, challenge, secret, clock)
                if closed is not None and not login:
                    return RelayReport(problem=closed, asks_auth=True)
            case Ok(event_id, accepted, text) if event_id == login:
                if not accepted:
                    return RelayReport(problem=printable(text), asks_auth=True)
                await socket.send(question)
            case Closed() as end if end.subscription == _SUBSCRIPTION:
                closed = printable(f"{end.prefix}: {end.text}")
                if end.prefix != "auth-required" or (asked and not login):
                    return RelayReport(problem=closed, asks_auth=bool(asked) or end.prefix == "auth-required")


async def _log_in(
    socket: ClientConnection, url: str, challenge: str, secret: str | None, clock: Callable[[], float]
) -> str:
    """Answer a challenge; the id of the answer, or nothing without a usable key."""
    try:
        key = parse_secret_key(secret or "")
    except ValueError:
        return ""
    answer = sign(AUTH_KIND, "", (("relay", url), ("challenge", challenge)), int(clock()), key)
    await socket.send(auth(answer))
    return answer.id


async def _with_information(report: RelayReport, url: str, http: httpx.AsyncClient) -> RelayReport:
    """Add what the information document says; a relay need not have one."""
    try:
        address = url.replace("ws", "http", 1)
        told = parse_json(await get_plain(http, address, _MAX_INFORMATION_BYTES, accept="application/nostr+json"))
    except (httpx.HTTPError, httpx.InvalidURL, UnwelcomeBody):
        return report
    limits = told.get("limitation") if isinstance(told, dict) else None
    if not isinstance(limits, dict):
        return report
    words = [text.format(limits[key]) for key, text in _LIMITS.items() if type(limits.get(key)) is int]
    longest = limits.get("max_message_length")
    return replace(
        report,
        limits=", ".join(words),
        asks_auth=report.asks_auth or limits.get("auth_required") is True,
        max_message_bytes=longest if type(longest) is int else None,
    )
