"""Metrics for Prometheus, by its own client library: served over HTTP, or written to a file for the node exporter.

A scrape shows the latest look at the books (at most 15 s old) and never touches the database itself.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from socket import AF_INET, AF_INET6, gethostbyname
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore, Thread
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from satmachine import __version__
from satmachine.attention.items import Attention
from satmachine.money import minor_to_fiat
from satmachine.nostr.health import RelayHealth, RelayState
from satmachine.store.standing import Standing
from satmachine.telemetry.trouble import error_now

log = logging.getLogger(__name__)

#: How many scrapes are answered at the same time, and how long a client may take to ask.
_AT_ONCE = 4
_ASKS_WITHIN_S = 10

SETTLEMENT_STATUSES = ("pending", "held", "processed", "errored", "partial", "refunded")
LEG_STATUSES = ("pending", "invoiced", "sending", "completed", "failed", "held", "voided", "skipped")


class Exposition(Collector):
    """What Prometheus sees. As a context manager it serves on `listen` ("host:port"), if that is given."""

    def __init__(self, listen: str | None = None) -> None:
        self._listen = listen
        self._registry = CollectorRegistry(auto_describe=False)
        self._shown: tuple[Metric, ...] = ()
        self._server: tuple[WSGIServer, Thread] | None = None
        self._registry.register(self)

    def __enter__(self) -> Self:
        if self._listen is not None:
            host, _, port = self._listen.rpartition(":")
            try:
                self._server = _serve(host.strip("[]"), int(port), self._registry)
            except OSError as error:
                log.error("[metrics] listen = %s: metrics cannot be served there: %s", self._listen, error)  # noqa: TRY400
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join(5)

    def collect(self) -> Iterable[Metric]:
        """For the client library, on its own thread: one reference to values that never change."""
        return self._shown

    def show(
        self,
        found: Standing,
        relays: Sequence[RelayHealth],
        latency_s: float | None,
        attention: Attention,
        now: int,
    ) -> None:
        """Take over a new look; `now` is Unix seconds."""
        needs = _family("attention", "What needs a person, by condition.", "condition", {}, attention.counts)
        self._shown = (
            needs,
            *_books(found, now),
            *_wallets(found, latency_s),
            *_cash(found, now),
            *_business(found, now),
            *_relays(relays),
            _version(),
        )

    def write(self, path: Path) -> None:
        """Write it to a file, atomically, for other users to read; a folder that is missing or not writable is
        logged."""
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            fresh.write_bytes(generate_latest(self._registry))
            fresh.chmod(0o644)
            fresh.replace(path)
        except OSError as error:
            log.error("[metrics] textfile %s cannot be written: %s", path, error.strerror)  # noqa: TRY400


class _Handler(WSGIRequestHandler):
    """Logs no requests, and waits for none."""

    timeout = _ASKS_WITHIN_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Scrapes are not worth a line."""


class _Server(ThreadingMixIn, WSGIServer):
    """A few requests at a time: anybody on this host may connect, but threads and open files are needed by the
    daemon."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = AF_INET6 if ":" in address[0] else AF_INET
        self._places = BoundedSemaphore(_AT_ONCE)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """On a thread, or not at all."""
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Frees its place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client has closed the connection, or took too long."""


def _serve(host: str, port: int, registry: CollectorRegistry) -> tuple[WSGIServer, Thread]:
    """Raises OSError."""
    server = _Server((gethostbyname(host) if ":" not in host else host, port), _Handler)
    server.set_app(make_wsgi_app(registry))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    return server, thread


def _books(found: Standing, now: int) -> Iterable[Metric]:
    yield _family("settlements", "Sales by status.", "status", dict.fromkeys(SETTLEMENT_STATUSES, 0), found.settlements)
    yield _family("legs", "Payments by status.", "status", dict.fromkeys(LEG_STATUSES, 0), found.legs)
    yield _family("quarantined", "Messages in quarantine by reason (rejects).", "reason", {}, found.quarantined)
    age_s = 0 if found.oldest_pending_at is None else max(0, now - found.oldest_pending_at)
    yield _gauge("oldest_pending_seconds", "Age of the oldest sale that is under way; 0 without one.", age_s)
    yield _gauge("database_bytes", "Size of the database.", found.database_bytes)


def _wallets(found: Standing, latency_s: float | None) -> Iterable[Metric]:
    balance = GaugeMetricFamily("satmachine_wallet_balance_sats", "A machine's wallet, in sats.", labels=["machine"])
    up = GaugeMetricFamily("satmachine_wallet_up", "1 while a machine's wallet answers.", labels=["machine"])
    safe = GaugeMetricFamily("satmachine_safe_mode", "1 while a machine pays nothing (safe mode).", labels=["machine"])
    for wallet in found.wallets:
        if wallet.balance_sats is not None:
            balance.add_metric([wallet.machine_id], wallet.balance_sats)
        up.add_metric([wallet.machine_id], int(wallet.reachable))
        safe.add_metric([wallet.machine_id], int(wallet.safe_mode is not None))
    yield from (balance, up, safe)
    if latency_s is not None:
        yield _gauge("lnbits_latency_seconds", "How long LNbits took for its last answer.", latency_s)


def _cash(found: Standing, now: int) -> Iterable[Metric]:
    left = GaugeMetricFamily(
        "satmachine_cash_out_seconds",
        "Until a machine runs out of cash: early and late are the ends of the range (8 of 10 cases).",
        labels=["machine", "end"],
    )
    age = GaugeMetricFamily("satmachine_cash_forecast_age_seconds", "How old that forecast is.", labels=["machine"])
    differences = GaugeMetricFamily(
        "satmachine_cash_differences",
        "Cash counts that were not as expected and are not booked yet.",
        labels=["machine"],
    )
    for row in found.cash:
        for end in ("early", "likely", "late"):
            if row[f"{end}_at"] is not None:
                left.add_metric([row["machine_id"], end], row[f"{end}_at"] - now)
        age.add_metric([row["machine_id"]], max(0, now - row["computed_at"]))
        differences.add_metric([row["machine_id"]], row["open_differences"])
    yield from (left, age, differences)


def _business(found: Standing, now: int) -> Iterable[Metric]:
    """By machine; amounts of cash in its currency's major units."""

    def gauge(name: str, text: str, *more: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"satmachine_{name}", text, labels=["machine", *more])

    cash = gauge("cash", "Cash in a machine, as last reported.", "currency")
    owed = gauge("cash_of_providers", "Cash in the books that belongs to the liquidity providers.", "currency")
    age = gauge("beacon_age_seconds", "Time since a machine's last beacon arrived.")
    error = gauge("machine_error", "1 while a machine's last report is that it does not work.")
    sales = gauge("day_sales", "Proven sales of the last 24 hours.")
    sats = gauge("day_sold_sats", "Sats that customers paid in the last 24 hours.")
    commission = gauge("day_commission_sats", "Commission of the sales of the last 24 hours, in sats.")
    handed = gauge("day_cash", "Cash that was handed out in the last 24 hours.", "currency")
    for row in found.machines:
        name, currency = row["machine_id"], row["currency"]
        if row["cash_left_minor"] is not None:
            cash.add_metric([name, currency], float(minor_to_fiat(row["cash_left_minor"], currency)))
        owed.add_metric([name, currency], float(minor_to_fiat(row["providers_minor"], currency)))
        if row["received_at"] is not None:
            age.add_metric([name], max(0, now - row["received_at"]))
            error.add_metric([name], int(_is_broken(row)))
        sales.add_metric([name], row["sales"])
        sats.add_metric([name], row["gross_sats"])
        commission.add_metric([name], row["commission_sats"])
        handed.add_metric([name, currency], float(minor_to_fiat(row["sold_minor"], currency)))
    yield from (cash, owed, age, error, sales, sats, commission, handed)


def _is_broken(row: Mapping[str, Any]) -> bool:
    times = {key: row[key] for key in ("status_at", "error_at", "beacon_at")}
    return bool(error_now(row["status"], row["last_error"], **times))


def _relays(relays: Sequence[RelayHealth]) -> Iterable[Metric]:
    up = GaugeMetricFamily("satmachine_relay_up", "1 while subscribed.", labels=["relay"])
    quiet = GaugeMetricFamily(
        "satmachine_relay_quiet", "1 while it misses what other relays deliver.", labels=["relay"]
    )
    latency = GaugeMetricFamily("satmachine_relay_latency_seconds", "Its last ping.", labels=["relay"])
    events = CounterMetricFamily("satmachine_relay_events", "Events that it delivered first.", labels=["relay"])
    copies = CounterMetricFamily("satmachine_relay_duplicates", "Events that had arrived before.", labels=["relay"])
    shed = CounterMetricFamily("satmachine_relay_shed", "Telemetry dropped beyond its budget.", labels=["relay"])
    faults = CounterMetricFamily("satmachine_relay_faults", "Messages refused.", labels=["relay", "fault"])
    for relay in relays:
        up.add_metric([relay.url], int(relay.state is RelayState.SUBSCRIBED))
        quiet.add_metric([relay.url], int(relay.quiet))
        if relay.latency_ms is not None:
            latency.add_metric([relay.url], relay.latency_ms / 1000)
        events.add_metric([relay.url], relay.events)
        copies.add_metric([relay.url], relay.duplicates)
        shed.add_metric([relay.url], relay.shed)
        for fault, count in relay.faults.items():
            faults.add_metric([relay.url, str(fault)], count)
    yield from (up, quiet, latency, events, copies, shed, faults)


def _version() -> Metric:
    family = GaugeMetricFamily("satmachine_info", "The program that runs.", labels=["version"])
    family.add_metric([__version__], 1)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"satmachine_{name}", text, value=value)


def _family(name: str, text: str, label: str, none: Mapping[str, int], counts: Mapping[str, int]) -> Metric:
    """A gauge for each word; words that may occur are 0, not missing, so that alarms can be defined on them."""
    family = GaugeMetricFamily(f"satmachine_{name}", text, labels=[label])
    for word, count in {**none, **counts}.items():
        family.add_metric([word], count)
    return family
