"""simulate: the rules in force give history to the sat, others conserve every sat, and nothing is written."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from satmachine.reports.whatif import LpTerms, WhatIf, simulate
from satmachine.settlements.plan.amounts import Terms
from satmachine.settlements.plan.planning import terms_for
from tests.cli.books import Cli
from tests.reports.year import MACHINES, Year, every_event, new_year, random_events


def tried(year: Year, fee: str | None = None, lp_terms: dict[tuple[str, str], LpTerms] | None = None) -> WhatIf:
    def terms(machine: str) -> Terms:
        found = terms_for(year.config, machine)
        return found if fee is None else replace(found, super_fee_pct=Decimal(fee))

    by_machine = {machine: (lambda machine=machine: terms(machine)) for machine in MACHINES}
    return simulate(year.conn, by_machine, 0, 2**60, lp_terms=lp_terms)


def test_the_rules_in_force_give_history_to_the_sat(year: Year) -> None:
    found = tried(year)
    assert found.sales > 40
    assert (found.differ, found.left_out) == ([], [])
    assert found.was == found.would_be
    assert found.fiat_was == found.fiat_would_be
    assert tried(year, lp_terms={(MACHINES[0], "maria"): LpTerms("flow")}).differ == []


@settings(max_examples=3)
@given(seed=st.integers(0, 2**32))
def test_whatever_happened_the_rules_in_force_give_it_again(seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = new_year(Path(folder), seed=seed)
        every_event(made)
        random_events(made, 30)
        found = tried(made)
        assert found.sales >= len(made.untouched)
        assert (found.differ, found.was, found.fiat_was) == ([], found.would_be, found.fiat_would_be)
        made.conn.close()


def test_another_fee_moves_sats_from_the_partners_to_the_platform_and_no_others(year: Year) -> None:
    found = tried(year, fee="0.5")
    assert found.differ
    for key in found.was:
        if key[1][0] in ("lp", "retained"):
            assert found.was[key] == found.would_be[key]
    assert sum(found.was.values()) == sum(found.would_be.values())


def test_a_paused_lp_gets_nothing_and_every_sat_is_somewhere(year: Year) -> None:
    key = (MACHINES[0], ("lp", "maria"))
    found = tried(year, lp_terms={(MACHINES[0], "maria"): LpTerms("paused")})
    assert found.was[key] > 0
    assert found.would_be.get(key, 0) == 0
    assert sum(found.was.values()) == sum(found.would_be.values())


def test_the_command_says_so_and_writes_nothing(year: Year, cli: Cli) -> None:
    before = year.conn.execute("PRAGMA data_version").fetchone()[0]
    told = cli.json("simulate", "--rules", str(year.config.path))
    assert told["differ"] == []
    assert "to the sat" in cli("simulate", "--rules", str(year.config.path)).output
    assert year.conn.execute("PRAGMA data_version").fetchone()[0] == before
