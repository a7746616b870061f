"""An asyncio event loop whose time is made up (I/O: none).

When nothing is ready, time jumps to the next timer: a day of waiting costs as much as a second. anyio's sleeps, time
limits, events and task groups run on it unchanged. One thread, no sockets, no order but the one in which things were
scheduled, so that a run is determined by the chance that is put into it. What anyio cancels together it keeps in sets,
whose order is that of addresses in memory, so of all that has ever run in this process: here it is chance's, too.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from random import Random
from typing import Any, TypeVar, cast

from anyio._backends import _asyncio as anyio_on_asyncio

T = TypeVar("T")

#: What puts the members of a set in order; `run` begins it anew.
_ORDER = Random()


class _Task(asyncio.Task[T]):
    """A task whose place in a set is chance's, not its address'."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._place = _ORDER.getrandbits(32)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._place


class _Scope(anyio_on_asyncio.CancelScope):
    """A cancel scope, likewise."""

    def __init__(self, **kwargs: Any) -> None:
        self._place = _ORDER.getrandbits(32)
        super().__init__(**kwargs)

    def __hash__(self) -> int:
        return self._place


#: So many rounds of the loop without any time passing are a loop that never ends.
_MOST_ROUNDS = 100_000


class Stalled(RuntimeError):
    """Everything waits, and no timer is left: in life this would hang for ever. Or it works for ever, in no time."""


class _NoSockets(selectors.BaseSelector):
    """Selects nothing; where the loop would wait, its time jumps."""

    def __init__(self) -> None:
        self.loop: VirtualLoop | None = None
        self._rounds = 0
        self.rounds_left: int | None = None
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, descriptor, events, data)
        self._keys[descriptor] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._rounds += 1
        if self.rounds_left is not None:
            self.rounds_left -= 1
            if self.rounds_left < 0:
                self.rounds_left = None  # what is left is to be cleared up
                raise Stalled("it works on and on, and does not get on")
        if self._rounds > _MOST_ROUNDS:
            self._rounds = 0
            raise Stalled("something goes on for ever without any time passing")
        if timeout is None:
            raise Stalled("everything waits, and no timer is left")
        if timeout > 0:
            assert self.loop is not None
            self.loop.now_s += timeout
            self._rounds = 0
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 0 and counts seconds that never pass."""

    def __init__(self, most_rounds: int | None = None) -> None:
        self.now_s = 0.0
        selector = _NoSockets()
        selector.rounds_left = most_rounds
        super().__init__(selector)
        selector.loop = self
        self.set_task_factory(lambda loop, work, **kwargs: _Task(work, loop=loop, **kwargs))

    def time(self) -> float:
        return self.now_s


def run(main: Coroutine[Any, Any, T], *, seed: int = 0, most_rounds: int | None = None) -> T:
    """Run a coroutine to its end on a fresh virtual loop. Raises what it raises, and Stalled.

    `seed`: what puts things in order that have none. `most_rounds`: after so many rounds of the loop it is said to be
    stalled, whatever time has passed.
    """
    cast("Any", anyio_on_asyncio).CancelScope = _Scope  # for this process, for good
    _ORDER.seed(seed)
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(most_rounds)) as runner:
        return runner.run(main)
