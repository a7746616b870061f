"""From a sale's event to its last paid leg, over what a bare loop of the same calls needs from the same LNbits.

Real parts: an LNbits (FakeWallet), a relay, the daemon as a process of its own. LNbits becomes slower with every
payment in its database, so each run gets a new one, and what the customers paid before is the same for both.

The bare loop is one HTTP client with one connection, one call after another, that stores nothing and checks nothing but
the status. Which calls the daemon makes is not assumed: both are counted in LNbits' access log and must agree.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
from websockets.asyncio.client import connect as connect_websocket

from bench.bare import LEGS_PER_SALE, PAID, SALE, Stopwatch, Timing
from bench.report import Figure, Section, median, spread
from satmachine.config import load
from satmachine.errors import SatmachineError
from satmachine.models import Answer
from satmachine.store import registry
from satmachine.store.database import atomic, connect, prepare
from satmachine.wallet.lnbits import Lnbits
from testkit.lnbits import LnbitsServer, ensure_environment
from testkit.system import DemoMachine, System

Say = Callable[[str], None]

ROUNDS = 3
TARGET = 1.10
#: The books are looked at so often.
POLL_S = 0.02
PATIENCE_S = 600.0
#: LPs and the cash that each has brought to each machine, in minor units: enough for every sale.
LPS: Mapping[str, int] = {"alice": 100_000_000, "bruno": 60_000_000, "carla": 40_000_000}


@dataclass(frozen=True, slots=True)
class Size:
    """How many machines, and how many sales each has. `judged`: whether the ratio counts."""

    machines: int
    sales_each: int
    judged: bool = True

    @property
    def sales(self) -> int:
        return self.machines * self.sales_each

    @property
    def legs(self) -> int:
        return self.sales * LEGS_PER_SALE


@dataclass(frozen=True, slots=True)
class Round:
    """Both timings, and where LNbits' own records do not show every leg once."""

    daemon: Timing
    bare: Timing
    faults: tuple[str, ...]

    @property
    def ratio(self) -> float:
        return self.daemon.wall_s / self.bare.wall_s


def run(quick: bool, say: Say) -> list[Section]:
    if quick:
        return [_section(Size(1, 2, judged=False), [anyio.run(measure, Size(1, 2, judged=False), say)])]
    one, five = Size(1, 50), Size(5, 10)
    rounds = [anyio.run(measure, one, say) for _ in range(ROUNDS)]
    return [_section(one, rounds), _section(five, [anyio.run(measure, five, say)])]


def _section(size: Size, rounds: list[Round]) -> Section:
    ratio = median([one.ratio for one in rounds])
    faults = [fault for one in rounds for fault in one.faults]
    same = all(_written(one.daemon) == _written(one.bare) for one in rounds)
    # Of several machines at once it counts that nothing is lost: they share one LNbits, and how well says little.
    judged = size.judged and size.machines == 1
    machines = "one machine" if size.machines == 1 else f"{size.machines} machines at once"
    return Section(
        f"Sales: {size.sales} of {LEGS_PER_SALE} legs, {machines}",
        "From the first event's publication to the last leg's completion in the books, over one client that makes the "
        "calls of a single sale one after another: a proof, two looks and a mark, an invoice and its payment for a "
        "leg. Where several sales wait, the daemon shares the first three. "
        "Each run has an LNbits of its own, empty but for what the customers paid before the clock starts.",
        [
            Figure("daemon, a leg", _ms_a_leg([one.daemon for one in rounds], size)),
            Figure("bare loop, a leg", _ms_a_leg([one.bare for one in rounds], size)),
            Figure(
                f"daemon over bare loop, pairs: {len(rounds)}",
                f"{median([one.daemon.wall_s for one in rounds]):.1f} s",
                spread([one.ratio for one in rounds]),
                f"<= {TARGET:.2f}" if judged else "",
                ratio <= TARGET if judged else None,
            ),
            *_call_figures(rounds[0], size),
            Figure("both wrote with the same calls", "yes" if same else "no", "", "yes", same),
            Figure("legs debited once and credited once, to the sat", _verdict(faults, size), "", "all", not faults),
        ],
        faults[:5],
    )


def _ms_a_leg(timings: list[Timing], size: Size) -> str:
    """On the clock, and of whose processor time: where the machine did something else as well, it shows there."""
    wall, lnbits, own = (
        [1_000 * seconds / size.legs for seconds in found]
        for found in zip(*((one.wall_s, one.lnbits_cpu_s, one.own_cpu_s) for one in timings), strict=True)
    )
    return f"{spread(wall, 0)} ms; processor: LNbits {median(lnbits):.0f} ms, its own {median(own):.0f} ms"


def _call_figures(one: Round, size: Size) -> list[Figure]:
    """The calls of a leg are what comes with each; what is left over comes with the sale."""
    calls = one.daemon.calls
    each = {name: count // size.legs for name, count in calls.items()}
    once = {name: (count - each[name] * size.legs) / size.sales for name, count in calls.items()}
    return [
        Figure("calls a leg", ", ".join(f"{count} {name}" for name, count in sorted(each.items()) if count)),
        Figure("and a sale", ", ".join(f"{count:g} {name}" for name, count in sorted(once.items()) if count)),
    ]


def _verdict(faults: list[str], size: Size) -> str:
    return f"{size.legs} of {size.legs}" if not faults else f"{len(faults)} fault(s)"


# --- one pair of runs


async def measure(size: Size, say: Say) -> Round:
    """The daemon and the bare loop, each on an LNbits of its own."""
    environment = ensure_environment(say=say)
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as name:
        folder = Path(name)
        async with running(folder / "daemon", environment, size) as ours:
            async with _system(folder / "bare", environment, size) as theirs:
                bare = await _time_bare(theirs, size)
            daemon = await time_daemon(ours, size)
            faults = await _faults(ours, size)
    found = Round(daemon, bare, tuple(faults))
    say(f"{size.legs} legs: daemon {daemon.wall_s:.1f} s, bare loop {bare.wall_s:.1f} s, ratio {found.ratio:.2f}")
    return found


@asynccontextmanager
async def running(folder: Path, environment: Path, size: Size) -> AsyncIterator[System]:
    """The daemon on an LNbits of its own, ready for sales."""
    async with _system(folder, environment, size) as system:
        _open_books(system)
        system.start_daemon()
        await system.wait_for_log("subscribed for")
        await _swept(system)
        yield system
        await system.stop_daemon()


@asynccontextmanager
async def _system(folder: Path, environment: Path, size: Size) -> AsyncIterator[System]:
    """An empty LNbits with the wallets, a relay, and a configuration for the daemon."""
    server = LnbitsServer(environment, folder / "lnbits")
    try:
        await server.start()
        system = await System.build(folder, server, machines=size.machines, lps=tuple(LPS))
        try:
            yield system
        finally:
            system.kill_daemon()
            system.stop_relays()
    finally:
        await server.stop()


def _open_books(system: System) -> None:
    """The database with the registry, and the LPs with what they brought."""
    prepare(system.database_path)
    with closing(connect(system.database_path)) as conn, atomic(conn):
        registry.mirror(conn, load(system.config_path), int(time.time()))
    for machine in system.machines:
        system.add_providers(LPS, machine, actor="bench")


async def _swept(system: System) -> None:
    """Until every wallet was read once: nothing is paid before, and the next time is minutes away."""
    await _until(system, "SELECT count(*) FROM dca_wallets WHERE last_sweep_at IS NOT NULL", len(system.machines))


async def _sold(system: System, size: Size) -> list[tuple[DemoMachine, dict[str, object]]]:
    """The customers have paid; each machine's sales as it announces them, the machines taking turns.

    Nothing travels with the payments that would let the daemon begin before the events."""
    return [
        (machine, await system.customer_pays(machine, {"txid": f"{machine.id}-{number}", **SALE}, with_extra=False))
        for number in range(size.sales_each)
        for machine in system.machines
    ]


# --- the daemon


async def time_daemon(system: System, size: Size) -> Timing:
    """From the first event to the last leg in the books."""
    assert system.daemon is not None
    sales = await _sold(system, size)
    frames = [json.dumps(["EVENT", json.loads(machine.signer.event(sale).as_json())]) for machine, sale in sales]
    async with connect_websocket(system.relays[0].url, proxy=None) as socket:
        stopwatch = Stopwatch.start(system.lnbits, system.daemon.pid)
        for frame in frames:
            await socket.send(frame)
        await _until(system, "SELECT count(*) FROM dca_payments WHERE status = 'completed'", size.legs)
        return stopwatch.stop()


async def _until(system: System, count: str, wanted: int) -> None:
    """Until a count in the books is reached. Raises SatmachineError where it never is."""
    with closing(sqlite3.connect(f"{system.database_path.as_uri()}?mode=ro", uri=True, timeout=30)) as conn:
        for _ in range(int(PATIENCE_S / POLL_S)):
            if conn.execute(count).fetchone()[0] >= wanted:
                return
            await anyio.sleep(POLL_S)
    raise SatmachineError(f"never {wanted} in {count!r}:\n{system.log_tail()}")


# --- the bare loop


async def _time_bare(system: System, size: Size) -> Timing:
    """The same sales and calls, one after another, with nothing stored."""
    sales = await _sold(system, size)
    # A thread of its own: an event loop would only add to it.
    return await anyio.to_thread.run_sync(_bare, system, sales)


def _bare(system: System, sales: list[tuple[DemoMachine, dict[str, object]]]) -> Timing:
    with httpx.Client(base_url=system.lnbits.url, trust_env=False, timeout=60) as http:
        loop = _BareLoop(http)
        stopwatch = Stopwatch.start(system.lnbits, os.getpid())
        met: set[str] = set()
        for machine, sale in sales:
            key, prefix = machine.wallet.admin_key, f"sm1:{sale['payment_hash']}:"
            loop.look(key, {"payment_hash": str(sale["payment_hash"])})
            loop.look(key, {"external_id[like]": prefix})
            for name in PAID:
                # Whom a payee's key leads to is asked once: of an LP for each machine, of a partner once.
                who = f"{machine.id}:{name}" if name in LPS else name
                if who not in met:
                    loop.invoice(system.wallets[name].invoice_key, "sm1:ask", 1)
                met.add(who)
            invoices = {
                name: loop.invoice(system.wallets[name].invoice_key, f"{prefix}r0:{name}", sats)
                for name, sats in PAID.items()
            }
            loop.invoice(key, f"{prefix}mark:0", 1)
            loop.look(key, {"external_id[like]": prefix})
            for name, bolt11 in invoices.items():
                loop.pay(key, bolt11, f"{prefix}r0:{name}")
        return stopwatch.stop()


@dataclass(frozen=True, slots=True)
class _BareLoop:
    """The calls that a sale takes, one after another."""

    http: httpx.Client

    def invoice(self, key: str, external_id: str, amount_sats: int) -> str:
        order = {
            "out": False,
            "unit": "sat",
            "amount": amount_sats,
            "memo": "bare loop",
            "internal": True,
            "expiry": 86_400,
            "extra": {"leg_key": external_id},
            "external_id": external_id,
        }
        return str(self._post(key, order)["bolt11"])

    def pay(self, key: str, bolt11: str, external_id: str) -> None:
        self._post(key, {"out": True, "bolt11": bolt11, "extra": {"leg_key": external_id}, "external_id": external_id})

    def look(self, key: str, wanted: Mapping[str, str]) -> None:
        params = {**wanted, "sortby": "time", "direction": "asc", "limit": "1000", "offset": "0"}
        answer = self.http.get("/api/v1/payments/paginated", params=params, headers={"X-Api-Key": key})
        answer.raise_for_status().json()

    def _post(self, key: str, body: Mapping[str, object]) -> dict[str, object]:
        answer = self.http.post("/api/v1/payments", json=body, headers={"X-Api-Key": key})
        found: dict[str, object] = answer.raise_for_status().json()
        return found


# --- what LNbits has written down


def _written(timing: Timing) -> Counter[str]:
    """The calls that make or pay an invoice; a slow daemon looks at a sale again before it pays."""
    return Counter({call: count for call, count in timing.calls.items() if call.startswith("POST")})


async def _faults(system: System, size: Size) -> list[str]:
    """What LNbits' own records show against "every leg once": a line for each fault."""
    with closing(connect(system.database_path, read_only=True)) as conn:
        rows = conn.execute("SELECT machine_id, leg_key, amount_sats FROM dca_payments WHERE status = 'completed'")
        wanted = {(str(row["machine_id"]), str(row["leg_key"])): int(row["amount_sats"]) for row in rows}
    faults = [] if len(wanted) == size.legs else [f"the books have {len(wanted)} legs, not {size.legs}"]
    async with Lnbits(system.lnbits.url, instance_id="bench") as client:
        debits: Counter[tuple[str, int]] = Counter()
        for machine in system.machines:
            rows_of = await client.payments(machine.wallet.admin_key, incoming=False)
            debits.update((str(row.leg_key), row.amount_sats) for row in rows_of if row.status is Answer.SUCCESS)
            left_msat = (await client.wallet(machine.wallet.admin_key)).balance_msat
            paid_sats = sum(sats for (machine_id, _), sats in wanted.items() if machine_id == machine.id)
            sold_sats = size.sales_each * sum(PAID.values())
            if left_msat != (sold_sats - paid_sats) * 1_000:
                faults.append(f"{machine.id} has {left_msat} msats left, after {sold_sats} in and {paid_sats} sats out")
        credited: Counter[tuple[str, int]] = Counter()
        for wallet in system.wallets.values():
            rows_of = await client.payments(wallet.admin_key, incoming=True)
            credited.update((str(row.leg_key), row.amount_sats) for row in rows_of if row.status is Answer.SUCCESS)
    once = Counter((leg_key, sats) for (_, leg_key), sats in wanted.items())
    for word, found in (("debited", debits), ("credited", credited)):
        faults += [f"{word} {found[leg]} times: {leg}" for leg in once.keys() | found.keys() if found[leg] != once[leg]]
    return faults
