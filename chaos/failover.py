"""The drill of docs/failover.md, on real parts: two hosts, one LNbits, one relay, Litestream between them.

    python -m chaos.failover --runs 20         one line for each run, and the counts; leaves with 1 if anything is wrong

Host A pays sales and is cut off among them: killed with its Litestream, or cut from LNbits while it lives on. Host B
restores from the replica, starts, and must pay nothing before a person has reconciled; then it pays. A comes back
unasked, and both daemons hear the next sale. In a planned move A is stopped first. At the end LNbits' own records are
judged as in the campaign (chaos/check.py): nothing paid twice, nothing lost, every sat in its place.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import anyio

from chaos.check import debits, held, unfinished, violations
from chaos.world import World, open_world
from satmachine.errors import SatmachineError
from satmachine.ops.restore import restore
from testkit.litestream import Litestream, ensure_litestream
from testkit.lnbits import LnbitsServer, running_lnbits
from testkit.proxy import Fault, FaultProxy
from testkit.system import System

WAYS = ("killed", "cut off", "moved")
_PATIENCE_S = 180


@dataclass(slots=True)
class Drill:
    """What came of one run. Times are in seconds: `restored_s` until B's daemon runs, `paid_s` from the person's word
    until every sale is paid."""

    seed: int
    way: str
    sales: int = 0
    debits: int = 0
    #: Payments that the copy lacked and the wallets told of.
    unknown_to_copy: int = 0
    restored_s: float = 0
    paid_s: float = 0
    held: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


async def drill(seed: int, way: str, folder: Path, lnbits: LnbitsServer) -> Drill:
    """One run, with a world of its own on a running LNbits."""
    result, chance = Drill(seed, way), random.Random(seed)
    program = await anyio.to_thread.run_sync(ensure_litestream)
    first, second = folder / "a", folder / "b"
    first.mkdir(parents=True)
    second.mkdir()
    async with (
        FaultProxy(lnbits.url, lambda _: Fault.NONE) as proxy,
        open_world(first, lnbits, machines=2, lnbits_url=proxy.url) as a,
    ):
        stream = Litestream(program, a.system.database_path, folder / "replica")
        b = _second_host(a, second)
        try:
            stream.start()
            await a.start()
            await a.alive_for(2)
            await _sell_until_gone(a, stream, proxy, chance, way)
            await _take_over(b, stream, result)
            await _come_back(a, b, proxy, result)
        except SatmachineError as error:
            result.violations.append(str(error))
        finally:
            stream.kill()
            b.system.kill_daemon()
    return result


def _second_host(a: World, folder: Path) -> World:
    """The same keys, relays and sales; a folder of its own, and its own way to LNbits."""
    one = a.system
    system = System(folder, one.lnbits, one.lnbits.url, one.relays, one.machines, one.wallets, one.settings)
    system.write_config()
    return World(system, sales=a.sales, told=a.told, events=a.events)


async def _sell_until_gone(a: World, stream: Litestream, proxy: FaultProxy, chance: random.Random, way: str) -> None:
    """Sales, and at some moment among their payments the end of A."""
    for machine in a.system.machines:
        await a.sell(machine, sats=chance.randint(2_000, 400_000))
    await a.until(lambda: a.settled_now)
    for _ in range(3):
        await a.sell(chance.choice(a.system.machines), sats=chance.randint(2_000, 400_000))
    await anyio.sleep(chance.uniform(0, 2.5))
    if way == "moved":
        await a.system.stop_daemon()
        await anyio.to_thread.run_sync(stream.stop)
        return
    if way == "killed":
        a.kill()
    else:
        proxy.plan = lambda _: Fault.RESET_BEFORE
    stream.kill()


async def _take_over(b: World, stream: Litestream, result: Drill) -> None:
    """B by the document: restore, start, wait for a person's word, pay."""
    begun = time.monotonic()
    copy = b.system.folder / "copy.db"
    await anyio.to_thread.run_sync(stream.restore, copy)
    restore(copy, b.system.database_path, datetime.now(UTC))
    await b.start()
    await b.alive_for(0)
    result.restored_s = round(time.monotonic() - begun, 1)
    await b.sell(b.system.machines[0], sats=50_000)  # customers do not wait
    before = debits(await b.facts())
    await b.alive_for(8)  # a sweep of each wallet, and more
    if since := debits(await b.facts()) - before:
        result.violations.append(f"{len(since)} payments were made before a person had reconciled")
    result.unknown_to_copy = len({key for key, _ in before} - {leg.leg_key for leg in b.rest().legs})
    begun = time.monotonic()
    b.person_reconciles = True
    await b.settled(_PATIENCE_S)
    result.paid_s = round(time.monotonic() - begun, 1)


async def _come_back(a: World, b: World, proxy: FaultProxy, result: Drill) -> None:
    """A lives again beside B, and both hear the next sales. Then A is switched off for good, and B finishes."""
    b.person_reconciles = False
    proxy.plan = lambda _: Fault.NONE
    if not a.alive:
        await a.start()
    for machine in a.system.machines:
        await b.sell(machine, sats=30_000)
    await anyio.sleep(10)
    a.system.kill_daemon()
    b.person_reconciles = True
    facts = await b.settled(_PATIENCE_S)
    result.violations += violations(facts) + unfinished(facts)
    result.held = held(facts)
    result.sales, result.debits = len(facts.sales), len(debits(facts))


async def carry_out(runs: int, seed: int) -> int:
    """The runs, one after the other, each with wallets of its own; the exit code."""
    done: list[Drill] = []
    folder = Path(tempfile.mkdtemp(prefix="satmachine-failover-"))
    async with running_lnbits(folder / "lnbits") as lnbits:
        for number in range(runs):
            way = WAYS[(seed + number) % len(WAYS)]
            done.append(await drill(seed + number, way, folder / f"run-{number + 1}", lnbits))
            _report(number + 1, done[-1])
    bad = sum(len(result.violations) for result in done)
    print(
        json.dumps(
            {
                "runs": len(done),
                "sales": sum(result.sales for result in done),
                "debits": sum(result.debits for result in done),
                "unknown to the copy": sum(result.unknown_to_copy for result in done),
                "held": sum(len(result.held) for result in done),
                "violations": bad,
                "longest until B runs, s": max(result.restored_s for result in done),
                "longest from the word until all is paid, s": max(result.paid_s for result in done),
            }
        )
    )
    if not bad:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if bad else 0


def _report(number: int, result: Drill) -> None:
    print(
        f"run {number:3}  seed {result.seed:4}  {result.way:8} {result.sales} sales  {result.debits:3} debits  "
        f"{result.unknown_to_copy:2} unknown to the copy  B runs after {result.restored_s:5} s  all paid "
        f"{result.paid_s:5} s after the word  {len(result.held)} held  {len(result.violations)} violations",
        flush=True,
    )
    for line in result.violations + result.held:
        print(f"    {line[:2000]}", flush=True)


def main() -> int:
    """Entry point of `python -m chaos.failover`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=len(WAYS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    return anyio.run(carry_out, options.runs, options.seed)


if __name__ == "__main__":
    sys.exit(main())
