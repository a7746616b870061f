"""Floods by a stolen key, from the socket into the file: what they may take, and another machine's sale beside them."""

from __future__ import annotations

import io
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from satmachine import logs
from satmachine.config import Config, load
from satmachine.daemon import _register
from satmachine.nostr.event import BEACON_KIND, Event
from satmachine.nostr.keys import hex_to_npub
from satmachine.nostr.pool import RelayPool
from satmachine.recorder import Recorder
from satmachine.relay_lists import relays_of
from satmachine.store import quarantine_rows
from satmachine.store.database import Store, open_store
from testkit.relays import PATIENCE_S, Machine, Talk, eventually, scripted_relay

STOLEN, HONEST = Machine(), Machine()
PAD = "x" * 100_000


def sale(machine: Machine, number: int, **more: object) -> Event:
    content = {
        "source": "bitspire",
        "payment_hash": os.urandom(32).hex(),
        "txid": str(number),
        "gross_sats": 1_000,
        "net_sats": 990,
        "fee_sats": 10,
        "exchange_rate": 100,
        "currency": "GTQ",
        **more,
    }
    return machine.event(json.dumps(content), created_at=int(time.time()))


FLOODS: dict[str, Callable[[int], Event]] = {
    "big nonsense": lambda n: STOLEN.event(f'{{"n": {n}, "x": "{PAD}"}}', created_at=int(time.time())),
    "big sales": lambda n: sale(STOLEN, n, bills=PAD),
    "small nonsense": lambda n: STOLEN.event(f'{{"n": {n}', created_at=int(time.time())),
    "big beacons": lambda n: STOLEN.event(
        f'{{"n": {n}, "x": "{PAD}"}}', kind=BEACON_KIND, tags=[["d", str(n)]], created_at=int(time.time())
    ),
    "many tags": lambda n: STOLEN.event(
        str(n), kind=BEACON_KIND, tags=[["d", str(n)], *[["t", "aa"]] * 1_900], created_at=int(time.time())
    ),
}
COUNT = 400


@dataclass
class Books:
    config: Config
    store: Store

    async def scalar(self, sql: str) -> int:
        return await self.store.read(lambda conn: int(conn.execute(sql).fetchone()[0]))

    @property
    def bytes_on_disk(self) -> int:
        path = self.config.database.path
        return sum(file.stat().st_size for file in path.parent.glob(path.name + "*"))


def registry(path: Path, url: str) -> Config:
    machines = "".join(
        f'[[machines]]\nid = "{name}"\noperator = "o"\nnpub = "{hex_to_npub(machine.pubkey)}"\nname = "{name}"\n'
        'currency = "GTQ"\nfallback_commission_pct = 0.05\npayouts_since = 2020-01-01T00:00:00Z\n'
        f'wallet = {{ admin_key = "{name}-key" }}\n'
        for name, machine in (("stolen", STOLEN), ("honest", HONEST))
    )
    file = path / "config.toml"
    file.write_text(
        f'[database]\npath = "{path}/books.db"\n[nostr]\nrelays = ["{url}"]\n[lnbits]\nurl = "http://127.0.0.1:9"\n'
        '[super]\nfee_pct = 0.3\npayee = { lightning_address = "a@example.org" }\n'
        f'[[operators]]\nid = "o"\nname = "O"\n{machines}'
    )
    file.chmod(0o600)
    return load(file)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the daemon would have said."""
    stream, root = io.StringIO(), logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.set_up(stream=stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture(params=FLOODS)
async def flooded(request: pytest.FixtureRequest, tmp_path: Path, log: io.StringIO) -> AsyncIterator[Books]:
    """Books that took in a whole flood, with an honest sale at its end."""
    flood = [FLOODS[request.param](n) for n in range(COUNT)]

    async def script(talk: Talk) -> None:
        sub_id, _ = await talk.receive_req()
        await talk.send_events(sub_id, *flood, sale(HONEST, 1))
        await talk.send("EOSE", sub_id)
        await talk.until_closed()

    async with scripted_relay(script) as url:
        config = registry(tmp_path, url)
        async with open_store(config.database.path) as store:
            await store.write(_register, config, int(time.time()))
            recorder = Recorder(store, lambda: config, None, lambda: int(time.time()), landed=lambda: None)
            pool = RelayPool(relays_of(config).relays, recorder.record)
            books = Books(config, store)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(pool.run)
                await eventually(lambda: pool.health()[0].events + pool.health()[0].shed > COUNT)
                with anyio.fail_after(PATIENCE_S):
                    while not await books.scalar("SELECT count(*) FROM dca_settlements WHERE machine_id = 'honest'"):
                        await anyio.lowlevel.checkpoint()
                (health,) = pool.health()
                tasks.cancel_scope.cancel()
            assert health.faults == {}
            yield books


async def test_a_flood_takes_little_of_the_disk_and_of_the_log(flooded: Books, log: io.StringIO) -> None:
    sent_bytes = COUNT * 100_000
    assert flooded.bytes_on_disk < sent_bytes // 4
    assert await flooded.scalar("SELECT count(*) FROM quarantine") <= quarantine_rows.MAX_OPEN
    assert await flooded.scalar("SELECT coalesce(max(length(raw)), 0) FROM quarantine") <= quarantine_rows.MAX_RAW_CHARS
    assert await flooded.scalar("SELECT coalesce(max(length(raw)), 0) FROM dca_settlement_events") <= 32_768
    about_it = [line for line in log.getvalue().splitlines() if "stolen" in line]
    assert len(about_it) <= 10, "the same trouble is told once"
