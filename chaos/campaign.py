"""`make chaos`: run after run, each with a seed of its own, until something is lost or paid twice.

    make chaos                     ten runs, one of each fault
    make chaos RUNS=90 SEED=7      more of them; a seed replays the same decisions
    make chaos KILLS=500           SIGKILLs at random moments under a stream of sales, until there were 500
    make chaos FAULT=relays        only this fault

A campaign that was interrupted goes on where it stopped (state in .cache/chaos); FRESH=1 begins again. Prints one line
for each run and every violation in words; leaves with 1 if there was any.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import anyio

from chaos.check import changed_by_restart, debits, held, violations
from chaos.faults import FAULTS, Attack, Strike
from chaos.world import World, open_world
from satmachine.errors import SatmachineError
from testkit.lnbits import ensure_environment
from testkit.paused_lnbits import PausedLnbits
from testkit.proxy import Fault, FaultProxy

#: SIGKILLs of one run, after which the next begins with an empty LNbits (a full one is slow).
KILLS_PER_RUN = 25
ROUNDS = 12

#: How long nothing may change in a system that has work left; longer than the payer's own waits after some failures.
PATIENCE_S = 180


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is: all of its decisions follow from this."""

    seed: int
    fault: str
    rounds: int = ROUNDS


@dataclass(slots=True)
class Result:
    """What came of a run."""

    plan: Plan
    sales: int = 0
    debits: int = 0
    kills: int = 0
    held: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0


async def run(plan: Plan, folder: Path) -> Result:
    """One world, one fault, then peace; and the check, before and after a restart."""
    result, began = Result(plan), time.monotonic()
    chance = random.Random(plan.seed)
    torn = plan.fault == "lnbits-between"
    # With the FakeWallet's memory, an address' invoice that was not paid before a restart is waited out for an hour.
    lnbits = PausedLnbits(ensure_environment(say=print), folder / "lnbits", node_remembers=torn)
    await lnbits.start()
    try:
        async with (
            FaultProxy(lnbits.url, lambda _: Fault.NONE) as proxy,
            open_world(
                folder,
                lnbits,
                machines=2,
                relays=2,
                lnbits_url=proxy.url,
                settings={"database": "busy_timeout_s = 2", "lnurl": "allow_private_hosts = true"},
                addresses={"carla": lnbits.address_of} if torn else {},
            ) as world,
        ):
            await _attack(Attack(world, proxy, chance, plan.rounds), FAULTS[plan.fault])
            await _judge(world, result)
    finally:
        await lnbits.stop()
    result.seconds = round(time.monotonic() - began, 1)
    return result


async def _attack(attack: Attack, strike: Strike) -> None:
    """Customers go on buying while the fault strikes; then everything is repaired."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_stream_of_sales, attack.world, random.Random(attack.chance.random()))
        await strike(attack)
        tasks.cancel_scope.cancel()
    attack.proxy.plan = lambda _: Fault.NONE
    if not attack.world.alive:
        await attack.world.start()


async def _stream_of_sales(world: World, chance: random.Random) -> None:
    """Some sales are announced, some reach the daemon only through the wallet, some announcements come twice."""
    while True:
        machine = chance.choice(world.system.machines)
        announce = chance.random() < 0.7
        try:
            with anyio.CancelScope(shield=True):
                await world.sell(machine, announce=announce, sats=chance.randint(2_000, 400_000))
                if chance.random() < 0.2:
                    await world.replay(chance, 2)
        except SatmachineError:
            pass  # LNbits is down: the customer goes away
        await anyio.sleep(chance.uniform(1, 4))


async def _judge(world: World, result: Result) -> None:
    """Look at everything once it is at rest, and again after a restart."""
    try:
        facts = await world.settled(PATIENCE_S)
        result.violations = violations(facts)
        result.held = held(facts)
        result.sales, result.debits = len(facts.sales), len(debits(facts))
        await world.system.stop_daemon()
        await world.start()
        await world.alive_for(6)  # at least one more sweep of every wallet
        result.violations += changed_by_restart(facts, await world.settled(PATIENCE_S))
    except SatmachineError as error:
        result.violations.append(f"it never came to rest: {error}")
    result.kills = world.kills


# --- the campaign


@dataclass(slots=True)
class Campaign:
    """A series of runs, and what came of those that are done; kept in a file after each."""

    state: Path
    seed: int
    runs: int
    kills: int
    fault: str | None
    done: list[dict[str, object]] = field(default_factory=list)

    def next_plan(self) -> Plan | None:
        """The next run; None when all are done."""
        number = len(self.done)
        if self.kills:
            left = self.kills - sum(int(str(row["kills"])) for row in self.done)
            return Plan(self.seed + number, "kills", min(left, KILLS_PER_RUN)) if left > 0 else None
        if number >= self.runs:
            return None
        return Plan(self.seed + number, self.fault or list(FAULTS)[number % len(FAULTS)])

    def load(self) -> None:
        """Go on where the same campaign stopped."""
        if self.state.exists():
            self.done = json.loads(self.state.read_text())

    def keep(self, result: Result) -> None:
        """Remember a run that is done."""
        self.done.append(asdict(result))
        self.state.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.state.with_suffix(".new")
        unfinished.write_text(json.dumps(self.done, indent=1))
        unfinished.replace(self.state)

    def total(self, name: str) -> int:
        """The sum of a count, or of the lengths of a list, over all runs."""
        values = [row[name] for row in self.done]
        return sum(len(value) if isinstance(value, list) else int(str(value)) for value in values)


async def carry_out(campaign: Campaign) -> int:
    """Do what is left of the campaign; the exit code."""
    if campaign.done:
        print(f"going on after run {len(campaign.done)} (FRESH=1 begins again)")
    while (plan := campaign.next_plan()) is not None:
        folder = Path(tempfile.mkdtemp(prefix="satmachine-chaos-"))
        result = await run(plan, folder)
        campaign.keep(result)
        _report(len(campaign.done), result, folder)
    print(
        f"\n{len(campaign.done)} runs: {campaign.total('sales')} sales, {campaign.total('debits')} debits, "
        f"{campaign.total('kills')} SIGKILLs of the daemon; {campaign.total('held')} held with evidence; "
        f"{campaign.total('violations')} violations"
    )
    return 1 if campaign.total("violations") else 0


def _report(number: int, result: Result, folder: Path) -> None:
    plan = result.plan
    print(
        f"run {number:3}  seed {plan.seed:5}  {plan.fault:14}  {result.sales:4} sales  {result.debits:5} debits  "
        f"{result.kills:3} kills  {len(result.held):2} held  "
        f"{len(result.violations):2} violations  {result.seconds:6} s",
        flush=True,
    )
    for line in result.violations:
        print(f"    VIOLATION: {line[:2000]}")
    for line in result.held[:5]:
        print(f"    held: {line}")
    if result.violations:
        print(f"    evidence is kept in {folder}; again: make chaos FRESH=1 RUNS=1 SEED={plan.seed} FAULT={plan.fault}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Entry point of `python -m chaos.campaign`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=len(FAULTS))
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--fault", choices=list(FAULTS))
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    cache = Path(os.environ.get("SATMACHINE_CACHE_DIR") or Path.home() / ".cache" / "satmachine") / "chaos"
    kind = f"kills-{options.kills}" if options.kills else f"{options.fault or 'all'}"
    campaign = Campaign(
        cache / f"{kind}-seed-{options.seed}.json", options.seed, options.runs, options.kills, options.fault
    )
    if not options.fresh:
        campaign.load()
    return anyio.run(carry_out, campaign)


if __name__ == "__main__":
    sys.exit(main())
