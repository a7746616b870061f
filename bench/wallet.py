"""From a sale's event to its last paid leg, over the least that any payer needs: two calls a leg, create and pay.

Real parts: an LNbits (FakeWallet) on SQLite or PostgreSQL, empty or with 100,000 payments, as it comes or tuned with
contrib/lnbits; a relay; the daemon as a process of its own. The bare loop is one HTTP client with one connection, one
call after another, from a wallet of its own to the same payees; it stores nothing and checks only the status. The
two take turns on the same LNbits, so that whatever else the machine does hits both.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
from websockets.asyncio.client import connect as connect_websocket

from bench.bare import LEGS_PER_SALE, SALE, Stopwatch, Timing, time_bare
from bench.ground import Ground, PostgresGround, SqliteGround, fill
from bench.report import Figure, Section, median, spread
from satmachine.config import load
from satmachine.errors import SatmachineError
from satmachine.models import Answer
from satmachine.store import registry
from satmachine.store.database import atomic, connect, prepare
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import LnbitsServer, WalletKeys, ensure_environment
from testkit.postgres import MISSING, Postgres, programs
from testkit.system import DemoMachine, System

Say = Callable[[str], None]

TARGET_SINGLE, TARGET_WAITING, TARGET_CALLS, TARGET_LEGS_A_SECOND = 1.35, 1.15, 3.2, 12
OLD_PAYMENTS = 100_000
#: The books are looked at so often.
POLL_S = 0.005
PATIENCE_S = 300.0
#: No pair of a case is begun later than this after the case's start.
CASE_S = 240.0
#: How long a payment that no event announced is waited for, and how often.
UNANNOUNCED_S, UNANNOUNCED_SALES = 60.0, 5
#: LPs and the cash that each has brought to each machine, in minor units: enough for every sale.
LPS: Mapping[str, int] = {"alice": 1_000_000_000, "bruno": 600_000_000, "carla": 400_000_000}


@dataclass(frozen=True, slots=True)
class Case:
    """One LNbits and what is done on it. `singles`: pairs of single sales; `rounds` of `waiting` sales, in turns.

    `accounts`: every payee has an account of its own in LNbits; else all wallets are in one.
    """

    kind: str
    payments: int
    tuned: bool
    machines: int
    singles: int
    waiting: int
    rounds: int
    judged: bool = False
    accounts: bool = True

    @property
    def title(self) -> str:
        state = f"{self.payments:,} payments, {'tuned' if self.tuned else 'as it comes'}" if self.payments else "empty"
        several = f"; {self.machines} machines at once" if self.machines > 1 else ""
        account = "" if self.accounts else "; all wallets in one account"
        return f"Wallet: LNbits on {self.kind}, {state}{several}{account}"


CASES = (
    Case("SQLite", 0, False, machines=1, singles=15, waiting=50, rounds=2, judged=True),
    Case("SQLite", OLD_PAYMENTS, True, machines=1, singles=9, waiting=50, rounds=2, judged=True),
    Case("SQLite", OLD_PAYMENTS, True, machines=1, singles=3, waiting=10, rounds=1, accounts=False),
    Case("SQLite", OLD_PAYMENTS, False, machines=1, singles=2, waiting=4, rounds=1),
    Case("PostgreSQL", 0, False, machines=1, singles=15, waiting=50, rounds=2),
    Case("PostgreSQL", OLD_PAYMENTS, True, machines=1, singles=9, waiting=50, rounds=2),
    Case("PostgreSQL", OLD_PAYMENTS, False, machines=1, singles=5, waiting=10, rounds=1),
    Case("SQLite", 0, False, machines=5, singles=0, waiting=50, rounds=2),
)
QUICK = Case("SQLite", 100, True, machines=1, singles=1, waiting=2, rounds=1)


Pair = tuple[Timing, Timing]


@dataclass(slots=True)
class Measured:
    """The daemon's and the bare loop's timings, pair by pair; how long unannounced sales took, and every fault."""

    singles: list[Pair] = field(default_factory=list)
    waiting: list[Pair] = field(default_factory=list)
    unannounced_s: list[float] | None = None
    faults: list[str] = field(default_factory=list)
    legs: int = 0
    load: float = 0.0


def run(quick: bool, say: Say) -> Iterator[Section]:
    """A section for each case, as soon as it is there. What goes wrong in one is told, and the others go on."""
    with _postgres() as postgres:
        for case in [QUICK] if quick else CASES:
            if case.kind == "PostgreSQL" and postgres is None:
                yield Section(case.title, f"Not measured: {MISSING}.", [])
                continue
            found = Measured(load=os.getloadavg()[0])
            try:
                anyio.run(measure, case, postgres, say, found)
            except (SatmachineError, httpx.HTTPError) as error:
                say(f"{case.title}: ended early: {error}")
                found.faults.append(f"ended early: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
            yield _section(case, found)


@contextmanager
def _postgres() -> Iterator[Postgres | None]:
    if programs() is None:
        yield None
        return
    with Postgres() as postgres:
        yield postgres


# --- what was found


def _section(case: Case, found: Measured) -> Section:
    figures: list[Figure] = []
    if found.singles:
        figures += _figures("single sales", found.singles, 1, TARGET_SINGLE if case.judged else None)
    if found.waiting:
        figures += _figures(
            f"{case.waiting} sales waiting", found.waiting, case.waiting, TARGET_WAITING if case.judged else None
        )
        figures += _speed(case, found)
    if case.machines == 1 and found.unannounced_s is not None:
        figures.append(_unannounced(found.unannounced_s))
    whole = f"{found.legs} of {found.legs}" if not found.faults else f"{len(found.faults)} fault(s)"
    figures.append(Figure("legs debited once and credited once, to the sat", whole, "", "all", not found.faults))
    about = (
        f"From the events' publication to the last leg's completion in the books, {LEGS_PER_SALE} legs a sale, over "
        "one client that makes two calls a leg, one after another, on the same LNbits in turn with the daemon; medians "
        f"of the pairs' ratios (lowest-highest). The load of the machine was {found.load:.1f}."
    )
    return Section(case.title, about, figures, found.faults[:5])


def _figures(name: str, pairs: Sequence[Pair], sales: int, target: float | None) -> list[Figure]:
    legs = sales * LEGS_PER_SALE
    ratios = [daemon.wall_s / bare.wall_s for daemon, bare in pairs]
    lnbits = median([daemon.lnbits_cpu_s for daemon, _ in pairs]) / median([bare.lnbits_cpu_s for _, bare in pairs])
    met = None if target is None else median(ratios) <= target
    calls = median([sum(daemon.calls.values()) for daemon, _ in pairs]) / legs
    return [
        Figure(f"{name}: daemon, a leg", _ms_a_leg([daemon for daemon, _ in pairs], legs)),
        Figure(f"{name}: two bare calls, a leg", _ms_a_leg([bare for _, bare in pairs], legs)),
        Figure(
            f"{name}: daemon over bare, {len(pairs)} pair(s)",
            f"LNbits' processor alone {lnbits:.2f}",
            spread(ratios),
            "" if target is None else f"<= {target:.2f}",
            met,
        ),
        Figure(f"{name}: calls a leg", f"{calls:.2f}", "", f"<= {TARGET_CALLS}", calls <= TARGET_CALLS),
    ]


def _ms_a_leg(timings: Sequence[Timing], legs: int) -> str:
    """On the clock, and of whose processor time: where the machine did something else as well, it shows there."""
    wall, lnbits, own = (
        [1_000 * seconds / legs for seconds in found]
        for found in zip(*((one.wall_s, one.lnbits_cpu_s, one.own_cpu_s) for one in timings), strict=True)
    )
    return f"{spread(wall, 0)} ms; processor: LNbits {median(lnbits):.0f} ms, its own {median(own):.0f} ms"


def _speed(case: Case, found: Measured) -> list[Figure]:
    legs = case.waiting * LEGS_PER_SALE
    speed = legs / median([daemon.wall_s for daemon, _ in found.waiting])
    aim = case.judged and case.tuned
    calls = found.waiting[0][0].calls
    return [
        Figure(
            "legs a second",
            f"{speed:.1f}",
            "",
            f">= {TARGET_LEGS_A_SECOND}" if aim else "",
            speed >= TARGET_LEGS_A_SECOND if aim else None,
        ),
        Figure("calls of the daemon", ", ".join(f"{count} {name}" for name, count in sorted(calls.items()))),
    ]


def _unannounced(seconds: Sequence[float]) -> Figure:
    name = "from a customer's payment that no event announces to the last leg"
    if not seconds:
        return Figure(name, f"not within {UNANNOUNCED_S:.0f} s: the next sweep finds it")
    return Figure(name, f"{spread(seconds, 1)} s, {len(seconds)} sale(s)")


# --- one LNbits


async def measure(case: Case, postgres: Postgres | None, say: Say, found: Measured) -> None:
    """Everything that a case asks for and that CASE_S allows, on an LNbits of its own; `found` is filled on the way.

    Raises SatmachineError, httpx.HTTPError where something does not come to its end.
    """
    environment = ensure_environment(say=say)
    began_at, began = int(time.time()), time.monotonic()

    def in_time() -> bool:
        return time.monotonic() - began < CASE_S

    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as name:
        async with AsyncExitStack() as stack:
            ground = _ground(case, Path(name), postgres)
            stack.callback(ground.drop)
            system, bare = await stack.enter_async_context(_system(Path(name), environment, ground, case))
            say(f"{case.title}: LNbits is there after {time.monotonic() - began:.0f} s")
            await _start(system)
            seller = _Seller(system)
            await _warm_up(seller, bare)
            for number in range(case.rounds):
                if number == 0 or in_time():
                    found.waiting.append(await _pair(seller, bare, case.waiting, daemon_first=number % 2 == 1))
                    say(f"{case.title}: {_words(found.waiting[-1], case)}")
            for number in range(case.singles):
                if number == 0 or in_time():
                    found.singles.append(await _pair(seller, bare, 1, daemon_first=number % 2 == 0))
            say(f"{case.title}: {len(found.singles)} single sales done after {time.monotonic() - began:.0f} s")
            if case.machines == 1:
                await _unannounced_sales(seller, found, min(case.singles, UNANNOUNCED_SALES), in_time)
            found.legs = seller.legs
            found.faults += await _faults(seller, began_at)
            assert system.daemon is not None
            await system.stop_daemon()
    found.load = max(found.load, os.getloadavg()[0])
    say(f"{case.title}: done after {time.monotonic() - began:.0f} s")


def _words(pair: Pair, case: Case) -> str:
    daemon, bare = pair
    ratio = daemon.wall_s / bare.wall_s
    return f"{case.waiting} sales: daemon {daemon.wall_s:.1f} s, bare {bare.wall_s:.1f} s, ratio {ratio:.2f}"


def _ground(case: Case, folder: Path, postgres: Postgres | None) -> Ground:
    if case.kind == "SQLite":
        return SqliteGround(folder / "lnbits")
    assert postgres is not None
    postgres.create("bench")
    return PostgresGround(postgres, "bench")


@asynccontextmanager
async def _system(
    folder: Path, environment: Path, ground: Ground, case: Case
) -> AsyncIterator[tuple[System, WalletKeys]]:
    """An LNbits as the case wants it, with the wallets and one for the bare loop, a relay and a configuration."""
    server = LnbitsServer(environment, folder / "lnbits", settings=ground.settings)
    try:
        await server.start()
        system = await System.build(folder, server, machines=case.machines, lps=tuple(LPS), accounts=case.accounts)
        bare = await (server.create_account if case.accounts else server.create_wallet)("bare loop")
        for _ in range(20):
            await server.credit(bare.id, 10_000_000)
        if case.payments:
            await server.pay_customer_invoice(bare, 1_000, {}, "Sale to copy")
            await server.stop()
            wallets = [machine.wallet for machine in system.machines] + [*system.wallets.values(), bare]
            fill(ground, wallets, case.payments, now=time.time())
            if case.tuned:
                ground.tune()
            await server.start()
        try:
            yield system, bare
        finally:
            system.kill_daemon()
            system.stop_relays()
    finally:
        await server.stop()


async def _start(system: System) -> None:
    """The books with the registry and what the LPs brought; the daemon, when it has read every wallet once."""
    prepare(system.database_path)
    with closing(connect(system.database_path)) as conn, atomic(conn):
        registry.mirror(conn, load(system.config_path), int(time.time()))
    for machine in system.machines:
        system.add_providers(LPS, machine, actor="bench")
    system.start_daemon()
    await system.wait_for_log("subscribed for", timeout_s=120)
    swept = "SELECT count(*) FROM dca_wallets WHERE last_sweep_at IS NOT NULL"
    await _until(system, swept, len(system.machines))


async def _warm_up(seller: _Seller, bare: WalletKeys) -> None:
    """A sale of each machine, so that connections are open and payees known."""
    await _time_daemon(seller, len(seller.system.machines))
    await anyio.to_thread.run_sync(time_bare, seller.system.lnbits, seller.system.wallets, bare, 1)


async def _pair(seller: _Seller, bare: WalletKeys, sales: int, *, daemon_first: bool) -> Pair:
    """One after the other, the first one changing: LNbits becomes slower with every payment."""
    if daemon_first:
        daemon = await _time_daemon(seller, sales)
    system = seller.system
    theirs = await anyio.to_thread.run_sync(time_bare, system.lnbits, system.wallets, bare, sales)
    if not daemon_first:
        daemon = await _time_daemon(seller, sales)
    return daemon, theirs


# --- the daemon


@dataclass(slots=True)
class _Seller:
    """Customers who have paid, the machines taking turns; `sold` counts the sales of each."""

    system: System
    sold: Counter[str] = field(default_factory=Counter)

    @property
    def legs(self) -> int:
        return self.sold.total() * LEGS_PER_SALE

    async def sell(self, sales: int, *, with_extra: bool = False) -> list[tuple[DemoMachine, dict[str, object]]]:
        """Each machine's sales as it announces them. `with_extra`: the wallet alone tells the daemon of them, at once;
        without, nothing begins before the event."""
        made = []
        for _ in range(sales):
            machine = self.system.machines[self.sold.total() % len(self.system.machines)]
            self.sold[machine.id] += 1
            wanted = {"txid": f"{machine.id}-{self.sold[machine.id]}", **SALE}
            made.append((machine, await self.system.customer_pays(machine, wanted, with_extra=with_extra)))
        return made


async def _time_daemon(seller: _Seller, sales: int) -> Timing:
    """From the first event to the last leg in the books."""
    system = seller.system
    assert system.daemon is not None
    sold = await seller.sell(sales)
    frames = [json.dumps(["EVENT", json.loads(machine.signer.event(sale).as_json())]) for machine, sale in sold]
    async with connect_websocket(system.relays[0].url, proxy=None) as socket:
        await anyio.sleep(0.5)  # LNbits' own work after the customers' payments
        stopwatch = Stopwatch.start(system.lnbits, system.daemon.pid)
        for frame in frames:
            await socket.send(frame)
        await _until(system, _COMPLETED, seller.legs)
        return stopwatch.stop()


_COMPLETED = "SELECT count(*) FROM dca_payments WHERE status = 'completed'"


async def _until(system: System, count: str, wanted: int, patience_s: float = PATIENCE_S) -> None:
    """Until a count in the books is reached. Raises SatmachineError where it never is."""
    deadline = time.monotonic() + patience_s
    with closing(sqlite3.connect(f"{system.database_path.as_uri()}?mode=ro", uri=True, timeout=30)) as conn:
        while time.monotonic() < deadline:
            if conn.execute(count).fetchone()[0] >= wanted:
                return
            await anyio.sleep(POLL_S)
    raise SatmachineError(f"never {wanted} in {count!r}:\n{system.log_tail()}")


async def _unannounced_sales(seller: _Seller, found: Measured, sales: int, in_time: Callable[[], bool]) -> None:
    """Customers pay, and no event tells of it: the split is in what travels with the payment."""
    system = seller.system
    found.unannounced_s = []
    for number in range(sales):
        if number and not in_time():
            return
        began = time.monotonic()
        await seller.sell(1, with_extra=True)
        try:
            await _until(system, _COMPLETED, seller.legs, UNANNOUNCED_S)
        except SatmachineError:
            await _until(system, _COMPLETED, seller.legs)  # it is found later, and counts with the others
            return
        found.unannounced_s.append(time.monotonic() - began)


async def _faults(seller: _Seller, since: int) -> list[str]:
    """What LNbits' own records since then show against "every leg once": a line for each fault."""
    system = seller.system
    with closing(connect(system.database_path, read_only=True)) as conn:
        rows = conn.execute("SELECT machine_id, leg_key, amount_sats FROM dca_payments WHERE status = 'completed'")
        wanted = {(str(row["machine_id"]), str(row["leg_key"])): int(row["amount_sats"]) for row in rows}
    faults = [] if len(wanted) == seller.legs else [f"the books have {len(wanted)} legs, not {seller.legs}"]
    once = Counter((leg_key, sats) for (_, leg_key), sats in wanted.items())
    prefixes = {leg_key.split(":r")[0] for leg_key, _ in once}
    async with Lnbits(system.lnbits.url, instance_id="bench") as client:
        sources = [machine.wallet.admin_key for machine in system.machines]
        for word, keys, incoming in (
            ("debited", sources, False),
            ("credited", [wallet.admin_key for wallet in system.wallets.values()], True),
        ):
            found = [
                (str(row.leg_key), row.amount_sats)
                for key in keys
                for row in await client.payments(key, incoming=incoming, created_since=since)
                if row.status is Answer.SUCCESS and str(row.leg_key).split(":r")[0] in prefixes
            ]
            times = Counter(found)
            faults += [
                f"{word} {times[leg]} times: {leg}" for leg in once.keys() | times.keys() if times[leg] != once[leg]
            ]
    return faults
