"""A relay that redirects cannot make this host knock anywhere else."""

from __future__ import annotations

import anyio
import anyio.abc
import httpx
import pytest

from satmachine.nostr.keys import hex_to_npub
from satmachine.nostr.pool import RelayPool
from satmachine.ops.alerts.channels import NotDelivered, deliver
from satmachine.ops.relay_check import ask_relay
from testkit.relays import QUICK, Collector, Machine, eventually, tcp_server
from tests.ops.test_alerts import config_with, message


class Inner:
    """A host that only we can reach; it notes who knocks."""

    def __init__(self) -> None:
        self.knocks = 0

    async def handle(self, stream: anyio.abc.SocketStream) -> None:
        self.knocks += 1
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def test_no_redirect_of_a_relay_is_followed() -> None:
    inner, machine = Inner(), Machine()
    async with tcp_server(inner.handle) as inner_url:

        async def redirects(stream: anyio.abc.SocketStream) -> None:
            await stream.receive()
            await stream.send(
                f"HTTP/1.1 302 Found\r\nLocation: {inner_url}/admin\r\nContent-Length: 0\r\n\r\n".encode()
            )

        async with tcp_server(redirects) as url:
            async with anyio.create_task_group() as tasks:
                pool = RelayPool({url: frozenset({machine.pubkey})}, Collector(), limits=QUICK)
                tasks.start_soon(pool.run)
                await eventually(lambda: "302" in pool.health()[0].error)
                tasks.cancel_scope.cancel()
            async with httpx.AsyncClient(timeout=10) as http:
                report = await ask_relay(url, [machine.pubkey], http, secret=None, clock=lambda: 0.0)
            assert "302" in report.problem
            told = config_with({"npub": hex_to_npub(machine.pubkey), "relays": [url]}, secret_key=machine.secret.hex())
            with pytest.raises(NotDelivered, match="302"):
                await deliver(message("nostr"), told, 0)
    assert inner.knocks == 0
