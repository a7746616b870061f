"""How long commands take: there is a figure for each, beside the yardsticks."""

from __future__ import annotations

import pytest

from bench import cli


def test_quick_mode_has_a_figure_for_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "QUICK_ROUNDS", 1)
    [section] = cli.run(quick=True, say=lambda line: None)
    assert [figure.name for figure in section.figures] == [f"`{name}`" for name in cli.COMMANDS]
    assert [figure.target for figure in section.figures] == ["", "", "< 250 ms", "< 300 ms", ""]
    assert section.figures[0].ratio == "1.0 x"
    assert "Load average" in section.about
