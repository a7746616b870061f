"""Sales that wait at the same time share their looks at the wallet, and nothing else (ARCHITECTURE.md, "What is asked
of LNbits, and when")."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from anyio import to_thread

from satmachine import identity
from testkit.lnbits import LnbitsServer
from testkit.proxy import Entry, Fault, FaultProxy, Request, matching, scripted
from testkit.system import System
from testkit.watch import SALE, add_providers, debits, legs_of, sales, started, until_status
from tests.integration.conftest import BuildSystem

WAITING = 5


class LastValueProxy(FaultProxy):
    """Of a name that a query gives several times it keeps only the last, as some gateways do."""

    async def _handle(self, request: Request) -> bytes | None:
        url = urlsplit(request.target)
        last = dict(parse_qsl(url.query, keep_blank_values=True))
        target = f"{url.path}?{urlencode(last)}" if last else url.path
        return await super()._handle(replace(request, target=target))


class StrictProxy(FaultProxy):
    """It refuses a query that gives a name several times, as rules against tampering do."""

    async def _handle(self, request: Request) -> bytes | None:
        names = [name for name, _ in parse_qsl(urlsplit(request.target).query)]
        if len(names) == len(set(names)):
            return await super()._handle(request)
        self.log.append(Entry(request, Fault.NONE, None))
        return b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 9\r\n\r\nForbidden"


def kind(request: Request) -> str:
    """What a request asks: "proof" of customers' payments, a "look" at sales, "mark", "invoice", "pay", or something
    else."""
    names = {name for name, _ in parse_qsl(urlsplit(request.target).query)}
    if request.method == "GET" and "payment_hash" in names:
        return "proof"
    if request.method == "GET" and names & {"external_id[like]", "tag[like]"} and not any("amount" in n for n in names):
        return "look"
    if request.method != "POST" or request.path != "/api/v1/payments":
        return "other"
    body = request.json
    return "pay" if body["out"] else "mark" if identity.is_mark(body["external_id"]) else "invoice"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A system that was told of several sales while its daemon did not run."""

    system: System
    proxy: FaultProxy

    def asked(self) -> Counter[str]:
        return Counter(kind(entry.request) for entry in self.proxy.log)

    async def is_paid(self) -> None:
        """Every sale is paid in the end, each of its legs once."""
        await until_status(self.system, "processed", count=WAITING, timeout_s=90)
        await self.is_paid_once()

    async def is_paid_once(self) -> None:
        wanted = {leg.leg_key: 1 for sale in sales(self.system) for leg in legs_of(self.system, sale.id)}
        assert len(wanted) == 6 * WAITING
        assert await debits(self.system) == wanted


@asynccontextmanager
async def waiting(
    build_system: BuildSystem, lnbits: LnbitsServer, proxied: Callable[[str], FaultProxy]
) -> AsyncIterator[Waiting]:
    async with proxied(lnbits.url) as proxy:
        system = await build_system(lps=("alice", "bruno", "carla"), lnbits_url=proxy.url)
        await started(system)
        add_providers(system, {"alice": 9_000_000, "bruno": 6_000_000, "carla": 4_000_000})
        await system.stop_daemon()
        for number in range(WAITING):
            sale = await system.customer_pays(system.machines[0], {**SALE, "txid": f"waits-{number}"})
            await system.announce(system.machines[0], sale)
        proxy.log.clear()
        try:
            yield Waiting(system, proxy)
        finally:
            system.kill_daemon()


def faultless(url: str) -> FaultProxy:
    return FaultProxy(url, lambda _: Fault.NONE)


async def test_sales_that_wait_share_their_looks(build_system: BuildSystem, lnbits: LnbitsServer) -> None:
    async with waiting(build_system, lnbits, faultless) as town:
        town.system.start_daemon()
        await town.is_paid()
        asked = town.asked()
        learnt = 6  # payees whose wallet was not known: each by one invoice that nobody pays
        assert (asked["invoice"] - learnt, asked["mark"], asked["pay"]) == (6 * WAITING, WAITING, 6 * WAITING)
        assert asked["proof"] < WAITING
        assert asked["look"] < 2 * WAITING


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ("proof", Fault.EMPTY_LIST),
        ("proof", Fault.HTML_AFTER),
        ("look", Fault.EMPTY_LIST),
        ("look", Fault.SWALLOWED_ROW),
    ],
)
async def test_a_look_that_shows_too_little_stops_nobody_for_long(
    build_system: BuildSystem, lnbits: LnbitsServer, asked: str, fault: Fault
) -> None:
    async with waiting(build_system, lnbits, faultless) as town:
        town.proxy.plan = matching(lambda request: kind(request) == asked, scripted([fault] * 4))
        town.system.start_daemon()
        await town.is_paid()
        assert sum(entry.fault is fault for entry in town.proxy.log) == 4


async def test_a_gateway_that_lets_only_one_of_several_values_through(
    build_system: BuildSystem, lnbits: LnbitsServer
) -> None:
    async with waiting(build_system, lnbits, lambda url: LastValueProxy(url, lambda _: Fault.NONE)) as town:
        town.system.start_daemon()
        await town.is_paid()


async def test_a_gateway_that_refuses_a_question_about_several(build_system: BuildSystem, lnbits: LnbitsServer) -> None:
    async with waiting(build_system, lnbits, lambda url: StrictProxy(url, lambda _: Fault.NONE)) as town:
        town.system.start_daemon()
        await town.is_paid()
        assert any(entry.upstream_status is None for entry in town.proxy.log)


@pytest.mark.parametrize("place", ["mark.written_down:1", "mark.written:3", "mark.seen:1"])
async def test_a_daemon_that_dies_between_the_marks_of_several_sales(
    build_system: BuildSystem, lnbits: LnbitsServer, place: str
) -> None:
    async with waiting(build_system, lnbits, faultless) as town:
        town.system.start_daemon({"SATMACHINE_FAILPOINT": place})
        daemon = town.system.daemon
        assert daemon is not None
        assert await to_thread.run_sync(daemon.wait, 60) == -signal.SIGKILL
        town.system.start_daemon()
        await town.is_paid()
