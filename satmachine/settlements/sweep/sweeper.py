"""When each machine's wallet is read (SPEC section 6.3): at start, then at intervals, and never all of them at once.

A sweep costs LNbits four requests or more. So there is a limit for all machines together,
`reconcile.sweeps_per_minute`: a few machines are swept every `reconcile.interval_s`, thousands less often
(docs/scale.md). Two kinds of machines do not wait for their turn: those whose last sweep failed, and those that have
something to pay but may not pay before a sweep.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from satmachine.config import Config, Machine
from satmachine.errors import ConfigError, StoreError, WalletError
from satmachine.pace import TokenBucket
from satmachine.settlements.sweep.one_sweep import Sweep, WalletSweep
from satmachine.store import legs, wallet_rows
from satmachine.store.database import Store

log = logging.getLogger(__name__)

#: Machines whose wallets are swept at the same time.
SWEEPS_AT_ONCE = 4
#: So many machines are swept without delay after a start.
SWEEPS_BURST = 200
#: A sweep that failed is tried again after this long, doubling up to the usual interval.
FIRST_RESWEEP_S = 5.0
#: How often it is looked who is due.
LOOK_EVERY_S = 1.0


Start = Callable[[str, "Turn"], None]


@dataclass(slots=True)
class Turn:
    """When a machine's wallet is swept next (on anyio's clock); `failures` in a row make it wait longer."""

    due_at: float
    failures: int = 0
    taken: bool = False


class Sweeper:
    """`config` gives the configuration in force, `now` Unix seconds; `swept` is told of a machine after each sweep."""

    def __init__(
        self,
        wallet_sweep: WalletSweep,
        store: Store,
        config: Callable[[], Config],
        now: Callable[[], int],
        *,
        swept: Callable[[str], None],
        look_later: Callable[[str, int], None] = lambda _machine_id, _at: None,
    ) -> None:
        """`look_later`: a payment of this machine waits for its event until then (Unix seconds)."""
        self._wallet_sweep = wallet_sweep
        self._store = store
        self._config = config
        self._now = now
        self._swept = swept
        self._look_later = look_later
        self._turns: dict[str, Turn] = {}
        #: When whose turn is, the earliest first; in `_retries` those whose last sweep failed.
        self._queue: list[tuple[float, str]] = []
        self._retries: list[tuple[float, str]] = []
        #: Who must not pay before a sweep: never swept in this run, its last sweep failed, or its key is new.
        self._unready: set[str] = set()

    def is_verified(self, machine_id: str, key: str) -> bool:
        """Whether a sweep has seen this key; if not, the next sweep of the machine does not wait for its turn."""
        verified = self._wallet_sweep.is_verified(machine_id, key)
        if not verified:
            self.hurry(machine_id)
        return verified

    def hurry(self, machine_id: str) -> None:
        """Its wallet key is not known any more: what it has to pay waits for a sweep."""
        turn = self._turns.get(machine_id)
        if turn is not None and machine_id not in self._unready:
            self._unready.add(machine_id)
            turn.due_at = min(turn.due_at, anyio.current_time())

    async def run(self) -> None:
        """Until cancelled."""
        for state in (self._turns, self._queue, self._retries, self._unready):
            state.clear()
        limiter = anyio.CapacityLimiter(SWEEPS_AT_ONCE)
        budget = TokenBucket.full(SWEEPS_BURST, 0, anyio.current_time())
        known: Config | None = None
        async with anyio.create_task_group() as group:

            def start(machine_id: str, turn: Turn) -> None:
                turn.taken = True
                group.start_soon(self._sweep_one, machine_id, turn, limiter)

            while True:
                config = self._config()
                if config is not known:
                    self._admit(config)
                    budget.per_s = config.reconcile.sweeps_per_minute / 60
                    known = config
                await self._start_urgent(start)
                self._start_due(start, budget)
                await anyio.sleep(LOOK_EVERY_S)

    def _admit(self, config: Config) -> None:
        """Give a turn to machines that have none, and forget those that are gone (when their sweep has ended)."""
        present = {machine.id for machine in config.machines}
        now = anyio.current_time()
        for machine in config.machines:
            if machine.id not in self._turns:
                self._turns[machine.id] = Turn(now)
                self._unready.add(machine.id)
                heapq.heappush(self._queue, (now, machine.id))
        for machine_id in self._turns.keys() - present:
            if not self._turns[machine_id].taken:
                self._forget(machine_id)

    def _forget(self, machine_id: str) -> None:
        del self._turns[machine_id]
        self._unready.discard(machine_id)

    async def _start_urgent(self, start: Start) -> None:
        """Machines that have something to pay, and are not ready for it."""
        if not self._unready:
            return
        try:
            waiting = await self._store.read(legs.machines_with_open_legs)
        except StoreError:
            return  # the next look is a second away
        now = anyio.current_time()
        for machine_id in sorted(waiting & self._unready):
            turn = self._turns[machine_id]
            if turn.due_at <= now and not turn.taken:
                start(machine_id, turn)

    def _start_due(self, start: Start, budget: TokenBucket) -> None:
        """Failed ones come back without regard to the budget, by their own waits: a short outage is soon over."""
        now = anyio.current_time()
        while self._retries and self._retries[0][0] <= now:
            self._start_first(self._retries, start, now)
        while self._queue and self._queue[0][0] <= now and budget.allows(now):
            if self._start_first(self._queue, start, now):
                budget.charge()

    def _start_first(self, queue: list[tuple[float, str]], start: Start, now: float) -> bool:
        _, machine_id = heapq.heappop(queue)
        turn = self._turns.get(machine_id)
        # A turn that was taken or put off meanwhile comes back to a queue when it ends.
        if turn is None or turn.due_at > now or turn.taken:
            return False
        start(machine_id, turn)
        return True

    async def _sweep_one(self, machine_id: str, turn: Turn, limiter: anyio.CapacityLimiter) -> None:
        async with limiter:
            machine = self._config().machine(machine_id)
            done = machine is not None and await self._try_sweep(machine) is not None
        interval_s = float(self._config().reconcile.interval_s)
        wait_s = interval_s if done else min(FIRST_RESWEEP_S * 2 ** min(turn.failures, 16), interval_s)
        turn.failures = 0 if done else turn.failures + 1
        turn.due_at = anyio.current_time() + wait_s
        turn.taken = False
        if machine is None or self._config().machine(machine_id) is None:
            self._forget(machine_id)
            return
        heapq.heappush(self._queue if done else self._retries, (turn.due_at, machine_id))
        if done:
            self._unready.discard(machine_id)
            self._swept(machine_id)
        else:
            self._unready.add(machine_id)

    async def sweep_now(self, machine_id: str) -> Sweep | None:
        """Somebody asks for it: a whole sweep out of turn. None where it failed (the log and `status` say why)."""
        machine = self._config().machine(machine_id)
        found = None if machine is None else await self._try_sweep(machine)
        if found is not None:
            self._unready.discard(machine_id)
            self._swept(machine_id)
        return found

    async def look_now(self, machine_id: str) -> None:
        """Something hints at a payment, or one was waited for: read what came in. A hint changes nothing else."""
        machine = self._config().machine(machine_id)
        if machine is None:
            return
        try:
            arrived = await self._wallet_sweep.look(machine)
        except (WalletError, ConfigError, StoreError) as error:
            log.info("machine %s: what came in is read with the next sweep: %s", machine_id, error)
            return
        except Exception:
            log.exception("machine %s: a look into its wallet ended with a surprise; the next sweep looks", machine_id)
            return
        if arrived is None:
            self.hurry(machine_id)
            return
        if arrived.look_again_at is not None:
            self._look_later(machine_id, arrived.look_again_at)
        # Also where nothing is new: what a sale was waiting for may have come.
        self._swept(machine_id)

    async def _try_sweep(self, machine: Machine) -> Sweep | None:
        try:
            sweep = await self._wallet_sweep.sweep(machine)
        except (WalletError, ConfigError) as error:
            await self._note_failure(machine, error)
            return None
        except StoreError as error:
            log.error("machine %s: sweep not recorded: %s", machine.id, error)  # noqa: TRY400 - the message says it all
            return None
        except Exception:
            log.exception("machine %s: its sweep ended with a surprise; the other machines go on", machine.id)
            return None
        if sweep.safe_mode is not None:
            log.critical("machine %s is in safe mode, nothing is paid: %s", machine.id, sweep.safe_mode)
        if sweep.look_again_at is not None:
            self._look_later(machine.id, sweep.look_again_at)
        return sweep

    async def _note_failure(self, machine: Machine, error: Exception) -> None:
        try:
            new = await self._store.write(wallet_rows.failed, machine.id, error=str(error), now=self._now())
        except StoreError as store_error:
            log.error("machine %s: sweep not recorded: %s", machine.id, store_error)  # noqa: TRY400
            return
        if new:
            log.error("machine %s: its wallet cannot be used: %s", machine.id, error)
