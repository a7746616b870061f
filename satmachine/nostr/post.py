"""Publish one event on one relay, logging in where it asks (NIP-01, NIP-42)."""

from __future__ import annotations

from websockets.exceptions import WebSocketException

from satmachine.nostr.event import AUTH_KIND, Event, sign
from satmachine.nostr.health import printable
from satmachine.nostr.protocol import Auth, Ok, auth, parse_message, publish
from satmachine.nostr.wire import straight

#: What a relay may say until it takes an event, or does not: each question who we are costs a signature.
MESSAGES = 8


async def post(url: str, event: Event, secret: bytes, now: int, *, timeout_s: float) -> str:
    """Publish; what went wrong, or nothing where the relay took it. Its answers may take without end: put it under a
    time limit. `secret` is what it logs in with, `now` Unix seconds."""
    login = ""
    try:
        async with straight(url, proxy=None, open_timeout=timeout_s / 2, close_timeout=1) as socket:
            await socket.send(publish(event))
            for _ in range(MESSAGES):
                match parse_message(await socket.recv(decode=False)):
                    case Auth(challenge):
                        answer = sign(AUTH_KIND, "", (("relay", url), ("challenge", challenge)), now, secret)
                        login = answer.id
                        await socket.send(auth(answer))
                    case Ok(event_id, accepted, text) if event_id == event.id:
                        if accepted or not (login and text.startswith("auth-required")):
                            return "" if accepted else printable(text)
                    case Ok(event_id, accepted, text) if event_id == login:
                        if not accepted:
                            return printable(text)
                        await socket.send(publish(event))
            return "says much, and takes nothing"
    except (OSError, WebSocketException, UnicodeError) as error:
        return printable(f"cannot connect: {error or type(error).__name__}")
