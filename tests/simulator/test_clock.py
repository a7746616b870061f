"""Made-up time: waits cost nothing, and end in the order of their lengths."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from simulator import clock


def test_a_day_of_waiting_passes_and_timers_end_in_order() -> None:
    ended: list[int] = []

    async def wait(hours: int) -> None:
        await anyio.sleep(hours * 3600)
        ended.append(hours)

    async def main() -> float:
        async with anyio.create_task_group() as tasks:
            for hours in (24, 1, 12):
                tasks.start_soon(wait, hours)
        return anyio.current_time()

    assert clock.run(main()) == 24 * 3600
    assert ended == [1, 12, 24]


def test_time_limits_hold_in_made_up_time() -> None:
    async def main() -> tuple[bool, float]:
        with anyio.move_on_after(5) as scope:
            await anyio.Event().wait()
        return scope.cancelled_caught, anyio.current_time()

    assert clock.run(main()) == (True, 5)


def test_who_would_wait_for_ever_is_told() -> None:
    async def main() -> None:
        await anyio.Event().wait()

    with pytest.raises(clock.Stalled):
        clock.run(main())


def test_who_works_for_ever_in_no_time_is_told() -> None:
    async def main() -> None:
        while True:
            await anyio.lowlevel.checkpoint()

    with pytest.raises(clock.Stalled):
        clock.run(main())
