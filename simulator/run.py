"""Seeds, replays, shrinking and campaigns: `python -m simulator.run --seeds 100 --steps 1000`.

A run is determined by its seed: which kinds of actions it has (each seed leaves some out, so that a defect which needs
few of them is met without the noise of the others), and every action with its own chance.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from random import Random

from simulator import clock, coverage, daemon, happenings, judge, last_customer, operators, person
from simulator.judge import Violation
from simulator.world import Action, World, add_lp, bring_cash, new_world

#: How long a run goes on after its last action: rounds of a person, each followed by hours.
ROUNDS = 12
ROUND_S = 400.0
BETWEEN_ROUNDS_S = 8 * 3600
#: Actions of one run at the most, so that a shrunk one ends too.
MOST_ACTIONS = 20_000

#: The world of the last run in this process, to be looked at.
LAST: list[World] = []

TABLES = (happenings.CUSTOMERS, operators.TABLE, happenings.FAULTS)
NAMES = tuple(name for table in TABLES for name in table)
#: All there is, also what comes only where a run is focused on it.
ACTS = {name: act for table in (*TABLES, happenings.RARE) for name, act in table.items()}


@dataclass(slots=True)
class Outcome:
    """What came of a seed."""

    seed: int
    steps: int
    violation: str | None
    kind: str | None
    trace: str
    actions: list[tuple[int, Action, str]]
    pairs: coverage.Pairs = field(default_factory=Counter)


def script(seed: int, focus: frozenset[str] = frozenset()) -> Iterator[Action]:
    """The actions of a seed, without end. `focus`: customers' sales, and all of these; else chance leaves kinds out."""
    rng = Random(f"script {seed}")
    share = rng.choice((0.15, 0.3, 0.5, 0.8))
    wanted = {"sale": happenings.CUSTOMERS["sale"][1]}
    for table in TABLES:
        for name, (_, weight) in table.items():
            if name != "sale" and (name in focus or (not focus and rng.random() < share)):
                wanted[name] = weight * rng.choice((1, 1, 3))
    wanted |= {name: weight for name, (_, weight) in happenings.RARE.items() if name in focus}
    if {"restore"} & wanted.keys():
        wanted.setdefault("backup", 2)
    if {"bank_rollback"} & wanted.keys():
        wanted.setdefault("bank_backup", 2)
    names, weights = list(wanted), list(wanted.values())
    waits = rng.choice(((0.0, 0.05, 0.3, 3.0), (0.05, 0.5, 20.0), (0.1, 5.0, 300.0), (0.02, 0.2, 1.0, 2000.0)))
    for _ in range(MOST_ACTIONS):
        name = rng.choices(names, weights)[0]
        yield Action(name, rng.choice(waits) * rng.random() * 2, rng.getrandbits(40))


def act_of(name: str) -> operators.Act:
    return ACTS[name][0]


def simulate(
    seed: int, steps: int, *, only: Sequence[int] | None = None, focus: frozenset[str] = frozenset()
) -> Outcome:
    """Run one seed. `only`: just these actions of its script, by number."""
    daemon.install()
    gc.disable()
    done: list[tuple[int, Action, str]] = []
    box: list[World] = []
    violation = kind = None
    trace = ""
    try:
        clock.run(_play(seed, steps, only, focus, done, box), seed=seed, most_rounds=150_000 + 200 * steps)
    except Violation as found:
        violation, kind = str(found), found.kind
    except Exception as surprise:
        violation, kind, trace = (
            f"surprise: {surprise!r}",
            f"surprise_{type(surprise).__name__}",
            traceback.format_exc(),
        )
    finally:
        gc.enable()
    world = box[0]
    LAST.append(world)
    del LAST[:-1]
    return Outcome(seed, world.total_steps, violation, kind, trace, done, world.pairs)


async def _play(
    seed: int,
    steps: int,
    only: Sequence[int] | None,
    focus: frozenset[str],
    done: list[tuple[int, Action, str]],
    box: list[World],
) -> None:
    world = new_world(seed)
    box.append(world)
    supervisor = asyncio.get_running_loop().create_task(world.supervise())
    try:
        await asyncio.sleep(3)
        _first_lps(world)
        wanted = None if only is None else set(only)
        for number, action in enumerate(script(seed, focus)):
            if (wanted is None and world.steps >= steps) or (wanted is not None and number > max(wanted, default=-1)):
                break
            if wanted is not None and number not in wanted:
                continue
            await asyncio.sleep(action.wait_s)
            done.append((number, action, _perform(world, action)))
            world.look()
        await _finish(world)
    finally:
        world.total_steps = world.steps
        supervisor.cancel()
        world.close()


def _first_lps(world: World) -> None:
    rng = Random(f"lps {world.seed}")
    for machine in world.main.registry.machines:
        for _ in range(rng.choice((1, 2, 2, 3))):
            world.clients_made += 1
            client_id = add_lp(world, world.main, rng, machine.id, f"lp{world.clients_made}")
            bring_cash(world, world.main, client_id, rng.randrange(5_000, 900_000))


def _perform(world: World, action: Action) -> str:
    world.actions += 1
    try:
        return act_of(action.name)(world, Random(action.seed))
    except operators.REFUSALS as error:
        return f"refused: {error}"


async def _finish(world: World) -> None:
    """Faults end, days pass, and a person does what there is to do."""
    world.end_faults()
    refused: list[str] = []
    trouble: list[tuple[str, str]] = []
    for number in range(ROUNDS):
        await asyncio.sleep(ROUND_S)
        world.look()
        trouble = _trouble(world)
        if not trouble and number:
            break
        refused = await person.clear_up(world, number)
        await asyncio.sleep(60)
        world.offset_s += BETWEEN_ROUNDS_S
        if number == person.REPLACING:
            world.bank.give_up_unsent()
        for _ in range(4):  # of the many looks that LNbits has taken at its pending payments meanwhile
            await world.bank.model.sweep()
    world.look()
    if trouble:
        word, what = trouble[0]
        raise Violation(f"stuck_{word}", f"{what} (of {len(trouble)}); refused was: {refused[:3]}")
    await last_customer.serve(world)
    books = world.main.process.books
    judge.completed_without_credit(world.judge, books)
    judge.audit(books)


def _trouble(world: World) -> list[tuple[str, str]]:
    books = world.main.process.books
    since = {machine.id: machine.payouts_since for machine in world.main.registry.machines}
    return judge.unfinished(books, world.sales, since) + judge.open_legs(books) + judge.undecided(books)


# --- shrinking


def shrink(seed: int, steps: int, found: Outcome, tries: int = 80) -> Outcome:
    """Leave out actions while the same kind of violation stays: halves first, then ever smaller parts."""
    kept = [number for number, _, _ in found.actions]
    best = found
    size = max(1, len(kept) // 2)
    while tries:
        position, smaller = 0, False
        while position < len(kept) and tries:
            tries -= 1
            attempt = kept[:position] + kept[position + size :]
            outcome = simulate(seed, steps, only=attempt)
            if outcome.kind == found.kind:
                kept, best, smaller = attempt, outcome, True
            else:
                position += size
        if size == 1 and not smaller:
            break
        size = max(1, size // 2)
    return best


# --- campaigns


def campaign(seeds: Sequence[int], steps: int, processes: int) -> Iterator[Outcome]:
    """Run many seeds, in order of ending."""
    if processes == 1:
        for seed in seeds:
            yield simulate(seed, steps)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(_one, [(seed, steps) for seed in seeds], chunksize=4)


def _one(task: tuple[int, int]) -> Outcome:
    outcome = simulate(*task)
    outcome.actions = []
    return outcome


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--steps", type=int, default=1000, help="steps of each, at least")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run one seed and show what happened")
    parser.add_argument("--only", help="with --replay: just these actions, by number, like 0,4,17")
    parser.add_argument("--shrink", action="store_true", help="with --replay: leave out what is not needed")
    parser.add_argument("--planted", action="store_true", help="which seeds find the defects of planted.py")
    parser.add_argument("--never", action="store_true", help="name the pairs of action and state that were not reached")
    parser.add_argument("--processes", type=int, default=2)
    wish = parser.parse_args(argv)
    if wish.planted:
        from simulator.planted import show_table

        return show_table()
    if wish.replay is not None:
        only = None if wish.only is None else [int(number) for number in wish.only.split(",")]
        return _replay(wish.replay, wish.steps, only, shrinks=wish.shrink)
    return _campaign(wish)


def _replay(seed: int, steps: int, only: Sequence[int] | None, *, shrinks: bool) -> int:
    outcome = simulate(seed, steps, only=only)
    if outcome.violation and shrinks:
        outcome = shrink(seed, steps, outcome)
    for number, action, result in outcome.actions:
        print(f"{number:5} +{action.wait_s:9.2f} s  {action.name:20} {result[:140]}")
    print(f"seed {seed}: {outcome.steps} steps, {len(outcome.actions)} actions: {outcome.violation or 'no violation'}")
    print(outcome.trace, end="")
    if shrinks:
        print(f"--replay {seed} --only {','.join(str(number) for number, _, _ in outcome.actions)}")
    return 1 if outcome.violation else 0


def _campaign(wish: argparse.Namespace) -> int:
    began_s = time.perf_counter()
    pairs: coverage.Pairs = Counter()
    kinds: dict[str, list[Outcome]] = {}
    steps = runs = 0
    for outcome in campaign(range(wish.first, wish.first + wish.seeds), wish.steps, wish.processes):
        steps += outcome.steps
        runs += 1
        pairs.update(outcome.pairs)
        if outcome.violation:
            kinds.setdefault(str(outcome.kind), []).append(outcome)
            print(f"seed {outcome.seed}: {outcome.violation[:300]}", flush=True)
    took_s = time.perf_counter() - began_s
    missing = coverage.never(pairs, NAMES)
    print(f"{runs} seeds, {steps} steps in {took_s:.0f} s: {steps / took_s:.0f} steps a second")
    print(f"{len(pairs)} pairs of action and state were reached, {len(missing)} were not")
    if wish.never:
        for action in dict.fromkeys(action for action, _ in missing):
            print(f"  {action}: {', '.join(state for name, state in missing if name == action)}")
    for kind, found in sorted(kinds.items(), key=lambda item: -len(item[1])):
        print(f"  {kind}: {len(found)} seeds, the first are {[outcome.seed for outcome in found[:8]]}")
    if not kinds:
        print("no violation")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
