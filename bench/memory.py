"""Does the daemon's memory creep? Sales and beacons at a steady pace, and what the process holds, minute by minute.

    python -m bench.memory --minutes 40 --sales-per-minute 60 --beacons-per-minute 60

The resident memory is what the system has lent to the process; `blocks` and `objects` are what Python holds, after a
collection: a leak shows there, a cache that fills up or memory that lies in pieces does not.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import nostr_sdk

from testkit.lnbits import running_lnbits
from testkit.system import System
from testkit.watch import SALE, add_providers

_PROBE = "SATMACHINE_BENCH_PROBE"


def probe() -> None:
    """Within the daemon: SIGUSR1 has it write down what it holds, SIGUSR2 also give back what lies free."""

    def look(number: int, _frame: object) -> None:
        gc.collect()
        objects = gc.get_objects()
        kinds = Counter(type(one).__name__ for one in objects)
        held = {"objects": len(objects), "blocks": sys.getallocatedblocks(), "kinds": dict(kinds.most_common(60))}
        del objects
        held["rss_kib"] = _rss_kib(os.getpid())
        if number == signal.SIGUSR2:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            held["trimmed_kib"] = _rss_kib(os.getpid())
        target = Path(os.environ[_PROBE])
        fresh = target.with_suffix(".part")
        fresh.write_text(json.dumps(held))
        fresh.replace(target)

    signal.signal(signal.SIGUSR1, look)
    signal.signal(signal.SIGUSR2, look)
    from satmachine.cli.main import main

    sys.argv[0] = "satmachine"
    main()


def _rss_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS")))


async def _held(pid: int, path: Path, number: signal.Signals) -> dict[str, Any]:
    answer = anyio.Path(path)
    await answer.unlink(missing_ok=True)
    os.kill(pid, number)
    for _ in range(300):
        if await answer.exists():
            return dict(json.loads(await answer.read_text()))
        await anyio.sleep(0.1)
    raise TimeoutError("the daemon did not answer the probe")


async def _sell(system: System, client: nostr_sdk.Client, number: int) -> None:
    sale = await system.customer_pays(system.machines[0], {**SALE, "txid": f"sale-{number}"})
    await client.send_event(system.machines[0].signer.event(sale))


async def _load(system: System, sales: int, beacons: int, until: float) -> None:
    client = nostr_sdk.ClientBuilder().build()
    await client.add_relay(nostr_sdk.RelayUrl.parse(system.relays[0].url))
    await client.connect(timedelta(seconds=10))

    async def selling() -> None:
        number = 0
        while sales and time.monotonic() < until:
            number += 1
            begun = time.monotonic()
            await _sell(system, client, number)
            await anyio.sleep(max(0.0, 60 / sales - (time.monotonic() - begun)))

    async def telling() -> None:
        number = 0
        while beacons and time.monotonic() < until:
            number += 1
            content = {"version": "1", "cash": {"level": number % 500}, "txs": number}
            event = system.machines[0].signer.event(content, kind=30078, tags=[["d", "status"]])
            await client.send_event(event)
            await anyio.sleep(60 / beacons)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(selling)
        tasks.start_soon(telling)
    await client.shutdown()


async def _measure(folder: Path, minutes: int, sales: int, beacons: int) -> None:
    async with running_lnbits(folder / "lnbits") as lnbits:
        system = await System.build(folder, lnbits, lps=("alice", "bruno", "carla"))
        held_path = folder / "held.json"
        command = [sys.executable, "-c", "from bench.memory import probe; probe()"]
        system.daemon = _started([*command, "--config", str(system.config_path), "run"], system.log_path, held_path)
        try:
            await system.wait_for_log("subscribed for")
            add_providers(system, {"alice": 100_000_000, "bruno": 60_000_000, "carla": 40_000_000})
            await _watch(system, held_path, minutes, sales, beacons)
            await system.stop_daemon()
        finally:
            system.kill_daemon()
            system.stop_relays()


def _started(command: list[str], log_path: Path, held_path: Path) -> subprocess.Popen[bytes]:
    environ = {**os.environ, _PROBE: str(held_path)}
    with log_path.open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environ)


async def _watch(system: System, held_path: Path, minutes: int, sales: int, beacons: int) -> None:
    assert system.daemon is not None
    pid = system.daemon.pid
    until = time.monotonic() + minutes * 60
    print("minute  rss MiB  blocks  objects", flush=True)
    before: Counter[str] = Counter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_load, system, sales, beacons, until)
        for minute in range(minutes + 1):
            held = await _held(pid, held_path, signal.SIGUSR2 if minute == minutes else signal.SIGUSR1)
            kinds = Counter[str](held["kinds"])
            rss = held["rss_kib"] / 1024
            print(f"{minute:6}  {rss:7.1f}  {held['blocks']:>6}  {held['objects']:>7}", flush=True)
            if minute == min(5, minutes):
                before = kinds
            if minute == minutes:
                print("more than at minute 5:", (kinds - before).most_common(15))
                print(f"after giving back what lies free: {held['trimmed_kib'] / 1024:.1f} MiB", flush=True)
            await anyio.sleep(60 if minute < minutes else 0)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--sales-per-minute", type=int, default=60)
    parser.add_argument("--beacons-per-minute", type=int, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="satmachine-memory-") as folder:
        anyio.run(_measure, Path(folder), asked.minutes, asked.sales_per_minute, asked.beacons_per_minute)


if __name__ == "__main__":
    main()
