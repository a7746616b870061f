"""A daemon's parts, wired as `satmachine/wiring.py` wires them, without relays: `build` is the one place that does so.

`Process` is one life of a daemon: it can be killed at any step, frozen, and started again on the same books.
"""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from random import Random
from typing import Any, cast

import anyio

from satmachine import recorder
from satmachine.config import Config, credentials
from satmachine.config.secrets import Secret
from satmachine.daemon import _register, learn_keys, register
from satmachine.errors import DatabaseBusy, SatmachineError, StoreError
from satmachine.guards import Guards
from satmachine.intents import IntentDesk
from satmachine.recorder import Recorder
from satmachine.settlements import worker
from satmachine.settlements.correct.leg_orders import LegOrders
from satmachine.settlements.correct.sale_orders import SaleOrders
from satmachine.settlements.correct.shortfall_orders import ShortfallOrders
from satmachine.settlements.pay import marker
from satmachine.settlements.pay import payer as paying
from satmachine.settlements.pay.marker import Marker
from satmachine.settlements.pay.payer import Payer
from satmachine.settlements.sweep import one_sweep, sweeper
from satmachine.settlements.sweep.one_sweep import WalletSweep
from satmachine.settlements.sweep.sweeper import Sweeper
from satmachine.settlements.sweep.wallet_orders import WalletOrders
from satmachine.settlements.worker import Worker
from satmachine.store.database import instance_id
from satmachine.wallet import bolt11, rows
from satmachine.wallet.lnbits import Lnbits
from satmachine.wallet.transport import HttpAnswer, LnbitsHttp
from satmachine.wiring import Context
from simulator.bank import Bank, Wire
from simulator.registry import KeyFiles
from simulator.store import Books, Killed, SimStore

log = logging.getLogger(__name__)

#: The life that the code now running belongs to; what it starts inherits it.
_LIFE: ContextVar[Process] = ContextVar("life")

#: The one "disk" of key files of the run in progress.
_FILES = KeyFiles()

_FAILPOINT_USERS = (paying, worker, one_sweep, recorder, marker)


class _Http(LnbitsHttp):
    """The real transport; between two calls the daemon may be frozen, or die."""

    life: Process

    async def call(self, method: str, path: str, key: str, **options: Any) -> HttpAnswer:
        await self.life.step("http.before")
        answer = await super().call(method, path, key, **options)
        await self.life.step("http.after")
        return answer


class _ExternalPayees:
    """The bank's payees elsewhere, for one life."""

    def __init__(self, bank: Bank, life: Process) -> None:
        self._bank = bank
        self._life = life

    async def invoice(self, payee: str, amount_msat: int, *, comment: str = "") -> Any:
        await self._life.step("lnurl.before")
        found = await self._bank.invoice(payee, amount_msat, comment=comment)
        await self._life.step("lnurl.after")
        return found


@dataclass(frozen=True, slots=True)
class SimDaemon:
    """The parts of a daemon that matters of money need, and the real one's guards."""

    context: Context
    guards: Guards
    worker: Worker
    sweeper: Sweeper
    recorder: Recorder
    desk: IntentDesk
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry_out_intents(self) -> None:
        """As the real one, woken when something was asked for instead of looking twice a second."""
        while True:
            self.bell.clear()
            if await self.desk.carry_out_open():
                self.worker.wake()
            with anyio.move_on_after(30):
                await self.bell.wait()

    async def take(self, config: Config) -> bool:
        """A reload; False where the new file is refused."""
        try:
            await self.context.store.write(_register, config, self.context.now())
        except SatmachineError:
            return False
        self.context.in_force = config
        self.worker.wake()
        return True


@asynccontextmanager
async def build(
    store: SimStore, bank: Bank, config: Config, now: Callable[[], int], rng: Random, life: Process
) -> AsyncIterator[SimDaemon]:
    """All parts of one daemon. Whatever changes in their constructors changes here."""
    context = Context(store, config, now)
    guards = Guards(store, now)
    await register(context)
    learn_keys(store.keyring, config)
    lnbits = Lnbits(
        config.lnbits.url,
        http=Wire(bank, life.name),
        timeout_s=config.lnbits.timeout_s,
        pay_timeout_s=config.lnbits.pay_timeout_s,
        max_concurrency=config.lnbits.max_concurrency,
        instance_id=await store.read(instance_id),
    )
    http = _Http(config.lnbits.url, lnbits._http._http, config.lnbits.max_concurrency)
    http.life = life
    lnbits._http = http

    def is_verified(machine_id: str, key: str) -> bool:
        return sweeping.is_verified(machine_id, key)

    payer = Payer(
        store,
        lnbits,
        _ExternalPayees(bank, life),
        context.config,
        now,
        marker=Marker(store, lnbits, context.config, now, new_id=lambda: f"{rng.getrandbits(64):016x}"),
        random_fraction=rng.random,
        is_verified=is_verified,
    )
    working = Worker(store, lnbits, payer, context.config, now, guard=guards.work, is_verified=is_verified)
    sweeping = Sweeper(
        WalletSweep(store, lnbits, context.config, now), store, context.config, now, swept=working.may_pay
    )
    recording = Recorder(store, context.config, None, now, landed=working.wake)
    sale_orders = SaleOrders(store, lnbits, payer, working, context.config, now)
    leg_orders = LegOrders(store, lnbits, payer, working, context.config, now)
    wallet_orders = WalletOrders(store, lnbits, sweeping, context.config, now)
    shortfall_orders = ShortfallOrders(
        store, lnbits, payer, working, context.config, now, make_top_up=wallet_orders.make_top_up
    )
    desk = IntentDesk(
        store,
        now,
        read_again=recording.read_again,
        actions={**sale_orders.actions, **leg_orders.actions, **wallet_orders.actions, **shortfall_orders.actions},
        guard=guards.order,
    )
    yield SimDaemon(context, guards, working, sweeping, recording, desk)


def tasks_of(daemon: SimDaemon) -> tuple[Callable[[], Any], ...]:
    """What runs for as long as a daemon lives."""
    return daemon.worker.run, daemon.sweeper.run, daemon.carry_out_intents


class Process:
    """A daemon that lives on some books, dies and is started again.

    `config` gives what the file says at each start. `clock_offset_s` is how far its clock is from the true one.
    """

    def __init__(
        self,
        name: str,
        books: Books,
        bank: Bank,
        config: Callable[[], Config],
        now: Callable[[], float],
        rng: Random,
        on_write: Callable[[Process], None],
    ) -> None:
        self.name = name
        self.books = books
        self.config = config
        self.clock_offset_s = 0
        self.writes = 0
        #: The daemon dies at the n-th step from now; None: it does not.
        self.dies_in: int | None = None
        #: The failpoint at which the host falls asleep next, and what wakes it.
        self.sleeps_at: tuple[str, Callable[[], None]] | None = None
        self.daemon: SimDaemon | None = None
        self.store: SimStore | None = None
        self.surprises: list[str] = []
        self._bank = bank
        self._now = now
        self._rng = rng
        self._on_write = on_write
        self._task: asyncio.Task[None] | None = None
        self._awake = asyncio.Event()
        self._awake.set()

    @property
    def alive(self) -> bool:
        return self._task is not None

    @property
    def frozen(self) -> bool:
        return not self._awake.is_set()

    def now(self) -> int:
        return int(self._now()) + self.clock_offset_s

    def start(self) -> None:
        assert self._task is None
        store = SimStore(self.books, Random(self._rng.random()), self._crash)
        store.pause = self._wait_until_awake
        store.after_write = self._written
        self.store = store
        self._task = asyncio.get_running_loop().create_task(self._live(store))

    def kill(self) -> None:
        """SIGKILL: from now on nothing of it has any effect."""
        self.dies_in = None
        if self.store is not None:
            self.store.dead = True
        self.daemon = self.store = None
        self._awake.set()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def freeze(self) -> None:
        """SIGSTOP, or a host that sleeps."""
        self._awake.clear()

    def thaw(self) -> None:
        self._awake.set()

    async def step(self, place: str) -> None:
        """Something of this life goes on, if it still lives."""
        store = self.store
        await self._wait_until_awake()
        if store is None or store.dead:
            raise Killed
        self._crash(place)

    async def _wait_until_awake(self) -> None:
        if not self._awake.is_set():
            await self._awake.wait()

    async def _live(self, store: SimStore) -> None:
        _LIFE.set(self)
        rng = Random(self._rng.random())
        try:
            async with build(store, self._bank, self.config(), self.now, rng, self) as daemon:
                worker._random_fraction = rng.random
                self.daemon = daemon
                async with anyio.create_task_group() as tasks:
                    for task in tasks_of(daemon):
                        tasks.start_soon(daemon.guards.forever, task)
        except DatabaseBusy:  # systemd starts it again
            if self.store is store:
                self.kill()
        except SatmachineError as error:  # it refuses to start; somebody will start it again
            self.surprises.append(f"did not start: {error}")
            if self.store is store:
                self.kill()
        except BaseException as error:
            if not store.dead:
                self.surprises.append(repr(error))
                raise

    def _written(self) -> None:
        self.writes += 1
        self._on_write(self)

    def _crash(self, _place: str) -> None:
        if self.dies_in is None:
            return
        self.dies_in -= 1
        if self.dies_in <= 0:
            self.kill()
            raise Killed

    def _fall_asleep(self, place: str) -> None:
        if self.sleeps_at is not None and self.sleeps_at[0] == place:
            wake_later, self.sleeps_at = self.sleeps_at[1], None
            self.freeze()
            wake_later()


class _Surprises(logging.Handler):
    """What the daemon's own guards caught and could not explain: a bug, whatever else comes of it."""

    def emit(self, record: logging.LogRecord) -> None:
        life = _LIFE.get(None)
        error = record.exc_info[1] if record.exc_info else None
        # A database that is locked, or a disk that is full, is a fault like others.
        if error is not None and life is not None and not isinstance(error, StoreError):
            text = "".join(traceback.format_exception(error)[-3:])
            life.surprises.append(f"{record.getMessage()}: {text}")


def _failpoint(name: str) -> None:
    life = _LIFE.get(None)
    if life is not None:
        life._crash(name)
        life._fall_asleep(name)


def _read_key_file(secret: Secret, path: Path) -> str:
    found = _FILES.get(str(path), "")
    if found is None:
        raise secret._error("which this user may not read: run as the daemon's user, or give it to that user")
    if not found:
        raise secret._error("which does not exist: create it, or correct the name")
    return found


@cache
def install() -> None:
    """Put the simulator in place of what chance, disks and signals do in life; for this process, for good."""
    for module in _FAILPOINT_USERS:
        cast("Any", module).failpoint = _failpoint
    cast("Any", Secret)._read = _read_key_file
    cast("Any", credentials)._is_there = lambda path: str(path) in _FILES
    decode = lru_cache(200_000)(bolt11.decode)
    for place in (bolt11, rows):
        cast("Any", place).decode = decode
    # Nobody is woken up for nothing: what is due is asked for less often when nothing happens.
    cast("Any", worker).IDLE_S = 20.0
    cast("Any", sweeper).LOOK_EVERY_S = 5.0
    logging.disable(logging.WARNING)
    logger = logging.getLogger("satmachine")
    logger.handlers = [_Surprises()]
    logger.propagate = False


def begin(seed: int) -> KeyFiles:
    """A fresh run: the same chance and an empty disk. Returns that disk."""
    random.seed(seed)
    _FILES.clear()
    return _FILES
