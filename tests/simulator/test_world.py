"""A short run of the simulated world, and that it finds what is put in to be found.

Each in a process of its own: a simulated world takes the places of disks, chance and logs for the whole process.
"""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from simulator import coverage, planted
from simulator.run import Outcome, simulate

STEPS = 400
#: A run in which much is cancelled at once.
ROLLED_BACK = planted.DEFECTS["no_memory"].focus


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as made:
        yield made


def _plant_and_simulate() -> tuple[Outcome, Outcome]:
    before = simulate(1, STEPS)
    for name in planted.DEFECTS:
        with planted.planted(name):
            pass
    return before, simulate(1, STEPS)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_nothing_that_must_never_be_happens_in_a_short_run(pool: ProcessPoolExecutor, seed: int) -> None:
    outcome = pool.submit(simulate, seed, STEPS).result()
    assert outcome.violation is None, f"{outcome.violation}\n{outcome.trace}"
    assert outcome.steps >= STEPS


def test_a_seed_determines_its_run(pool: ProcessPoolExecutor) -> None:
    first, second = (pool.submit(simulate, 5, STEPS).result() for _ in range(2))
    assert (first.steps, first.actions, first.violation) == (second.steps, second.actions, second.violation)


def _after_others(seed: int) -> Outcome:
    """Other memory, other addresses: what a set's order must not come from."""
    held = [object() for _ in range(9_999)]
    simulate(1, STEPS)
    del held[::3]
    return simulate(seed, planted.STEPS, focus=ROLLED_BACK)


def test_a_seed_determines_its_run_whatever_ran_before(pool: ProcessPoolExecutor) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        first = fresh.submit(simulate, 14, planted.STEPS, focus=ROLLED_BACK).result()
    second = pool.submit(_after_others, 14).result()
    assert (first.steps, first.actions, first.violation) == (second.steps, second.actions, second.violation)


def test_a_run_says_which_action_met_which_state(pool: ProcessPoolExecutor) -> None:
    pairs = pool.submit(simulate, 6, STEPS).result().pairs
    met = {state for action, state in pairs if action == "sale"}
    assert met
    assert set(coverage.never(pairs, ["sale"])) == {("sale", state) for state in coverage.STATES if state not in met}


@pytest.mark.parametrize("name", list(planted.KNOWN_SEEDS))
def test_a_planted_defect_is_found_by_its_seed(pool: ProcessPoolExecutor, name: str) -> None:
    found = pool.submit(planted.hunt, name, planted.KNOWN_SEEDS[name], planted.SEEDS_NEARBY).result()
    assert found is not None, f"nobody notices that {planted.DEFECTS[name].what}"


def test_the_document_tells_of_every_planted_defect() -> None:
    text = (Path(__file__).parents[2] / "docs/simulator.md").read_text()
    told = {name: (what, seed) for name, what, seed in re.findall(r"(?m)^\| `(\w+)` \| ([^|]+) \| (\d+|—) \|", text)}
    assert list(told) == list(planted.DEFECTS)
    assert {name: what for name, (what, _) in told.items()} == {
        name: defect.what for name, defect in planted.DEFECTS.items()
    }
    assert {name: int(told[name][1]) for name in planted.KNOWN_SEEDS} == planted.KNOWN_SEEDS


def test_planting_leaves_the_code_as_it_was(pool: ProcessPoolExecutor) -> None:
    before, after = pool.submit(_plant_and_simulate).result()
    assert (before.steps, before.actions) == (after.steps, after.actions)
