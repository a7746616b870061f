"""What is done to the system: each fault runs for a while against a living world, and leaves it repairable.

All randomness comes from the run's own generator, so a seed replays the same decisions; how they fall together with the
daemon's work is up to the scheduler, as in life.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

import anyio

from chaos.world import World
from satmachine.failpoints import FAILPOINTS
from testkit.machine import SimulatedMachine, publish
from testkit.paused_lnbits import PausedLnbits
from testkit.proxy import Fault, FaultProxy, seeded

#: The proxy's rates: bad enough that every call fails now and then, good enough that work goes on.
WEATHER: Mapping[str, Mapping[Fault, float]] = {
    "network": {Fault.LATENCY: 0.1, Fault.RESET_BEFORE: 0.05, Fault.RESET_AFTER: 0.08},
    "gateway": {Fault.BAD_GATEWAY_AFTER: 0.08, Fault.GATEWAY_TIMEOUT_AFTER: 0.08},
    "rate-limit": {Fault.TOO_MANY_REQUESTS: 0.15},
    "garbage": {Fault.HTML_AFTER: 0.08, Fault.TRUNCATED_JSON: 0.08},
    "lies": {Fault.SWALLOWED_ROW: 0.05, Fault.EMPTY_LIST: 0.04, Fault.LYING_STATUS: 0.04, Fault.LYING_AMOUNT: 0.03},
}


#: How long a leg is waited for that LNbits can die of.
_LEG_COMES_WITHIN_S = 15


@dataclass(slots=True)
class Attack:
    """One run's tools. `rounds` is how often a fault strikes."""

    world: World
    proxy: FaultProxy
    chance: random.Random
    rounds: int


async def kills(attack: Attack) -> None:
    """(a) SIGKILL of the daemon at random moments under a stream of sales."""
    for _ in range(attack.rounds):
        await attack.world.start()
        await attack.world.alive_for(attack.chance.uniform(0.0, 1.5))
        attack.world.kill()


async def failpoints(attack: Attack) -> None:
    """(a) SIGKILL of the daemon at a failpoint of the payer's protocol."""
    for _ in range(attack.rounds):
        place = f"{attack.chance.choice(FAILPOINTS)}:{attack.chance.randint(1, 5)}"
        await attack.world.start({"SATMACHINE_FAILPOINT": place})
        with anyio.move_on_after(6):
            while attack.world.alive:
                await anyio.sleep(0.02)
        attack.world.kills += not attack.world.alive
        attack.world.kill()


async def lnbits_killed(attack: Attack) -> None:
    """(b) SIGKILL of LNbits in the middle of payments."""
    lnbits = attack.world.system.lnbits
    await attack.world.start()
    for _ in range(max(2, attack.rounds // 3)):
        await anyio.sleep(attack.chance.uniform(1.0, 4.0))
        async with attack.world.customers:  # no customer is in the middle of paying: that is LNbits' own affair
            lnbits.kill()
            await anyio.sleep(attack.chance.uniform(0, 1))
            await lnbits.start()


async def lnbits_between_commits(attack: Attack) -> None:
    """(b) LNbits dies after the debit of a leg and before its credit; a person has to look at each of them."""
    lnbits = attack.world.system.lnbits
    assert isinstance(lnbits, PausedLnbits)
    await attack.world.start()
    for _ in range(max(2, attack.rounds // 3)):
        await anyio.sleep(attack.chance.uniform(1.0, 4.0))
        async with attack.world.customers:  # none of theirs is torn in two
            lnbits.between_commits(attack.chance.choice(("die", "die-address")))
            with anyio.move_on_after(_LEG_COMES_WITHIN_S):
                while lnbits.running:
                    await anyio.sleep(0.02)
            lnbits.between_commits(None)
            lnbits.kill()
            await lnbits.start()


async def proxy_faults(attack: Attack) -> None:
    """(c) Latency, resets after success, 502 and 504, 429 storms, HTML, truncated JSON, lies."""
    await attack.world.start()
    for name, rates in attack.chance.sample(list(WEATHER.items()), len(WEATHER)):
        attack.proxy.plan = seeded(attack.chance.randint(0, 2**31) + len(name), rates)
        await anyio.sleep(attack.rounds / 3)


async def write_lock(attack: Attack) -> None:
    """(d) Another program holds the database's write lock."""
    await attack.world.start()
    for _ in range(max(2, attack.rounds // 3)):
        await anyio.sleep(attack.chance.uniform(0.5, 2))
        with closing(sqlite3.connect(attack.world.system.database_path, timeout=30, isolation_level=None)) as conn:
            conn.execute("BEGIN IMMEDIATE")
            await anyio.sleep(attack.chance.uniform(1, 4))


async def disk_full(attack: Attack) -> None:
    """(d) The file cannot grow any more; then somebody makes room."""
    for _ in range(max(2, attack.rounds // 4)):
        pages = attack.world.database_pages() + attack.chance.randint(0, 6)
        await attack.world.start({"SATMACHINE_MAX_PAGES": str(pages)})
        await attack.world.alive_for(attack.chance.uniform(3, 6))
        attack.world.kill()


async def relays(attack: Attack) -> None:
    """(e) Relays vanish, replay and flood."""
    world, chance = attack.world, attack.chance
    await world.start()
    stranger = SimulatedMachine.new()
    for _ in range(max(2, attack.rounds // 3)):
        relay = chance.choice(world.system.relays)
        relay.stop()
        await anyio.sleep(chance.uniform(0.5, 2))
        await relay.start()
        await world.replay(chance)
        for number in range(50):
            signer = chance.choice([stranger, world.system.machines[0].signer])
            await publish([relay.url], signer.event(json.dumps({"source": "bitspire", "gross_sats": -number})))


async def books_restored(attack: Attack) -> None:
    """(f) The database is one from earlier."""
    world, chance = attack.world, attack.chance
    for _ in range(max(2, attack.rounds // 4)):
        await world.start()
        await world.alive_for(chance.uniform(1, 3))
        backup = world.backup_books()
        await anyio.sleep(chance.uniform(2, 5))
        world.kill()
        world.restore_books(backup)
    world.person_reconciles = True


async def books_deleted(attack: Attack) -> None:
    """(f) The database is gone; the operator has registered the LPs and their deposits again."""
    world, chance = attack.world, attack.chance
    for _ in range(max(2, attack.rounds // 4)):
        await world.start()
        await world.alive_for(chance.uniform(3, 6))
        world.kill()
        world.delete_books()
        world.seed_books()
    world.person_reconciles = True


Strike = Callable[[Attack], Awaitable[None]]

FAULTS: Mapping[str, Strike] = {
    "kills": kills,
    "failpoints": failpoints,
    "lnbits-killed": lnbits_killed,
    "lnbits-between": lnbits_between_commits,
    "proxy": proxy_faults,
    "write-lock": write_lock,
    "disk-full": disk_full,
    "relays": relays,
    "books-restored": books_restored,
    "books-deleted": books_deleted,
}
