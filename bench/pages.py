"""The pages over a hundred thousand sales of a thousand machines; and what two hundred viewers cost the daemon.

Each page is asked for over HTTP by people who see every operator's records, so late that nothing which viewers share is
kept any more. Then sales are paid out twice by the same daemon, on a real LNbits: with nobody looking, and with viewers
who all listen for news and ask for their page at each, as browsers do.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx
import uvicorn

from bench import settlements, viewers
from bench.bare import LEGS_PER_SALE
from bench.books import DAY_S, Size, books, machine_id
from bench.fleet import cpu_s
from bench.report import Figure, Section, median, spread
from satmachine.attention.items import Thresholds
from satmachine.config.model import Web, WebPerson
from satmachine.store import passes
from satmachine.web import signin
from satmachine.web.app import make_app
from satmachine.web.settings import Settings
from testkit.lnbits import ensure_environment
from testkit.ports import free_port
from testkit.system import System

Say = Callable[[str], None]

BIG, SMALL = Size(machines=1_000, sales=100_000, beacons=200_000), Size(machines=20, sales=1_000, beacons=500)
TARGET_MS, TARGET_KB, TARGET_RATIO = 150, 50, 1.10
ROUNDS = 9
#: For longer than viewers share an answer that everybody gets.
_APART_S = 6.0
_PEOPLE = 20


def run(quick: bool, say: Say) -> list[Section]:
    """Both sections."""
    if quick:
        return [measure_pages(SMALL, 2, 0.0, say), measure_viewers(5, settlements.Size(1, 1), 1, say)]
    return [measure_pages(BIG, ROUNDS, _APART_S, say), measure_viewers(200, settlements.Size(1, 15), 3, say)]


# --- the pages


def measure_pages(size: Size, rounds: int, apart_s: float, say: Say) -> Section:
    """How long each page takes, and what it weighs; rounds are so many seconds apart."""
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as folder:
        settings = Settings(books(size, say), Path(folder) / "web.db", Web(people=_people()), Thresholds())
        with _served(settings, size.end) as origin:
            figures = [
                figure
                for person, addresses in (("boss", _addresses(size)), ("lp", ("/", "/clients/3")))
                for figure in _figures(settings, origin, person, addresses, rounds, apart_s, size.end)
            ]
    return Section(
        f"Pages over {size.sales:,} sales of {size.machines:,} machines",
        f"Medians of {rounds} rounds (lowest-highest), at least {apart_s:g} s apart, over HTTP, with what a page "
        f"weighs when it is compressed. The processor's time is that of the server and of who asks.",
        figures,
    )


def _addresses(size: Size) -> tuple[str, ...]:
    day = time.strftime("%Y-%m-%d", time.gmtime(size.end - DAY_S))
    machine = machine_id(1)
    return (
        "/", "/machines", f"/machines/{machine}", f"/machines/{machine}/days/{day}", "/sales", "/sales?status=held",
        f"/sales?machine={machine}", f"/sales/{size.sales // 2}", "/clients", "/clients/3", "/months",
        f"/months/{day[:7]}", "/search?q=machine", f"/search?q=tx-{size.sales // 3}",
        "/api/v1/dca/machines", "/api/v1/dca/settlements?limit=100", "/api/v1/dca/balances",
    )  # fmt: skip


def _people() -> tuple[WebPerson, ...]:
    bosses = (WebPerson(id=f"boss-{number}", name="Boss", operator="*") for number in range(_PEOPLE))
    return (*bosses, WebPerson(id="lp", name="LP", operator="operator-0", client="person-2"))


def _figures(
    settings: Settings, origin: str, person: str, addresses: tuple[str, ...], rounds: int, apart_s: float, now: int
) -> Iterator[Figure]:
    took_ms: dict[str, list[float]] = {address: [] for address in addresses}
    cpu_ms: dict[str, list[float]] = {address: [] for address in addresses}
    weights: dict[str, float] = {}
    with httpx.Client(base_url=origin, trust_env=False, timeout=60) as http:
        for number in range(rounds):
            who = f"{person}-{number % _PEOPLE}" if person == "boss" else person
            http.cookies.set("satmachine", session(settings.passes, who, now))
            for address in addresses:
                began, cpu = time.perf_counter(), time.process_time()
                answer = http.get(address, headers={"accept": "text/html"}).raise_for_status()
                took_ms[address].append((time.perf_counter() - began) * 1000)
                cpu_ms[address].append((time.process_time() - cpu) * 1000)
                weights[address] = len(gzip.compress(answer.content)) / 1000
            time.sleep(apart_s)
    for address in addresses:
        took, weight = took_ms[address], weights[address]
        yield Figure(
            f"{'an LP: ' if person == 'lp' else ''}`{address}`",
            f"{spread(took, 0)} ms; processor {median(cpu_ms[address]):.0f} ms; {weight:.1f} kB",
            target=f"< {TARGET_MS} ms, {TARGET_KB} kB" if not address.startswith("/api/") else f"< {TARGET_MS} ms",
            met=median(took) < TARGET_MS and (weight < TARGET_KB or address.startswith("/api/")),
        )


def session(database: Path, person: str, now: int) -> str:
    """What the browser of somebody who is signed in holds."""
    with passes.open_passes(database) as conn:
        return signin.begin_session(conn, person, now=now, lives_s=86_400)


@contextmanager
def _served(settings: Settings, now: int) -> Iterator[str]:
    """The pages from a thread of this process, at the time of the books."""
    port = free_port()
    config = uvicorn.Config(make_app(settings, clock=lambda: now), port=port, log_level="error", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        _wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def _wait_for(origin: str) -> None:
    """Until the pages answer. Raises TimeoutError."""
    for _ in range(1_200):
        try:
            httpx.get(f"{origin}/health", trust_env=False, timeout=5)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"nothing answers at {origin}")


# --- two hundred viewers


def measure_viewers(count: int, size: settlements.Size, rounds: int, say: Say) -> Section:
    """Sales from event to last leg, with nobody looking and with so many viewers."""
    found = [anyio.run(_round, count, size, say) for _ in range(rounds)]
    alone, looked_at = [one[0] for one in found], [one[1] for one in found]
    ratios = [with_them / without for without, with_them, *_ in found]
    return Section(
        f"The daemon while {count} people look",
        f"{size.sales} sales of {LEGS_PER_SALE} legs from the first event to the last leg in the books, "
        "with nobody looking, then with viewers who listen for news and load their page anew at each. The pages and "
        "the viewers run on the same processors, as nice as their unit makes them. Each run has an LNbits of its own.",
        [
            Figure("nobody looks", f"{spread(alone, 1)} s"),
            Figure(
                f"{count} people look",
                f"{spread(looked_at, 1)} s",
                spread(ratios),
                f"<= {TARGET_RATIO:.2f}" if count >= 200 else "",
                median(ratios) <= TARGET_RATIO if count >= 200 else None,
            ),
            Figure("pages that they loaded meanwhile", spread([float(one[2]) for one in found], 0)),
            Figure("the pages' own processor time", f"{spread([one[3] for one in found], 1)} s"),
        ],
    )


async def _round(count: int, size: settlements.Size, say: Say) -> tuple[float, float, int, float]:
    """(seconds with nobody, seconds with viewers, pages loaded, the pages' processor seconds)."""
    environment = ensure_environment(say=say)
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as name:
        alone, _, _ = await _paid_out(Path(name) / "alone", environment, size, 0)
        watched, loaded, cpu = await _paid_out(Path(name) / "watched", environment, size, count)
    say(f"{size.sales} sales: {alone:.1f} s with nobody, {watched:.1f} s with {count} viewers, {loaded} pages loaded")
    return alone, watched, loaded, cpu


async def _paid_out(folder: Path, environment: Path, size: settlements.Size, count: int) -> tuple[float, int, float]:
    async with settlements.running(folder, environment, size) as system:
        if not count:
            return (await settlements.time_daemon(system, size)).wall_s, 0, 0.0
        with _web(system) as (origin, pid):
            sessions = [
                session(system.folder / "web.db", f"boss-{n % _PEOPLE}", int(time.time())) for n in range(count)
            ]
            async with viewers.looking(origin, sessions) as crowd:
                cpu = cpu_s(pid)
                wall_s = (await settlements.time_daemon(system, size)).wall_s
                return wall_s, crowd.loaded, cpu_s(pid) - cpu


@contextmanager
def _web(system: System) -> Iterator[tuple[str, int]]:
    """`satmachine web` beside a running daemon."""
    port = free_port()
    people = "".join(f'[[web.people]]\nid = "boss-{n}"\nname = "Boss"\noperator = "*"\n' for n in range(_PEOPLE))
    path = system.folder / "web.toml"
    path.write_text(f'{system.config_path.read_text("utf-8")}\n[web]\nlisten = "127.0.0.1:{port}"\n{people}', "utf-8")
    path.chmod(0o600)
    command = [sys.executable, "-m", "satmachine", "--config", str(path), "web"]
    nicely = ["nice", "-n", "10", *command]
    with (system.folder / "web.log").open("wb") as log:
        process = subprocess.Popen(nicely, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(20)
