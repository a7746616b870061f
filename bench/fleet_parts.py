"""The processes beside the daemon in `bench/fleet.py`. Each prints lines of JSON, and ends when its time is over.

python -m bench.fleet_parts relay                      a real relay (nostr-sdk's)
python -m bench.fleet_parts wallets                    what an LNbits with thousands of empty wallets answers
python -m bench.fleet_parts beacons FILE --per-s 1670  a relay that sends prepared events, evenly in time
python -m bench.fleet_parts start CONFIG               the steps of a start one by one, timed
python -m bench.fleet_parts seen                       a million event ids, and the memory that they take
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

#: Nothing here outlives this, whatever becomes of the benchmark.
LIFETIME_S = 1_800
#: The paced sender writes what is due this often.
TICK_S = 0.02
SEEN_IDS = 1_000_000


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def resident_mib() -> float:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# --- the relay


async def relay() -> None:
    import nostr_sdk

    limit = nostr_sdk.RateLimit(max_reqs=1_000, notes_per_minute=1_000_000)
    built = nostr_sdk.LocalRelayBuilder().rate_limit(limit).build()
    await built.run()
    say(url=str(await built.url()))
    await asyncio.sleep(LIFETIME_S)


# --- the wallets


class Wallets:
    """Answers what a sweep of an empty wallet asks: the wallet, its payments (none), the version."""

    def __init__(self) -> None:
        self.sweeps = 0
        self.held: list[tuple[asyncio.Transport, bytes]] | None = None

    def answer(self, transport: asyncio.Transport, head: bytes) -> None:
        target = head.split(b" ", 2)[1]
        path = target.partition(b"?")[0].decode()
        if path.startswith("/bench/"):
            transport.write(_http(self._control(path)))
            return
        answer = _http(self._body(path, head))
        if self.held is None:
            transport.write(answer)
        else:
            self.held.append((transport, answer))

    def _control(self, path: str) -> object:
        """The benchmark's own questions. While answers are held, nothing is swept: what is left is idling."""
        if path == "/bench/hold" and self.held is None:
            self.held = []
        elif path == "/bench/release" and self.held is not None:
            held, self.held = self.held, None
            for transport, answer in held:
                transport.write(answer)
        return {"sweeps": self.sweeps}

    def _body(self, path: str, head: bytes) -> object:
        if path == "/api/v1/wallet":
            self.sweeps += 1
            key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"x-api-key:"))
            return {"id": hashlib.sha256(key).hexdigest()[:32], "name": "bench", "balance": 0}
        if path == "/openapi.json":
            return {"info": {"version": "1.6.2"}}
        return {"data": [], "total": 0}


class _Connection(asyncio.Protocol):
    def __init__(self, wallets: Wallets) -> None:
        self._wallets = wallets
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._received = (self._received + data).split(b"\r\n\r\n")
        for head in heads:
            self._wallets.answer(self._transport, head)


def _http(body: object) -> bytes:
    text = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)


async def wallets() -> None:
    served = Wallets()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(served), "127.0.0.1", 0)
    say(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await asyncio.sleep(LIFETIME_S)


# --- the beacons


async def beacons(events: list[bytes], per_s: float) -> None:
    """Wait until the daemon has asked for everything and a second is over, then send `per_s` events each second."""
    from websockets.asyncio.server import ServerConnection, serve

    async def serve_one(connection: ServerConnection) -> None:
        subscription = ""
        while True:
            try:
                message = json.loads(await asyncio.wait_for(connection.recv(), 1.0 if subscription else LIFETIME_S))
            except TimeoutError:
                break
            if message[0] == "REQ":
                subscription = message[1]
                await connection.send(json.dumps(["EOSE", subscription]))
        head = f'["EVENT",{json.dumps(subscription)},'.encode()
        began, sent = time.monotonic(), 0
        say(began_at=began)
        while sent < len(events):
            due = min(len(events), int((time.monotonic() - began) * per_s))
            for event in events[sent:due]:
                await connection.send(head + event + b"]", text=True)
            sent = due
            await asyncio.sleep(TICK_S)
        say(ended_at=time.monotonic(), sent=sent)
        await asyncio.sleep(LIFETIME_S)

    async with serve(serve_one, "127.0.0.1", 0, compression=None, max_size=None) as server:
        say(url=f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
        await asyncio.sleep(LIFETIME_S)


# --- a start, step by step


def start(config_path: Path) -> None:
    """The steps before the daemon connects, each on its own; seconds. `database` is mirrored into twice."""
    laps: dict[str, float] = {}

    def lap(name: str, since: float) -> float:
        laps[name] = time.perf_counter() - since
        return time.perf_counter()

    began = time.perf_counter()
    import satmachine.cli.main
    import satmachine.daemon
    from satmachine import config as configuration

    began = lap("modules", began)
    import tomli

    tomli.loads(config_path.read_text())
    began = lap("toml", began)
    config = configuration.load(config_path)
    began = lap("load", began)
    configuration.warnings(config)
    began = lap("warnings", began)
    assert configuration.key_problems(config) == []
    began = lap("keys", began)
    satmachine.relay_lists.relays_of(config)
    lap("relays", began)
    for name in ("mirror_first", "mirror_again"):
        _mirror(config, config_path.with_name("mirror.db"), lap, name)
    say(**laps)


def _mirror(config: object, path: Path, lap: Callable[[str, float], float], name: str) -> None:
    from satmachine.config import Config
    from satmachine.store import registry
    from satmachine.store.database import atomic, connect, prepare

    assert isinstance(config, Config)
    began = time.perf_counter()
    prepare(path)
    conn = connect(path)
    with atomic(conn):
        registry.mirror(conn, config, 1)
    conn.close()
    lap(name, began)


# --- a million ids


def seen() -> None:
    from satmachine.nostr.intake import SeenIds
    from satmachine.nostr.limits import Limits

    ids = SeenIds(Limits().seen_ids)
    before = resident_mib()
    most = before
    for number in range(SEEN_IDS):
        ids.add(hashlib.sha256(number.to_bytes(8, "big")).digest())
        if number % 10_000 == 0:
            most = max(most, resident_mib())
    say(added_mib=most - before, held=len(ids))


def main() -> NoReturn:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("relay", "wallets", "beacons", "start", "seen"))
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--per-s", type=float, default=1_670.0)
    args = parser.parse_args()
    match args.part:
        case "relay":
            asyncio.run(relay())
        case "wallets":
            asyncio.run(wallets())
        case "beacons":
            asyncio.run(beacons(args.path.read_bytes().splitlines(), args.per_s))
        case "start":
            start(args.path)
        case "seen":
            seen()
    sys.exit(0)


if __name__ == "__main__":
    main()
