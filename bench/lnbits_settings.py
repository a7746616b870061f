"""What LNbits' own settings cost a payment, one by one: two bare calls a leg, over an LNbits as the tests run it.

All of these LNbits run at once and take turns, so that whatever else the machine does hits all of them. Price servers
are played on this machine: nothing here asks anybody outside.
"""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import httpx

from bench.bare import LEGS_PER_SALE, PAID, Timing, time_bare
from bench.report import Figure, Section, median, spread
from satmachine.errors import SatmachineError
from testkit.lnbits import LnbitsServer, WalletKeys, ensure_environment
from testkit.postgres import MISSING, Postgres, programs

Say = Callable[[str], None]

ROUNDS, SALES = 5, 2
MORE_WALLETS = 200


@dataclass(frozen=True, slots=True)
class Setting:
    """LNbits with these settings, and with so many `more_wallets` in the account that has all wallets. `slow`: each
    call waits for seconds, and one sale says it."""

    name: str
    settings: Mapping[str, str]
    more_wallets: int = 0
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """One of them, with the wallets that are paid and the one that pays."""

    setting: Setting
    server: LnbitsServer
    payees: Mapping[str, WalletKeys]
    payer: WalletKeys


def run(quick: bool, say: Say) -> list[Section]:
    with ExitStack() as stack:
        settings = _settings(stack, quick)
        found = anyio.run(_measure, settings, 1 if quick else ROUNDS, say)
    base = found[settings[0].name]
    figures = [_figure(setting, found[setting.name], base) for setting in settings]
    if programs() is None:
        figures.append(Figure("its database in PostgreSQL", f"not measured: {MISSING}"))
    about = (
        f"Two bare calls a leg on an empty LNbits, {LEGS_PER_SALE} legs a sale; medians (lowest-highest) of {ROUNDS} "
        "turns; the ratios are over the first line, on the clock and of LNbits' processor time."
    )
    return [Section("LNbits' settings, one by one", about, figures)]


def _settings(stack: ExitStack, quick: bool) -> list[Setting]:
    answering, silent = stack.enter_context(_price_server()), stack.enter_context(_silent_server())
    found = [
        Setting("as the tests and the demo run it: no prices, its database in SQLite", {}),
        Setting("prices: the server answers (kept for a minute)", _prices(answering)),
        Setting("prices: the server cannot be reached, and refuses at once", _prices("http://127.0.0.1:1")),
        Setting("prices: the server cannot be reached, and says nothing", _prices(silent), slow=True),
        Setting("its audit log off (LNBITS_AUDIT_ENABLED=false)", {"LNBITS_AUDIT_ENABLED": "false"}),
        Setting("its log not in a file (ENABLE_LOG_TO_FILE=false)", {"ENABLE_LOG_TO_FILE": "false"}),
        Setting(
            "every payment is told to its administrator (both notification amounts 1), with no channel set up",
            {
                "LNBITS_NOTIFICATION_INCOMING_PAYMENT_AMOUNT_SATS": "1",
                "LNBITS_NOTIFICATION_OUTGOING_PAYMENT_AMOUNT_SATS": "1",
            },
        ),
        Setting(f"{MORE_WALLETS} more wallets in the same account", {}, more_wallets=MORE_WALLETS),
    ]
    if quick:
        return found[1:2]
    if programs() is not None:
        postgres = stack.enter_context(Postgres())
        found.append(Setting("its database in PostgreSQL", {"LNBITS_DATABASE_URL": postgres.create("settings")}))
    return found


def _prices(url: str) -> Mapping[str, str]:
    return {"LNBITS_PRICE_AGGREGATOR_ENABLED": "true", "LNBITS_PRICE_AGGREGATOR_URL": url}


async def _measure(settings: Sequence[Setting], rounds: int, say: Say) -> dict[str, list[Timing]]:
    environment = ensure_environment(say=say)
    found: dict[str, list[Timing]] = {setting.name: [] for setting in settings}
    with tempfile.TemporaryDirectory(prefix="satmachine-bench-") as folder:
        async with AsyncExitStack() as stack:
            running = []
            for number, setting in enumerate(settings):
                server = LnbitsServer(environment, Path(folder) / str(number), settings=setting.settings)
                stack.push_async_callback(server.stop)
                running.append(await _start(setting, server))
                say(f"running: {setting.name}")
            for number in range(rounds):
                for one in running:
                    if not (one.setting.slow and number):
                        found[one.setting.name].append(await _turn(one))
                say(f"turn {number + 1} of {rounds} done")
    return found


async def _start(setting: Setting, server: LnbitsServer) -> Running:
    await server.start()
    payees = {name: await server.create_wallet(name) for name in PAID}
    payer = await server.create_funded("bare loop", 10_000_000)
    for number in range(setting.more_wallets):
        await server.create_wallet(f"more {number}")
    one = Running(setting, server, payees, payer)
    if not setting.slow:
        await _turn(one)  # warm
    return one


async def _turn(one: Running) -> Timing:
    sales = 1 if one.setting.slow else SALES
    try:
        return await anyio.to_thread.run_sync(time_bare, one.server, one.payees, one.payer, sales)
    except httpx.HTTPError as error:
        raise SatmachineError(f"LNbits with {one.setting.name!r}: {error!r}") from error


def _figure(setting: Setting, timings: Sequence[Timing], base: Sequence[Timing]) -> Figure:
    def ms_a_leg(seconds: Sequence[float], sales: int) -> list[float]:
        return [1_000 * one / (sales * LEGS_PER_SALE) for one in seconds]

    def both(of: Sequence[Timing], sales: int) -> tuple[list[float], list[float]]:
        return ms_a_leg([one.wall_s for one in of], sales), ms_a_leg([one.lnbits_cpu_s for one in of], sales)

    wall, processor = both(timings, 1 if setting.slow else SALES)
    base_wall, base_processor = both(base, SALES)
    value = f"{spread(wall, 0)} ms a leg; LNbits' processor {median(processor):.0f} ms"
    ratios = median(wall) / median(base_wall), median(processor) / median(base_processor)
    return Figure(setting.name, value, f"{ratios[0]:.2f}, {ratios[1]:.2f} x")


# --- price servers


class _Price(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"rates": {"median": 100000.0}}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Not on this terminal."""


@contextmanager
def _price_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Price) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def _silent_server() -> Iterator[str]:
    """It takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
