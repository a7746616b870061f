"""The benchmark of large books: every command of it runs, and its figures say what they are of."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench import ledger
from bench.books import Size
from bench.ledger import Run

SIZE = Size(machines=3, sales=500, beacons=20, sale_every_s=86_400)


def test_every_command_runs_on_small_books(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Run] = []
    run = ledger._run

    def noted(arguments: Sequence[str]) -> Run:
        ran.append(run(arguments))
        return ran[-1]

    monkeypatch.setattr(ledger, "_run", noted)
    assert ledger._measure(SIZE, 0, lambda _line: None) == {}
    assert len(ran) == 8  # the audit is not among those that warm the cache
    assert min(one.memory_mib for one in ran) > 1


def test_a_figure_is_of_processor_time_and_memory() -> None:
    bare, runs = [Run(9, 2, 16)], [Run(30, 3, 40), Run(20, 5, 50), Run(25, 4, 45)]
    figure = ledger._figure("period close, nothing closed", runs, bare)
    assert (figure.value, figure.ratio, figure.met) == ("4.0 (3.0-5.0) s (wall 25.0), 50 MiB", "2.00 x", True)
    assert ledger._figure("audit --offline, nothing closed", runs, bare).met is None
    assert ledger._memory("report, nothing closed", runs, [Run(1, 1, 20)]).met is False
