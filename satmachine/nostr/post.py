"""Publish one event on one relay, and log in if it asks (NIP-01, NIP-42)."""

from __future__ import annotations

from websockets.exceptions import WebSocketException

from satmachine.nostr.connect import straight
from satmachine.nostr.event import AUTH_KIND, Auth, Event, Ok, auth, parse_message, publish, sign
from satmachine.nostr.health import printable

#: How many messages a relay may send before it accepts an event or not: each question who we are costs a signature.
MESSAGES = 8


async def post(url: str, event: Event, secret: bytes, now: int, *, timeout_s: float) -> str:
    """Publish; returns what went wrong, or nothing if the relay accepted it. Its answers may take for ever: call this
    with a time limit. `secret` is for logging in, `now` is Unix seconds."""
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
            return "sends many messages, but does not accept the event"
    except (OSError, WebSocketException, UnicodeError) as error:
        return printable(f"cannot connect: {error or type(error).__name__}")
