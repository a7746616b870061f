"""When a machine's wallet is read before its turn: after a hint of a payment, or when one is expected (SPEC 6.3).

A hint is never a fact, and costs little, whoever sends it: hints at the same moment cause one look, a machine has
LOOKS_BURST looks at once and then one in SECONDS_PER_LOOK, and all machines together have a budget, separate from that
of the sweeps. If a hint comes too late, twice, or never, the next sweep finds the payment. Nothing here matters for
money.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from satmachine.pace import TokenBucket

#: LNbits tells of each payment twice, and of a sale's own payments: what comes within this is one hint.
COLLECT_S = 0.1
LOOKS_BURST = 10
SECONDS_PER_LOOK = 2.0
LOOKS_AT_ONCE = 4
#: Of all machines together.
ALL_LOOKS_BURST = 50
ALL_LOOKS_PER_S = 20.0

_IDLE_S = 3600.0


class Looks:
    """`look` reads one machine's wallet and does not raise; `now` gives Unix seconds."""

    def __init__(self, look: Callable[[str], Awaitable[None]], now: Callable[[], int]) -> None:
        self._look = look
        self._now = now
        #: On anyio's clock.
        self._due: dict[str, float] = {}
        self._at_work: set[str] = set()
        self._buckets: dict[str, TokenBucket] = {}
        self._wake = anyio.Event()

    def hint(self, machine_id: str) -> None:
        """Something may have come into this machine's wallet."""
        self._schedule(machine_id, anyio.current_time() + COLLECT_S)

    def at(self, machine_id: str, when: int) -> None:
        """A payment of this machine is waited for until `when` (Unix seconds)."""
        self._schedule(machine_id, anyio.current_time() + max(0, when - self._now()) + COLLECT_S)

    async def run(self) -> None:
        """Until cancelled. What was hinted at before a surprise is left to the sweeps."""
        self._due.clear()
        self._at_work.clear()
        budget = TokenBucket.full(ALL_LOOKS_BURST, ALL_LOOKS_PER_S, anyio.current_time())
        limiter = anyio.CapacityLimiter(LOOKS_AT_ONCE)
        async with anyio.create_task_group() as group:
            while True:
                self._wake = anyio.Event()
                now = anyio.current_time()
                for machine_id in [one for one, due in self._due.items() if due <= now and one not in self._at_work]:
                    if self._may(machine_id, budget, now):
                        del self._due[machine_id]
                        self._at_work.add(machine_id)
                        group.start_soon(self._one, machine_id, limiter)
                with anyio.move_on_after(self._pause_s()):
                    await self._wake.wait()

    def _schedule(self, machine_id: str, due: float) -> None:
        """The earliest counts: one look finds everything that is there."""
        if due < self._due.get(machine_id, float("inf")):
            self._due[machine_id] = due
            self._wake.set()

    def _may(self, machine_id: str, budget: TokenBucket, now: float) -> bool:
        """Whether there is a look left; else it is put off until there is."""
        bucket = self._buckets.get(machine_id)
        if bucket is None:
            bucket = self._buckets[machine_id] = TokenBucket.full(LOOKS_BURST, 1 / SECONDS_PER_LOOK, now)
        if not bucket.allows(now):
            self._due[machine_id] = now + SECONDS_PER_LOOK
            return False
        if not budget.spend(now):
            self._due[machine_id] = now + 1 / ALL_LOOKS_PER_S
            return False
        bucket.charge()
        return True

    def _pause_s(self) -> float:
        waiting = [due for machine_id, due in self._due.items() if machine_id not in self._at_work]
        return min(_IDLE_S, max(0.0, min(waiting, default=float("inf")) - anyio.current_time()))

    async def _one(self, machine_id: str, limiter: anyio.CapacityLimiter) -> None:
        try:
            async with limiter:
                await self._look(machine_id)
        finally:
            self._at_work.discard(machine_id)
            self._wake.set()
