"""The benchmark of unannounced sales in small: every leg is paid, with the websocket and without."""

from __future__ import annotations

import pytest

from bench import unannounced


@pytest.mark.slow
def test_both_ways_end_with_every_leg_paid() -> None:
    [section] = unannounced.run(True, lambda _: None)
    assert [figure.name for figure in section.figures] == ["by LNbits' websocket, 2 sales", "websocket cut, 1 sales"]
