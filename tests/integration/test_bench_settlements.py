"""The benchmark of the settlement path, with two sales: it shows its figures, and they are of the same work."""

from __future__ import annotations

import anyio

from bench import settlements


async def test_the_daemon_and_the_bare_loop_make_the_same_calls_and_every_leg_is_paid_once() -> None:
    said: list[str] = []
    # It runs event loops of its own.
    [section] = await anyio.to_thread.run_sync(settlements.run, True, said.append)
    figures = {figure.name: figure for figure in section.figures}
    assert figures["both wrote with the same calls"].value == "yes"
    assert figures["legs debited once and credited once, to the sat"].value == "12 of 12"
    assert "2 POST payments" in figures["calls a leg"].value
    assert "a leg" in section.figures[0].name
    assert said
