"""The benchmark of what users wait for, with a few sales: it shows its figures, and every leg is paid once. No time is
asserted; how many calls a leg takes is."""

from __future__ import annotations

import pytest

from bench import lnbits_settings, wallet
from bench.bare import LEGS_PER_SALE
from bench.report import Figure
from satmachine.errors import SatmachineError


def figures_of(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def test_a_few_sales_are_measured_beside_two_bare_calls_a_leg() -> None:
    said: list[str] = []
    [section] = wallet.run(True, said.append)
    figures = figures_of([*section.figures])
    whole = figures["legs debited once and credited once, to the sat"]
    assert whole.met, section.notes
    legs, _, wanted = whole.value.partition(" of ")
    assert legs == wanted
    assert int(legs) >= 4 * LEGS_PER_SALE
    assert float(figures["single sales: calls a leg"].value) <= wallet.TARGET_CALLS
    assert float(figures["2 sales waiting: calls a leg"].value) <= wallet.TARGET_CALLS
    assert "from a customer's payment that no event announces to the last leg" in figures
    assert said


def test_a_case_that_fails_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        raise SatmachineError("LNbits did not answer")

    monkeypatch.setattr(wallet, "measure", fails)
    monkeypatch.setattr(wallet, "programs", lambda: None)
    sections = list(wallet.run(False, lambda _line: None))
    assert [section.title for section in sections] == [case.title for case in wallet.CASES]
    for case, section in zip(wallet.CASES, sections, strict=True):
        if case.kind == "SQLite":
            assert not section.met
            assert "LNbits did not answer" in section.notes[0]
        else:
            assert "PostgreSQL is not installed" in section.about


def test_settings_of_lnbits_are_measured_over_the_first_one() -> None:
    said: list[str] = []
    [section] = lnbits_settings.run(True, said.append)
    first = section.figures[0]
    assert first.name.startswith("prices: the server answers")
    assert first.ratio == "1.00, 1.00 x"
    assert "ms a leg" in first.value
    assert said
