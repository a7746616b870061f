"""A simulated Bitcoin ATM: signs its sale with another implementation (nostr-sdk) and publishes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import nostr_sdk


@dataclass(frozen=True, slots=True)
class SimulatedMachine:
    """A machine with a fresh key."""

    keys: nostr_sdk.Keys

    @classmethod
    def new(cls) -> SimulatedMachine:
        """Make one."""
        return cls(nostr_sdk.Keys.generate())

    @property
    def npub(self) -> str:
        """Its public key, as the registry wants it."""
        return str(self.keys.public_key().to_bech32())

    def event(
        self,
        content: Mapping[str, object] | str,
        *,
        kind: int = 21000,
        created_at: int | None = None,
        tags: list[list[str]] | None = None,
    ) -> nostr_sdk.Event:
        """A signed event with this content."""
        text = content if isinstance(content, str) else json.dumps(content)
        builder = nostr_sdk.EventBuilder(nostr_sdk.Kind(kind), text)
        if created_at is not None:
            builder = builder.custom_created_at(nostr_sdk.Timestamp.from_secs(created_at))
        if tags:
            builder = builder.tags([nostr_sdk.Tag.parse(tag) for tag in tags])
        return builder.finalize(self.keys)


async def publish(relay_urls: list[str], event: nostr_sdk.Event, *, timeout_s: float = 10) -> None:
    """Send an event to relays as a machine does."""
    client = nostr_sdk.ClientBuilder().build()
    try:
        for url in relay_urls:
            await client.add_relay(nostr_sdk.RelayUrl.parse(url))
        await client.connect(timedelta(seconds=timeout_s))
        await client.send_event(event)
    finally:
        await client.shutdown()
